"""The figures of ``docs/structure-benchmark.md``: captures, evaluations and tables, all in one workspace.

    python -m tests.benchmarks.evidence DATA [--workspace DIR] [--model demo] [--seeds 3] [--only demo heldout real]
        [--files NAME …] [--limit N] [--words N] [--json FILE]

DATA is the folder of the shared data. What is captured already is used again: a stopped command goes on. ``--model``,
``--files``, ``--limit`` and ``--words`` are for the part *real*: the model that reads the real data, which files (by
the beginnings of their names), how many samples of each, and how many words of questions and reasonings.

* **demo**: the planted corpus under the demo model's checkpoints, and under random weights.
* **heldout**: its held-out split at the checkpoint to look at first.
* **real**: labelled files that people wrote or models generated, several sketch seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsd_core.console.progress import Progress
from gsd_core.dataset.demo import generate_corpus
from gsd_core.driver.stored_data import add_dataset
from gsd_core.methods.analyze_method import AnalyzeOptions
from gsd_core.methods.capture_method import CaptureOptions
from gsd_core.methods.evaluate_method import EvaluateOptions
from gsd_core.models.loading import load_model
from gsd_core.stages.analyze_stage import run_analyze
from gsd_core.stages.capture_stage import run_capture
from gsd_core.stages.demo_stage import FIRST
from gsd_core.stages.evaluate_stage import run_evaluate
from gsd_core.store import Workspace
from gsd_core.training.demo_data import Recipe
from gsd_core.training.demo_model import build_model

PLANTED = {
    "differ": ["meta.topic", "meta.wording"],
    "wording": "meta.wording",
    "where": ["meta.step_kinds=step"],
}
N_PLANTED, N_HELDOUT = 640, 336


@dataclass(frozen=True)
class RealData:
    """A labelled file: its ``limit`` first samples, after a shuffle where it ``is_sorted``; ``label`` at ``level``.

    Of traces with more than ``most_steps`` steps the first ones are taken.
    """

    file: str
    label: str
    limit: int
    level: str = "span"
    is_sorted: bool = False
    most_steps: int | None = None


REAL = (
    RealData("gsm8k_test_socratic", "meta.step_ops", 300),
    RealData("prontoqa_proofs", "meta.step_types", 150),
    RealData("bbh_cot_code_davinci_002", "meta.task_family", 360, is_sorted=True),
    RealData("bbh_cot_code_davinci_002", "meta.task_family", 360, level="sample", is_sorted=True),
    RealData("mathqa_test", "meta.category", 360, level="sample"),
    RealData("thought_anchors_labelled", "meta.step_functions", 40, is_sorted=True, most_steps=40),
)


class Bench:
    """A workspace in which runs are made once."""

    def __init__(self, workspace: Workspace, progress: Progress) -> None:
        self.workspace, self.progress = workspace, progress
        self.folder = Path(workspace.uri.removeprefix("file://"))

    def add(self, name: str, file: Path) -> str:
        """The data set `name`, stored from `file` unless it is there."""
        if all(each.name != name for each in self.workspace.list_datasets()):
            add_dataset(self.workspace, file, name=name, progress=self.progress)
        return name

    def capture(self, name: str, dataset: str, model: str, checkpoints: Sequence[str], **more: Any) -> str:
        """The run `name`, captured unless it is whole already."""
        known = {info.name: info for info in self.workspace.list_runs()}
        if name not in known or known[name].manifest.get("status") == "capturing":
            options = CaptureOptions(
                dataset, model, checkpoints=list(checkpoints), run=name, resume=name in known, **more
            )
            run_capture(self.workspace, options, self.progress)
        return name

    def evaluate(self, run: str, label: str, against: Sequence[str], **more: Any) -> list[dict[str, Any]]:
        """Rows of an evaluation, for every checkpoint of the run."""
        options = EvaluateOptions(run, label=label, checkpoint="all", against=list(against), **more)
        return list(run_evaluate(self.workspace, options, self.progress)["rows"])


def measure_planted(bench: Bench, seeds: int, split: str) -> dict[str, list[dict[str, Any]]]:
    """Spans and whole samples of the planted corpus; the held-out split at one checkpoint, without seeds."""
    is_train = split == "train"
    folder = bench.folder
    file = folder / f"planted-{split}.jsonl"
    if not file.is_file():
        samples = generate_corpus(N_PLANTED) if is_train else generate_corpus(N_HELDOUT, split="heldout")
        rows = ({"id": s.id, "question": s.question, "reasoning": _cut(s)} | _rest(s) for s in samples)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = bench.add(f"planted-{split}", file)
    checkpoints = ["all"] if is_train else [FIRST]

    def capture(name: str, **more: Any) -> str:
        told = {"window": "1", "no_measures": True, **more} if more.get("tier", "span") == "span" else more
        return bench.capture(f"{split}-{name}", dataset, "demo", checkpoints, **told)

    main = capture("span", no_controls=False)
    against = [capture(tier, tier=tier, no_controls=True) for tier in ("head", "hidden", "state")]
    if is_train:
        against.append(capture("position", tier="position", no_controls=True))
        against.append(capture("span-no-head", no_head=True, no_controls=True))
        for seed in range(1, seeds):
            for tier in ("span", "head"):
                more = {"window": "1"} if tier == "span" else {}
                name = f"{split}-{tier}-{seed}"
                against.append(
                    bench.capture(name, dataset, "demo", [FIRST], tier=tier, seed=seed, no_controls=True, **more)
                )
        for tier in ("span", "head", "state"):
            more = {"window": "1"} if tier == "span" else {}
            name = f"{split}-untrained-{tier}"
            untrained = _save_untrained(folder / "untrained")
            against.append(bench.capture(name, dataset, untrained, [], tier=tier, no_controls=True, **more))
    run_analyze(bench.workspace, AnalyzeOptions(main), bench.progress)
    found = {}
    for level in ("span", "sample"):
        found[level] = bench.evaluate(main, "meta.procedure", against, level=level, layers=is_train, **PLANTED)
    return found


def _cut(sample: Any) -> list[str]:
    """Its steps."""
    return [sample.reasoning[start:end] for start, end in sample.steps]


def _rest(sample: Any) -> dict[str, Any]:
    return {"answer": sample.answer, "meta": sample.meta}


def _save_untrained(folder: Path) -> str:
    """The demo model's shape with random weights."""
    if not (folder / "config.json").is_file():
        _, tokenizer = load_model("demo", device="cpu")
        tokenizer.save_pretrained(folder)
        build_model(Recipe(), tokenizer).save_pretrained(folder)
    return str(folder)


