"""Reading a run: spans, directions, samples, tokens, analysis, search.

RunReader   all reads of a run; safe during a capture
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gsd_core.comparison.centring import Centring
from gsd_core.errors import UserError
from gsd_core.methods.analyze_method import MAP
from gsd_core.store import index
from gsd_core.store.document import RunDocument
from gsd_core.store.files import Folder
from gsd_core.store.results import Results, unpack_arrays
from gsd_core.store.samples import (
    RUN_SAMPLE_COLUMNS,
    compute_tokens,
    list_stored_columns,
    make_sample_frame,
)
from gsd_core.store.schema import (
    CAPTURED_TABLE,
    CHECKPOINTS_FOLDER,
    CONTROLS_TABLE,
    RECORDS_TABLE,
    SPAN_COLUMNS,
    captured_schema,
    controls_schema,
    embeddings_schema,
    records_schema,
    run_sample_schema,
    skipped_schema,
)
from gsd_core.store.tables import Table, to_matrix
from gsd_core.store.views import CheckpointView, join_span_ids, open_view

_STORED = [name for name in SPAN_COLUMNS if name not in ("span", "checkpoint", "step")]


class RunReader:
    """All reads of one run, made by ``Workspace.open_run``.

    ``checkpoint=None`` is the ``default_checkpoint``. Every read sees only whole batches. During a capture two reads
    may see two states; ``snapshot()`` gives a reader of one state.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self.name, self.uri = name, folder.uri
        self._folder = folder
        self._document = RunDocument(folder, name)
        self._views: dict[str, CheckpointView] = {}
        self._is_fixed = False

    @property
    def results(self) -> Results:
        """Results of methods on the run."""
        # Not stored: a reference to the run would keep it alive, and with it the writer's lock.
        return Results(self._folder, self._document, self.name, lambda: self.default_checkpoint)

    # -- what the run is ------------------------------------------------------------------------------------------

    @property
    def manifest(self) -> dict[str, Any]:
        """The newest manifest, as a copy."""
        return self._document.manifest()

    @property
    def sketch_width(self) -> int:
        """P, the width of a direction; 0 if the run has no directions."""
        return int(self._document.store()["sketch_width"])

    @property
    def embedding_width(self) -> int:
        """E, the width of a sentence embedding; 0 if the run has none."""
        return int(self._document.store()["embedding_width"])

    @property
    def checkpoints(self) -> list[str]:
        """Checkpoints with captured batches, in the order of training where the step of each is known; else those of
        the manifest in its order, then others in capture order."""
        entries = self._document.store()["checkpoints"]
        if all(entry.get("step") is not None for entry in entries):
            return [entry["name"] for entry in sorted(entries, key=lambda entry: int(entry["step"]))]
        stored = [entry["name"] for entry in entries]
        planned = [entry.get("name") for entry in self.manifest.get("checkpoints") or []]
        first = [name for name in planned if name in stored]
        return first + [name for name in stored if name not in first]

    @property
    def default_checkpoint(self) -> str:
        """The checkpoint with most twins in other words; else with most twins; else with most confirmed families; else
        with most spans in clusters.

        Twins count with q < 0.05. Of equal checkpoints it is the last; ``""`` before anything was captured. On the demo
        corpus, directions agree most with the planted structure there (``docs/structure-benchmark.md``).
        """
        names = self.checkpoints
        maps, families, found = (self.results.infos(name) for name in ("map", "families", "structure"))

        def rank(at: int) -> tuple[float, ...]:
            counts = found.get(names[at], {})
            clustered = 1.0 - maps[names[at]].get("noise_share", 1.0)
            n_families = families.get(names[at], {}).get("n_families") or 0
            return (counts.get("n_rewordings") or 0, counts.get("n_twins") or 0, n_families, clustered, at)

        analysed = [at for at, name in enumerate(names) if name in maps]
        return names[max(analysed, key=rank) if analysed else -1] if names else ""

    def has_analysis(self, checkpoint: str | None = None) -> bool:
        """Whether the checkpoint is analysed."""
        return self.results.has(MAP, checkpoint)

    def snapshot(self) -> RunReader:
        """A reader of the spans of this moment, so that several reads agree during a capture."""
        reader = RunReader(self._folder, self.name)
        for entry in self._document.store()["checkpoints"]:
            reader._views[entry["folder"]] = self._view_in(entry["folder"])
        reader._is_fixed = True
        return reader

    def has_index(self, checkpoint: str | None = None) -> bool:
        """Whether ``search`` can use an index."""
        view = self._view(checkpoint)
        return view is not None and view.has_index

    def count_spans(self, checkpoint: str | None = None) -> int:
        """Number of stored spans."""
        entry = self._entry(checkpoint)
        if entry is None:
            return 0
        if self._is_fixed:
            return len(self._view_in(entry["folder"]))
        marks = self._checkpoint_tables(entry["folder"])[1].open()
        if marks is None:
            return 0
        return int(marks.to_table(columns=["n_spans"]).column("n_spans").to_numpy().sum())

    # -- spans and directions -------------------------------------------------------------------------------------

    def read_spans(self, checkpoint: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Spans in capture order, with ``columns`` or all of ``schema.SPAN_COLUMNS``.

        ``loss`` is in nats; ``window_cosine`` is NaN if it was not audited; ``step`` is ``<NA>`` if unknown.

        Raises
        ------
        UserError
            For an unknown checkpoint.
        ValueError
            For an unknown column.
        """
        wanted = list(SPAN_COLUMNS if columns is None else columns)
        unknown = [name for name in wanted if name not in SPAN_COLUMNS]
        if unknown:
            raise ValueError(f"no column {unknown[0]!r}; there are {', '.join(SPAN_COLUMNS)}")
        entry = self._entry(checkpoint)
        view = self._view_in(entry["folder"]) if entry else None
        needed = [name for name in _STORED if name in wanted]
        if "span" in wanted or not needed:
            needed = [*needed, *(name for name in ("sample", "index") if name not in needed)]
        if view is None or view.records is None:
            schema = records_schema(self.sketch_width)
            rows = pa.schema([schema.field(name) for name in needed]).empty_table()
        else:
            rows = view.read_columns(needed)
        frame = rows.to_pandas()
        if "span" in wanted:
            frame["span"] = join_span_ids(rows.column("sample"), rows.column("index")).to_pandas()
        if "checkpoint" in wanted:
            frame["checkpoint"] = pd.Series([entry["name"] if entry else ""] * len(frame), dtype="str")
        if "step" in wanted:
            frame["step"] = pd.Series([entry["step"] if entry else None] * len(frame), dtype="Int64")
        return frame[wanted]

    def read_vectors(self, checkpoint: str | None = None, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(n, P) float16 directions of the rows ``start:stop`` (as in a slice) of ``read_spans``."""
        view = self._view(checkpoint)
        if view is None:
            return np.zeros((0, self.sketch_width), np.float16)
        start, stop, _ = slice(start, stop).indices(len(view))
        return view.read_directions(start, stop)

    def take_vectors(self, rows: np.ndarray, checkpoint: str | None = None) -> np.ndarray:
        """(m, P) float16 directions of the ``rows`` (m,) of ``read_spans``, which may repeat.

        Rows that are close together are read in one piece, others one by one.
        """
        view, rows = self._view(checkpoint), np.asarray(rows, dtype=np.int64)
        if view is None or not len(rows):
            return np.zeros((0, self.sketch_width), np.float16)
        low, high = int(rows.min()), int(rows.max()) + 1
        if high - low <= 2 * len(rows):
            return view.read_directions(low, high)[rows - low]
        return view.take_directions(rows)

    def search(
        self,
        query: np.ndarray,
        top: int,
        checkpoint: str | None = None,
        exclude_sample: str | None = None,
        center: np.ndarray | None = None,
        is_exact: bool = False,
    ) -> pd.DataFrame:
        """The spans whose directions have the largest cosine to ``query``: ``span, sample, cosine``, best first; the
        frame's index is their row in ``read_spans``.

        With an index (``Run.build_index``), its candidates are ranked by their exact cosines. Without one, and with
        ``is_exact``, all stored directions are compared, in batches, in float32. ``query`` (P,) is a stored direction,
        not centred; ``center`` (P,) is subtracted from it and from the directions. Spans with a zero gradient have
        cosine 0. Equal cosines stay in capture order.
        """
        view = self._view(checkpoint)
        wanted = np.asarray(query, np.float32).reshape(-1)
        middle = np.zeros(self.sketch_width) if center is None else np.asarray(center).reshape(-1)
        for what, value in (("query", wanted), ("center", middle)):
            if value.shape != (self.sketch_width,):
                raise ValueError(f"{what} has {value.shape[0]} values, directions have {self.sketch_width}")
        if view is None or not len(view) or top <= 0:
            return pd.DataFrame({"span": [], "sample": [], "cosine": np.zeros(0, np.float32)})
        centring = Centring(middle.astype(np.float32))
        if view.has_index and not is_exact:
            built = (self.manifest.get("index") or {}).get(checkpoint or self.default_checkpoint) or {}
            factor = int(built.get("factor", index.FACTORS[-1]))
            rows, owners, cosines = view.find_nearest(wanted, centring, top, exclude_sample, factor)
        else:
            rows, owners, cosines = view.find_exact(wanted, centring, top, exclude_sample)
        samples = owners.column("sample")
        spans = join_span_ids(samples, owners.column("index"))
        frame = {"span": spans.to_pandas(), "sample": samples.to_pandas(), "cosine": cosines}
        return pd.DataFrame(frame).set_index(pd.Index(rows))

    # -- samples and tokens ---------------------------------------------------------------------------------------

    def read_samples(self, ids: Sequence[str] | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All samples in the order of writing, or those of ``ids`` in that order.

        ``columns`` are some or all of ``sample, question, reasoning, answer, steps`` (tuples of characters), ``meta``
        (dict), ``input_text, n_tokens, prompt_tokens, reasoning_start, n_spans_cut, skipped_spans`` (list of
        ``(K, reason)``).

        Raises
        ------
        UserError
            For an unknown id.
        ValueError
            For an unknown column.
        """
        wanted = list(RUN_SAMPLE_COLUMNS if columns is None else columns)
        rows = self._take_samples(ids, list_stored_columns(wanted))
        return make_sample_frame(rows, wanted)

    def read_tokens(self, sample: str, checkpoint: str | None = None) -> pd.DataFrame:
        """Tokens of one sample in order: ``position, token_id, text, start, end, span, loss``.

        ``loss`` is NaN if unknown, as for a sample that is not captured yet.
        """
        row = self._take_samples([sample], None).to_pylist()[0]
        view = self._view(checkpoint)
        return compute_tokens(row, view.read_losses(sample) if view is not None else None)

    def read_skipped(self) -> pd.DataFrame:
        """Skipped samples: ``sample, checkpoint, reason``; ``checkpoint`` is ``""`` if skipped at all checkpoints."""
        frames = []
        table = self._table("skipped", skipped_schema()).open()
        if table is not None:
            frames.append(table.to_table(scan_in_order=True).to_pandas().assign(checkpoint=""))
        for name in self.checkpoints:
            view = self._view(name)
            if view is not None:
                frames.append(view.read_skipped().assign(checkpoint=name))
        frames = [frame for frame in frames if len(frame)]
        names = ["sample", "checkpoint", "reason"]
        if not frames:
            return pd.DataFrame({name: pd.Series(dtype="str") for name in names})
        return pd.concat(frames, ignore_index=True)[names]

    def read_embeddings(self) -> tuple[list[str], np.ndarray]:
        """Span ids and (n, E) float32 sentence embeddings of the spans' texts, in the order of writing."""
        table = self._table("embeddings", embeddings_schema(self.embedding_width)).open()
        if table is None:
            return [], np.zeros((0, self.embedding_width), np.float32)
        rows = table.to_table(scan_in_order=True)
        return rows.column("span").to_pylist(), to_matrix(rows.column("embedding"), self.embedding_width)

    def read_question_embeddings(self) -> tuple[list[str], np.ndarray]:
        """Sample ids and (n, E) float32 sentence embeddings of their questions; samples without one are left out."""
        table = self._samples_table().open() if self.embedding_width else None
        if table is None:
            return [], np.zeros((0, self.embedding_width), np.float32)
        rows = table.to_table(columns=["sample", "question_embedding"], scan_in_order=True)
        rows = rows.filter(rows.column("question_embedding").is_valid())
        return rows.column("sample").to_pylist(), to_matrix(rows.column("question_embedding"), self.embedding_width)

    # -- analysis -------------------------------------------------------------------------------------------------

    def read_points(self, checkpoint: str | None = None) -> pd.DataFrame:
        """``span, x, y, cluster, probability`` in capture order. Raises ``UserError`` if the run is not analysed."""
        return self.results.read(MAP, "points", checkpoint)

    def read_clusters(self, checkpoint: str | None = None) -> pd.DataFrame:
        """``cluster, size, label, terms, exemplars``. Raises ``UserError`` if the run is not analysed."""
        return self.results.read(MAP, "clusters", checkpoint)

    def read_arrays(self, checkpoint: str | None = None) -> dict[str, np.ndarray]:
        """Arrays of the analysis, such as ``"mean"`` (P,) float32. Raises ``UserError`` if the run is not analysed."""
        return unpack_arrays(self.results.read(MAP, "arrays", checkpoint))

    def has_controls(self, checkpoint: str | None = None) -> bool:
        """Whether the checkpoint has controls."""
        entry = self._entry(checkpoint)
        return entry is not None and self._controls_table(entry["folder"]).open() is not None

    def read_controls(self, checkpoint: str | None = None) -> tuple[pd.DataFrame, np.ndarray]:
        """Controls: ``kind, sample, token_start, token_end``, and their directions (n, P) float16; n may be 0."""
        entry = self._entry(checkpoint)
        table = self._controls_table(entry["folder"]) if entry else None
        stored = table.open() if table else None
        schema = controls_schema(self.sketch_width)
        rows = schema.empty_table() if stored is None else stored.to_table(scan_in_order=True)
        vectors = to_matrix(rows.column("direction"), self.sketch_width)
        return rows.drop_columns(["direction"]).to_pandas(), vectors

    # -- inside ---------------------------------------------------------------------------------------------------

    def _table(self, name: str, schema: pa.Schema) -> Table:
        return Table(self._folder.child(f"{name}.lance").uri, schema)

    def _samples_table(self) -> Table:
        return self._table("samples", run_sample_schema(self.embedding_width))

    def _checkpoint_tables(self, folder: str) -> tuple[Table, Table]:
        child = self._folder.child(CHECKPOINTS_FOLDER, folder)
        return (
            Table(child.child(RECORDS_TABLE).uri, records_schema(self.sketch_width)),
            Table(child.child(CAPTURED_TABLE).uri, captured_schema()),
        )

    def _controls_table(self, folder: str) -> Table:
        child = self._folder.child(CHECKPOINTS_FOLDER, folder, CONTROLS_TABLE)
        return Table(child.uri, controls_schema(self.sketch_width))

    def _view_in(self, folder: str) -> CheckpointView:
        known = self._views.get(folder)
        if self._is_fixed and known is not None:
            return known
        view = open_view(*self._checkpoint_tables(folder), self.sketch_width, known)
        self._views[folder] = view
        return view

    def _entry(self, checkpoint: str | None) -> dict[str, Any] | None:
        """The stored entry of a checkpoint, None if it is planned and nothing is captured."""
        name = checkpoint or self.default_checkpoint
        stored = self._document.store()["checkpoints"]
        for entry in stored:
            if entry["name"] == name and (not self._is_fixed or entry["folder"] in self._views):
                return entry
        planned = [entry.get("name") for entry in self.manifest.get("checkpoints") or []]
        if checkpoint is None or name in planned or self._is_fixed:
            return None
        known = ", ".join(self.checkpoints) or "none yet"
        raise UserError(f"no checkpoint {name!r}", f"run {self.name}", f"it has {known}")

    def _view(self, checkpoint: str | None) -> CheckpointView | None:
        entry = self._entry(checkpoint)
        return self._view_in(entry["folder"]) if entry else None

    def _take_samples(self, ids: Sequence[str] | None, columns: list[str] | None) -> pa.Table:
        schema, table = run_sample_schema(self.embedding_width), self._samples_table().open()
        if ids is None and table is not None:
            return table.to_table(columns=columns, scan_in_order=True)
        if table is None or not ids:
            if ids:
                raise UserError(f"no sample {ids[0]!r}", f"run {self.name}", "it has no samples yet")
            names = columns or schema.names
            return pa.schema([schema.field(name) for name in names]).empty_table()
        # Ids are looked up here and not in a filter, so no character needs quoting.
        known = table.to_table(columns=["sample"], scan_in_order=True).column("sample").to_pylist()
        offsets = {each: at for at, each in enumerate(known)}
        for each in ids:
            if each not in offsets:
                near = get_close_matches(each, known, 3)
                raise UserError(
                    f"no sample {each!r}",
                    f"run {self.name}",
                    f"did you mean {', '.join(near)}?" if near else "",
                )
        return table.take([offsets[each] for each in ids], columns=columns)
