"""The model that a run was captured with, and samples as it read them.

load_run_model   the model at a checkpoint, refused where its weights have changed
make_capturer    the modules that the run's directions hold, of that model
read_tokenized   samples as the model read them, with the spans that were captured
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedModel

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.models.loading import LoadedModel, compute_model_hash, open_model
from gsd_core.models.sources import resolve_checkpoints
from gsd_core.stages.run_reading import find_entry
from gsd_core.types import TokenizedSample, TokenSpan

if TYPE_CHECKING:
    from gsd_core.store import Run

PACKAGED = "smollm2"
"""A base model that comes with an installed package: a fine-tune's first checkpoint may be this very model."""


def load_run_model(run: Run, checkpoint: str, progress: Progress, source: str | None = None) -> LoadedModel:
    """The run's model at `checkpoint`; `source` says where it lies now, if not where it lay.

    Raises
    ------
    UserError
        The model or its checkpoint is not on this machine, or the weights are not those of the run.
    """
    flags = run.manifest.get("flags") or {}
    known = {key: flags[key] for key in ("dtype", "device", "device_map", "trust_remote_code") if key in flags}
    own = str((run.manifest.get("model") or {}).get("source"))
    stored = find_entry(run, checkpoint).get("hash")
    with progress.stage("loading model", 1, "checkpoints"):
        try:
            named = {c.name: c for c in resolve_checkpoints(source or own, flags.get("checkpoints") or [])}
        except UserError:
            named = {}
        if source is not None and len(named) == 1:
            (chosen,) = named.values()  # one model, whatever its name: the hash decides
        elif checkpoint in named:
            chosen = named[checkpoint]
        else:
            packaged = open_model(PACKAGED, **known) if source is None and stored else None
            if packaged is not None and compute_model_hash(packaged.model) == stored:
                return packaged
            raise UserError(
                "the model of this checkpoint is not on this machine",
                f"model {source or own}, checkpoint {checkpoint}",
                "put it back, name its place with --model where the command has it, or capture again",
            )
        loaded = open_model(source or own, checkpoint=chosen, **known)
        if stored and stored != compute_model_hash(loaded.model):
            raise UserError(
                "the model's weights are not those that the run was captured with",
                f"model {source or own}, checkpoint {checkpoint}",
                "restore the weights, or capture again",
            )
    return loaded


def make_capturer(run: Run, model: PreTrainedModel) -> Capturer:
    """The modules whose gradients the run's directions hold; its sketch is of no use."""
    flags = run.manifest.get("flags") or {}
    sketch = run.manifest.get("sketch") or {}
    return Capturer(
        model,
        CaptureConfig(
            tier=str(run.manifest.get("tier")),
            sketch_width=8,
            sketch_rank=1,
            seed=int(sketch.get("seed", 0)),
            lora=str(flags.get("lora", "adapters")),
            with_head=not flags.get("no_head"),
        ),
    )


def read_tokenized(run: Run, checkpoint: str, samples: Sequence[str]) -> list[TokenizedSample]:
    """Samples as the model read them, in the order asked for, with the spans that were captured."""
    spans = run.read_spans(checkpoint, ["sample", "index", "token_start", "token_end"])
    of_sample = dict(iter(spans[spans["sample"].isin(list(samples))].groupby("sample")))
    found = []
    for sample in samples:
        own = of_sample[sample].sort_values("index")
        ids = run.read_tokens(sample, checkpoint)["token_id"].to_numpy(np.int32)
        zeros = np.zeros(len(ids), np.int32)
        places = zip(own["index"], own["token_start"], own["token_end"], strict=True)
        cut = tuple(TokenSpan(int(index), int(start), int(end), 0, 0, "") for index, start, end in places)
        found.append(TokenizedSample(sample, "", ids, zeros, zeros, cut, cut[0].start, 0))
    return found
