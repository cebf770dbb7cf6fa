"""Selective training on planted long traces: what is kept beside what is needed, and what training on it does.

    python -m tests.benchmarks.selective WORK [--model FOLDER] [--teach 400] [--traces 240] [--steps 60]
        [--seeds 0 1 2] [--heldout 100]

In WORK: long traces of three seeds (`dataset.demo.long_traces`), a model that has learned to write such traces (the
bundled demo model, fine-tuned on other ones), a capture and an attribution of the traces to train on, and
``gsd trials`` from the bundled demo model. Prints how well the kept segments hit the needed ones, and the table of the
trials. What is there already is used again, so a stopped command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import gsd_core
from gsd_core.comparison.segment_choice import choose_segments, draw_segments
from gsd_core.console.progress import Progress
from gsd_core.dataset.demo.long_traces import FRAMES, generate_long_traces
from gsd_core.driver.stored_data import add_dataset
from gsd_core.methods.attribute_method import ATTRIBUTION, AttributeOptions
from gsd_core.methods.capture_method import CaptureOptions
from gsd_core.methods.train_method import TrainOptions
from gsd_core.methods.trials_method import TrialsOptions
from gsd_core.stages.attribute_stage import run_attribute
from gsd_core.stages.capture_stage import run_capture
from gsd_core.stages.train_stage import run_train
from gsd_core.stages.trials_stage import describe_trials, run_trials
from gsd_core.store import Run, Workspace
from gsd_core.store.trainings import RECORD
from gsd_core.types import Sample

MODEL = Path(gsd_core.__file__).parent / "assets" / "demo_model" / "step-04600"
BRIDGE = "\nAnswer: "  # as in the texts that the model was taught
CHOICES = ["full", "selective", "pruned", "random segments", "alignment"]
CONFIG = """name = "long-traces"
run = "traces"
choices = {choices}
seeds = {seeds}
target = "target"
[train]
model = "{model}"
steps = {steps}
batch_size = 8
micro_batch = 8
rate = 1e-3
eval = "heldout"
eval_limit = {heldout}
eval_answers = {heldout}
answer_tokens = 640
"""


def write_traces(workspace: Workspace, work: Path, name: str, samples: list[Sample], progress: Progress) -> None:
    """Store the samples as a data set, once."""
    if any(each.name == name for each in workspace.list_datasets()):
        return
    rows = [
        {"id": s.id, "question": s.question, "reasoning": s.reasoning, "answer": s.answer, "meta": s.meta}
        for s in samples
    ]
    file = work / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    add_dataset(workspace, file, name=name, progress=progress)


def score_choice(run: Run, taus: tuple[float, ...], beta: float) -> pd.DataFrame:
    """F1, precision and recall of the kept segments against the needed ones, and F1 of as many at random.

    Openings and closings do not count: the published rule keeps the first segment and the last two in any case.
    """
    table = run.results.read(ATTRIBUTION, "segments", run.checkpoints[-1])
    meta = run.read_samples(columns=["sample", "meta"]).set_index("sample")["meta"]
    places = table["span"].str.rpartition("#")[2].astype(int)
    kinds = np.array(
        [meta[sample]["segment_kinds"][at] for sample, at in zip(table["sample"], places, strict=True)], dtype=object
    )
    is_judged, is_needed = ~np.isin(kinds, FRAMES), kinds == "needed"
    traces = pd.factorize(table["sample"])[0]
    rows = []
    for tau in taus:
        kept = choose_segments(table["mass"].to_numpy(), table["consistency"].to_numpy(), tau, beta)
        row = {"tau": tau, "beta": beta, **_score(kept[is_judged], is_needed[is_judged])}
        chance = [
            _score(draw_segments(kept & is_judged, traces, seed)[is_judged], is_needed[is_judged])["f1"]
            for seed in range(20)
        ]
        rows.append(row | {"random_f1": float(np.mean(chance)), "base_rate": float(is_needed[is_judged].mean())})
    return pd.DataFrame(rows)


def _score(kept: np.ndarray, needed: np.ndarray) -> dict[str, float]:
    hits = float((kept & needed).sum())
    return {
        "f1": 2 * hits / max(1.0, float(kept.sum() + needed.sum())),
        "precision": hits / max(1.0, float(kept.sum())),
        "recall": hits / max(1.0, float(needed.sum())),
    }


def prepare(workspace: Workspace, options: argparse.Namespace, progress: Progress) -> Run:
    """Data, the model that attributes, captures and the attribution."""
    work = options.work
    write_traces(workspace, work, "train", generate_long_traces(options.traces), progress)
    write_traces(workspace, work, "heldout", generate_long_traces(options.heldout, split="heldout"), progress)
    write_traces(workspace, work, "others", generate_long_traces(8 * options.teach, seed=7), progress)
    taught = work / "taught"
    if not (taught / RECORD).is_file() or json.loads((taught / RECORD).read_text())["status"] != "trained":
        told = TrainOptions(
            *("others", str(options.model), str(taught)),
            steps=options.teach,
            keep=[options.teach],
            batch_size=8,
            rate=1e-3,
            resume=taught.exists(),
        )
        run_train(workspace, told, progress)
    known = {info.name: info.manifest.get("status") for info in workspace.list_runs()}
    for name, dataset in (("traces", "train"), ("target", "heldout")):
        if known.get(name) != "captured":
            asked = CaptureOptions(
                dataset,
                str(taught / f"step-{options.teach:05d}"),
                run=name,
                segmenter="cues",
                tier="span",
                window="1",
                sketch_width=256 if name == "traces" else None,
                sketch_of="traces" if name == "target" else None,
                no_controls=True,
                resume=name in known,
            )
            run_capture(workspace, asked, progress)
    run_attribute(workspace, AttributeOptions("traces", bridge=BRIDGE), progress)
    return workspace.open_run("traces")


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    for name, number in (("teach", 400), ("traces", 240), ("steps", 60), ("heldout", 100)):
        parser.add_argument(f"--{name}", type=int, default=number)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    workspace = Workspace.open(options.work / "workspace")
    with Progress() as progress:
        run = prepare(workspace, options, progress)
        table = score_choice(run, (0.5, 0.6, 0.7, 0.8), 0.8)
        sys.stdout.write(table.round(3).to_string(index=False) + "\n")
        config = options.work / "trials.toml"
        told = {"choices": json.dumps(CHOICES), "seeds": options.seeds, "model": options.model}
        config.write_text(CONFIG.format(**told, steps=options.steps, heldout=options.heldout), encoding="utf-8")
        result = run_trials(workspace, TrialsOptions(config), progress)
    sys.stdout.write(describe_trials(result) + "\n")


if __name__ == "__main__":
    main()
