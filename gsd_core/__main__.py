"""``python -m gsd_core`` and the console script ``gsd``.

main  run one command; returns the exit code
"""

from __future__ import annotations

import sys

from gsd_core.cli.command_line import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
