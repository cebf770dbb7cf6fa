"""``gsd capture``: span gradients of a data set under a model, into the store.

CaptureOptions   the flags
SEGMENTERS       segmenters that the page offers, each with a sentence
DEFAULT_ENCODER  the sentence encoder
CALIBRATION      what the run's sketch knows of the model's gradients, stored with it
CAPTURE          the method
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.methods.datasets_method import MAP_FORM
from gsd_core.registry.method import Export, Job, Method, Page
from gsd_core.registry.options import option
from gsd_core.registry.result_kind import ResultKind, make_columns

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
SEGMENTERS = {
    "steps": "The file's own list of steps, else the lines of the reasoning.",
    "sentences": "Each sentence is a span.",
    "paragraphs": "Each paragraph is a span.",
    "cues": "A span begins at cue words such as “Wait”.",
    "cues-wide": "A span begins at a wider list of cue words.",
    "windows:16": "Every 16 tokens are a span.",
}
_TABLES = "gsd_core.stages.run_tables"


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """Flags of ``gsd capture``."""

    dataset: str = option(metavar="NAME|FILE")
    """A stored data set, or a file, which is stored first."""
    model: str = option(metavar="demo|smollm2|PATH|HUB_ID")
    """The bundled model, SmolLM2-135M-Instruct, a folder, a GGUF file, or the id of a model on a hub."""
    checkpoints: list[str] = option([], metavar="PATH")
    """Checkpoints of one fine-tune: folders, or names inside the model, or all. Default: the model itself."""
    tier: str | None = option(None, check="tier")
    """Which gradient is taken. Default: span; local is span with window 0, exact is span with window all."""
    window: str | None = option(None, metavar="N|all", check="window")
    """How many earlier spans a gradient may reach. Default: all if that is affordable, else 1."""
    segmenter: str = option("steps", metavar="RULE")
    """What a span is: steps|sentences|paragraphs|cues|cues-wide|windows:N|regex:RE."""
    sketch_width: int | None = option(None, metavar="P", check="positive")
    """Numbers in a direction. Default: 2,048."""
    random_sketch: bool = False
    """Do not look at a few spans first: the sketch then depends on the seed alone, and keeps fewer neighbours."""
    sketch_of: str | None = option(None, metavar="RUN")
    """Take the sketch of another run of this model, so that directions of both can be compared."""
    dtype: str = option("auto", choices=("auto", "float32", "bfloat16", "float16"))
    """Number format of the weights."""
    device: str = "auto"
    """Where the model runs: auto|cpu|cuda|cuda:N|mps."""
    device_map: str | None = option(None, metavar="auto|FILE.json")
    """Spread a model that does not fit on one device over several."""
    batch_tokens: int | None = option(None, metavar="N", check="positive")
    """Tokens in a batch, padding included. Default: 4,096, or fewer where less memory is free."""
    gradient_checkpointing: bool = False
    """Recompute layers in each backward pass: less memory for long traces, more time."""
    executor: str = option("local", choices=("local", "ray"))
    """local uses this process; ray uses several processes or machines."""
    workers: int = option(1, metavar="N", check="positive")
    """Number of workers of the executor ray."""
    run: str | None = option(None, metavar="NAME")
    """The run's name. Default: data set, model and tier."""
    resume: bool = False
    """Continue an interrupted run."""
    limit: int | None = option(None, metavar="N", check="positive")
    """Capture only the first N samples."""
    truncate: bool = False
    """Cut samples that are longer than the model's context. Otherwise they are left out and reported."""
    control_tokens: str = option("text", choices=("text", "control"))
    """What a control token is that a reasoning spells out: text like any other, or the end of a turn."""
    seed: int = 0
    """Seed of the sketch and of the audit's sample."""
    encoder: str = DEFAULT_ENCODER
    """Sentence encoder of questions and spans, a sentence-transformers model."""
    lora: str = option("adapters", choices=("adapters", "base"))
    """Which weights of a LoRA model are captured."""
    min_coverage: float = option(0.5, metavar="SHARE")
    """Refuse a model of which fewer parameters can be captured; embedding and frozen weights are not counted."""
    no_head: bool = False
    """Leave the output head's weight out of directions."""
    no_measures: bool = False
    """Leave out spectral strength and the GRACE-like score."""
    no_controls: bool = False
    """Leave out the controls: random windows and single tokens."""
    baseline_of: str | None = option(None, metavar="RUN")
    """The run that this run is a baseline or control of. Pages show it only beside that run."""
    map: str | None = option(None, metavar=MAP_FORM)
    """Correct what the reader guessed of a file."""
    trust_remote_code: bool = False
    """Run code that comes with a model. Use it only for sources that you trust."""


CALIBRATION = ResultKind(
    "calibration",
    "capture",
    {
        "arrays": make_columns(
            """
            name text       name of the array
            dtype text      its type, little-endian
            shape list<int> its shape
            data bytes      its numbers in C order
            """
        )
    },
    is_by_checkpoint=False,
)

CAPTURE = Method(
    "capture",
    "span gradients of a data set into the store",
    CaptureOptions,
    run="gsd_core.stages.capture_stage:run_capture",
    describe="gsd_core.stages.capture_stage:describe_capture",
    results=(CALIBRATION,),
    needs="new workspace",
    order=20,
    job=Job("Capture {dataset}", "capture", resume="--resume", opens="trace"),
    exports=(
        Export("spans", compute=f"{_TABLES}:compute_exported_spans"),
        Export("tokens", compute=f"{_TABLES}:compute_token_table", is_by_checkpoint=False, needs_sample=True),
        Export(
            "vectors",
            write="gsd_core.stages.export_stage:write_vectors",
            is_by_checkpoint=False,
            endings=(".npz", ".parquet"),
        ),
        Export(
            "report",
            write="gsd_core.dashboard.report.report_page:write_report",
            is_by_checkpoint=False,
            endings=(".html",),
        ),
    ),
    page=Page(
        "trace",
        "Trace",
        "gsd_core.dashboard.trace.trace_view:show_trace",
        ("No traces yet", "Capture a data set to read its reasoning here, span by span."),
        order=20,
        answers="one sample's reasoning, span by span",
    ),
)
