"""`python -m gansweep`."""

from __future__ import annotations

import sys

from gansweep.cli import main

if __name__ == "__main__":
    sys.exit(main())
