"""``gsd trials``: one configuration, several choices of what is trained on, several seeds; and the comparison.

run_trials        the stage; what is finished is kept
describe_trials   the result as text
read_config       a file → `Config`
"""

from __future__ import annotations

import dataclasses
import json
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gsd_core.analysis.trial_scores import compare_trials
from gsd_core.console.files import whole_file
from gsd_core.console.output import format_json, format_seconds, format_table
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.methods.select_method import SelectOptions
from gsd_core.methods.train_method import TrainOptions
from gsd_core.methods.trials_method import CHOICES, TrialsOptions
from gsd_core.registry.options import Flag, iter_flags
from gsd_core.stages.run_reading import get_checkpoint
from gsd_core.stages.select_stage import run_select
from gsd_core.stages.train_stage import run_train
from gsd_core.store.trainings import RECORD, TRIALS, list_trainings, read_answers, read_trials
from gsd_core.types import name_is_valid

if TYPE_CHECKING:
    from gsd_core.store import Workspace

OWN_FLAGS = ("dataset", "out", "objective", "mask", "resume", "seed", "bare")
"""Flags of gsd train that the configuration sets itself."""


@dataclass(frozen=True, slots=True)
class Config:
    """What a file of ``gsd trials`` says. ``name``: folder in the workspace's trainings; ``run``: an attributed run,
    whose data set is trained on; ``share``: tokens that measures with a budget keep, None for as many as the segments
    have; ``train``: flags of gsd train."""

    name: str
    run: str
    choices: list[str] = field(default_factory=lambda: ["full", "selective", "pruned", "random segments"])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    checkpoint: str | None = None
    tau: float = 0.7
    beta: float = 0.8
    no_against: bool = False
    bare: bool = False
    share: float | None = None
    target: str | None = None
    train: dict[str, Any] = field(default_factory=dict)


def run_trials(workspace: Workspace, options: TrialsOptions, progress: Progress) -> dict[str, Any]:
    """Select, train and compare.

    Returns ``name, run, checkpoint, folder, share, choices: [{choice, seeds, eval_loss, accuracy, accuracy_low,
    accuracy_high, accuracy_difference, …, tokens, tokens_low, …, n_trained, n_samples}], seconds``. Raises
    ``UserError`` for a configuration that cannot be read, one that differs from what the folder was begun with, and
    whatever a selection or a training refuses.
    """
    started = time.monotonic()
    config = read_config(options.config)
    run = workspace.open_run(config.run)
    checkpoint = get_checkpoint(run, config.checkpoint)
    folder = workspace.trainings_dir / config.name
    _begin(folder, config)
    dataset = str((run.manifest.get("dataset") or {}).get("name"))
    model = str(config.train.get("model") or (run.manifest.get("model") or {}).get("source") or "")
    share = config.share
    if share is None and any(CHOICES[each][1] for each in config.choices):
        share = _select(workspace, folder, config, checkpoint, ("segments", 0), None, progress)
    stage = progress.stage("trials", len(config.choices) * len(config.seeds), "trainings")
    for seed in config.seeds:
        for choice in config.choices:
            objective, by = CHOICES[choice]
            out = folder / f"{choice.replace(' ', '-')}-{seed}"
            if not _is_trained(out):
                mask = None
                if by is not None:
                    _select(workspace, folder, config, checkpoint, (by, seed), share, progress)
                    mask = str(_name_mask(folder, by, seed))
                told = {**config.train, "model": model, "dataset": dataset, "out": str(out), "seed": seed}
                told |= {"objective": objective, "mask": mask, "bare": config.bare, "resume": out.exists()}
                if "keep" not in told and told.get("steps"):
                    told["keep"] = [told["steps"]]
                run_train(workspace, TrainOptions(**told), progress)
            stage.advance()
    stage.finish()
    rows = _compare(folder, config)
    result = {
        "name": config.name,
        "run": config.run,
        "checkpoint": checkpoint,
        "folder": str(folder),
        "share": share,
        "choices": rows,
    }
    _write(folder, {"config": dataclasses.asdict(config), "result": result})
    return {**result, "seconds": time.monotonic() - started}


