"""What every contestant of the races is given: one model and the same token rows, as files.

Way           what a contestant captures
TIERS         capture's contestants
PLAIN         what every cost is divided by
OWN_WAYS, BERGSON_WAYS  names of all contestants
Size          how many samples, tokens a sample, spans a sample; whether spans differ in length
Settings      batch size, threads and projection rank
Work          a folder with the model and the rows, and the settings to work with
write_work    makes the folder
read_work     reads it back, without torch
load_model    the model of the folder
cut_borders   token borders of a sample's spans
mask_rows     one label-masked row a span, for tools that know no spans

The model has Llama's shape: width 256, 6 layers, 6.5 M parameters, float32, random weights. An eighth of each sample is
prompt, the spans share the rest. Shapes: N samples, T tokens a sample, S spans a sample.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

VOCABULARY = 2048
IGNORED = -100
PLAIN = "plain step"


class Way(NamedTuple):
    """Tier and window of a capture, and what is not as the races have it: the output head, checkpointed layers."""

    tier: str
    window: int | None = None
    with_head: bool = False
    checkpointed: bool = False


TIERS = {
    "hidden": Way("hidden"),
    "head": Way("head", with_head=True),
    "position": Way("position"),
    "window 0": Way("span", 0),
    "window 1": Way("span", 1),
    "window 2": Way("span", 2),
    "exact": Way("span"),
    "exact with head": Way("span", with_head=True),
    "window 1, checkpointed": Way("span", 1, checkpointed=True),
    "exact, checkpointed": Way("span", checkpointed=True),
}
AUTOGRAD = "autograd loop"
OWN_WAYS = (PLAIN, *TIERS, AUTOGRAD)
BERGSON_WAYS = ("Bergson, masked rows", "Bergson, cut rows")


@dataclass(frozen=True, slots=True)
class Size:
    """``samples`` × ``tokens`` with ``spans`` spans each, of random length where ``uneven``, else of equal length."""

    samples: int = 64
    tokens: int = 256
    spans: int = 8
    uneven: bool = False

    def describe(self) -> str:
        """In words, as tables head it."""
        return f"{self.samples} × {self.tokens} tokens, {self.spans} {'uneven ' if self.uneven else ''}spans each"


@dataclass(frozen=True, slots=True)
class Settings:
    """``batch_tokens`` padded tokens a batch, ``threads`` of torch, ``rank`` p = q of each module's projection."""

    batch_tokens: int = 2048
    threads: int = 1
    rank: int = 16


@dataclass(frozen=True, slots=True)
class Work:
    """``ids`` (N, T) int64; ``borders`` (N, S + 1) int64: span k is the target range [borders[k], borders[k + 1])."""

    folder: Path
    size: Size
    settings: Settings
    ids: np.ndarray
    borders: np.ndarray

    def iter_batches(self) -> list[list[int]]:
        """Sample indices by batch: as many whole samples as ``batch_tokens`` holds, at least one."""
        step = max(1, self.settings.batch_tokens // self.size.tokens)
        return [list(range(at, min(at + step, self.size.samples))) for at in range(0, self.size.samples, step)]


def cut_borders(size: Size, random: np.random.Generator) -> np.ndarray:
    """(S + 1,) borders of one sample's spans, from the end of the prompt to T; every span has at least one token."""
    prompt = max(1, size.tokens // 8)
    if size.tokens - prompt < size.spans:
        raise ValueError(f"{size.tokens} tokens do not hold {size.spans} spans after a prompt of {prompt}")
    if not size.uneven:
        return np.linspace(prompt, size.tokens, size.spans + 1).astype(np.int64)
    inner = random.choice(np.arange(prompt + 1, size.tokens), size.spans - 1, replace=False)
    return np.array([prompt, *sorted(inner.tolist()), size.tokens], dtype=np.int64)


def mask_rows(ids: np.ndarray, borders: np.ndarray, cut: bool) -> tuple[list[list[int]], list[list[int]]]:
    """Token and label rows, one for each of N · S spans in order: labels are -100 outside the span.

    With `cut` a row ends with its span, since nothing after it can change the span's loss.
    """
    rows, labels = [], []
    for sample, edges in zip(ids.tolist(), borders.tolist(), strict=True):
        for start, stop in pairwise(edges):
            row = sample[:stop] if cut else sample
            rows.append(row)
            labels.append([token if start <= at < stop else IGNORED for at, token in enumerate(row)])
    return rows, labels


def write_work(folder: Path, size: Size, width: int = 256, layers: int = 6) -> None:
    """Write model and rows to `folder`; equal arguments write equal bytes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=size.tokens,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    random = np.random.default_rng(0)
    ids = random.integers(3, VOCABULARY, (size.samples, size.tokens))
    borders = np.stack([cut_borders(size, random) for _ in range(size.samples)])
    np.savez(folder / "rows.npz", ids=ids, borders=borders)
    (folder / "size.json").write_text(json.dumps(asdict(size)))


def read_work(folder: Path, settings: Settings) -> Work:
    """What :func:`write_work` wrote, except the model, to be worked on with `settings`."""
    size = Size(**json.loads((folder / "size.json").read_text()))
    with np.load(folder / "rows.npz") as rows:
        return Work(folder, size, settings, rows["ids"], rows["borders"])


def load_model(work: Work) -> Any:
    """The model of the folder, float32 on the CPU, in evaluation mode."""
    from transformers import LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return LlamaForCausalLM.from_pretrained(work.folder / "model").eval()
