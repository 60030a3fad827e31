"""Asks the package index whether each package of the image has a wheel for each platform.

``python release/platforms.py`` prints what it says as a table; ``--write`` writes it into docs/platforms.md. No wheel
is fetched: pip resolves from the index's metadata. A package that is published as source alone is built where the image
is built, which needs no compiler if it is of Python alone.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from runtime_packages import PRODUCT, closure

__all__ = ["ARCHITECTURES", "DOCUMENT", "PYTHONS", "pins", "table"]

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "platforms.md"
_BEGIN, _END = "<!-- platforms:begin -->\n", "<!-- platforms:end -->"

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Docker's names and those of wheels."""
PYTHONS = ("3.11", "3.13")
"""Of the images that the project builds: Debian's two, of which the newer is the Dockerfile's."""
_GLIBC = (17, 28, 34)
"""Minor versions of glibc 2 whose wheels Debian 12 and 13 take."""


def _pip(pins: list[str], *, architecture: str, python: str) -> bool:
    """Whether wheels of all these are there."""
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in _GLIBC]
    platforms += [f"manylinux2014_{architecture}"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--disable-pip-version-check"),
                *("--ignore-installed", "--no-deps", "--only-binary", ":all:", "--target", folder),
                *("--python-version", python, "--implementation", "cp", "--abi", f"cp{python.replace('.', '')}"),
                *("--abi", "abi3", "--abi", "none"),
                *(word for one in platforms for word in ("--platform", one)),
                *pins,
            ],
            capture_output=True,
            check=False,
        )
    return done.returncode == 0


def _without_wheel(pins: list[str], *, architecture: str, python: str) -> list[str]:
    """Those that have none, by halves."""
    if _pip(pins, architecture=architecture, python=python):
        return []
    if len(pins) == 1:
        return pins
    middle = len(pins) // 2
    return [
        one
        for half in (pins[:middle], pins[middle:])
        for one in _without_wheel(half, architecture=architecture, python=python)
    ]


def pins() -> list[str]:
    """What the image holds beside eventfed, each with its version."""
    return sorted(f"{name}=={package.version}" for name, (package, _) in closure().items() if name != PRODUCT)


def table() -> str:
    """The table in Markdown."""
    every = pins()
    lacking = {
        (docker, python): set(_without_wheel(every, architecture=wheel, python=python))
        for docker, wheel in ARCHITECTURES.items()
        for python in PYTHONS
    }
    heads = [f"{docker}, Python {python}" for docker, python in lacking]
    lines = [f"| package | {' | '.join(heads)} |", f"| --- | {' | '.join('---' for _ in heads)} |"]
    for pin in every:
        cells = ["source" if pin in without else "wheel" for without in lacking.values()]
        lines.append(f"| {pin} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Exit code: 0 written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    text = table()
    if parser.parse_args().write:
        before, _, rest = DOCUMENT.read_text().partition(_BEGIN)
        DOCUMENT.write_text(f"{before}{_BEGIN}{text}{_END}{rest.partition(_END)[2]}")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