def measure_real(bench: Bench, data: Path, model: str, seeds: int, asked: argparse.Namespace) -> dict[str, list[Any]]:
    """Every labelled file that is asked for, under one model."""
    found: dict[str, list[Any]] = {}
    checkpoints = [FIRST] if model == "demo" else []
    for each in REAL:
        if asked.files and not each.file.startswith(tuple(asked.files)):
            continue
        most = min(each.limit, asked.limit or each.limit)
        file = _prepare(data / f"{each.file}.jsonl", bench.folder, each, most, asked.words)
        dataset = bench.add(file.stem, file)
        runs = []
        for tier in ("span", "head", "state"):
            for seed in range(1 if tier == "state" else seeds):
                more = {"window": "1", "no_measures": True} if tier == "span" else {}
                name = f"{Path(model).name}-{file.stem}-{tier}-{seed}"
                common = {"tier": tier, "seed": seed, "no_controls": True}
                runs.append(bench.capture(name, dataset, model, checkpoints, **common, **more))
        rows = bench.evaluate(runs[0], each.label, runs[1:], level=each.level, remove=[0, 5])
        found[f"{each.file}, {each.label}, {each.level}"] = rows
        print_part(f"{each.file}, {each.label}, {each.level}", rows)
    return found


def _prepare(file: Path, folder: Path, data: RealData, limit: int, words: int | None) -> Path:
    """The part of a file of lines that is captured: the first samples, in a seeded order where the file is sorted."""
    lines = file.read_text("utf-8").splitlines()
    if data.is_sorted:
        random.Random(0).shuffle(lines)
    rows, n_words = [], 0
    for line in lines[:limit]:
        row = json.loads(line)
        steps, most = row["reasoning"], data.most_steps
        if most and len(steps) > most:
            row["reasoning"] = steps[:most]
            field = data.label.removeprefix("meta.")
            row["meta"] = {field: row["meta"][field][:most]}
        text = row["reasoning"] if isinstance(row["reasoning"], str) else " ".join(row["reasoning"])
        n_words += len(f"{row['question']} {text}".split())
        if words and n_words > words:
            break
        rows.append(row)
    part = folder / f"{data.file.replace('_', '-')}-{len(rows)}.jsonl"
    part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return part


