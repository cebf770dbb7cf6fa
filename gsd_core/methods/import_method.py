"""``gsd import``: stored gradients of Bergson or LESS as a run.

ImportOptions   the flags
IMPORT          the method
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.methods.capture_method import DEFAULT_ENCODER
from gsd_core.methods.datasets_method import MAP_FORM
from gsd_core.registry.method import Job, Method
from gsd_core.registry.options import option


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Flags of ``gsd import``."""

    paths: list[str] = option(metavar="PATH", is_positional=True)
    """An index of Bergson, or a dimN folder of LESS. Several are checkpoints of one run, in this order."""
    format: str = option("auto", choices=("auto", "bergson", "less"))
    """The program that wrote it."""
    dataset: str | None = option(None, metavar="NAME|FILE")
    """The data that the gradients are of. Default: the rows that a Bergson index keeps."""
    run: str | None = option(None, metavar="NAME")
    """The run's name. Default: data set and format."""
    checkpoint: list[str] = option([], metavar="NAME")
    """A name for each PATH. Default: taken from the paths."""
    tokenizer: str | None = option(None, metavar="demo|PATH|HUB_ID")
    """Tokenizer that cuts an index with a row for each token into spans."""
    segmenter: str = option("steps", metavar="RULE")
    """What a span is, with --tokenizer; as for gsd capture."""
    sketch_width: int | None = option(None, metavar="P", check="positive")
    """Wider rows are folded to this width. Default: 8,192."""
    seed: int = 0
    """Seed of the fold."""
    encoder: str = DEFAULT_ENCODER
    """Sentence encoder of questions and spans, a sentence-transformers model."""
    map: str | None = option(None, metavar=MAP_FORM)
    """Correct what the reader guessed of a file."""


IMPORT = Method(
    "import",
    "stored gradients of Bergson or LESS as a run",
    ImportOptions,
    run="gsd_core.importing.import_store:run_import",
    describe="gsd_core.importing.import_store:describe_import",
    needs="new workspace",
    order=25,
    job=Job("Import {paths}", "import", opens="trace"),
)
