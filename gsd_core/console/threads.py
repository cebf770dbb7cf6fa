"""How the threads of numeric libraries wait for one another.

let_threads_yield  threads that wait give their core back instead of spinning on it

By default OpenMP's threads spin on their core while they wait, which slows a capture beside other work and wastes CPU
time (docs/performance.md). The OpenMP runtime reads the environment when it is loaded, so the setting has to come
before torch, numba and scikit-learn. Commands, background jobs and Ray workers set it. ``import gsd_core`` does not,
because a library should not change the environment of its process.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping


def let_threads_yield(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set ``OMP_WAIT_POLICY=passive`` where the user has set nothing. libgomp and LLVM's runtime both read it."""
    environment.setdefault("OMP_WAIT_POLICY", "passive")
