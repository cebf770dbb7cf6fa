"""Integrated gradients: how much each token of a trace raises the log-probability of its answer (methods §2).

PathSettings       where the path begins, and where on it gradients are taken
AnswerTrace        tokens of a trace that ends in its answer
Attribution        token scores, and what is needed to judge them
count_passes       gradients and values that a path costs, where that is known beforehand
AnswerGradients    a model and its settings; ``attribute`` gives the `Attribution` of a trace, ``count_bytes`` its need
BASELINES, NODES   names of what `PathSettings` may hold

The path goes in a straight line from a baseline to the trace's own input embeddings. F is the sum of the
log-probabilities of the answer's tokens. Scores sum to F(trace) − F(baseline), as far as the nodes on the path resolve
it; the rest is the residual. Published settings: pad baseline, 50 evenly spaced points with both ends, plain mean
(arXiv 2602.00425).

The adaptive nodes are ours: F itself is known wherever its gradient is taken, so on every part of the path Simpson's
rule can be compared with what it must sum to. The worst parts are halved, and all gradients serve again, until the sum
of these errors, and the root of their sum of squares, are within the bound.

Shapes: T tokens, D model width, B points of a batch.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from gsd_core.capture.checkpointing import CheckpointedLayers
from gsd_core.capture.hooks import FrozenModel
from gsd_core.capture.memory import count_graph_bytes
from gsd_core.console.report import Report, ignore
from gsd_core.models.devices import input_device

BASELINES = ("pad", "mean", "question", "noise")
"""Where the path begins: the pad token's embedding everywhere; the mean of all embeddings everywhere; the pad token's
embedding everywhere but in the question, which is kept; random numbers that vary as embeddings do."""
NODES = ("adaptive", "gauss", "published")
"""Where gradients are taken: ours; Gauss and Legendre's; evenly spaced with both ends."""
FIRST_BORDERS = (0.0, 0.0625, 0.25, 1.0)  # most of F changes near the baseline
FLOAT, COPIES = 4, 4  # bytes; copies of embeddings and of the answer's logits that no graph holds
LEAST_BOUND = 1e-6  # nats; for traces whose answer is as likely as at the baseline


@dataclass(frozen=True, slots=True)
class PathSettings:
    """``points``: gradients of a path with nodes gauss or published; ``residual``: share of the difference in F that
    adaptive nodes may leave, and ``most_points`` where they give up. ``batch_tokens``: tokens of a batch of points.
    ``seed`` is that of baseline noise."""

    baseline: str = "question"
    nodes: str = "adaptive"
    points: int = 50
    residual: float = 0.01
    most_points: int = 512
    batch_tokens: int = 4096
    gradient_checkpointing: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.baseline not in BASELINES or self.nodes not in NODES:
            raise ValueError(f"baseline {self.baseline!r}, nodes {self.nodes!r}; give one of {BASELINES}, of {NODES}")


@dataclass(frozen=True, slots=True)
class AnswerTrace:
    """``token_ids`` (T,) end with the answer's last token; ``answer_start`` ≥ 1 is its first. The first ``n_question``
    tokens are the question's."""

    token_ids: np.ndarray
    answer_start: int
    n_question: int = 0


@dataclass(frozen=True, slots=True)
class Attribution:
    """``scores`` (T,) float64 nats; the last token's is 0, since nothing reads it. ``value`` and ``baseline_value`` are
    F of the trace and of the baseline. ``n_points`` gradients and ``n_values`` forward passes were taken."""

    scores: np.ndarray
    value: float
    baseline_value: float
    n_points: int
    n_values: int

    @property
    def residual(self) -> float:
        """|Σ scores − (F(trace) − F(baseline))| in nats: 0 where the attribution is complete."""
        return abs(float(self.scores.sum()) - (self.value - self.baseline_value))


def count_passes(settings: PathSettings) -> tuple[int, int]:
    """Least numbers of gradients and of forward passes of a trace; exact unless the nodes are adaptive."""
    if settings.nodes == "adaptive":
        return 2 * len(FIRST_BORDERS) - 1, 0
    return settings.points, 2


@dataclass(frozen=True, slots=True)
class _Point:
    """A place on the path: F, and the slope (T − 1,) float64 of F that each token accounts for."""

    at: float
    value: float
    slopes: np.ndarray


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of the path: its ends and its middle."""

    low: _Point
    middle: _Point
    high: _Point

    @property
    def scores(self) -> np.ndarray:
        """(T − 1,) integral by Simpson's rule."""
        return (self.high.at - self.low.at) / 6 * (self.low.slopes + 4 * self.middle.slopes + self.high.slopes)

    @property
    def error(self) -> float:
        """What the scores sum to beyond the difference of F."""
        return float(self.scores.sum()) - (self.high.value - self.low.value)


