"""Files that users upload.

save_upload      store an uploaded file under a safe name
list_uploads     names of the stored files
find_upload      the stored file of a name
uploads_folder   where they are stored
safe_file_name   a plain file name made of any text
suggest_name     a data set or run name made of a file name
Preview          what the reader understood of a file
Corrections      what a user has corrected of it
load_preview     a Preview, from the command line in a short subprocess
make_map         corrected columns as the option ``--map`` takes them
UPLOAD_TYPES     endings of the files that can be read

A file's name is not trusted: it becomes a plain name inside ``WORKSPACE/uploads``.
"""

from __future__ import annotations

import json
import re
import subprocess
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gsd_core.dashboard.jobs.job_steps import Step, make_argv
from gsd_core.dashboard.jobs.job_store import environment
from gsd_core.errors import UserError
from gsd_core.methods.datasets_method import DatasetsPreviewOptions

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet", ".arrow", ".feather")
COMPRESSED = (".gz", ".zst")
UPLOAD_TYPES = [suffix[1:] for suffix in (*SUFFIXES, *COMPRESSED)]
MAX_NAME = 80
PREVIEW_TIMEOUT_S = 90
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Preview:
    """What the reader understood of a file, see ``gsd datasets preview``."""

    format: str
    columns: list[str]
    fields: dict[str, str]
    n_samples: int
    n_rejected: int
    rejected: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    guesses: list[dict[str, Any]]
    warnings: list[str]


@dataclass(frozen=True)
class Corrections:
    """``mapping``: pairs of a field and its column; ``turns`` and ``marks`` as in ``gsd datasets add``."""

    mapping: tuple[tuple[str, str], ...] = ()
    turns: str = "last"
    marks: str = "read"


def safe_file_name(name: str) -> str:
    """A plain file name made of ``name``: letters, digits, ``._-``; not empty, hidden or a path (ours)."""
    base = re.split(r"[\\/]", name)[-1]
    plain = unicodedata.normalize("NFKD", base).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")
    suffix = "".join(Path(plain).suffixes[-2:])[-16:] if "." in plain else ""
    stem = plain[: len(plain) - len(suffix)][: MAX_NAME - len(suffix)].rstrip("-._")
    return f"{stem or 'upload'}{suffix}"


def suggest_name(file_name: str) -> str:
    """A data set name: the file name without its endings."""
    stem = safe_file_name(file_name)
    for suffix in (*COMPRESSED, *SUFFIXES):
        stem = stem.removesuffix(suffix)
    return re.sub(r"[^A-Za-z0-9._-]", "-", stem)[:48].strip("-._") or "data"


def uploads_folder(workspace: str | Path) -> Path:
    """Where a workspace keeps uploaded files."""
    return Path(workspace) / "uploads"


def save_upload(workspace: str | Path, name: str, content: BinaryIO) -> Path:
    """Store an uploaded file whole or not at all; it replaces one of the same name. ``UserError`` on a failed write."""
    folder = uploads_folder(workspace)
    target = folder / safe_file_name(name)
    partial = folder / f".{target.name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        content.seek(0)
        with partial.open("wb") as file:
            while chunk := content.read(CHUNK_BYTES):
                file.write(chunk)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(
            f"the upload cannot be stored ({error.strerror})", str(folder), "check free space and permissions"
        ) from error
    return target


def list_uploads(workspace: str | Path) -> list[str]:
    """Names of the uploaded files, newest first."""
    folder = uploads_folder(workspace)
    if not folder.is_dir():
        return []
    files = [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    return [entry.name for entry in sorted(files, key=lambda entry: entry.stat().st_mtime, reverse=True)]


def find_upload(workspace: str | Path, name: str) -> Path:
    """The stored file called ``name``, one of ``list_uploads``; else ``UserError``."""
    if name not in list_uploads(workspace):
        raise UserError("no such upload", name, "upload the file again")
    return uploads_folder(workspace) / name


def make_map(mapping: dict[str, str]) -> str | None:
    """``question=COL,…`` for ``--map``; None where nothing was corrected. ``UserError`` for a column it cannot name."""
    chosen = {role: column for role, column in mapping.items() if column}
    for column in chosen.values():
        if "," in column or "=" in column:
            raise UserError("a column with a comma or an equals sign cannot be chosen", column, "rename it")
    return ",".join(f"{role}={column}" for role, column in chosen.items()) or None


def load_preview(workspace: str | Path, file: Path, corrections: Corrections) -> Preview:
    """Ask the reader what it understands of ``file``. ``UserError`` with its message where it refuses."""
    options = DatasetsPreviewOptions(
        str(file), map=make_map(dict(corrections.mapping)), turns=corrections.turns, marks=corrections.marks
    )
    command = make_argv(workspace, Step("datasets preview", options))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PREVIEW_TIMEOUT_S,
            env=environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError("reading the first rows took too long", file.name, "add it with gsd datasets add") from error
    if done.returncode != 0:
        raise _refusal(done.stderr.decode("utf-8", "replace"), file)
    try:
        raw = json.loads(done.stdout)
        return Preview(
            format=str(raw["format"]),
            columns=list(map(str, raw["columns"])),
            fields={str(key): str(value) for key, value in raw["fields"].items() if value},
            n_samples=int(raw["n_samples"]),
            n_rejected=int(raw["n_rejected"]),
            rejected=list(raw.get("rejected") or []),
            samples=list(raw.get("samples") or []),
            guesses=list(raw.get("guesses") or []),
            warnings=list(map(str, raw.get("warnings") or [])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("the preview could not be read", file.name, "see gsd datasets preview") from error


def _refusal(stderr: str, file: Path) -> UserError:
    for line in reversed(stderr.splitlines()):
        if line.startswith("error:"):
            return UserError(line.removeprefix("error:").strip().replace(str(file), file.name))
    return UserError("the file could not be read", file.name, "try gsd datasets preview for the reason")