def read_config(file: Path) -> Config:
    """Raises ``UserError``, which names what is unknown, missing or of another type."""
    try:
        told = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"the configuration cannot be read ({error})", str(file), "see docs/commands.md") from None
    known = {each.name: each for each in dataclasses.fields(Config)}
    _refuse_unknown(set(told) - set(known), set(known), file, "")
    for name in ("name", "run"):
        if not isinstance(told.get(name), str) or not name_is_valid(told[name]):
            raise UserError(f"{name} is missing or no name", str(file), f'add a line such as {name} = "first"')
    types = {"choices": list, "seeds": list, "train": dict, "tau": float, "beta": float, "share": float}
    types |= {"checkpoint": str, "target": str, "no_against": bool, "bare": bool}
    for name, kind in types.items():
        value = told.get(name, kind())
        if kind is float and type(value) is int:
            value = told[name] = float(value)
        if not isinstance(value, kind):
            raise UserError(f"{name} is {value!r}", str(file), f"give a {kind.__name__}")
    config = Config(**told)
    wrong = [each for each in config.choices if each not in CHOICES]
    if wrong or not config.choices or len(set(config.choices)) < len(config.choices):
        raise UserError(
            f"unknown or repeated choice {wrong[0]!r}" if wrong else "choices are missing or repeated",
            str(file),
            f"choose from {', '.join(CHOICES)}",
        )
    if not config.seeds or any(type(each) is not int or each < 0 for each in config.seeds):
        raise UserError(f"seeds are {config.seeds}", str(file), "give whole numbers, such as seeds = [0, 1, 2]")
    flags = {each.name for each in dataclasses.fields(TrainOptions)}
    _refuse_unknown(set(config.train) - (flags - set(OWN_FLAGS)), flags - set(OWN_FLAGS), file, "[train] ")
    for flag in iter_flags(TrainOptions):
        if flag.name in config.train:
            _check_flag(flag, config.train[flag.name], file)
    return config


def _check_flag(flag: Flag, value: Any, file: Path) -> None:
    """Raises ``UserError`` for a value that the flag could not have on a command line."""
    kinds = (int, float) if flag.kind is float else flag.kind
    each = value if flag.is_list and isinstance(value, list) else [value]
    is_kind = all(isinstance(one, kinds) and (flag.kind is bool or not isinstance(one, bool)) for one in each)
    least = {"positive": 1, "count": 0, "above zero": 0}.get(flag.check)
    is_low = (
        is_kind and least is not None and any(one < least or (flag.check == "above zero" and one == 0) for one in each)
    )
    if not is_kind or flag.is_list != isinstance(value, list) or is_low or (flag.choices and value not in flag.choices):
        what = f"a list of {flag.kind.__name__}" if flag.is_list else flag.kind.__name__
        more = flag.check or ", ".join(flag.choices)
        raise UserError(f"[train] {flag.name} is {value!r}", str(file), f"give {what}{f' ({more})' if more else ''}")


def _refuse_unknown(unknown: set[str], known: set[str], file: Path, where: str) -> None:
    if unknown:
        raise UserError(f"{where}{min(unknown)} is not known", str(file), f"{where}can have {', '.join(sorted(known))}")


def _begin(folder: Path, config: Config) -> None:
    """Write down what is tried. Raises ``UserError`` where the folder was begun with something else."""
    told = json.loads(json.dumps(dataclasses.asdict(config)))
    known = read_trials(folder).get("config")
    if known is None:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, {"config": told, "result": None})
        return
    more = ("choices", "seeds")  # these may grow
    other = next((name for name, value in told.items() if name not in more and known.get(name) != value), None)
    if other is not None:
        raise UserError(
            f"these trials were begun with another {other} ({str(known.get(other))[:60]})",
            str(folder),
            "use another name, or the same configuration",
        )


def _write(folder: Path, document: dict[str, Any]) -> None:
    with whole_file(folder / TRIALS) as partial:
        partial.write_text(format_json(document) + "\n", encoding="utf-8")


def _is_trained(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / RECORD).read_text("utf-8"))["status"] == "trained")
    except (OSError, ValueError, KeyError):
        return False


