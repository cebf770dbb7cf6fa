"""How the threads of numeric libraries wait for one another.

let_threads_yield  idle threads give their core back instead of spinning on it

OpenMP's threads wait between two loops by spinning on their core. Beside other work that triples the time of a capture
and wastes half of its CPU time (docs/performance.md); on idle cores waiting costs no measurable time. The runtime reads
the environment when it is loaded, so this has to come before torch, numba and scikit-learn. Commands, background jobs
and Ray workers do it; ``import gsd_core`` does not, as the process and its environment belong to whoever imports.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping


def let_threads_yield(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set ``OMP_WAIT_POLICY=passive`` where the user has set nothing. libgomp and LLVM's runtime both read it."""
    environment.setdefault("OMP_WAIT_POLICY", "passive")
