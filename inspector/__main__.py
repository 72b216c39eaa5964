"""`python -m qinspect.inspector ...`: the command line, never a screen."""

import sys

from qinspect.inspector.cli import main

if __name__ == "__main__":
    sys.exit(main())
