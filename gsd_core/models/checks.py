"""Is a loaded model the one that was saved, and a causal one? A random or wrong model gives plausible directions.

check_keys       refuses weights that are missing in the files
check_tokenizer  refuses a tokenizer with tokens that the model does not know
check_causal     refuses a model whose earlier logits change with a later token
WRAPPERS         prefixes that training wrappers put before names of weights, taken off on loading
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gsd_core.errors import UserError
from gsd_core.models.devices import input_device

WRAPPERS = {"_orig_mod.": "torch.compile", "module.": "DistributedDataParallel"}
SHOWN_NAMES = 4
N_PROBE = 8  # tokens
# Largest change of an earlier logit, as a share of the logits' range: float32 rounding is 1e-6,
# a small random encoder leaks 1e-3.
LARGEST_LEAK = {torch.float32: 1e-4}
LARGEST_LEAK_HALF = 1e-2


def check_keys(info: Mapping[str, Collection[Any]], source: str) -> None:
    """`info`: transformers' loading report, or names by ``missing_keys`` alone.

    Raises
    ------
    UserError
        Some weights are not in the files, or have another shape there. They would be random.
    """
    for name, stored, wanted in sorted(info.get("mismatched_keys", ())):
        raise UserError(
            f"{name} has shape {tuple(stored)} in the files and {tuple(wanted)} in the model",
            f"--model {source}",
            "give the config.json that belongs to the weights",
        )
    missing = sorted(info["missing_keys"])
    if not missing:
        return
    names = ", ".join(missing[:SHOWN_NAMES]) + (" …" if len(missing) > SHOWN_NAMES else "")
    unknown = sorted(info.get("unexpected_keys", ()))
    instead = f"; the files hold {', '.join(unknown[:SHOWN_NAMES])}, which the model does not know" if unknown else ""
    raise UserError(
        f"{len(missing)} weights of the model are missing in its files and would be random: {names}{instead}",
        f"--model {source}",
        "save the model again with save_pretrained, and check its config.json",
    )


def check_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Raises ``UserError`` where the tokenizer has token ids beyond the model's embedding."""
    n_ids = max(tokenizer.get_vocab().values(), default=-1) + 1
    n_rows = getattr(model.get_input_embeddings(), "num_embeddings", n_ids)
    if n_ids > n_rows:
        raise UserError(
            f"the tokenizer has {n_ids:,} tokens, the model's embedding {n_rows:,}",
            f"--model {source}",
            "use the tokenizer that the model was trained with, or resize the embedding and train it",
        )


@torch.no_grad()
def check_causal(model: PreTrainedModel, source: str) -> None:
    """Change the last of a few tokens, and compare the logits of those before it.

    Raises
    ------
    UserError
        They change: the model sees the future, as encoders do.
    """
    n_tokens = getattr(model.get_input_embeddings(), "num_embeddings", 2)
    ids = (torch.arange(N_PROBE, device=input_device(model)) * 7 + 1) % n_tokens
    rows = ids.repeat(2, 1)
    rows[1, -1] = (rows[1, -1] + n_tokens // 2) % n_tokens
    output: Any = model(input_ids=rows, use_cache=False)
    logits = output.logits.float()
    allowed = LARGEST_LEAK.get(output.logits.dtype, LARGEST_LEAK_HALF)
    leak = (logits[0, :-1] - logits[1, :-1]).abs().max()
    if leak > allowed * (logits.max() - logits.min()):  # false for weights that are not finite: capture tells of those
        raise UserError(
            f"the model is not causal: a later token changes the logits of earlier ones (by up to {float(leak):.2g})",
            f"--model {source}",
            "choose a decoder-only model that was trained to predict the next token",
        )
