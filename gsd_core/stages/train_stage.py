"""``gsd train``: read samples, tokenize them as a capture does, fine-tune, keep checkpoints and a log.

run_train       the stage; a training that was stopped continues from its last state
describe_train  the result as text
RECORD          file with everything needed to repeat a training
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gsd_core import __version__
from gsd_core.console.output import format_seconds, format_table
from gsd_core.console.progress import Progress
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.driver.capture_plan import CaptureOptions
from gsd_core.driver.capture_run import describe_skipped, tokenize_samples
from gsd_core.driver.stored_data import resolve_dataset
from gsd_core.driver.tracking import open_probe
from gsd_core.errors import Interrupted, UserError
from gsd_core.methods.train_method import TrainOptions
from gsd_core.models.gguf_files import PACKAGED
from gsd_core.models.loading import LoadedModel, compute_model_hash, max_positions, open_model
from gsd_core.models.memory import keep_freed
from gsd_core.registry.options import to_words
from gsd_core.store import Workspace
from gsd_core.training import finetune
from gsd_core.training.callback import SpanGradientCallback
from gsd_core.training.probing import unchanged_training

if TYPE_CHECKING:
    from gsd_core.driver.capture_run import RunSamples

RECORD = "training.json"


@dataclass(slots=True)
class _Plan:
    """One training: what goes in, and the record that it writes."""

    workspace: Workspace
    options: TrainOptions
    progress: Progress
    folder: Path
    loaded: LoadedModel
    samples: RunSamples
    eval_samples: RunSamples | None
    recipe: finetune.Recipe
    record: dict[str, Any]


def run_train(workspace: Workspace, options: TrainOptions, progress: Progress) -> dict[str, Any]:
    """Fine-tune a model on a data set's reasoning and answers.

    Returns ``out, model, dataset, n_samples, n_skipped, skipped, n_tokens, steps, resumed_at, seconds, loss,
    checkpoints, run, notes``; ``loss`` is the last step's, ``checkpoints`` are ``{name, step, eval_loss}``, ``seconds``
    are this attempt's. Raises ``UserError`` for an unknown data set or model, a folder that exists, other settings than
    those of the training to resume, and a loss that is no number; ``Interrupted`` where a signal stops it.
    """
    started = time.monotonic()
    folder = Path(options.out).expanduser()
    known = _read_record(folder, options)
    dataset = resolve_dataset(workspace, options.dataset, map_flag=options.map, progress=progress)
    other = None if options.eval is None else resolve_dataset(workspace, options.eval, progress=progress)
    with progress.stage("loading model", 1, "model"):
        loaded = open_model(options.model, device=options.device, trust_remote_code=options.trust_remote_code)
    for note in loaded.notes:
        progress.note(note)
    samples = _tokenize(workspace, dataset, options.limit, loaded, options, progress)
    held = None if other is None else _tokenize(workspace, other, options.eval_limit, loaded, options, progress)
    recipe = _make_recipe(options, loaded.model, len(samples.tokenized))
    record = _describe(workspace.open_dataset(dataset), options, recipe, loaded, samples)
    plan = _Plan(workspace, options, progress, folder, loaded, samples, held, recipe, record)
    if known is not None:
        _check_same(known, record, folder)
        plan.record = known
    finetune.check_memory(loaded.model, loaded.model.device)
    if loaded.model.device.type == "cpu":
        keep_freed()
    folder.mkdir(parents=True, exist_ok=True)
    loaded.tokenizer.save_pretrained(folder)
    _write_record(plan)
    try:
        resumed_at, loss, run = _train(plan)
    except KeyboardInterrupt:
        words = to_words(replace(options, resume=True))
        raise Interrupted(shlex.join(["gsd", "--workspace", str(workspace.uri), "train", *words])) from None
    plan.record["status"] = "trained"
    _write_record(plan)
    rows = samples.skipped
    return {
        "out": str(folder),
        "model": options.model,
        "dataset": dataset,
        "n_samples": len(samples.tokenized),
        "n_skipped": len(rows),
        "skipped": [{"sample": each.sample, "reason": each.reason} for each in rows],
        "n_tokens": record["data"]["n_tokens"],
        "steps": recipe.steps,
        "resumed_at": resumed_at,
        "seconds": time.monotonic() - started,
        "loss": loss,
        "checkpoints": plan.record["checkpoints"],
        "run": run,
        "notes": list(loaded.notes),
    }


def _tokenize(
    workspace: Workspace,
    dataset: str,
    limit: int | None,
    loaded: LoadedModel,
    options: TrainOptions,
    progress: Progress,
) -> RunSamples:
    """Samples as a capture reads them; one token is left free for an end of text."""
    longest = max_positions(loaded.model)
    return tokenize_samples(
        workspace.read_samples(dataset, head=limit),
        loaded.tokenizer,
        make_segmenter("steps"),
        None if longest is None else longest - 1,
        CaptureOptions(dataset=dataset, model=options.model, truncate=options.truncate),
        progress,
    )


def _make_recipe(options: TrainOptions, model: Any, n_samples: int) -> finetune.Recipe:
    steps = options.steps or finetune.count_steps(n_samples, options.batch_size, options.epochs)
    outside = [step for step in options.keep if not 0 <= step <= steps]
    if outside:
        raise UserError(f"step {outside[0]} is not one of 0 to {steps}", "--keep", "give steps of this training")
    if options.batch_size % min(options.micro_batch, options.batch_size):
        raise UserError(
            f"{options.batch_size} samples cannot be cut into passes of {options.micro_batch}",
            "--micro-batch",
            "give a divisor of --batch-size",
        )
    has_autocast = options.autocast == "bfloat16" or (
        options.autocast == "auto" and finetune.has_bfloat16(model.device)
    )
    return finetune.Recipe(
        steps=steps,
        keep=tuple(sorted(set(options.keep))) or finetune.choose_kept_steps(steps),
        batch_size=options.batch_size,
        micro_batch=min(options.micro_batch, options.batch_size),
        rate=options.rate,
        warmup=round(steps / 20),
        has_autocast=has_autocast,
        gradient_checkpointing=options.gradient_checkpointing,
        seed=options.seed,
    )


def _describe(
    dataset: Any, options: TrainOptions, recipe: finetune.Recipe, loaded: LoadedModel, samples: RunSamples
) -> dict[str, Any]:
    """Everything needed to repeat the training, as JSON."""
    asked = replace(options, resume=False)
    return {
        "command": shlex.join(["gsd", "train", *to_words(asked)]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "training",
        "data": {
            **{key: getattr(dataset, key) for key in ("name", "source", "data_hash")},
            "n_samples": len(samples.tokenized),
            "n_tokens": int(sum(len(each.token_ids) for each in samples.tokenized)),
        },
        "model": {"source": options.model, "hash": compute_model_hash(loaded.model), "notes": list(loaded.notes)},
        "recipe": {**asdict(recipe), "keep": list(recipe.keep), "lora": options.lora, "truncate": options.truncate},
        "checkpoints": [],
        "n_threads": torch.get_num_threads(),
        "versions": {"gsd": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def _read_record(folder: Path, options: TrainOptions) -> dict[str, Any] | None:
    """The record of the training that is resumed; None for a new one."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not options.resume:
        raise UserError("the folder exists already", f"--out {folder}", "add --resume to go on, or choose another one")
    try:
        return dict(json.loads((folder / RECORD).read_text("utf-8")))
    except (OSError, ValueError):
        raise UserError(
            f"no training can be resumed: {RECORD} is missing or not JSON", f"--out {folder}", "choose another folder"
        ) from None


