"""What ``gsd train`` trains on: samples as the model reads them, and which of their tokens carry loss.

TrainData       samples, labels, and what was left out
prepare_data    a data set, an objective and a mask → `TrainData`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gsd_core.console.progress import Progress
from gsd_core.dataset.masks import Ranges, SampleMask, prune_sample, read_masks
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.driver.capture_plan import CaptureOptions
from gsd_core.driver.capture_run import tokenize_samples
from gsd_core.errors import UserError
from gsd_core.methods.train_method import TrainOptions
from gsd_core.models.loading import LoadedModel, max_positions
from gsd_core.training.objectives import count_trained, make_labels
from gsd_core.types import Sample, Skipped, TokenizedSample

if TYPE_CHECKING:
    from gsd_core.store import Workspace


@dataclass(frozen=True, slots=True)
class TrainData:
    """``tokenized`` samples with ``labels`` (T,) each, and ``skipped`` ones. ``notes`` say what was left out."""

    tokenized: list[TokenizedSample]
    labels: list[np.ndarray]
    skipped: list[Skipped]
    notes: list[str]

    def count_tokens(self) -> int:
        """Tokens of one pass."""
        return int(sum(len(each.token_ids) for each in self.tokenized))

    def count_trained(self) -> int:
        """Those with loss, ends of text aside."""
        return count_trained(self.labels)


def prepare_data(
    workspace: Workspace,
    dataset: str,
    limit: int | None,
    loaded: LoadedModel,
    options: TrainOptions,
    progress: Progress,
    has_mask: bool = False,
) -> TrainData:
    """Samples as a capture reads them; with ``has_mask`` as ``--objective`` and ``--mask`` say.

    Raises ``UserError`` where the mask is missing, is of other texts, or leaves a sample without loss.
    """
    samples = workspace.read_samples(dataset, head=limit)
    if not has_mask or options.objective == "full":
        if has_mask and options.mask is not None:
            raise UserError("a mask does nothing here", "--mask", "add --objective selective or pruned")
        tokenized, skipped = _tokenize(samples, dataset, loaded, options, progress)
        return TrainData(tokenized, [make_labels(each) for each in tokenized], skipped, [])
    if options.mask is None:
        raise UserError(
            f"objective {options.objective} needs a mask",
            "--mask",
            "write one with gsd select, for example --by segments",
        )
    masks = read_masks(Path(options.mask))
    samples, kept, notes = _match(samples, masks, options, dataset)
    if options.objective == "pruned":
        samples = [prune_sample(each, kept[each.id]) for each in samples]
    tokenized, skipped = _tokenize(samples, dataset, loaded, options, progress)
    labels = [make_labels(each, None if options.objective == "pruned" else kept[each.id]) for each in tokenized]
    if options.objective == "selective" and options.whole_below:
        for at, each in enumerate(tokenized):
            if len(each.token_ids) < options.whole_below:
                labels[at] = make_labels(each)
    empty = next((each.id for each, own in zip(tokenized, labels, strict=True) if not count_trained([own])), None)
    if empty is not None:
        raise UserError(
            f"nothing of sample {empty!r} carries loss, and a batch of such samples teaches nothing",
            f"--mask {options.mask}",
            "leave out --bare, or select again with a larger share",
        )
    return TrainData(tokenized, labels, skipped, notes)


def _match(
    samples: list[Sample], masks: dict[str, SampleMask], options: TrainOptions, dataset: str
) -> tuple[list[Sample], dict[str, Ranges], list[str]]:
    """Samples that the mask names, what is kept of each, and notes on the others."""
    where = f"--mask {options.mask}"
    known = [each for each in samples if each.id in masks]
    if not known:
        raise UserError(f"none of its samples is in data set {dataset}", where, "select from a run of this data set")
    kept: dict[str, Ranges] = {}
    for sample in known:
        mask = masks[sample.id]
        if mask.reasoning is not None and mask.reasoning != sample.reasoning:
            raise UserError(
                f"sample {sample.id!r} has another reasoning than in data set {dataset}",
                where,
                "select from a run of this data set",
            )
        if not options.bare and not mask.spans:
            raise UserError(
                f"sample {sample.id!r} has no list 'spans', so its first and last segments are not known",
                where,
                "write it with this version's gsd select, or add --bare",
            )
        kept[sample.id] = mask.find_kept(has_always=not options.bare)
        if kept[sample.id] and kept[sample.id][-1][1] > len(sample.reasoning):
            raise UserError(
                f"what is kept of sample {sample.id!r} ends after its reasoning", where, "select from this data set"
            )
    notes = []
    if len(known) < len(samples):
        notes.append(f"{len(samples) - len(known):,} samples that the mask does not name are left out")
    if options.objective == "pruned":
        left = [each for each in known if kept[each.id]]
        if len(left) < len(known):
            notes.append(f"{len(known) - len(left):,} samples of which nothing is kept are left out")
        known = left
    return known, kept, notes


def _tokenize(
    samples: list[Sample], dataset: str, loaded: LoadedModel, options: TrainOptions, progress: Progress
) -> tuple[list[TokenizedSample], list[Skipped]]:
    """One token is left free for an end of text."""
    longest = max_positions(loaded.model)
    found = tokenize_samples(
        samples,
        loaded.tokenizer,
        make_segmenter("steps"),
        None if longest is None else longest - 1,
        CaptureOptions(dataset=dataset, model=options.model, truncate=options.truncate),
        progress,
    )
    return found.tokenized, found.skipped
