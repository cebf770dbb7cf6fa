"""Samples of an imported run, with the store's tokens where it has them.

whole_sample     a sample as one span, without tokens
place_sample     a sample cut into spans of the tokens that the store was made from
load_tokenizer   a tokenizer without model; its own code is refused
read_losses      the loss of each sequence, which Bergson stores beside its rows, in nats a label
open_rows        the data set that Bergson stores beside its rows
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gsd_core.dataset.prompts import ModelInput
from gsd_core.dataset.saved import SavedDataset
from gsd_core.dataset.segmenters import Segmenter
from gsd_core.dataset.tokenization import check_tokenizer, tokenize_sample
from gsd_core.errors import UserError
from gsd_core.importing.foreign_bergson import get_loss_reduction
from gsd_core.importing.foreign_rows import ForeignStore
from gsd_core.models.sources import HUB_ID, demo_folder
from gsd_core.types import Sample, Skipped, TokenizedSample, TokenSpan

NO_LABEL = -100  # torch's cross-entropy ignores it


def whole_sample(sample: Sample) -> TokenizedSample:
    """``sample`` as one span, its whole reasoning. The tokens are unknown: T = 0, and the span has none."""
    head = f"{sample.question}\n"
    none = np.zeros(0, np.int32)
    n_chars = len(sample.reasoning)
    return TokenizedSample(
        id=sample.id,
        input_text=head + sample.reasoning,
        token_ids=none,
        token_starts=none,
        token_ends=none,
        spans=(TokenSpan(0, 0, 0, 0, n_chars, sample.reasoning),),
        prompt_tokens=0,
        reasoning_start=len(head),
    )


def place_sample(
    sample: Sample, token_ids: np.ndarray, tokenizer: Any, segmenter: Segmenter
) -> TokenizedSample | Skipped:
    """Spans of ``sample`` in ``token_ids`` (T,), the tokens of the store's rows.

    The tokens are decoded, the reasoning is searched in that text (from the end, as a prompt may quote it), and the
    text is tokenized again for the offsets. Where the tokens differ then, the sample is ``Skipped``. Source: ours.
    """
    if not len(token_ids) or token_ids.min() < 0 or token_ids.max() >= len(tokenizer):
        return Skipped(sample.id, "the store has no tokens for it, or tokens that the tokenizer does not know")
    text = tokenizer.decode(token_ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    start = text.rfind(sample.reasoning)
    if start < 0:
        return Skipped(sample.id, "its reasoning is not in the text of the store's tokens")
    read = ModelInput(text, start, start + len(sample.reasoning), add_special_tokens=False)
    placed = tokenize_sample(sample, tokenizer, segmenter, max_tokens=None, model_input=read)
    if isinstance(placed, Skipped):
        return placed
    if not np.array_equal(placed.token_ids, token_ids):
        return Skipped(sample.id, "the tokenizer gives its text other tokens than the store's")
    return placed


def load_tokenizer(source: str) -> Any:
    """A fast tokenizer: ``demo``, a folder, or a hub id. ``UserError`` where there is none or it needs its own code."""
    # Only stores by token need it, and its import is slow.
    from transformers import AutoTokenizer

    path = demo_folder() if source == "demo" else Path(source).expanduser()
    where = f"--tokenizer {source}"
    if not path.exists() and (not HUB_ID.fullmatch(source) or source.startswith(".")):
        raise UserError("neither a folder nor a hub id", where, "check the path")
    name, _, revision = (str(path), "", "") if path.exists() else source.partition("@")
    more = {"revision": revision} if revision else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **more)
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:160]
        raise UserError(f"the tokenizer cannot be loaded ({reason})", where, "give a folder that holds one") from None
    check_tokenizer(tokenizer)
    return tokenizer


def read_losses(store: ForeignStore) -> np.ndarray:
    """(n_items,) float64 mean negative log-likelihood of each sequence's labels in nats; NaN where it is unknown.

    Bergson stores the loss that it differentiated, a sum or a mean over labels by its settings. A sum is divided by the
    number of labels; where no labels are stored, the tokens are the labels.
    """
    unknown = np.full(store.n_items, np.nan)
    saved = open_rows(store)
    reduction = get_loss_reduction(store.details)
    if saved is None or reduction is None or "loss" not in saved.columns:
        return unknown
    losses = saved.read_numbers("loss")
    if len(losses) != store.n_items:
        return unknown
    if reduction == "mean":
        return losses
    if "labels" in saved.columns:
        counts = [int((labels[1:] != NO_LABEL).sum()) for labels in saved.read_lists("labels")]
    elif "input_ids" in saved.columns:
        counts = [len(ids) - 1 for ids in saved.read_lists("input_ids")]
    else:
        return unknown
    with np.errstate(divide="ignore", invalid="ignore"):
        means = losses / np.array(counts, np.float64)
    return np.where(np.isfinite(means), means, np.nan)


def open_rows(store: ForeignStore) -> SavedDataset | None:
    """The data set that Bergson stores beside its rows, None where there is none."""
    folder = store.path / "data.hf"
    return SavedDataset(folder) if store.path.is_dir() and folder.is_dir() else None
