"""How much memory a batch needs, before it is computed: on a CPU nothing tells that memory runs out, the kernel kills.

Need             memory of a batch: a fixed part and one by token
estimate_need    the need of a capturer's batches, measured on one sample
count_graph_bytes  the most bytes that graphs hold while something is computed
count_held       how many tokens of a batch are held at once
fit_tokens       the largest batch, in padded tokens, that fits into what is free
FREE_SHARE       share of the free memory that a batch may take

The tensors that the graph holds are counted while one sample is captured; they are most of the need. What is not in the
graph is added by size: projected inputs and gradients, the widest layer's temporaries, and the head's blocks (ours).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from gsd_core.capture.batches import count_padded
from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.chunks import plan_chunks
from gsd_core.capture.deferred_head import BLOCK_LOGITS
from gsd_core.capture.modules import get_sizes
from gsd_core.models.memory import find_free_bytes
from gsd_core.tiers import get_tier
from gsd_core.types import TokenizedSample

FREE_SHARE = 0.8
BLOCK_COPIES = 5  # logits of a block, their float32 copy, the softmax and two gradients
WIDEST_COPIES = 4  # a layer's widest activation with its product, and their gradients
STEP = 64  # a batch is a multiple of so many tokens
FLOAT = 4  # bytes


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes: ``fixed`` whatever the batch, ``by_token`` for each padded token, ``free`` when they were measured."""

    fixed: float
    by_token: float
    free: float

    def total(self, n_tokens: int) -> float:
        """Bytes of a batch of `n_tokens`."""
        return self.fixed + self.by_token * n_tokens


class _Held:
    """A tensor that the graph holds; it is counted out when the graph lets it go."""

    __slots__ = ("_pointer", "_watch", "tensor")

    def __init__(self, tensor: torch.Tensor, watch: _GraphWatch) -> None:
        self.tensor, self._watch = tensor, watch
        self._pointer = watch.enter(tensor)

    def __del__(self) -> None:
        self._watch.leave(self._pointer)


class _GraphWatch:
    """Counts the bytes that graphs hold; ``peak`` is the most at any time. Parameters are not counted."""

    def __init__(self, model: nn.Module) -> None:
        self._known = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
        self._holders: dict[int, list[int]] = {}
        self._now = self.peak = 0

    def hold(self, tensor: torch.Tensor) -> _Held:
        """For ``saved_tensors_hooks``."""
        return _Held(tensor, self)

    def enter(self, tensor: torch.Tensor) -> int:
        storage = tensor.untyped_storage()
        pointer = storage.data_ptr()
        if pointer in self._known:
            return 0
        holder = self._holders.setdefault(pointer, [0, storage.nbytes()])
        if not holder[0]:
            self._now += holder[1]
            self.peak = max(self.peak, self._now)
        holder[0] += 1
        return pointer

    def leave(self, pointer: int) -> None:
        holder = self._holders.get(pointer)
        if holder is None:
            return
        holder[0] -= 1
        if not holder[0]:
            self._now -= self._holders.pop(pointer)[1]


def estimate_need(capturer: Capturer, sample: TokenizedSample) -> Need:
    """What batches of `capturer` need, in bytes. Captures `sample`, which should be a typical one, once."""
    model: Any = capturer.model
    free = find_free_bytes(capturer.device)
    window = capturer.config.window if capturer.tier.has_window else None
    held = count_graph_bytes(model, lambda: capturer.compute_gradients([sample], window))
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    sizes = [found for each in model.modules() if each is not head and (found := get_sizes(each))]
    widest = max((max(each) for each in sizes), default=config.hidden_size)
    sketched = sum(each.p + each.q for each in getattr(capturer.sketch, "modules", ()))
    rows = 2 * sketched + WIDEST_COPIES * widest + 4 * config.hidden_size
    limit = BLOCK_LOGITS.get(capturer.device.type, BLOCK_LOGITS["cuda"])
    block = BLOCK_COPIES * max(limit, config.vocab_size)
    return Need(FLOAT * block, held / len(sample.token_ids) + FLOAT * rows, free)


def count_graph_bytes(model: nn.Module, compute: Callable[[], object]) -> int:
    """The most bytes that graphs through `model` hold at any time while `compute` runs; parameters are not counted."""
    watch = _GraphWatch(model)
    with torch.autograd.graph.saved_tensors_hooks(watch.hold, lambda held: held.tensor):
        compute()
    return watch.peak


def count_held(samples: Sequence[TokenizedSample], config: CaptureConfig, device: str) -> int:
    """Padded tokens of a batch that the graph holds at once, for a kind of device (``cpu``, ``cuda``).

    Exact spans are captured in parts of the batch (``chunks.py``), everything else as a whole.
    """
    is_exact = config.window is None and get_tier(config.tier).has_window and not config.gradient_checkpointing
    if not is_exact:
        return count_padded(samples)
    plans = plan_chunks(samples, device)
    return max(len(plan.members) * int(np.diff(plan.borders, axis=1).max(0).sum()) for plan in plans)


def fit_tokens(need: Need, n_workers: int = 1) -> int:
    """The most padded tokens of a batch that fit, 0 where none do. Workers share what is free."""
    room = FREE_SHARE * need.free / n_workers - need.fixed
    return max(0, int(room / need.by_token) // STEP * STEP)
