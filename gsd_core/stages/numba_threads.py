"""Compiled kernels beside torch in one process.

keep_threads     torch computes with as many threads after the work as before it
use_numba_cache  compiled code is kept between processes, in the user's cache folder
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


@contextmanager
def keep_threads() -> Iterator[None]:
    """Around a function, or ``with``: what is computed inside may set the number of threads; afterwards torch has its
    own number again.

    The first parallel kernel of the layout sets it for all of OpenMP, and a later capture in the same process would
    differ in its last bits. Where torch is not loaded yet there is nothing to keep.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else None
    try:
        yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


def use_numba_cache() -> None:
    """Point numba at a per-user cache unless the environment names one; call before numba is imported.

    Without it every process compiles the layout's kernels anew (tens of seconds), and an installation that
    is not writable cannot keep them.
    """
    if "NUMBA_CACHE_DIR" in os.environ or "numba" in sys.modules:
        return
    folder = Path(platformdirs.user_cache_dir("gsd", appauthor=False)) / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
