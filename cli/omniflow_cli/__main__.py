"""`python -m omniflow_cli` is the command `omniflow`."""

import sys

from omniflow_cli.app import main

if __name__ == "__main__":
    sys.exit(main())
