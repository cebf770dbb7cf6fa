"""Span gradients during a training, and the training of the demo model.

SpanGradientCallback   tracks span gradients while a trainer of transformers or TRL trains
RowCollator, make_training_rows, add_row_numbers   training data with the number of each row's sample
GradientSink           where tracked gradients go

Modules: ``callback``; ``probing`` (capture between steps); ``riding`` (hooks on the training's own passes); ``rows``;
``sinks``; ``overhead``; ``demo_model``, which trains the bundled demo model on ``demo_data``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gsd_core.training.callback import SpanGradientCallback
    from gsd_core.training.rows import RowCollator, add_row_numbers, make_training_rows
    from gsd_core.training.sinks import GradientSink

__all__ = ["GradientSink", "RowCollator", "SpanGradientCallback", "add_row_numbers", "make_training_rows"]

_HOMES = {
    "SpanGradientCallback": "callback",
    "RowCollator": "rows",
    "make_training_rows": "rows",
    "add_row_numbers": "rows",
    "GradientSink": "sinks",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562): the demo's data needs no trainer."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"gsd_core.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gsd_core.training' has no attribute {name!r}")
