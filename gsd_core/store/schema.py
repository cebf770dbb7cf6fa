"""Every table and document of a workspace: columns, types, meaning.

WORKSPACE_VERSION, RUN_VERSION     layout versions that this program writes (see ``migrations``)
WORKSPACE_FILE, DATASET_FILE, RUN_FILE   documents; a workspace, data set or run exists if it has its document
STORE_KEY, RESULTS_KEY, GROWING_KEY   sections of a run's document
CHECKPOINTS_FOLDER, RESULTS_FOLDER, RECORDS_TABLE, CAPTURED_TABLE, CONTROLS_TABLE   names inside a run
SPAN_COLUMNS                       columns of ``Run.read_spans``, in order
sample_schema                      samples of a data set
run_sample_schema                  samples of a run, with the model's input
records_schema                     gradient records of one checkpoint
measure_columns                    columns of the measures
captured_schema                    commit markers of one checkpoint
controls_schema                    captured windows and tokens that are not spans
skipped_schema                     samples that are in no batch
embeddings_schema                  sentence embeddings of span texts

The comment of a column is also stored in the file (field metadata ``comment``). Axes: P sketch width, E embedding
width, T tokens of a sample.
"""

from __future__ import annotations

import pyarrow as pa

WORKSPACE_VERSION = 1
RUN_VERSION = 3

WORKSPACE_FILE = "workspace.json"
DATASET_FILE = "dataset.json"
RUN_FILE = "run.json"
STORE_KEY = "store"  # the store's own section of a run's document
RESULTS_KEY, GROWING_KEY = "results", "growing"  # in it: name of a result → checkpoint → its folder
RESULTS_FOLDER = "results"
CHECKPOINTS_FOLDER, RECORDS_TABLE, CAPTURED_TABLE = "checkpoints", "records.lance", "captured.lance"
CONTROLS_TABLE = "controls.lance"

SPAN_COLUMNS = (
    "span",
    "sample",
    "index",
    "checkpoint",
    "step",
    "batch",
    "char_start",
    "char_end",
    "token_start",
    "token_end",
    "text",
    "loss",
    "norm",
    "coherence",
    "window_cosine",
    "spectral",
    "grace",
)


def _column(name: str, kind: pa.DataType, comment: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"comment": comment})


_TEXT = pa.large_string()  # 32-bit offsets cannot address more than 2 GiB of text in a commit
_INTS = pa.list_(pa.int32())


def _sample_columns() -> list[pa.Field]:
    return [
        _column("sample", pa.string(), "sample id, unique in the table"),
        _column("question", _TEXT, "question as given"),
        _column("reasoning", _TEXT, "reasoning as one text"),
        _column("answer", _TEXT, "answer, empty if there is none"),
        _column("step_starts", _INTS, "character of the reasoning where each step of the source begins"),
        _column("step_ends", _INTS, "character where each step ends (exclusive)"),
        _column("meta", _TEXT, "further fields of the row, a JSON object (with NaN and Infinity)"),
    ]


def sample_schema() -> pa.Schema:
    """Samples of a data set, in file order."""
    return pa.schema(_sample_columns())


def run_sample_schema(embedding_width: int) -> pa.Schema:
    """Samples of a run as the model reads them, in the given order; E = ``embedding_width``, 0 for none."""
    return pa.schema(
        [
            *_sample_columns(),
            _column("input_text", _TEXT, "the model's whole input as text"),
            _column("reasoning_start", pa.int32(), "character of input_text where the reasoning begins"),
            _column("prompt_tokens", pa.int32(), "tokens before the reasoning"),
            _column("token_ids", _INTS, "(T,) token ids of the input"),
            _column("token_starts", _INTS, "(T,) character of input_text where each token begins"),
            _column("token_ends", _INTS, "(T,) character of input_text where each token ends (exclusive)"),
            _column("span_index", _INTS, "K of each span, ascending"),
            _column("span_start", _INTS, "first target token of each span"),
            _column("span_end", _INTS, "end of each span's target tokens (exclusive)"),
            _column("n_spans_cut", pa.int32(), "spans lost when the sample was cut to the context"),
            _column("skipped_spans", _TEXT, "JSON list of [K, reason]: spans without tokens"),
            *([_question_embedding(embedding_width)] if embedding_width else []),
        ]
    )


