"""``python -m gsd_core`` and the console script ``gsd``.

main  run one command; returns the exit code
"""

from __future__ import annotations

import os
import sys

from gsd_core.pipeline.cli import main

__all__ = ["main"]

# Read when torch is loaded, long after this. Threads that wait without spinning halve the time on a machine whose cores are
# shared, and cost nothing on an idle one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if __name__ == "__main__":
    sys.exit(main())
