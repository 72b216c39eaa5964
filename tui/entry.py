"""The `qinspect` command. No Textual here: the app is imported only when the screen is really opened."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line and return its exit code. Until the screen exists, a terminal gets the report too."""
    from qinspect.inspector.cli import main as run_command_line

    return run_command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
