"""Run the `edge` command as ``python -m edge``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
