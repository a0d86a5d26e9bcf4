"""`python -m restoralib` and the command `restoralib`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    try:
        from restoralib.cli import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "click"}:
            raise
        sys.exit(f'the command line needs {error.name}; install it with: pip install "restoralib[cli]"')
    app(prog_name="restoralib")


if __name__ == "__main__":
    main()