class AnswerGradients:
    """Attributions of traces to the answer's log-probability, under one model.

    Parameters
    ----------
    model
        Any causal language model that takes ``inputs_embeds``. It is frozen while it works, and left as it was.
    pad_id
        The token whose embedding is the pad baseline.
    """

    def __init__(self, model: PreTrainedModel, pad_id: int, settings: PathSettings | None = None) -> None:
        self.model, self.pad_id, self.settings = model, pad_id, settings or PathSettings()
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters

    @property
    def attention(self) -> str:
        """Which attention runs: plain products on a GPU, whose fused kernels have another backward; else the model's
        own implementation."""
        if input_device(self.model).type == "cuda":
            return "math"
        return str(getattr(self.model.config, "_attn_implementation", "") or "its own")

    def attribute(self, trace: AnswerTrace, report: Report = ignore) -> Attribution:
        """Token scores of a trace. ``report`` gets the share that is done."""
        with self._ready(), torch.no_grad():
            path = _Path(self, trace)
            if self.settings.nodes == "adaptive":
                parts, n_points = self._refine(path, report)
                scores = np.sum([part.scores for part in parts], axis=0)
                at_baseline, at_trace, n_values = parts[0].low.value, parts[-1].high.value, 0
            else:
                nodes, weights = _choose_nodes(self.settings)
                scores = np.einsum("j,jt->t", weights, [point.slopes for point in path.take(nodes, report)])
                at_baseline, at_trace = path.measure([0.0, 1.0])
                n_points, n_values = len(nodes), 2
        return Attribution(np.append(scores, 0.0), at_trace, at_baseline, n_points, n_values)

    def _refine(self, path: _Path, report: Report) -> tuple[list[_Part], int]:
        """Parts in order, and how many gradients they took; those of a part that is halved serve again."""
        settings = self.settings
        borders = np.array(FIRST_BORDERS)
        first = path.take(np.sort(np.concatenate([borders, (borders[1:] + borders[:-1]) / 2])))
        parts = [_Part(*first[at : at + 3]) for at in range(0, len(first) - 1, 2)]
        n_points = len(first)
        bound = max(settings.residual * abs(first[-1].value - first[0].value), LEAST_BOUND)
        while True:
            errors = np.array([part.error for part in parts])
            # Their sum alone could be small by luck; that they are small one by one would be asking for too much.
            error = max(abs(float(errors.sum())), float(np.sqrt(np.square(errors).sum())))
            report(min(1.0, bound / error) if error > 0 else 1.0)
            n_worst = max(1, int((np.abs(errors) > bound / np.sqrt(len(parts))).sum()))
            worst = np.argsort(-np.abs(errors), kind="stable")[: min(n_worst, (settings.most_points - n_points) // 2)]
            if error <= bound or not len(worst):
                return sorted(parts, key=lambda part: part.low.at), n_points
            halved = [parts[at] for at in worst.tolist()]
            parts = [part for at, part in enumerate(parts) if at not in set(worst.tolist())]
            ends = [both for part in halved for both in ((part.low, part.middle), (part.middle, part.high))]
            middles = path.take([(low.at + high.at) / 2 for low, high in ends])
            n_points += len(middles)
            parts += [_Part(low, middle, high) for (low, high), middle in zip(ends, middles, strict=True)]

    def count_bytes(self, trace: AnswerTrace) -> int:
        """Bytes that one point of the path holds while its gradient is computed: its graph, logits and embeddings."""
        with self._ready(), torch.no_grad():
            path = _Path(self, trace)
            held = count_graph_bytes(self.model, lambda: path.take([0.0]))
        width, n_answer = path.width, len(trace.token_ids) - trace.answer_start
        vocabulary = int(self.model.config.get_text_config().vocab_size)
        return held + FLOAT * (COPIES * width * len(trace.token_ids) + COPIES * vocabulary * n_answer)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """The model frozen; where a GPU's fused attention has another backward, attention by plain products."""
        layers = CheckpointedLayers(self.model) if self.settings.gradient_checkpointing else nullcontext()
        is_gpu = input_device(self.model).type == "cuda"
        attention = sdpa_kernel(SDPBackend.MATH) if is_gpu else nullcontext()
        with FrozenModel(self.model), layers, attention:
            yield


class _Path:
    """The way from the baseline to one trace's input embeddings, and F on it."""

    def __init__(self, owner: AnswerGradients, trace: AnswerTrace) -> None:
        model, settings = owner.model, owner.settings
        n_tokens = len(trace.token_ids)
        if not 1 <= trace.answer_start < n_tokens:
            raise ValueError(f"the answer begins at token {trace.answer_start} of {n_tokens}; give 1 to {n_tokens - 1}")
        self._model, self._keeps_logits = model, owner._keeps_logits
        device = input_device(model)
        ids = torch.as_tensor(np.asarray(trace.token_ids, dtype=np.int64), device=device)[None]
        embed: Any = model.get_input_embeddings()
        self._targets = ids[0, trace.answer_start :]
        self._end = embed(ids[:, :-1]).float()
        start = embed(torch.tensor([[owner.pad_id]], device=device)).float()
        if settings.baseline in ("mean", "noise"):
            start, spread = _compute_embedding_moments(embed, self._end)
            if settings.baseline == "noise":
                random = torch.Generator().manual_seed(settings.seed)
                start = start + spread * torch.randn(self._end.shape, generator=random).to(self._end.device)
        self._start = start.expand_as(self._end).clone()
        shared = trace.n_question if settings.baseline == "question" else 0
        self._start[:, :shared] = self._end[:, :shared]
        if settings.gradient_checkpointing:  # layers that are computed again would write to the cache again
            shared = 0
        self._dtype = embed.weight.dtype
        self.width = int(self._end.shape[-1])
        self._batch = max(1, settings.batch_tokens // n_tokens)  # each point reads the shared part too
        # The first answer token's logits are read one place before it, which must not be in the shared part.
        self._n_shared, self._past = self._share(min(shared, trace.answer_start - 1))

    def _share(self, n_shared: int) -> tuple[int, Any]:
        """Keys and values of a beginning that is the same all along the path, once for all points."""
        if not n_shared:
            return 0, None
        found = self._model(inputs_embeds=self._end[:, :n_shared].to(self._dtype), use_cache=True)
        past = getattr(found, "past_key_values", None)
        return (n_shared, past) if hasattr(past, "batch_repeat_interleave") else (0, None)

    def measure(self, points: Sequence[float]) -> list[float]:
        """F at places on the path, 0 at the baseline and 1 at the trace."""
        found: list[float] = []
        for first in range(0, len(points), self._batch):
            found += self._compute(self._interpolate(points[first : first + self._batch])).tolist()
        return found

    def take(self, places: Sequence[float] | np.ndarray, report: Report = ignore) -> list[_Point]:
        """F and its slopes at places on the path."""
        way = (self._end - self._start)[:, self._n_shared :].double()
        found: list[_Point] = []
        for first in range(0, len(places), self._batch):
            batch = [float(each) for each in places[first : first + self._batch]]
            inputs = self._interpolate(batch).requires_grad_(True)
            with torch.enable_grad():
                values = self._compute(inputs)
                (slopes,) = torch.autograd.grad(values.sum(), inputs)
            own = np.zeros((len(batch), self._end.shape[1]))
            own[:, self._n_shared :] = (slopes.double() * way).sum(-1).cpu().numpy()
            numbers = values.detach().cpu().tolist()
            found += [_Point(*each) for each in zip(batch, numbers, own, strict=True)]
            report(len(found) / len(places))
        return found

    def _interpolate(self, points: Sequence[float]) -> torch.Tensor:
        """(B, T − 1 − shared, D) embeddings in the model's own number format."""
        shares = torch.tensor(list(points), dtype=torch.float32, device=self._end.device)[:, None, None]
        start, end = (each[:, self._n_shared :] for each in (self._start, self._end))
        return (start + shares * (end - start)).to(self._dtype)

    def _compute(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B,) float32 log-probability of the answer."""
        n_answer = len(self._targets)
        more: dict[str, Any] = {"logits_to_keep": n_answer} if self._keeps_logits else {}
        if self._past is not None:
            past = copy.deepcopy(self._past)
            past.batch_repeat_interleave(len(inputs))
            more["past_key_values"] = past
        else:
            more["use_cache"] = False
        logits = self._model(inputs_embeds=inputs, **more).logits[:, -n_answer:].float()
        targets = self._targets.to(logits.device).expand(len(inputs), -1)
        return logits.log_softmax(-1).gather(-1, targets[..., None]).sum((1, 2))


def _compute_embedding_moments(embed: Any, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, 1, D) mean and standard deviation over the vocabulary, as the embedding gives it (some models scale it)."""
    everything = torch.arange(embed.weight.shape[0], device=own.device)
    sums = torch.zeros(own.shape[-1], dtype=torch.float64, device=own.device)
    squares, block = sums.clone(), 8192
    for first in range(0, len(everything), block):
        found = embed(everything[first : first + block]).double()
        sums, squares = sums + found.sum(0), squares + found.square().sum(0)
    mean = sums / len(everything)
    spread = (squares / len(everything) - mean.square()).clamp(min=0).sqrt()
    return mean.float()[None, None], spread.float()[None, None]


def _choose_nodes(settings: PathSettings) -> tuple[np.ndarray, np.ndarray]:
    """(J,) places and weights of a path without refinement."""
    if settings.nodes == "published":
        return np.linspace(0, 1, settings.points), np.full(settings.points, 1 / settings.points)
    nodes, weights = np.polynomial.legendre.leggauss(settings.points)
    return (nodes + 1) / 2, weights / 2
