"""The bytes of a user's file: size limits, compression, encoding.

Limits             the largest sizes that are read
DEFAULT_LIMITS     the limits where none are given
Container          a checked file: its compression, its first bytes, `open` to read it from the start
open_container     checks a path and its first bytes; every refusal is a `UserError`
wide_encoding      encoding that the first bytes show: a byte order mark, or UTF-16 without one
detect_encoding    encoding of a delimited text file, read once to the end
has_suffix         whether a file's name ends in one of some suffixes
compute_file_hash  SHA-256 of the file's bytes
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import charset_normalizer
import pyarrow as pa

from gsd_core.errors import UserError

CHUNK_BYTES = 1 << 20
HEAD_BYTES = 1 << 16

# First bytes of files of other kinds, with what to do instead.
FOREIGN_MAGIC = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "unpack it, or export the sheet as CSV"),
    (b"BZh", "a bzip2 file", "unpack it, or compress it with gzip or zstd"),
    (b"\xfd7zXZ\x00", "an xz file", "unpack it, or compress it with gzip or zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-zip archive", "unpack it first"),
    (b"%PDF", "a PDF document", "give the text as JSON Lines or CSV"),
    (b"\x89PNG", "an image", "give a file of text records"),
    (b"\xff\xd8\xff", "an image", "give a file of text records"),
    (b"SQLite format 3\x00", "a SQLite database", "export the table as CSV"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run git lfs pull, or download the file"),
    (b"ORC", "an ORC file", "write it as Parquet"),
    (b"Obj\x01", "an Avro file", "write it as Parquet"),
    (b"\x89HDF", "an HDF5 file", "write it as Parquet"),
    (b"\x80\x04\x95", "a Python pickle, which is never opened", "write it as JSON Lines or Parquet"),
    (b"\x80\x05\x95", "a Python pickle, which is never opened", "write it as JSON Lines or Parquet"),
)
BYTE_ORDER_MARKS = (  # longest first: UTF-32 begins like UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Without cp1250: short Western texts in cp1252, which is far more common, look like it.
LEGACY_ENCODINGS = ["cp1252", "cp1251", "cp1253", "shift_jis", "gb18030", "big5", "euc_jp", "euc_kr"]
FORMAT_HELP = "give JSON Lines, JSON, CSV, TSV or Parquet, plain or compressed with gzip or zstd"


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest sizes that are read. A file beyond a limit is refused, not cut."""

    max_bytes: int = 8 << 30
    """Bytes of the file, and of its content after decompression."""
    max_ratio: int = 500
    """Decompressed bytes for each compressed byte, checked from ``ratio_floor_bytes`` on."""
    ratio_floor_bytes: int = 256 << 20
    """Decompressed bytes up to which every ratio is allowed."""
    max_document_bytes: int = 1 << 30
    """Bytes of a JSON document, which is read whole."""
    max_record_bytes: int = 64 << 20
    """Bytes of one line of JSON Lines, characters of one cell."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Container:
    """A checked file. ``compression`` is "", "gz" or "zst"; ``head`` its first decompressed bytes."""

    path: Path
    compression: str
    head: bytes
    limits: Limits

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Decompressed bytes from the start. Reading a damaged file or a decompression bomb raises `UserError`."""
        with self.path.open("rb", CHUNK_BYTES) as raw:
            yield _decompressed(raw, self.path, self.compression, self.limits)


class _Guard(io.RawIOBase):
    """Counts the bytes that a decompressor gives, stops it at the limits, and raises `UserError` for damage."""

    def __init__(self, read: Callable[[int], bytes], raw: BinaryIO, path: Path, limits: Limits):
        self._read, self._raw, self._path, self._limits = read, raw, path, limits
        self._n_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # narrower than Buffer on purpose
        try:
            data = self._read(len(buffer))
        except (EOFError, OSError, zlib.error, pa.ArrowException):
            raise UserError(
                "the compressed file is damaged or ends too early",
                str(self._path),
                "copy or download it again",
            ) from None
        self._n_bytes += len(data)
        limits = self._limits
        swollen = self._n_bytes > limits.ratio_floor_bytes and (
            self._n_bytes > limits.max_ratio * max(self._raw.tell(), 1)
        )
        if swollen or self._n_bytes > limits.max_bytes:
            raise UserError(
                f"the file unpacks to more than {self._n_bytes >> 20} MiB, which looks like a decompression bomb",
                str(self._path),
                "unpack it yourself, or split it",
            )
        buffer[: len(data)] = data
        return len(data)


