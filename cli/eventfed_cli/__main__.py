"""``python -m eventfed_cli``: the same as the command `eventfed`."""

from . import main

main()
