"""Data sets of a workspace.

write_dataset   store samples and their description, whole or not at all
load_info       read the description
read_samples    read the samples
list_infos      every data set; an unreadable one has a ``problem``
utc_now         the time, for documents

A data set is the folder ``datasets/NAME`` with a table of samples and ``dataset.json``. This document names the valid
version of the table. It is written last; until then the earlier version is valid.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gsd_core.errors import UserError
from gsd_core.store.files import Folder
from gsd_core.store.infos import DatasetInfo
from gsd_core.store.locks import document_lock
from gsd_core.store.samples import check_ids, iter_sample_batches, to_sample
from gsd_core.store.schema import DATASET_FILE, sample_schema
from gsd_core.store.tables import Table
from gsd_core.types import Rejection, Sample, name_is_valid

_WORD_ROWS = 512  # samples whose words are counted at once
_IS_SPACE = np.array([code < 128 and chr(code).isspace() for code in range(256)])


def utc_now() -> str:
    """The current time, ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


def _table(folder: Folder) -> Table:
    return Table(folder.child("samples.lance").uri, sample_schema())


def _make_info(name: str, samples: Sequence[Sample], given: dict[str, Any]) -> DatasetInfo:
    rejected = [
        {"row": each.row, "reason": each.reason} if isinstance(each, Rejection) else dict(each)
        for each in given.get("rejected") or []
    ]
    known = {field.name for field in dataclasses.fields(DatasetInfo)}
    return DatasetInfo(
        name=name,
        n_samples=len(samples),
        n_rejected=len(rejected) if given.get("n_rejected") is None else int(given["n_rejected"]),
        n_tokens=given.get("n_tokens"),
        n_words=_count_words(samples),
        data_hash=str(given.get("data_hash") or ""),
        format=str(given.get("format") or ""),
        fields=dict(given.get("fields") or {}),
        rejected=rejected,
        source=str(given.get("source") or ""),
        created=str(given.get("created") or utc_now()),
        extra={key: value for key, value in given.items() if key not in known},
    )


def _count_words(samples: Sequence[Sample]) -> int:
    """Words between white space in all texts. ASCII is counted as bytes, of many texts at once."""
    n_words = 0
    for begin in range(0, len(samples), _WORD_ROWS):
        part = samples[begin : begin + _WORD_ROWS]
        texts = [text for each in part for text in (each.question, each.reasoning, each.answer)]
        n_words += sum(len(text.split()) for text in texts if not text.isascii())
        # Behind a space, so that a word begins wherever a letter follows one.
        data = np.frombuffer("\n".join(["", *filter(str.isascii, texts)]).encode("ascii"), np.uint8)
        is_space = _IS_SPACE[data]
        n_words += int(np.count_nonzero(is_space[:-1] & ~is_space[1:]))
    return n_words


def _told(batches: Iterator[pa.RecordBatch], on_progress: Callable[[int], None] | None) -> Iterator[pa.RecordBatch]:
    n_rows = 0
    for batch in batches:
        n_rows += batch.num_rows
        if on_progress is not None:
            on_progress(n_rows)
        yield batch


def write_dataset(
    folder: Folder,
    name: str,
    samples: Sequence[Sample],
    given: dict[str, Any],
    replace: bool,
    on_progress: Callable[[int], None] | None = None,
) -> DatasetInfo:
    """Store a data set; see ``Workspace.write_dataset``."""
    check_ids([sample.id for sample in samples], f"data set {name}")
    info = _make_info(name, samples, given)
    with document_lock(folder.path, folder.is_local):
        if folder.has(DATASET_FILE) and not replace:
            before = load_info(folder, name)
            if before.data_hash != info.data_hash or not info.data_hash:
                raise UserError(
                    "a data set of that name holds other data",
                    f"data set {name}",
                    f"choose another --name, or remove it first: gsd datasets remove {name}",
                )
        table = _table(folder)
        version = table.overwrite(_told(iter_sample_batches(samples, table.schema), on_progress))
        folder.write_json(DATASET_FILE, {**dataclasses.asdict(info), "table_version": version})
        table.forget()
    return info


def _load(folder: Folder, name: str) -> dict[str, Any]:
    try:
        return folder.read_json(DATASET_FILE)
    except (ValueError, OSError) as error:
        raise _make_error(folder, name, f"cannot be read ({error})") from error


def _make_error(folder: Folder, name: str, problem: str) -> UserError:
    remedy = f"remove the data set and add it again: gsd datasets remove {name}"
    return UserError(f"the data set's description {problem}", f"{folder.uri}/{DATASET_FILE}", remedy)


def load_info(folder: Folder, name: str) -> DatasetInfo:
    """The description of an existing data set. Raises ``UserError`` if it cannot be read."""
    document = _load(folder, name)
    try:
        info = {field.name: document[field.name] for field in dataclasses.fields(DatasetInfo)}
    except KeyError as error:
        raise _make_error(folder, name, f"lacks {error}") from error
    return DatasetInfo(**{**info, "name": name})


def read_samples(folder: Folder, name: str, head: int | None) -> list[Sample]:
    """The samples in file order, or the first ``head`` of them."""
    if head is not None and head <= 0:
        return []
    table = _table(folder).open(int(_load(folder, name).get("table_version", 0)))
    batches = () if table is None else table.scanner(limit=head, scan_in_order=True).to_batches()
    return [to_sample(row) for batch in batches for row in batch.to_pylist()]


def list_infos(home: Folder) -> list[DatasetInfo]:
    """Every data set in ``home``, by name. One that cannot be read has a ``problem``."""
    infos = []
    for name in home.list_names():
        folder = home.child(name)
        if not name_is_valid(name) or not folder.has(DATASET_FILE):
            continue  # a kill before its document was written: not a data set
        try:
            infos.append(load_info(folder, name))
        except UserError as error:
            infos.append(DatasetInfo(name, 0, 0, None, 0, "", "", {}, [], "", "", problem=error.one_line()))
    return infos
