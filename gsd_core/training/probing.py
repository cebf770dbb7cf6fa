"""Capture of a probe set between two steps of a training, without effect on the training.

capture_probe            all batches of the probe set that a sink does not have yet
unchanged_training       context: random states, gradient mode and the model's own forward function, restored on exit
compute_fingerprint      a short hash of weights, equal for equal weights
check_can_track          refuses trainings in which no process has all weights

``FrozenModel`` (``gsd_core.capture.hooks``) restores each module's mode and each parameter's flag; this module restores
the rest. Weights are captured in their own dtype, outside of any autocast, so that a captured step equals ``gsd
capture`` of the checkpoint that the trainer saves.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from gsd_core.capture.capture import Capturer, iter_captured
from gsd_core.errors import UserError
from gsd_core.training.sinks import GradientSink

FINGERPRINT_VALUES = 256  # a tensor: an optimizer step changes nearly all of them


def capture_probe(capturer: Capturer, sink: GradientSink, step: int) -> int:
    """Capture the weights of `step`; returns how many batches were missing and are now written.

    When it is interrupted, the sink has all batches that were finished.
    """
    done = sink.begin_step(step, compute_fingerprint(capturer.model))
    n_written = 0
    try:
        with unchanged_training(capturer.model):
            for index, results in iter_captured(capturer, sink.samples, done):
                sink.write(step, index, results)
                n_written += 1
    except BaseException:
        sink.flush()
        raise
    return n_written


@contextmanager
def unchanged_training(model: nn.Module) -> Iterator[None]:
    """Context without effect on the training: no random number drawn, no mode changed.

    Accelerate's mixed precision wraps ``model.forward`` in an autocast; inside, the original function is used.
    """
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    plain, patched = model.__dict__.get("_original_forward"), model.__dict__.get("forward")
    try:
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            if plain is not None and patched is not None:
                model.__dict__["forward"] = plain
            yield
    finally:
        if plain is not None and patched is not None:
            model.__dict__["forward"] = patched
        random.setstate(python)
        np.random.set_state(numpy)


def compute_fingerprint(model: nn.Module) -> str:
    """SHA-256 over up to 256 evenly spaced values of every parameter; reads a few kilobytes of any model."""
    digest = hashlib.sha256()
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            flat = parameter.detach().reshape(-1)
            spread = flat[:: max(1, flat.numel() // FINGERPRINT_VALUES)]
            digest.update(f"{name}\x00{tuple(parameter.shape)}\x00".encode())
            digest.update(spread.to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()


def check_can_track(arguments: Any, model: nn.Module, rides: bool) -> None:
    """Refuse trainings that would be captured wrongly.

    Raises
    ------
    UserError
        Weights sharded over processes (FSDP, DeepSpeed ZeRO-3, tensor parallelism); and for a ride also DeepSpeed,
        ``DataParallel``, float16 with loss scaling, ``torch.compile`` and dropped columns.
    """
    where = "TrainingArguments"
    kinds = {type(parameter).__name__ for parameter in model.parameters()}
    is_sharded = "DTensor" in kinds or any(p.numel() == 0 for p in model.parameters())
    if getattr(arguments, "fsdp", None) or is_deepspeed_zero3_enabled() or is_sharded:
        raise UserError(
            "the weights are sharded over processes (FSDP, DeepSpeed ZeRO-3 or tensor parallelism), "
            "so none can capture gradients of its own",
            where,
            "train with DDP or on one device, or capture the saved checkpoints with gsd capture --checkpoints",
        )
    if not rides:
        return
    refusals = (
        (getattr(arguments, "deepspeed", None), "DeepSpeed runs the backward pass itself", "train without it"),
        (getattr(arguments, "n_gpu", 1) > 1, "DataParallel copies the model", "start one process a GPU"),
        (getattr(arguments, "fp16", False), "float16 scales the loss by a factor of its own", "use bf16=True"),
        (getattr(arguments, "torch_compile", False), "a compiled model runs past the hooks", "leave torch_compile out"),
        (
            getattr(arguments, "remove_unused_columns", False),
            "the trainer drops the column gsd_row, which names the samples of a batch",
            "set remove_unused_columns=False",
        ),
    )
    for applies, reason, fix in refusals:
        if applies:
            raise UserError(f"gradients cannot ride on this training: {reason}", where, fix)