def print_curves(rows: list[dict[str, Any]], metric: str) -> None:
    """A row for each representation, a column for each step."""
    own = [row for row in rows if row["metric"] == metric]
    steps = sorted({row["step"] for row in own})
    names = list(dict.fromkeys(row["representation"] for row in own))
    value = {(row["representation"], row["step"]): row["value"] for row in own}
    _say(f"\n{metric}\n\n| representation | " + " | ".join(map(str, steps)) + " |")
    _say("|---" * (len(steps) + 1) + "|")
    for name in sorted(names, key=lambda name: -max(value.get((name, step), -1.0) for step in steps)):
        cells = (f"{value[name, step]:.2f}" if (name, step) in value else "" for step in steps)
        _say(f"| {name} | " + " | ".join(cells) + " |")


def print_part(name: str, rows: list[dict[str, Any]]) -> None:
    """A part of the real data: its heading and its tables."""
    _say(f"\n## {name}, {rows[0]['n']} asked")
    print_interval_table(rows)


def print_interval_table(rows: list[dict[str, Any]], checkpoint: str | None = None) -> None:
    """A line for each metric and representation, with interval and spread over seeds."""
    own = [row for row in rows if checkpoint in (None, row["checkpoint"])]
    for metric in dict.fromkeys(row["metric"] for row in own):
        part = sorted((row for row in own if row["metric"] == metric), key=lambda row: -row["value"])
        _say(f"\n{metric}, chance {part[0]['chance']:.2f}\n\n| representation | value |\n|---|---|")
        for row in part:
            spread = f" ± {row['seed_spread']:.3f}" if row["seed_spread"] == row["seed_spread"] else ""
            interval = f"{row['value']:.3f} ({row['ci_low']:.3f}–{row['ci_high']:.3f}){spread}"
            _say(f"| {row['representation']} | {interval} |")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--workspace", default="evidence-workspace")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--words", type=int)
    parser.add_argument("--files", nargs="+", default=[])
    parser.add_argument("--only", nargs="+", default=["demo", "heldout", "real"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    everything: dict[str, Any] = {}
    with Progress() as progress:
        bench = Bench(Workspace.open(options.workspace), progress)
        for part, split in (("demo", "train"), ("heldout", "heldout")):
            if part not in options.only:
                continue
            found = measure_planted(bench, options.seeds, split)
            everything[part] = found
            for level, rows in found.items():
                _say(f"\n## {part}, {level}")
                if part == "demo":
                    for metric in dict.fromkeys(row["metric"] for row in rows):
                        print_curves(rows, metric)
                print_interval_table(rows, FIRST)
        if "real" in options.only:
            everything["real"] = measure_real(bench, options.data, options.model, options.seeds, options)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
