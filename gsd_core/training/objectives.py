"""Which tokens of a sample carry loss.

OBJECTIVES    names of what ``gsd train --objective`` can do
IGNORED       label of a token without loss
make_labels   tokenized sample → labels
count_trained tokens with loss

* ``full``: everything after the prompt.
* ``selective``: of the reasoning only what a mask keeps; the model still reads all of it (arXiv 2602.00425).
* ``pruned``: the reasoning *is* what a mask keeps; the model reads nothing else of it.

The answer, and what follows it, carries loss in all of them. Pure functions; the trainer averages over the tokens with
loss of a whole optimizer step, so a sample of which little is kept weighs little. Shapes: T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gsd_core.dataset.tokenization import find_owners
from gsd_core.types import TokenizedSample

OBJECTIVES = ("full", "selective", "pruned")
IGNORED = -100


def make_labels(sample: TokenizedSample, kept: Sequence[tuple[int, int]] | None = None) -> np.ndarray:
    """(T,) int64: the token ids, and ``IGNORED`` where there is no loss.

    ``kept`` are half-open character ranges of the reasoning; None keeps all of it. A token belongs where its first
    character that is not white space stands, as in a capture.
    """
    labels = np.asarray(sample.token_ids, dtype=np.int64).copy()
    labels[: sample.prompt_tokens] = IGNORED
    if kept is not None:
        owners = find_owners(sample)
        is_kept = np.zeros(len(owners), dtype=bool)
        for start, end in kept:
            is_kept |= (owners >= start) & (owners < end)
        labels[sample.prompt_tokens : sample.prompt_tokens + len(owners)][~is_kept] = IGNORED
    return labels


def count_trained(labels: Sequence[np.ndarray]) -> int:
    """Tokens with loss."""
    return int(sum(int((each != IGNORED).sum()) for each in labels))