def _decompressed(raw: BinaryIO, path: Path, compression: str, limits: Limits) -> BinaryIO:
    read: Callable[[int], bytes]
    if compression == "gz":
        read = gzip.GzipFile(fileobj=raw).read1
    elif compression == "zst":
        read = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd").read
    else:
        return raw
    return cast(BinaryIO, io.BufferedReader(_Guard(read, raw, path, limits), CHUNK_BYTES))


def open_container(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> Container:
    """Check `path` and read its first bytes.

    Raises `UserError` for a path that is missing, a directory, not a regular file, unreadable, empty, larger
    than ``limits.max_bytes``, or neither text nor Parquet by its first bytes.
    """
    path = Path(path)
    where = str(path)
    try:
        if path.is_dir():
            raise UserError("this is a directory, not a file", where, "name one of the files in it")
        if not path.exists():
            raise UserError("no such file", where, "check the path")
        if not path.is_file():
            raise UserError("this is not a regular file", where, "give a file on disk")
        n_bytes = path.stat().st_size
        if n_bytes == 0:
            raise UserError("the file is empty", where, FORMAT_HELP)
        if n_bytes > limits.max_bytes:
            raise UserError(
                f"the file has {n_bytes >> 20} MiB, more than the limit of {limits.max_bytes >> 20} MiB",
                where,
                "split it",
            )
        with path.open("rb") as raw:
            magic = raw.read(4)
            compression = "gz" if magic[:2] == b"\x1f\x8b" else "zst" if magic == b"\x28\xb5\x2f\xfd" else ""
            raw.seek(0)
            head = _decompressed(raw, path, compression, limits).read(HEAD_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot be read: {reason}", where, "check the path and its permissions") from None
    if not head.strip():
        raise UserError("the file holds nothing but white space", where, FORMAT_HELP)
    _refuse_foreign(head, where)
    return Container(path, compression, head, limits)


def _refuse_foreign(head: bytes, where: str) -> None:
    for magic, kind, fix in FOREIGN_MAGIC:
        if head.startswith(magic):
            raise UserError(f"this is {kind}", where, fix)
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise UserError("this is a web page, not a file of data", where, "download the file itself (its raw form)")
    if head.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")) or wide_encoding(head):
        return
    n_control = len(re.findall(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", head))
    if n_control > max(8, len(head) // 50):
        raise UserError("this is a binary file of no known kind", where, FORMAT_HELP)


def wide_encoding(head: bytes) -> str | None:
    """Encoding by a byte order mark, or by the zero bytes of UTF-16 without one; None for neither."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    pairs = head[: len(head) // 2 * 2]
    if len(pairs) >= 8:
        first, second = pairs[0::2].count(0), pairs[1::2].count(0)
        half = len(pairs) // 2
        if second > 0.7 * half and first < 0.05 * half:
            return "utf-16-le"
        if first > 0.7 * half and second < 0.05 * half:
            return "utf-16-be"
    return None


def detect_encoding(container: Container) -> tuple[str, str]:
    """``(encoding, errors)`` with which to decode delimited text; reads the content once.

    UTF-8 where all or most bytes fit. Where not all fit, ``errors`` is "surrogateescape", so that each row with broken
    bytes can be rejected alone. Other text gets the most likely older encoding, and the caller has to say so.
    """
    wide = wide_encoding(container.head)
    if wide:
        return wide, "strict"
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    n_broken = n_valid = 0
    sample = b""
    with container.open() as stream:
        while chunk := stream.read(CHUNK_BYTES):
            if chunk.isascii():
                decoder.decode(chunk)
                continue
            text = decoder.decode(chunk)
            broken = len(re.findall("[\udc80-\udcff]", text))
            n_broken += broken
            n_valid += len(re.findall("[^\x00-\x7f]", text)) - broken
            if broken and len(sample) < CHUNK_BYTES:
                sample += b"\n".join(line for line in chunk.splitlines() if not line.isascii())
    n_broken += len(decoder.decode(b"", final=True))  # a character cut by the end of the file
    if n_broken == 0:
        return "utf-8", "strict"
    if n_valid > n_broken:
        return "utf-8", "surrogateescape"
    best = charset_normalizer.from_bytes(sample[:HEAD_BYTES], cp_isolation=LEGACY_ENCODINGS).best()
    for encoding in (best.encoding if best else "cp1252", "cp1252"):
        try:
            sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding, "strict"
    return "latin-1", "strict"


def compute_file_hash(path: str | Path) -> str:
    """SHA-256 of the file's bytes, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def has_suffix(path: Path, *suffixes: str) -> bool:
    """Whether the file's name, without compression suffix, ends in one of `suffixes` (lower case, with dot)."""
    name = path.name.lower()
    for ending in (".gz", ".gzip", ".zst", ".zstd"):
        name = name.removesuffix(ending)
    return os.path.splitext(name)[1] in suffixes
