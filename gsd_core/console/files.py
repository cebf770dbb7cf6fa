"""Files that commands write.

whole_file   a file that is written whole or not at all
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from gsd_core.errors import UserError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``. It is renamed to ``path`` on success and removed on failure."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write ({error.strerror or error})", str(path), "give another --out") from error
    finally:
        partial.unlink(missing_ok=True)