def _question_embedding(width: int) -> pa.Field:
    comment = "(E,) sentence embedding of the question, null if there is none"
    return _column("question_embedding", pa.list_(pa.float32(), width), comment, nullable=True)


def measure_columns() -> list[pa.Field]:
    """Measures of a gradient record, since version 2; null if they were not computed."""
    return [
        _column("spectral", pa.float32(), "spectral strength of the step, in [0, 1]", nullable=True),
        _column("grace", pa.float32(), "alignment to answer and past, in [-1, 1]", nullable=True),
    ]


def records_schema(sketch_width: int) -> pa.Schema:
    """Gradient records of one checkpoint; P = ``sketch_width``. Capture order is (batch, position)."""
    return pa.schema(
        [
            _column("batch", pa.int32(), "batch the span was captured in"),
            _column("position", pa.int32(), "number of the span in its batch, from 0"),
            _column("sample", pa.string(), "sample id"),
            _column("index", pa.int32(), "K of SAMPLE#K"),
            _column("token_start", pa.int32(), "first target token in the model's input"),
            _column("token_end", pa.int32(), "end of the target tokens (exclusive)"),
            _column("char_start", pa.int32(), "first character in the sample's reasoning"),
            _column("char_end", pa.int32(), "end of the characters (exclusive)"),
            _column("text", pa.string(), "the span's text"),
            _column("loss", pa.float32(), "mean negative log-likelihood of the target tokens, nats"),
            _column("norm", pa.float32(), "norm of the sketched gradient"),
            _column("coherence", pa.float32(), "norm of the sum over the sum of norms, in [0, 1]"),
            _column("window_cosine", pa.float32(), "cosine to the exact direction, null if not audited", True),
            *measure_columns(),
            _column("direction", pa.list_(pa.float16(), sketch_width), "(P,) unit norm, zero if no gradient"),
        ]
    )


def captured_schema() -> pa.Schema:
    """Commit markers of one checkpoint: a batch is finished if it has a row here."""
    return pa.schema(
        [
            _column("batch", pa.int32(), "finished batch"),
            _column("position", pa.int32(), "number of the sample in its batch, from 0"),
            _column("sample", pa.string(), "sample id, null for a batch without samples", nullable=True),
            _column("n_spans", pa.int32(), "records this sample has in the records table"),
            _column("reason", pa.string(), "why the sample was left out, null if it was captured", True),
            _column("token_losses", pa.list_(pa.float32()), "(T,) nats, NaN where unknown", nullable=True),
        ]
    )


def controls_schema(sketch_width: int) -> pa.Schema:
    """Controls of one checkpoint: ranges of tokens that are not spans, captured like spans."""
    return pa.schema(
        [
            _column("kind", pa.string(), "windows: random ranges as long as spans; tokens: single tokens"),
            _column("sample", pa.string(), "sample id"),
            _column("token_start", pa.int32(), "first target token in the model's input"),
            _column("token_end", pa.int32(), "end of the target tokens (exclusive)"),
            _column("direction", pa.list_(pa.float16(), sketch_width), "(P,) unit norm, zero if no gradient"),
        ]
    )


def skipped_schema() -> pa.Schema:
    """Samples that were left out before batches were planned (too long, no spans)."""
    return pa.schema(
        [
            _column("sample", pa.string(), "sample id"),
            _column("reason", pa.string(), "why it was left out"),
        ]
    )


def embeddings_schema(embedding_width: int) -> pa.Schema:
    """Sentence embeddings of span texts, a row for each span; E = ``embedding_width``."""
    return pa.schema(
        [
            _column("span", pa.string(), "span id SAMPLE#K"),
            _column("embedding", pa.list_(pa.float32(), embedding_width), "(E,) unit norm"),
        ]
    )
