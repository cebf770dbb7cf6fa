"""``gsd train``: read samples, tokenize them as a capture does, fine-tune, keep checkpoints and a log.

run_train       the stage; a training that was stopped continues from its last state
describe_train  the result as text
choose_folder   where a training goes
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from gsd_core import __version__
from gsd_core.console.output import format_seconds, format_table
from gsd_core.console.progress import Progress
from gsd_core.dataset.answers import find_answer
from gsd_core.driver.capture_run import describe_skipped
from gsd_core.driver.stored_data import resolve_dataset
from gsd_core.driver.tracking import open_probe
from gsd_core.errors import Interrupted, UserError
from gsd_core.methods.train_method import TrainOptions
from gsd_core.models.gguf_files import PACKAGED
from gsd_core.models.loading import LoadedModel, compute_model_hash, open_model
from gsd_core.models.memory import keep_freed
from gsd_core.registry.options import to_words
from gsd_core.stages.train_answers import Asked, measure_answers
from gsd_core.stages.train_data import TrainData, prepare_data
from gsd_core.store import Workspace
from gsd_core.store.trainings import LOG, RECORD
from gsd_core.training import finetune
from gsd_core.training.callback import SpanGradientCallback
from gsd_core.training.probing import unchanged_training
from gsd_core.types import TokenizedSample

MOST_NAME = 64  # characters of a folder's name
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(slots=True)
class _Plan:
    """One training: what goes in, and the record that it writes."""

    workspace: Workspace
    options: TrainOptions
    progress: Progress
    folder: Path
    loaded: LoadedModel
    data: TrainData
    held: TrainData | None
    asked: Asked | None
    recipe: finetune.Recipe
    record: dict[str, Any]


def run_train(workspace: Workspace, options: TrainOptions, progress: Progress) -> dict[str, Any]:
    """Fine-tune a model on a data set's reasoning and answers.

    Returns ``out, model, dataset, objective, n_samples, n_skipped, skipped, n_tokens, n_trained, steps, resumed_at,
    seconds, loss, checkpoints, run, notes``; ``n_trained`` of the tokens carry loss, ``loss`` is the last step's,
    ``checkpoints`` are ``{name, step, eval_loss}`` and, with ``--eval-answers``, ``accuracy, n_answers, mean_tokens,
    n_cut, n_undecided``; ``seconds`` are this attempt's. Raises ``UserError`` for an unknown data set or model, a
    folder that exists, a mask that does not fit, other settings than those of the training to resume, and a loss that
    is no number; ``Interrupted`` where a signal stops it.
    """
    started = time.monotonic()
    folder = choose_folder(workspace, options)
    known = _read_record(folder, options)
    dataset = resolve_dataset(workspace, options.dataset, map_flag=options.map, progress=progress)
    other = None if options.eval is None else resolve_dataset(workspace, options.eval, progress=progress)
    with progress.stage("loading model", 1, "model"):
        loaded = open_model(options.model, device=options.device, trust_remote_code=options.trust_remote_code)
    for note in loaded.notes:
        progress.note(note)
    data = prepare_data(workspace, dataset, options.limit, loaded, options, progress, has_mask=True)
    notes = [*loaded.notes, *data.notes]
    for note in data.notes:
        progress.note(note)
    held = None if other is None else prepare_data(workspace, other, options.eval_limit, loaded, options, progress)
    asked = _choose_questions(workspace, other, held, options)
    recipe = _make_recipe(options, loaded.model, len(data.tokenized))
    record = _describe(workspace.open_dataset(dataset), options, recipe, loaded, data)
    plan = _Plan(workspace, options, progress, folder, loaded, data, held, asked, recipe, record)
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
    return {
        "out": str(folder),
        "model": options.model,
        "dataset": dataset,
        "objective": options.objective,
        "n_samples": len(data.tokenized),
        "n_skipped": len(data.skipped),
        "skipped": [{"sample": each.sample, "reason": each.reason} for each in data.skipped],
        "n_tokens": record["data"]["n_tokens"],
        "n_trained": record["data"]["n_trained"],
        "steps": recipe.steps,
        "resumed_at": resumed_at,
        "seconds": time.monotonic() - started,
        "loss": loss,
        "checkpoints": plan.record["checkpoints"],
        "run": run,
        "notes": notes,
    }


def choose_folder(workspace: Workspace, options: TrainOptions) -> Path:
    """The folder of ``--out``; else one in the workspace, named after data set, model, objective and seed."""
    if options.out is not None:
        return Path(options.out).expanduser()
    words = (Path(options.dataset).stem, Path(options.model).name, options.objective)
    name = _NO_NAME.sub("-", "-".join(words)).strip(".-_")[: MOST_NAME - 12]
    return workspace.trainings_dir / f"{name}-{options.seed}"


def _choose_questions(
    workspace: Workspace, dataset: str | None, held: TrainData | None, options: TrainOptions
) -> Asked | None:
    """The questions of ``--eval-answers``, of which the right answer is known."""
    if not options.eval_answers:
        return None
    if dataset is None or held is None:
        raise UserError("questions to answer are missing", "--eval-answers", "give a data set with --eval")
    by_id = {each.id: each for each in workspace.read_samples(dataset, head=options.eval_limit)}
    samples: list[TokenizedSample] = []
    answers: list[str] = []
    for each in held.tokenized:
        marked = find_answer(by_id[each.id].reasoning)
        answer = by_id[each.id].answer.strip() or (marked[0] if marked else "")
        if answer and len(samples) < options.eval_answers:
            samples.append(each)
            answers.append(answer)
    if not samples:
        raise UserError(f"no sample of {dataset} has an answer", "--eval-answers", "give answers in the data set")
    return Asked(samples, answers, options.answer_tokens, max(1, 2 * options.micro_batch))


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
    dataset: Any, options: TrainOptions, recipe: finetune.Recipe, loaded: LoadedModel, data: TrainData
) -> dict[str, Any]:
    """Everything needed to repeat the training, as JSON."""
    asked = replace(options, resume=False)
    return {
        "command": shlex.join(["gsd", "train", *to_words(asked)]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "training",
        "data": {
            **{key: getattr(dataset, key) for key in ("name", "source", "data_hash")},
            "n_samples": len(data.tokenized),
            "n_tokens": data.count_tokens(),
            "n_trained": data.count_trained(),
            "mask_hash": hashlib.sha256(Path(options.mask).read_bytes()).hexdigest() if options.mask else None,
        },
        "model": {"source": options.model, "hash": compute_model_hash(loaded.model), "notes": list(loaded.notes)},
        "recipe": {**asdict(recipe), "keep": list(recipe.keep), "lora": options.lora, "truncate": options.truncate}
        | {"objective": options.objective, "bare": options.bare, "whole_below": options.whole_below},
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
    pairs += [("mask", known["data"].get("mask_hash"), record["data"]["mask_hash"])]
    pairs += [("model", known["model"]["hash"], record["model"]["hash"])]
    older = {"objective": "full", "bare": False}  # records of earlier versions lack these
    pairs += [
        (key, known["recipe"].get(key, older.get(key)), value)
        for key, value in record["recipe"].items()
        if key not in free
    ]
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
        plan.data.tokenized,
        recipe,
        plan.folder,
        labels=plan.data.labels,
        on_step=show_step,
        on_kept=lambda step: _record_kept(plan, model, step),
        callbacks=callbacks,
    )
    stage.finish()
    return begun, loss[0], run


def _record_kept(plan: _Plan, model: Any, step: int) -> None:
    """Add a kept step to the record, with loss and answers on the data set that is not trained on."""
    entry: dict[str, Any] = {"name": finetune.name_step(step), "step": step, "eval_loss": None}
    if plan.held is not None:
        with unchanged_training(model):
            entry["eval_loss"] = finetune.compute_loss(
                model, plan.loaded.tokenizer, plan.held.tokenized, plan.recipe.micro_batch
            )
        plan.progress.note(f"step {step:,}: held-out loss {entry['eval_loss']:.4f} nats a token")
    if plan.asked is not None:
        with unchanged_training(model):
            entry |= measure_answers(model, plan.loaded.tokenizer, plan.asked, plan.folder, step, plan.progress)
        plan.progress.note(
            f"step {step:,}: {entry['accuracy']:.1%} of {entry['n_answers']:,} answers are right, "
            f"{entry['mean_tokens']:.0f} tokens each"
        )
        if entry["n_undecided"]:
            plan.progress.note(
                f"{entry['n_undecided']:,} comparisons could not be decided in time; they count as wrong"
            )
    others = [each for each in plan.record["checkpoints"] if each["step"] != step]
    plan.record["checkpoints"] = sorted([*others, entry], key=lambda each: each["step"])
    _write_record(plan)


def describe_train(result: dict[str, Any]) -> str:
    """``gsd train``: the checkpoints with their losses, and what to do with them."""
    forms = (("eval_loss", "{:.4f}"), ("accuracy", "{:.1%}"), ("mean_tokens", "{:.0f}"))
    rows = [
        [each["name"], *("–" if each.get(key) is None else form.format(each[key]) for key, form in forms)]
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
            f"tokens, {result['n_trained']:,} of them with loss), {result['steps']:,} steps in "
            f"{format_seconds(result['seconds'])}{last}",
            format_table(("checkpoint", "held-out loss", "right answers", "their tokens"), rows),
            f"log: {Path(result['out']) / LOG}",
            *describe_skipped(result),
            next_line,
        ]
    )
