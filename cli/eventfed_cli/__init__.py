"""The command `eventfed`."""

__all__ = ["main"]


def main() -> None:
    """Run the command with the arguments of this process."""
    from ._app import app

    app(prog_name="eventfed")
