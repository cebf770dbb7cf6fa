"""The run that ships with GSD: 500 test problems of GSM8K under SmolLM2-135M, before and during a fine-tune.

install_bundled  put run and data set into a workspace
make_bundled     fine-tune, capture, analyse, evaluate, teach, attribute, pack; every step goes on where it was stopped
main             the command line of ``make bundle``
BUNDLED, ASSETS  the run's name; the folder with its packed files
TRIALS_ASSETS    folder of finished trials that come with it

It is what a newcomer sees first: a real model and real text, at once. ``tests/test_bundled_run.py`` captures some of
its samples again and compares.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.store import Workspace
from gsd_core.store.archive import pack_run, unpack_run
from gsd_core.store.trainings import LOG, RECORD

ASSETS = Path(__file__).resolve().parents[1] / "assets" / "bundled_run"
TRIALS_ASSETS = ASSETS.with_name("trials")
BUNDLED, DATASET, STATE = "gsm8k", "gsm8k-test", "gsm8k-state"
TUNED = "smollm2-gsm8k"  # folder of the fine-tune, and what the run calls its model
TRAIN_FILE, TEST_FILE = "gsm8k_train.jsonl", "gsm8k_test_socratic.jsonl"
N_PROBLEMS, WIDTH, SEED, RATE = 500, 1024, 0, 1e-4
N_TAUGHT, N_WATCHED = 12, 60  # of the lesson at the base, half an hour on two cores
N_ATTRIBUTED = 8  # traces whose segments are scored, some minutes


def install_bundled(workspace: Workspace) -> bool:
    """Whether the run is in the workspace; it is put there if nothing else has its name.

    False where the installation comes without the file, and for a workspace on object storage. Raises ``UserError`` for
    a damaged file.
    """
    if not any(ASSETS.glob(f"{BUNDLED}.*.zip")) or not workspace.is_local:
        return False
    if all(info.name != BUNDLED for info in workspace.list_runs()):
        unpack_run(workspace, BUNDLED, ASSETS)
    _install_trainings(workspace.trainings_dir)
    return True


def _install_trainings(home: Path) -> None:
    """Logs and answers of the fine-tune, and of trials, for the page Training runs; what is there stays."""
    home.mkdir(exist_ok=True)
    for source in (ASSETS, *sorted(TRIALS_ASSETS.glob("*/"))):
        target = home / (TUNED if source == ASSETS else source.name)
        if target.exists() or (source == ASSETS and not all((ASSETS / name).is_file() for name in (RECORD, LOG))):
            continue
        part = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        if source == ASSETS:
            part.mkdir()
            for name in (RECORD, LOG):
                shutil.copyfile(source / name, part / name)
        else:
            shutil.copytree(source, part, copy_function=shutil.copyfile)
        os.replace(part, target)


def make_bundled(data: Path, work: Path, progress: Progress) -> dict[str, Any]:
    """Make the run from the two files of GSM8K in `data`, working in `work`, and pack it.

    Returns ``bytes`` (of each file), ``n_spans`` and ``checkpoints``. Raises ``UserError`` as the stages do.
    """
    # Torch is loaded here: installing the run needs none.
    from gsd_core.driver.stored_data import add_dataset
    from gsd_core.methods.analyze_method import AnalyzeOptions
    from gsd_core.methods.attribute_method import AttributeOptions
    from gsd_core.methods.capture_method import CaptureOptions
    from gsd_core.methods.evaluate_method import EvaluateOptions
    from gsd_core.methods.lesson_method import LessonOptions
    from gsd_core.methods.train_method import TrainOptions
    from gsd_core.stages.analyze_stage import run_analyze
    from gsd_core.stages.attribute_stage import run_attribute
    from gsd_core.stages.capture_stage import run_capture
    from gsd_core.stages.evaluate_stage import run_evaluate
    from gsd_core.stages.lesson_stage import run_lesson
    from gsd_core.stages.train_stage import run_train

    workspace = Workspace.open(work / "workspace")
    if all(each.name != DATASET for each in workspace.list_datasets()):
        add_dataset(workspace, data / TEST_FILE, name=DATASET, progress=progress)
    tuned = work / TUNED
    if not _is_trained(tuned / RECORD):
        run_train(
            workspace,
            TrainOptions(
                str(data / TRAIN_FILE),
                "smollm2",
                str(tuned),
                rate=RATE,
                eval=DATASET,
                eval_limit=100,
                seed=SEED,
                resume=tuned.exists(),
            ),
            progress,
        )
    for run, tier, window in ((BUNDLED, "span", "1"), (STATE, "state", None)):
        known = {info.name for info in workspace.list_runs()}
        run_capture(
            workspace,
            CaptureOptions(
                DATASET,
                str(tuned),
                checkpoints=["all"],
                tier=tier,
                window=window,
                sketch_width=WIDTH if tier == "span" else None,
                run=run,
                limit=N_PROBLEMS,
                seed=SEED,
                baseline_of=None if run == BUNDLED else BUNDLED,
                resume=run in known,
            ),
            progress,
        )
    # A minute, and another version may compute otherwise.
    analysis = run_analyze(workspace, AnalyzeOptions(BUNDLED, again=True, seed=SEED), progress)
    run_evaluate(
        workspace,
        EvaluateOptions(BUNDLED, label="meta.step_ops", checkpoint="all", against=[STATE], seed=SEED),
        progress,
    )
    run_lesson(
        workspace,
        LessonOptions(
            BUNDLED,
            queries=N_TAUGHT,
            samples=N_WATCHED,
            checkpoint=workspace.open_run(BUNDLED).checkpoints[0],
            against=[STATE],
            seed=SEED,
        ),
        progress,
    )
    run_attribute(
        workspace,
        AttributeOptions(BUNDLED, checkpoint=workspace.open_run(BUNDLED).checkpoints[0], limit=N_ATTRIBUTED),
        progress,
    )
    files = pack_run(workspace, BUNDLED, ASSETS, lambda document: _clean(document, data, tuned))
    shutil.copy(tuned / LOG, ASSETS / LOG)
    record = _clean(json.loads((tuned / RECORD).read_text("utf-8")), data, tuned)
    (ASSETS / RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    checkpoints = [each["checkpoint"] for each in analysis["checkpoints"]]
    sizes = {file.name: file.stat().st_size for file in files}
    return {"bytes": sizes, "n_spans": analysis["n_spans"], "checkpoints": checkpoints}


def _is_trained(record: Path) -> bool:
    return record.is_file() and json.loads(record.read_text("utf-8")).get("status") == "trained"


def _clean(value: Any, data: Path, tuned: Path) -> Any:
    """The same without folders of the machine it was made on: files by their names, the fine-tune as ``TUNED``."""
    if isinstance(value, dict):
        return {key: _clean(each, data, tuned) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each, data, tuned) for each in value]
    if isinstance(value, str):
        for folder in (tuned, tuned.absolute()):
            value = value.replace(str(folder), TUNED)
        for folder in (data.absolute(), data):
            value = value.replace(f"{folder}/", "")
    return value


def main(arguments: list[str] | None = None) -> int:
    """``--data DIR --work DIR``: make and pack the run; prints what ``make_bundled`` returns as JSON."""
    parser = argparse.ArgumentParser(prog="python -m gsd_core.stages.bundled_run")
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {TRAIN_FILE} and {TEST_FILE}")
    parser.add_argument("--work", type=Path, required=True, help="folder for the fine-tune and a workspace")
    options = parser.parse_args(arguments)
    try:
        with Progress() as progress:
            result = make_bundled(options.data, options.work, progress)
    except UserError as error:
        sys.stderr.write(f"error: {error.one_line()}\n")
        return 2
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
