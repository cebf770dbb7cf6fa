"""Files of weights that are not whole: cut downloads, Git LFS pointers, web pages.

check_weight_files  refuses a folder that has one
"""

from __future__ import annotations

import json
from pathlib import Path

from gsd_core.errors import UserError

HEADER_BYTES = 8  # a safetensors file begins with the length of its header, little-endian
MAX_HEADER_BYTES = 100 * 2**20
DOWNLOAD_AGAIN = "download the file again"


def check_weight_files(folder: Path) -> None:
    """Look at the sizes and headers of all ``.safetensors`` files of `folder`.

    Raises
    ------
    UserError
        A file is a Git LFS pointer, a web page, shorter or longer than its header says, or has no header.
    """
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as opened:
            start = opened.read(64)
            if start.startswith(b"version https://git-lfs"):
                raise UserError("it is a Git LFS pointer, not the weights", str(file), "run git lfs pull")
            if start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
                raise UserError("it is a web page, not the weights", str(file), DOWNLOAD_AGAIN)
            size = file.stat().st_size
            length = int.from_bytes(start[:HEADER_BYTES], "little")
            if size < HEADER_BYTES or length > MAX_HEADER_BYTES or HEADER_BYTES + length > size:
                raise UserError(f"the weights are cut or damaged ({size:,} bytes)", str(file), DOWNLOAD_AGAIN)
            opened.seek(HEADER_BYTES)
            expected = HEADER_BYTES + length + _find_end(file, opened.read(length))
        if size != expected:
            problem = f"the weights are cut or damaged ({size:,} bytes, its header says {expected:,})"
            raise UserError(problem, str(file), DOWNLOAD_AGAIN)


def _find_end(file: Path, header: bytes) -> int:
    """Bytes of all tensors together."""
    try:
        entries = json.loads(header)
        tensors = [each for name, each in entries.items() if name != "__metadata__"]
        return max((int(each["data_offsets"][1]) for each in tensors), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as problem:
        raise UserError("the header of the weights is damaged", str(file), DOWNLOAD_AGAIN) from problem
