"""Sentence embeddings of a run's questions and spans; each text once, and none that another run has.

embed_texts         (n, E) embeddings of texts
read_embeddings_of, read_question_embeddings_of  the stored embeddings of some spans, of some questions
read_known_vectors  text → embedding from a run of the same data under the same encoder
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from gsd_core.errors import UserError

if TYPE_CHECKING:
    from gsd_core.capture.embeddings import SentenceEncoder
    from gsd_core.console.progress import Progress
    from gsd_core.store import Run, Workspace

ENCODE_TEXTS = 32  # texts between two reports of progress; fewer would slow a quick encoder


def embed_texts(
    texts: list[str], encoder: SentenceEncoder, known: dict[str, np.ndarray], progress: Progress
) -> np.ndarray:
    """(n, E) float32 in the order of ``texts``; a text in ``known`` is not encoded again."""
    vectors = {text: known[text] for text in set(texts) if text in known}
    missing = [text for text in dict.fromkeys(texts) if text not in vectors]
    missing.sort(key=len)  # texts of like length together: less padding
    with progress.stage("embedding sentences", len(missing), "texts") as stage:
        for start in range(0, len(missing), ENCODE_TEXTS):
            part = missing[start : start + ENCODE_TEXTS]
            vectors.update(zip(part, encoder.encode(part), strict=True))
            stage.update(start + len(part))
    return np.stack([vectors[text] for text in texts]) if texts else np.zeros((0, encoder.width), np.float32)


def read_known_vectors(workspace: Workspace, name: str, manifest: dict[str, Any]) -> dict[str, np.ndarray]:
    """Embeddings by text from a run, other than ``name``, of the same data under the same encoder.

    Empty where there is no such run, or where it cannot be read; then the texts are encoded again.
    """
    wanted = _essence(manifest)
    for info in workspace.list_runs():
        if info.name == name or not info.manifest.get("has_tables") or not info.checkpoints:
            continue
        if _essence(info.manifest) != wanted or None in wanted:
            continue
        try:
            run = workspace.open_run(info.name)
            questions = run.read_samples().set_index("sample")["question"].to_dict()
            spans = run.read_spans(info.checkpoints[0], columns=["span", "text"]).set_index("span")["text"].to_dict()
            known = {
                texts[key]: vector
                for texts, (keys, vectors) in (
                    (questions, run.read_question_embeddings()),
                    (spans, run.read_embeddings()),
                )
                for key, vector in zip(keys, vectors, strict=True)
                if key in texts
            }
        except (UserError, OSError, ValueError):
            continue
        if known:
            return known
    return {}


def _essence(manifest: dict[str, Any]) -> tuple[Any, Any]:
    dataset, encoder = manifest.get("dataset") or {}, manifest.get("encoder") or {}
    return dataset.get("data_hash"), encoder.get("weights_hash")


def read_embeddings_of(run: Run, spans: Iterable[str]) -> np.ndarray:
    """(n, E) float32 sentence embeddings of these spans; zeros for a span without one."""
    return _take(*run.read_embeddings(), spans)


def read_question_embeddings_of(run: Run, samples: Iterable[str]) -> np.ndarray:
    """(n, E) float32 embeddings of these samples' questions; zeros for a sample without one."""
    return _take(*run.read_question_embeddings(), samples)


def _take(ids: list[str], rows: np.ndarray, wanted: Iterable[str]) -> np.ndarray:
    row_of = {each: at for at, each in enumerate(ids)}
    padded = np.concatenate([rows, np.zeros((1, rows.shape[1]), np.float32)])
    return padded[[row_of.get(each, -1) for each in wanted]]
