"""``gsd datasets …``: data sets from files and hubs.

DatasetsAddOptions, DatasetsPreviewOptions, DatasetsListOptions, DatasetsShowOptions, DatasetsRemoveOptions   the flags
ADD, PREVIEW, LIST, SHOW, REMOVE   the commands
MAP_FORM   form of ``--map``
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.registry.method import Command, Job
from gsd_core.registry.options import option

_STAGE = "gsd_core.stages.datasets_stage"
MAP_FORM = "question=COL,reasoning=COL,answer=COL"


@dataclass(frozen=True, slots=True)
class DatasetsAddOptions:
    """Flags of ``gsd datasets add``."""

    file: str = option(metavar="FILE", is_positional=True)
    """A file, a folder of files of one kind, or the id of a data set on a hub (owner/name)."""
    name: str | None = None
    """The data set's name. Default: the file's name without its ending."""
    map: str | None = option(None, metavar=MAP_FORM)
    """Correct what the reader guessed."""
    split: str | None = option(None, metavar="NAME")
    """Which split to read where the source holds several. Default: train."""
    turns: str = option("last", choices=("last", "all"))
    """Which turns of a chat are samples: the last that has a thought, or all that have one."""
    marks: str = option("read", choices=("read", "ignore"))
    """Whether tags of thinking and marks of answers divide a text; ignore leaves every text whole."""
    strict: bool = False
    """Stop at the first row that cannot be used."""
    replace: bool = False
    """Replace a data set of the same name that has other content."""


@dataclass(frozen=True, slots=True)
class DatasetsPreviewOptions:
    """Flags of ``gsd datasets preview``."""

    file: str = option(metavar="FILE", is_positional=True)
    """A file, a folder of files of one kind, or the id of a data set on a hub (owner/name)."""
    head: int = option(20, check="positive")
    """How many rows to read."""
    map: str | None = option(None, metavar=MAP_FORM)
    """Correct what the reader guessed."""
    split: str | None = option(None, metavar="NAME")
    """Which split to read where the source holds several. Default: train."""
    turns: str = option("last", choices=("last", "all"))
    """Which turns of a chat are samples: the last that has a thought, or all that have one."""
    marks: str = option("read", choices=("read", "ignore"))
    """Whether tags of thinking and marks of answers divide a text; ignore leaves every text whole."""


@dataclass(frozen=True, slots=True)
class DatasetsListOptions:
    """``gsd datasets list`` has no flags of its own."""


@dataclass(frozen=True, slots=True)
class DatasetsShowOptions:
    """Flags of ``gsd datasets show``."""

    name: str = option(metavar="NAME", is_positional=True)
    """The data set."""
    head: int = option(3, check="positive")
    """How many samples to show."""


@dataclass(frozen=True, slots=True)
class DatasetsRemoveOptions:
    """Flags of ``gsd datasets remove``."""

    name: str = option(metavar="NAME", is_positional=True)
    """The data set."""


ADD = Command(
    "datasets add",
    "store a file or hub data set in the workspace",
    DatasetsAddOptions,
    run=f"{_STAGE}:run_datasets_add",
    describe=f"{_STAGE}:describe_add",
    needs="new workspace",
    order=10,
    job=Job("Read {file}", "read the data"),
)
PREVIEW = Command(
    "datasets preview",
    "show how a file would be read; store nothing",
    DatasetsPreviewOptions,
    run=f"{_STAGE}:run_datasets_preview",
    describe=f"{_STAGE}:describe_preview",
    needs="nothing",
    order=11,
)
LIST = Command(
    "datasets list",
    "the workspace's data sets",
    DatasetsListOptions,
    run=f"{_STAGE}:run_datasets_list",
    describe=f"{_STAGE}:describe_list",
    needs="workspace if there",
    order=12,
)
SHOW = Command(
    "datasets show",
    "one data set, its first samples, its rejected rows",
    DatasetsShowOptions,
    run=f"{_STAGE}:run_datasets_show",
    describe=f"{_STAGE}:describe_show",
    order=13,
)
REMOVE = Command(
    "datasets remove",
    "delete a data set (runs keep their own copy)",
    DatasetsRemoveOptions,
    run=f"{_STAGE}:run_datasets_remove",
    describe=f"{_STAGE}:describe_removal",
    order=14,
)
