"""Folders and small documents, on a disk or on object storage.

Folder        a folder of the workspace: join, list, read, write, remove
STORAGE_HELP  what to check when object storage does not answer
encode_json   JSON text of a manifest or a ``meta``

A document is always replaced whole: on a disk by write, fsync and rename, on object storage by one put.
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
    """JSON text of ``value`` in ASCII. Other values (numpy, dates, …) become the nearest JSON type.

    NaN and infinities keep Python's spelling (``NaN``), so that they can be read again.
    """
    return json.dumps(value, default=_encode_other, indent=indent)


class Folder:
    """A folder in a workspace. Names of children are safe in a URI: they are fixed or validated."""

    def __init__(self, uri: str, filesystem: arrow_fs.FileSystem, path: str, is_local: bool) -> None:
        self.uri, self.path, self.is_local = uri, path, is_local
        self._fs = filesystem

    @classmethod
    def at(cls, uri: str | Path) -> Folder:
        """The folder at a path, a ``file://`` URI or an object storage URI such as ``s3://bucket/prefix``.

        Raises
        ------
        UserError
            When the kind of storage is unknown, or its settings are not in the environment.
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
        """A folder inside this one; it need not exist."""
        return Folder("/".join((self.uri, *names)), self._fs, "/".join((self.path, *names)), self.is_local)

    def has(self, name: str) -> bool:
        """Whether this folder has a file or folder of that name."""
        return self._fs.get_file_info(f"{self.path}/{name}").type != arrow_fs.FileType.NotFound

    def kind(self) -> str:
        """What the URI leads to: ``"folder"``, ``"file"`` or ``"missing"``."""
        found = self._fs.get_file_info(self.path).type
        if found == arrow_fs.FileType.NotFound:
            return "missing"
        return "folder" if found == arrow_fs.FileType.Directory else "file"

    def list_names(self) -> list[str]:
        """Names of all files and folders here, sorted; empty if the folder is missing."""
        selector = arrow_fs.FileSelector(self.path, allow_not_found=True)
        return sorted(info.base_name for info in self._fs.get_file_info(selector))

    def make(self) -> None:
        """Create the folder and its parents, on a disk."""
        if self.is_local:
            Path(self.path).mkdir(parents=True, exist_ok=True)

    def stamp(self, name: str) -> tuple[int, ...] | None:
        """A value that changes when the document is replaced; None on object storage, where it would be slow."""
        if not self.is_local:
            return None
        status = os.stat(f"{self.path}/{name}")
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in a document. Raises ``FileNotFoundError``, or ``ValueError`` if it is no JSON object."""
        with self._fs.open_input_stream(f"{self.path}/{name}") as stream:
            data = bytes(stream.read())
        value = json.loads(data.decode("utf-8"))
        if not isinstance(value, dict):
            raise ValueError(f"{name} holds no JSON object")
        return value

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Replace a document whole. A reader sees the old or the new one, also after a kill."""
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
        """Remove a document, if it exists."""
        if self.has(name):
            self._fs.delete_file(f"{self.path}/{name}")

    def remove_folder(self, name: str, document: str) -> None:
        """Remove the folder ``name``; without ``document`` readers ignore it.

        On a disk the folder is renamed first; on object storage its document is removed first. After a kill readers
        do not see it, and the next removal deletes the rest.
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
        """Remove this folder and its contents, if it exists."""
        if self.kind() == "folder":
            self._fs.delete_dir(self.path)


def _check_remote(uri: str) -> None:
    """Refuse a URI that documents and tables, which use two libraries, would read differently."""
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
            "the endpoint is not encrypted, which must be allowed",
            f"AWS_ENDPOINT_URL {endpoint}",
            "set AWS_ALLOW_HTTP=true, or give an https:// endpoint",
        )


def _sync_folder(path: str) -> None:
    """Make a rename durable: the folder holds the name of the file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows cannot open folders; the rename is atomic there too
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
