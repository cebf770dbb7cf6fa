"""What a capture will do: its options, the manifest, and the settings that a resumed run must share.

resolve_tier       tier and window flags → (tier, window)
make_run_name      a valid name from data set, model and tier
make_manifest      everything needed to repeat the run
check_resumable    refuses to continue a run with other settings
describe_directions  what two sketches share if their directions can be compared
make_resume_line   the command that continues an interrupted run
"""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from gsd_core import __version__
from gsd_core.driver.stored_data import check_name
from gsd_core.errors import UserError
from gsd_core.methods.capture_method import CaptureOptions
from gsd_core.registry.options import to_words
from gsd_core.tiers import ALIASES, DEFAULT_TIER, PREFIX_SHARE, TIERS, find_tier, get_tier, join_tiers
from gsd_core.types import TokenizedSample

if TYPE_CHECKING:
    from gsd_core.capture.embeddings import SentenceEncoder
    from gsd_core.store import DatasetInfo

DEFAULT_SKETCH_WIDTH = 2048
MOST_BATCH_TOKENS = 4096  # where no number is given; more would be hardly faster
AFFORDABLE_FORWARDS = 8.0  # where exact costs more forward passes, the default is window 1
CHECKPOINTED_SPAN = 2.0  # forward passes: a whole forward and a whole backward pass a span
MUST_MATCH = (
    *("dataset", "tier", "window", "segmenter", "seed"),
    *("sketch", "lora", "limit", "truncate", "batch_tokens", "control_tokens"),
)
CARRIED = ("lora", "baseline_of", "limit", "truncate", "batch_tokens", "control_tokens")
VERSIONED = ("torch", "transformers", "tokenizers", "numpy", "pylance", "sentence-transformers", "peft")


def resolve_tier(
    tier: str | None, window: str | None, samples: Sequence[TokenizedSample], checkpointed: bool = False
) -> tuple[str, int | None]:
    """The tier and the window (None: all spans) that the flags mean.

    Without a window flag, tier span is exact where that costs at most eight forward passes a sample: ``1 + 0.58 S`` for
    S spans (methods §1.1). Otherwise it takes window 1. With `checkpointed` layers exact costs ``1 + 2 S`` [ours],
    because every span goes back through the whole sample, which is computed again. Raises ``UserError`` for an unknown
    tier, and for a window where the tier has none.
    """
    name, meant = ALIASES.get(tier or "", (tier or DEFAULT_TIER, None))
    if meant is not None:
        if window not in (None, meant):
            raise UserError(f"tier {tier} means window {meant}", "--window", "leave one of the flags out")
        window = meant
    tier = get_tier(name).name
    if not TIERS[tier].has_window:
        if window is not None:
            others = join_tiers(each for each in TIERS.values() if each.has_window)
            raise UserError(f"tier {tier} has no window", "--window", f"leave it out, or use --tier {others}")
        return tier, None
    if window == "all":
        return tier, None
    if window is not None:
        return tier, int(window)
    mean_spans = sum(len(s.spans) for s in samples) / max(1, len(samples))
    price = CHECKPOINTED_SPAN if checkpointed else PREFIX_SHARE
    return tier, None if 1 + price * mean_spans <= AFFORDABLE_FORWARDS else 1


def make_run_name(options: CaptureOptions, dataset: str) -> str:
    """``--run``, else data set, model and tier joined by hyphens."""
    if options.run is not None:
        return check_name(options.run, "--run")
    model = options.model.rstrip("/").rsplit("/", 1)[-1]
    raw = f"{dataset}-{model}-{options.tier or DEFAULT_TIER}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", raw).strip("-._")[:64]


def make_manifest(
    options: CaptureOptions,
    *,
    dataset: DatasetInfo,
    n_samples: int,
    model: dict[str, Any],
    tier: str,
    window: int | None,
    sketch: dict[str, Any],
    encoder: SentenceEncoder,
) -> dict[str, Any]:
    """Everything needed to repeat the run, as JSON; `n_samples` is how many of the data set were read."""
    kind = find_tier(tier)
    versions: dict[str, str | None] = {"gsd": __version__, "python": platform.python_version()}
    versions |= {name: _version_of(name) for name in VERSIONED}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "gsd_version": versions["gsd"],
        "dataset": {key: getattr(dataset, key) for key in ("name", "source", "data_hash")} | {"n_samples": n_samples},
        "model": model,
        "tier": tier,
        "window": "all" if window is None and kind is not None and kind.has_window else window,
        "segmenter": options.segmenter,
        "seed": options.seed,
        "sketch": sketch,
        **{key: getattr(options, key) for key in CARRIED},
        "encoder": {"name": encoder.name, "source": encoder.source, "weights_hash": encoder.weights_hash},
        "flags": asdict(options),
        "versions": versions,
        "platform": platform.platform(),
        "checkpoints": [],
        "status": "capturing",
    }


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_resumable(stored: dict[str, Any], wanted: dict[str, Any], run: str, with_weights: bool = True) -> None:
    """Compare the settings that decide the numbers; without `with_weights` not the weights, as a training changes them.

    Raises ``UserError``, which names the first setting that differs.
    """
    pairs = [(key, _essence(key, stored.get(key)), _essence(key, wanted.get(key))) for key in MUST_MATCH]
    for part in ("hash", "dtype") if with_weights else ("architecture", "dtype"):
        pairs.append((f"model {part}", stored.get("model", {}).get(part), wanted["model"].get(part)))
    for key, old, new in pairs:
        if old != new:
            raise UserError(
                f"the run was captured with another {key} ({_short(old)}, now {_short(new)})",
                f"run {run}",
                "use the same flags, or another --run name",
            )


def make_resume_line(workspace_uri: str, options: CaptureOptions, run: str) -> str:
    """The ``gsd capture`` line that continues `run`, with every option that differs from its default."""
    asked = replace(options, run=run, resume=True)
    return shlex.join(["gsd", "--workspace", str(workspace_uri), "capture", *to_words(asked)])


def describe_directions(sketch: dict[str, Any]) -> dict[str, Any]:
    """What two sketches of a manifest share if their directions can be compared."""
    digest = (sketch.get("calibration") or {}).get("digest")
    return {part: sketch.get(part) for part in ("width", "rank", "seed", "modules")} | {"calibration": digest}


def _essence(key: str, value: Any) -> Any:
    if key == "control_tokens":
        return value or "control"  # what runs were captured with before there was a choice
    if key == "dataset" and isinstance(value, dict):
        return value.get("data_hash")
    if key == "sketch" and isinstance(value, dict):
        return describe_directions(value)
    return value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
