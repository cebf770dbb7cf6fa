"""Rows of a data set on the Hugging Face hub.

HubId              a parsed hub id: data set, configuration, split
parse_hub_id       ``hub:owner/name[:config][@split]`` to its parts
looks_like_hub_id  whether a source names a hub data set rather than a file
iter_hub_rows      opens a hub data set, streamed row by row

The library ``datasets`` is imported only when a hub data set is opened: its import is slow, and it uses the network.
A data set that needs its own code is refused; no code from the hub ever runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsd_core.dataset.json_rows import Row
from gsd_core.dataset.readers import RowSource
from gsd_core.errors import UserError

PREFIX = "hub:"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
HUB_ID = re.compile(
    rf"(?P<name>(?:{NAME}/)?{NAME})(?::(?P<config>[A-Za-z0-9._ -]{{1,100}}))?(?:@(?P<split>[A-Za-z0-9._]{{1,100}}))?"
)
PROBE_S = 10.0  # longest wait for the hub's first answer
# A source with such an ending is a path, even where the file is missing.
FILE_ENDING = re.compile(r"\.(jsonl?|ndjson|csv|tsv|tab|txt|parquet|arrow|gz|gzip|zst|zstd|zip|xlsx?|md|pkl)$", re.I)


@dataclass(frozen=True, slots=True)
class HubId:
    """A data set on the hub; ``config`` and ``split`` are None where the id does not name them."""

    name: str
    config: str | None = None
    split: str | None = None


def parse_hub_id(text: str) -> HubId:
    """``hub:owner/name[:config][@split]``, the prefix optional. Raises `UserError` for anything else."""
    match = HUB_ID.fullmatch(text.removeprefix(PREFIX))
    if match is None or ".." in text:
        raise UserError("this is not a hub data set id", text, "write hub:owner/name, hub:owner/name:config or …@split")
    return HubId(match["name"], match["config"], match["split"])


def looks_like_hub_id(source: str) -> bool:
    """Whether `source` names a hub data set: it has the prefix, or is ``owner/name`` with no such file or folder."""
    if source.startswith(PREFIX):
        return True
    match = HUB_ID.fullmatch(source)
    if match is None or "/" not in match["name"] or FILE_ENDING.search(source):
        return False
    path = Path(source)
    return not path.exists() and not path.parent.is_dir()


def iter_hub_rows(hub_id: str) -> RowSource:
    """Rows of a hub data set, streamed; the split is "train" where there is one and none is named.

    Raises `UserError` where `datasets` is not installed, the hub cannot be reached (or ``HF_HUB_OFFLINE`` is set and
    the data set was never downloaded), or the data set, configuration or split does not exist.
    """
    wanted = parse_hub_id(hub_id)
    datasets, hub = _import_libraries(hub_id)
    notes: list[str] = []
    try:
        if datasets.config.HF_HUB_OFFLINE:  # what was downloaded before can be read, but not streamed
            rows = datasets.load_dataset(wanted.name, wanted.config, split=wanted.split or "train")
        else:
            # This call comes first because it fails at once without a network; those below retry for half a minute.
            hub.HfApi(endpoint=datasets.config.HF_ENDPOINT).dataset_info(wanted.name, timeout=PROBE_S)
            split = wanted.split
            if split is None:
                splits = datasets.get_dataset_split_names(wanted.name, wanted.config)
                split = "train" if "train" in splits else splits[0]
                others = [name for name in splits if name != split]
                if others:
                    notes.append(f"the split {split!r} was read; there are also {', '.join(others)}")
            rows = datasets.load_dataset(wanted.name, wanted.config, split=split, streaming=True)
        columns = list(rows.column_names or [])
    except Exception as error:
        raise _hub_error(hub_id, error) from None
    return RowSource(_iter_stream(rows, hub_id), "hub", columns, notes=notes)


def _import_libraries(hub_id: str) -> tuple[Any, Any]:
    try:
        import datasets  # noqa: PLC0415  # a second to import, and only hub ids need it
        import huggingface_hub  # noqa: PLC0415
    except ImportError:
        raise UserError(
            "hub data sets need the package 'datasets'", hub_id, "run: pip install datasets, or give a file"
        ) from None
    return datasets, huggingface_hub


def _iter_stream(stream: Any, hub_id: str) -> Iterator[Row]:
    try:
        for number, row in enumerate(stream, start=1):
            yield number, dict(row)
    except Exception as error:
        raise _hub_error(hub_id, error) from None


def _hub_error(hub_id: str, error: BaseException) -> UserError:
    """The hub libraries raise a dozen unrelated classes; their names and texts show the kind of problem."""
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and len(chain) < 10:
        chain.append(step)
        step = step.__cause__ or step.__context__
    told = " ".join(f"{type(link).__name__} {link}" for link in chain).lower()
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if any(word in told for word in ("offline", "connect", "timeout", "timed out", "resolve", "unreachable", "proxy")):
        return UserError(
            "the hub cannot be reached",
            hub_id,
            "check the network and HF_HUB_OFFLINE, or download the data set and give the file",
        )
    if "dataset scripts are no longer supported" in told or "trust_remote_code" in told:
        return UserError("the data set needs its own code, which is never run", hub_id, "give its files instead")
    if "gated" in told or "401" in told or "403" in told:
        return UserError("the hub refuses access to the data set", hub_id, "accept its terms and set HF_TOKEN")
    if "notfound" in told or "doesn't exist" in told or "not found" in told:
        return UserError("there is no such data set on the hub", hub_id, "check owner, name, :config and @split")
    if isinstance(error, ValueError | KeyError | IndexError):
        return UserError(f"the hub data set cannot be opened ({first_line})", hub_id, "check :config and @split")
    return UserError(f"the hub data set cannot be read ({first_line})", hub_id, "download it and give the file")
