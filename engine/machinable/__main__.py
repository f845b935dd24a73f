"""`python -m machinable` is the command `machinable`."""

import sys

from machinable.cli import main

if __name__ == "__main__":
    sys.argv[0] = "machinable"  # as it is stored with an execution
    sys.exit(main())
