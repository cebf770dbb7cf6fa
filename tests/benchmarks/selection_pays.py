"""Does selection pay? The same fine-tune on samples that different measures choose, at equal budget in tokens.

    python -m tests.benchmarks.selection_pays DATA [--work DIR] [--model smollm2] [--mixed 150] [--target 80]
        [--heldout 200] [--budget 0.25] [--seeds 3] [--epochs 3] [--lora 8] [--json FILE]

DATA is the folder of the shared data. A mixture of four files is captured, then a few problems of GSM8K's test set as
the target. Every measure chooses from the mixture; the model is fine-tuned on what it chose, and its loss on *other*
problems of the test set is measured. All trainings read about as many tokens: the whole mixture fewer times. Words and
hidden states choose in the same way as gradients do: the mean of a sample's spans, compared with the mean of the
target. What is there already is used again, so a stopped command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from gsd_core.analysis.selection import compute_target_scores, pick
from gsd_core.console.progress import Progress
from gsd_core.driver.stored_data import add_dataset
from gsd_core.methods.capture_method import CaptureOptions
from gsd_core.methods.select_method import SelectOptions
from gsd_core.methods.train_method import TrainOptions
from gsd_core.stages.capture_stage import run_capture
from gsd_core.stages.select_stage import run_select
from gsd_core.stages.train_stage import RECORD, run_train
from gsd_core.store import Workspace

SOURCES = ("gsm8k_train", "prontoqa_proofs", "strategyqa_cot", "qasc_cot")
TARGET = "gsm8k_test_socratic"
BATCH = 8
WAYS = ("all", "alignment", "hidden state", "semantic", "TF-IDF", "spectral", "random")


def write_parts(data: Path, work: Path, options: argparse.Namespace) -> None:
    """``mixture.jsonl``, ``target.jsonl`` and ``heldout.jsonl``."""
    rows = []
    for name in SOURCES:
        lines = _read_lines(data / f"{name}.jsonl")
        drawn = np.random.default_rng(0).permutation(len(lines))[: options.mixed]
        for at in drawn:
            row = json.loads(lines[at])
            rows.append({**row, "meta": {"origin": name}})
    test = [json.loads(line) for line in _read_lines(data / f"{TARGET}.jsonl")]
    order = [test[at] for at in np.random.default_rng(1).permutation(len(test))]
    parts = {
        "mixture": rows,
        "target": order[: options.target],
        "heldout": order[options.target : options.target + options.heldout],
    }
    for name, part in parts.items():
        (work / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")


def _read_lines(file: Path) -> list[str]:
    """Only a line feed ends a line: texts hold other separators."""
    return [line for line in file.read_text("utf-8").split("\n") if line]


def capture(workspace: Workspace, options: argparse.Namespace, progress: Progress) -> None:
    """Gradients and hidden states of mixture and target, under one sketch."""
    known = {info.name: info.manifest.get("status") for info in workspace.list_runs()}
    for tier in ("span", "state"):
        for part in ("mixture", "target"):
            name = f"{part}-{tier}"
            if known.get(name, "capturing") != "capturing":
                continue
            more: dict[str, Any] = {"window": "1", "tier": "span"} if tier == "span" else {"tier": "state"}
            if tier == "span" and part == "target":
                more["sketch_of"] = "mixture-span"
            run_capture(
                workspace,
                CaptureOptions(part, options.model, run=name, resume=name in known, no_controls=True, **more),
                progress,
            )


def select(workspace: Workspace, work: Path, way: str, seed: int, budget: float, progress: Progress) -> Path:
    """The file of what a measure chooses; measures without chance choose the same for every seed."""
    out = work / f"{way.replace(' ', '-')}-{seed}.jsonl"
    run, by = ("mixture-state", "alignment") if way == "hidden state" else ("mixture-span", way)
    if out.is_file():
        return out
    if way in ("all", "TF-IDF"):
        _write_own(workspace, out, _score_words if way == "TF-IDF" else None, budget)
        return out
    told = SelectOptions(run, by, out, budget, seed=seed, unit="sample")
    if by in ("alignment", "semantic"):
        told = SelectOptions(run, by, out, budget, target=run.replace("mixture", "target"), seed=seed, unit="sample")
    run_select(workspace, told, progress)
    return out


def _score_words(chosen: list[str], wanted: list[str]) -> np.ndarray:
    fitted = TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]").fit(chosen)
    rows = np.asarray(fitted.transform([*chosen, *wanted]).toarray(), dtype=np.float32)
    marks = np.arange(len(rows)) >= len(chosen)
    return compute_target_scores(rows, marks)[: len(chosen)]


def _write_own(
    workspace: Workspace, out: Path, score: Callable[[list[str], list[str]], np.ndarray] | None, budget: float
) -> None:
    run, target = workspace.open_run("mixture-span"), workspace.open_run("target-span")
    frame, other = run.read_samples(), target.read_samples()
    spans = run.read_spans(columns=["sample", "token_start", "token_end"])
    sizes = (spans["token_end"] - spans["token_start"]).groupby(spans["sample"]).sum()
    held = sizes.reindex(frame["sample"]).fillna(0).to_numpy()
    kept = np.ones(len(frame), bool)
    if score is not None:
        kept = pick(score(frame["reasoning"].tolist(), other["reasoning"].tolist()), held, budget)
    with out.open("w", encoding="utf-8") as file:
        for row in frame[kept].to_dict("records"):
            line = {"sample": row["sample"], **{key: row[key] for key in ("question", "reasoning", "answer")}}
            file.write(json.dumps(line) + "\n")


def train(
    workspace: Workspace, work: Path, file: Path, seed: int, options: argparse.Namespace, progress: Progress
) -> dict[str, Any]:
    """Loss on the held-out problems before and after the fine-tune."""
    n_samples = len(_read_lines(file))
    share = options.budget if file.stem.startswith("all-") else 1.0
    steps = max(1, round(options.epochs * share * n_samples / BATCH))
    folder = work / "trained" / f"{file.stem}-{seed}"
    record = folder / RECORD
    if not (record.is_file() and json.loads(record.read_text("utf-8"))["status"] == "trained"):
        told = TrainOptions(
            *(str(file), options.model, str(folder)),
            steps=steps,
            keep=[0, steps],
            batch_size=BATCH,
            rate=2e-4,
            lora=options.lora,
            eval="heldout",
            eval_limit=options.heldout,
            seed=seed,
            resume=folder.exists(),
        )
        run_train(workspace, told, progress)
    losses = [each["eval_loss"] for each in json.loads(record.read_text("utf-8"))["checkpoints"]]
    return {"before": losses[0], "after": losses[-1]}


def main() -> None:
    """Print a row for each measure; with ``--json`` also write every training's losses."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("selection-work"))
    parser.add_argument("--model", default="smollm2")
    for name, number in (("mixed", 150), ("target", 80), ("heldout", 200), ("seeds", 3), ("epochs", 3), ("lora", 8)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--budget", type=float, default=0.25)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    workspace = Workspace.open(options.work / "workspace")
    found: list[dict[str, Any]] = []
    with Progress() as progress:
        if not (options.work / "heldout.jsonl").is_file():
            write_parts(options.data, options.work, options)
        for part in ("mixture", "target", "heldout"):
            if all(each.name != part for each in workspace.list_datasets()):
                add_dataset(workspace, options.work / f"{part}.jsonl", name=part, progress=progress)
        capture(workspace, options, progress)
        for seed in range(options.seeds):
            for way in WAYS:
                file = select(workspace, options.work, way, seed, options.budget, progress)
                origins = _count_origins(workspace, file)
                row = {"measure": way, "seed": seed, "origins": origins}
                found.append(row | train(workspace, options.work, file, seed, options, progress))
                sys.stdout.write(json.dumps(found[-1]) + "\n")
                sys.stdout.flush()
    sys.stdout.write("| measure | loss before | after: mean, lowest, highest of the seeds |\n|---|---|---|\n")
    for way in WAYS:
        after = [row["after"] for row in found if row["measure"] == way]
        before = next(row["before"] for row in found if row["measure"] == way)
        sys.stdout.write(f"| {way} | {before:.4f} | {np.mean(after):.4f}, {min(after):.4f}, {max(after):.4f} |\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _count_origins(workspace: Workspace, file: Path) -> dict[str, int]:
    """How many of the chosen samples come from which file."""
    frame = workspace.open_run("mixture-span").read_samples()
    origin = {row["sample"]: (row["meta"] or {}).get("origin", "") for row in frame.to_dict("records")}
    counts: dict[str, int] = {}
    for line in _read_lines(file):
        name = origin[json.loads(line)["sample"]]
        counts[name] = counts.get(name, 0) + 1
    return counts


if __name__ == "__main__":
    main()
