"""Which program wrote a gradient store, and its reader.

FORMATS      choices of ``--format``
open_store   path → an opened ``ForeignStore``
check_alike  refuses stores that cannot be checkpoints of one run
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gsd_core.errors import UserError
from gsd_core.importing.foreign_bergson import BergsonStore, is_bergson
from gsd_core.importing.foreign_less import LessStore, find_less
from gsd_core.importing.foreign_rows import ForeignStore

FORMATS = ("auto", "bergson", "less")
SHOWN_FOLDERS = 5


def open_store(path: str | Path, format: str = "auto") -> ForeignStore:
    """Open a gradient store.

    Parameters
    ----------
    path
        A folder of Bergson, a ``dimN`` folder of LESS (or the one above it), or one of its ``.pt`` files.
    format
        One of ``FORMATS``; ``auto`` decides by the files.

    Raises
    ------
    UserError
        No store of that format is there, or it is damaged, unfinished or unsafe.
    """
    source = Path(path).expanduser()
    if not source.exists():
        raise UserError("there is no such file or folder", str(path), "check the path")
    if format in ("auto", "bergson") and source.is_dir() and is_bergson(source):
        return BergsonStore(source)
    found = find_less(source) if format in ("auto", "less") else None
    if found is not None:
        return LessStore(found)
    below = sorted(each.name for each in (source.iterdir() if source.is_dir() else ()) if is_bergson(each))
    if below and format != "less":
        more = " …" if len(below) > SHOWN_FOLDERS else ""
        raise UserError(
            f"the indexes are in its folders {', '.join(below[:SHOWN_FOLDERS])}{more}",
            str(path),
            "give one of them, or several, each a checkpoint",
        )
    wanted = {
        "bergson": "a Bergson index is a folder with info.json and gradients.bin",
        "less": "a LESS store is a folder with all_unormalized.pt, all_orig.pt or grads-N.pt, or a .pt file",
    }
    fix = wanted[format] if format in wanted else "; ".join(wanted.values())
    raise UserError("it is not a known gradient store", str(path), fix)


def check_alike(stores: Sequence[ForeignStore]) -> None:
    """Raise ``UserError`` unless all stores hold the same sequences in rows of the same modules."""
    first = stores[0]
    for other in stores[1:]:
        if other.n_items != first.n_items:
            raise UserError(
                f"it has {other.n_items:,} sequences, and {first.path} has {first.n_items:,}",
                str(other.path),
                "checkpoints of one run hold the same samples",
            )
        unlike = ""
        if other.format != first.format or other.modules != first.modules:
            unlike = "its rows have other columns than those of"
        elif not np.array_equal(first.offsets, other.offsets):  # type: ignore[arg-type]  # None equals None only
            unlike = "its token rows differ from those of"
        if unlike:
            raise UserError(f"{unlike} {first.path}", str(other.path), "import it as a run of its own")
