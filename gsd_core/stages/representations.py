"""What the structure benchmark compares: rows for the same spans from runs and from their texts.

make_representations   gradients of a run and of its kin, baselines, controls
open_others            runs of the same data to compare with
check_same_data        refuses a run that was captured from other data, or cut otherwise
match_checkpoint       which checkpoint of another run stands beside one
read_question_rows     question embeddings of samples
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gsd_core.analysis import baselines
from gsd_core.analysis.baselines import Representation
from gsd_core.driver.run_sentences import read_embeddings_of, read_question_embeddings_of
from gsd_core.errors import UserError
from gsd_core.stages.run_reading import find_entry, get_checkpoint, get_layers
from gsd_core.tiers import find_tier

if TYPE_CHECKING:
    from gsd_core.store import Run, Workspace


def open_others(workspace: Workspace, run: Run, names: Iterable[str]) -> list[Run]:
    """The runs called ``names``; raises as `check_same_data` for one of other data than ``run``."""
    others = [workspace.open_run(each) for each in names]
    for other in others:
        check_same_data(run, other)
    return others


def check_same_data(run: Run, other: Run) -> None:
    """Raise ``UserError`` where ``other`` was captured from other data than ``run``, or cut otherwise."""
    own, its = ((each.manifest.get("dataset") or {}).get("data_hash") for each in (run, other))
    if own != its:
        raise UserError(
            f"it was captured from other data than run {run.name}",
            f"--against {other.name}",
            "capture the same data set again",
        )
    cuts = [str(each.manifest.get("segmenter")) for each in (run, other)]
    if cuts[0] != cuts[1]:  # a span's name would stand for another text
        raise UserError(
            f"its spans are cut by {cuts[1]}, those of run {run.name} by {cuts[0]}",
            f"--against {other.name}",
            f"capture it with --segmenter {cuts[0]}",
        )


def make_representations(
    run: Run,
    others: list[Run],
    checkpoint: str,
    chosen: pd.DataFrame,
    *,
    removed: Iterable[int],
    with_layers: bool = False,
    wordings: list[str] | None = None,
) -> list[Representation]:
    """What is compared for the ``chosen`` spans (columns ``span, sample, text``), own gradients first.

    ``removed``: how many principal directions to remove from gradients, each a representation. ``with_layers`` adds
    one for every layer block of ``run``; ``wordings`` (n,) add the mean hidden state centred per wording.
    """
    found: list[Representation] = []
    own_hash = _model_hash(run, checkpoint)
    sketches: dict[str, tuple[object, bool]] = {}
    for each in [run, *others]:
        at = match_checkpoint(each, checkpoint)
        vectors = _take(each, at, chosen["span"].tolist())
        is_control = _model_hash(each, at) != own_hash
        tier = find_tier(each.manifest.get("tier"))
        other = f", other model ({each.name})" if is_control else ""
        if tier is not None and not tier.is_gradient:
            states = [baselines.make_state(vectors)]
            if wordings is not None:
                states.append(baselines.make_state(vectors, wordings))
            found += [replace(s, name=s.name + other, kind="control" if other else s.kind) for s in states]
            continue
        name = _describe_gradient(each) + other
        told = each.manifest.get("sketch") or {}
        sketch = (_find_asked_width(each), bool(told.get("calibration")))
        first = sketches.setdefault(name, sketch)
        if first[1] != sketch[1]:  # another sketch, not another seed of the same
            name += f", {'calibrated' if sketch[1] else 'random'} sketch of {told.get('width')}"
        elif first != sketch:
            name += f", sketch of {told.get('width')}"
        made = [baselines.make_gradient(name, vectors, n_top) for n_top in sorted(set(removed))]
        if with_layers and each is run:
            for layer, start, stop in get_layers(run):
                made.append(baselines.make_gradient(f"{name}, {layer}", vectors[:, start:stop]))
        found += [replace(m, kind="control") for m in made] if is_control else made
    texts = chosen["text"].tolist()
    embeddings = read_embeddings_of(run, chosen["span"])
    found.append(baselines.make_sentence_embedding("sentence embedding", embeddings))
    owners, samples = pd.factorize(chosen["sample"])
    questions = read_question_rows(run, list(samples))[owners]
    found.append(baselines.make_sentence_embedding("sentence embedding of the question", questions))
    found += [baselines.make_tfidf(texts), baselines.make_number_bag(texts), baselines.make_number_order(texts)]
    return found


def match_checkpoint(run: Run, checkpoint: str) -> str:
    """The same checkpoint where the run has it, else the run's default: another model, a control."""
    return checkpoint if checkpoint in run.checkpoints else get_checkpoint(run, None)


def _model_hash(run: Run, checkpoint: str) -> str:
    """What tells one set of weights from another."""
    own = find_entry(run, checkpoint).get("hash")
    return str(own or f"{(run.manifest.get('model') or {}).get('hash')} {checkpoint}")


def _find_asked_width(run: Run) -> object:
    """The sketch width that was asked for, None for the default: calibrated sketches of one width end a few numbers
    apart, and are still seeds of one another. Of a run that no capture made, the width it has."""
    flags = run.manifest.get("flags") or {}
    return flags["sketch_width"] if "sketch_width" in flags else (run.manifest.get("sketch") or {}).get("width")


def _describe_gradient(run: Run) -> str:
    manifest = run.manifest
    tier = find_tier(manifest.get("tier"))
    details = []
    if tier is not None and tier.has_window:
        window = manifest.get("window")
        details.append("exact" if window in (None, "all") else f"window {window}")
    if tier is not None and tier.has_optional_head and all(layer[0] != "output head" for layer in get_layers(run)):
        details.append("without head")
    return f"{manifest.get('tier')} gradient" + (f" ({', '.join(details)})" if details else "")


def _take(run: Run, checkpoint: str, spans: list[str]) -> np.ndarray:
    ids = run.read_spans(checkpoint, columns=["span"])["span"].tolist()
    row_of = {span: i for i, span in enumerate(ids)}
    return np.asarray(run.read_vectors(checkpoint))[[row_of[span] for span in spans]]


def read_question_rows(run: Run, samples: list[str]) -> np.ndarray:
    """(n_samples, E) unit question embeddings; zeros for a sample without one."""
    rows = read_question_embeddings_of(run, samples)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)