def _name_mask(folder: Path, by: str, seed: int) -> Path:
    return folder / "masks" / f"{by}-{seed}.jsonl"


def _select(
    workspace: Workspace,
    folder: Path,
    config: Config,
    checkpoint: str,
    choice: tuple[str, int],
    share: float | None,
    progress: Progress,
) -> float:
    """Write the mask of a measure and seed where it is missing; its share of the tokens."""
    by, seed = choice
    out = _name_mask(folder, by, seed)
    told = out.with_suffix(".json")
    if not (out.is_file() and told.is_file()):
        out.parent.mkdir(exist_ok=True)
        has_budget = by in ("spectral", "grace", "alignment")
        asked = SelectOptions(
            config.run,
            by,
            out,
            budget=share if has_budget else None,
            tau=config.tau,
            beta=config.beta,
            no_against=config.no_against,
            target=config.target if by == "alignment" else None,
            checkpoint=checkpoint,
            seed=seed,
        )
        result = run_select(workspace, asked, progress)
        told.write_text(format_json(result) + "\n", encoding="utf-8")
    return float(json.loads(told.read_text("utf-8"))["token_share"])


# -- the comparison -------------------------------------------------------------------------------------------------


def _compare(folder: Path, config: Config) -> list[dict[str, Any]]:
    """A row a choice; intervals where questions were asked."""
    infos = {each.name: each for each in list_trainings(folder)}
    right: dict[str, np.ndarray] = {}
    lengths: dict[str, np.ndarray] = {}
    rows: list[dict[str, Any]] = []
    for choice in config.choices:
        found = [infos[f"{choice.replace(' ', '-')}-{seed}"] for seed in config.seeds]
        lasts = [max(each.record["checkpoints"], key=lambda entry: entry["step"]) for each in found]
        losses = [entry["eval_loss"] for entry in lasts if entry.get("eval_loss") is not None]
        answers = [read_answers(each.folder, last["step"]) for each, last in zip(found, lasts, strict=True)]
        if all(answers):
            right[choice] = np.array([[row["is_right"] for row in each] for each in answers], dtype=float)
            lengths[choice] = np.array([[row["n_tokens"] for row in each] for each in answers], dtype=float)
        rows.append(
            {
                "choice": choice,
                "seeds": list(config.seeds),
                "eval_loss": float(np.mean(losses)) if losses else None,
                "n_samples": float(np.mean([each.record["data"]["n_samples"] for each in found])),
                "n_trained": float(np.mean([_last_count(each.read_log(), "trained") for each in found])),
                "n_read": float(np.mean([_last_count(each.read_log(), "tokens") for each in found])),
            }
        )
    for name, values in (("accuracy", right), ("tokens", lengths)):
        if len(values) == len(rows):
            for row, scored in zip(rows, compare_trials(values), strict=True):
                row[name] = scored["mean"]
                row |= {f"{name}_{key}": scored[key] for key in scored if key not in ("choice", "mean")}
    return rows


def _last_count(log: list[dict[str, float]], column: str) -> float:
    return log[-1].get(column, 0.0) if log else 0.0


def describe_trials(result: dict[str, Any]) -> str:
    """``gsd trials``: a row a choice."""
    rows = []
    for each in result["choices"]:
        row = [each["choice"], f"{each['n_trained']:,.0f}"]
        row.append("–" if each["eval_loss"] is None else f"{each['eval_loss']:.4f}")
        for name, form in (("accuracy", "{:.1%}"), ("tokens", "{:.0f}")):
            if name in each:
                low, high = each[f"{name}_low"], each[f"{name}_high"]
                row.append(f"{form.format(each[name])} ({form.format(low)}–{form.format(high)})")
            else:
                row.append("–")
        rows.append(row)
    n_seeds = len(result["choices"][0]["seeds"]) if result["choices"] else 0
    return "\n".join(
        [
            f"trials {result['name']}: {len(rows)} choices, {n_seeds} seeds each, {format_seconds(result['seconds'])}",
            format_table(("choice", "tokens with loss", "held-out loss", "right answers", "tokens of an answer"), rows),
            f"in {result['folder']}",
        ]
    )
