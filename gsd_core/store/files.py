"""Folders and small documents, on a disk or on object storage.

Folder        a place in the workspace: join, list, read, write, remove
STORAGE_HELP  what to check where object storage does not answer
encode_json   JSON text of anything a manifest or a ``meta`` may hold

A document is always replaced whole: on a disk by write, fsync and rename; on object storage by one put.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from pyarrow import ArrowInvalid, ArrowNotImplementedError
from pyarrow import fs as arrow_fs

from gsd_core.errors import UserError

STORAGE_HELP = "check the place and the environment (AWS_…, GOOGLE_…, AZURE_…; see docs/scale.md)"


def _encode_other(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)  # Decimal, UUID, Path, …


def encode_json(value: Any, indent: int | None = None) -> str:
    """JSON text of ``value``; numpy scalars, dates and other plain values become their nearest JSON kind.

    NaN and the infinities keep Python's spelling (``NaN``), so that they survive the way back. The text is ASCII.
    """
    return json.dumps(value, default=_encode_other, indent=indent)


class Folder:
    """A folder inside a workspace. Names of children are ours or validated, hence safe in a URI."""

    def __init__(self, uri: str, filesystem: arrow_fs.FileSystem, path: str, is_local: bool) -> None:
        self.uri, self.path, self.is_local = uri, path, is_local
        self._fs = filesystem

    @classmethod
    def at(cls, uri: str | Path) -> Folder:
        """The folder at a path, a ``file://`` URI or an object storage URI such as ``s3://bucket/prefix``.

        Raises
        ------
        UserError
            When the kind of storage is unknown, or what it needs is not in the environment.
        """
        text = str(uri)
        if "://" not in text or text.startswith("file://"):
            path = text
            if text.startswith("file://"):
                path = unquote(urlsplit(text.replace("#", "%23").replace("?", "%3F")).path)
            path = str(Path(path).expanduser().absolute())
            return cls(path, arrow_fs.LocalFileSystem(), path, is_local=True)
        _check_remote(text)
        try:
            filesystem, path = arrow_fs.FileSystem.from_uri(text)
        except (ArrowInvalid, ArrowNotImplementedError, OSError, ImportError) as error:
            raise UserError(
                f"the storage cannot be used ({error})",
                text,
                "give a folder or a URI such as s3://bucket/prefix",
            ) from error
        return cls(text.rstrip("/"), filesystem, path.rstrip("/"), is_local=False)

    def child(self, *names: str) -> Folder:
        """The folder below this one, which need not exist."""
        return Folder("/".join((self.uri, *names)), self._fs, "/".join((self.path, *names)), self.is_local)

    def has(self, name: str) -> bool:
        """Whether a file or folder of that name is here."""
        return self._fs.get_file_info(f"{self.path}/{name}").type != arrow_fs.FileType.NotFound

    def kind(self) -> str:
        """``"folder"``, ``"file"`` or ``"missing"``: what is at this place."""
        found = self._fs.get_file_info(self.path).type
        if found == arrow_fs.FileType.NotFound:
            return "missing"
        return "folder" if found == arrow_fs.FileType.Directory else "file"

    def list_names(self) -> list[str]:
        """Names of everything here, sorted; empty when the folder is missing."""
        selector = arrow_fs.FileSelector(self.path, allow_not_found=True)
        return sorted(info.base_name for info in self._fs.get_file_info(selector))

    def make(self) -> None:
        """Create the folder and its parents; object storage needs none."""
        if self.is_local:
            Path(self.path).mkdir(parents=True, exist_ok=True)

    def stamp(self, name: str) -> tuple[int, ...] | None:
        """Something that changes whenever the document is replaced, None where that is not cheap to know."""
        if not self.is_local:
            return None
        status = os.stat(f"{self.path}/{name}")
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in a document. ``FileNotFoundError`` when missing, ``ValueError`` when it is no object."""
        with self._fs.open_input_stream(f"{self.path}/{name}") as stream:
            data = bytes(stream.read())
        value = json.loads(data.decode("utf-8"))
        if not isinstance(value, dict):
            raise ValueError(f"{name} holds no JSON object")
        return value

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Replace a document whole: a reader, or a kill at any moment, finds the old one or the new one."""
        data = (encode_json(value, indent=1) + "\n").encode("ascii")
        if not self.is_local:
            with self._fs.open_output_stream(f"{self.path}/{name}") as stream:
                stream.write(data)
            return
        self.make()
        temporary = f"{self.path}/.{name}.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, f"{self.path}/{name}")
        finally:
            Path(temporary).unlink(missing_ok=True)
        _sync_folder(self.path)

    def remove_file(self, name: str) -> None:
        """Remove one document; nothing happens when it is missing."""
        if self.has(name):
            self._fs.delete_file(f"{self.path}/{name}")

    def remove_folder(self, name: str, document: str) -> None:
        """Remove the folder ``name`` whole; ``document`` is the file that makes it count.

        On a disk the folder is first renamed away, elsewhere its document goes first: killed half-way, the thing
        is gone for readers, and what is left is swept by the next removal.
        """
        target = self.child(name)
        if self.is_local:
            doomed = f"{self.path}/.removed-{uuid.uuid4().hex}"
            os.rename(target.path, doomed)
            for left in Path(self.path).glob(".removed-*"):
                shutil.rmtree(left, ignore_errors=True)
            return
        target.remove_file(document)
        self._fs.delete_dir(target.path)

    def remove_tree(self) -> None:
        """Remove this folder and all in it; nothing happens when it is missing."""
        if self.kind() == "folder":
            self._fs.delete_dir(self.path)


def _check_remote(uri: str) -> None:
    """Refuse what only half of the store would understand: documents and tables go through two libraries."""
    parts = urlsplit(uri)
    if not parts.netloc:
        raise UserError("the URI names no bucket", uri, "give one such as s3://bucket/prefix")
    if parts.query:
        raise UserError(
            "options in the URI do not reach the tables",
            uri,
            "set them in the environment: AWS_ENDPOINT_URL, AWS_REGION … (docs/scale.md)",
        )
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    allows = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
    if parts.scheme == "s3" and endpoint.startswith("http://") and not allows:
        raise UserError(
            "the endpoint is without encryption, which must be allowed",
            f"AWS_ENDPOINT_URL {endpoint}",
            "set AWS_ALLOW_HTTP=true, or give an https:// endpoint",
        )


def _sync_folder(path: str) -> None:
    """Make a rename durable: the directory entry is data of the folder, not of the file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders; the rename is atomic there all the same
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