def _check_same(known: dict[str, Any], record: dict[str, Any], folder: Path) -> None:
    """Raises ``UserError``, which names the first setting that differs from the training to resume."""
    free = ("micro_batch", "gradient_checkpointing")  # they change no gradient
    pairs = [("data set", known["data"]["data_hash"], record["data"]["data_hash"])]
    pairs += [("model", known["model"]["hash"], record["model"]["hash"])]
    pairs += [(key, known["recipe"].get(key), value) for key, value in record["recipe"].items() if key not in free]
    for name, old, new in pairs:
        if old != new:
            raise UserError(
                f"the training was begun with another {name} ({str(old)[:24]}, now {str(new)[:24]})",
                f"--out {folder}",
                "use the same flags, or another folder",
            )


def _write_record(plan: _Plan) -> None:
    part = plan.folder / f"{RECORD}.part"
    part.write_text(json.dumps(plan.record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, plan.folder / RECORD)


def _train(plan: _Plan) -> tuple[int, float | None, str | None]:
    """Train. Returns the step it began at, the last loss, and the run that a probe has written."""
    options, recipe = plan.options, plan.recipe
    loss: list[float | None] = [None]
    model = plan.loaded.model
    if options.lora:
        # The name that was given travels; the folder of a packaged model is this machine's own.
        base = options.model if options.model in PACKAGED else str(model.name_or_path)
        model = finetune.add_lora(model, options.lora, options.seed, base)
    elif options.gradient_checkpointing:
        model.config.use_cache = False
    callbacks, run = [], None
    if options.probe is not None:
        run = options.run or f"{Path(options.probe).stem}-train"
        probe = open_probe(
            resolve_dataset(plan.workspace, options.probe, progress=plan.progress),
            model=model,
            tokenizer=plan.loaded.tokenizer,
            run=run,
            workspace=plan.workspace.uri,
        )
        callbacks.append(SpanGradientCallback(probe, steps=recipe.keep, at_start=0 in recipe.keep, at_end=False))
    stage = plan.progress.stage("training", recipe.steps, "steps")

    def show_step(step: int, found: float | None) -> None:
        loss[0] = found
        if found is None:
            stage.skip(step)
        else:
            stage.advance(1, loss=f"{found:.3f}")

    begun = finetune.fine_tune(
        model,
        plan.loaded.tokenizer,
        plan.samples.tokenized,
        recipe,
        plan.folder,
        on_step=show_step,
        on_kept=lambda step: _record_kept(plan, model, step),
        callbacks=callbacks,
    )
    stage.finish()
    return begun, loss[0], run


def _record_kept(plan: _Plan, model: Any, step: int) -> None:
    """Add a kept step to the record, with its loss on the data set that is not trained on."""
    eval_loss = None
    if plan.eval_samples is not None:
        with unchanged_training(model):
            eval_loss = finetune.compute_loss(
                model, plan.loaded.tokenizer, plan.eval_samples.tokenized, plan.recipe.micro_batch
            )
        plan.progress.note(f"step {step:,}: held-out loss {eval_loss:.4f} nats a token")
    entry = {"name": finetune.name_step(step), "step": step, "eval_loss": eval_loss}
    others = [each for each in plan.record["checkpoints"] if each["step"] != step]
    plan.record["checkpoints"] = sorted([*others, entry], key=lambda each: each["step"])
    _write_record(plan)


def describe_train(result: dict[str, Any]) -> str:
    """``gsd train``: the checkpoints with their losses, and what to do with them."""
    rows = [
        [each["name"], "–" if each["eval_loss"] is None else f"{each['eval_loss']:.4f}"]
        for each in result["checkpoints"]
    ]
    last = "" if result["loss"] is None else f", last loss {result['loss']:.3f}"
    next_line = (
        f"next: gsd analyze {result['run']}"
        if result["run"]
        else f"next: gsd capture --dataset NAME --model {shlex.quote(result['out'])} --checkpoints all"
    )
    return "\n".join(
        [
            f"{result['model']} on {result['n_samples']:,} samples of {result['dataset']} ({result['n_tokens']:,} "
            f"tokens), {result['steps']:,} steps in {format_seconds(result['seconds'])}{last}",
            format_table(("checkpoint", "held-out loss"), rows),
            f"log: {Path(result['out']) / finetune.LOG}",
            *describe_skipped(result),
            next_line,
        ]
    )
