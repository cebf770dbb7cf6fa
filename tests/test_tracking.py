"""Tracked runs: what a training stores is a run like any other, and survives what happens to trainings."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gsd_core as gsd
from gsd_core.errors import UserError
from gsd_core.store import Workspace
from gsd_core.training import SpanGradientCallback
from tests.cli_support import ROOT, run_gsd, run_gsd_json
from tests.training_support import TinyTraining


def saving(tiny: TinyTraining, run: str) -> dict[str, Any]:
    """Six steps, the trainer's own checkpoint at every second, in a folder of the run."""
    return {
        "save_strategy": "steps",
        "save_steps": 2,
        "max_steps": 6,
        "output_dir": str(tiny.folder / f"out-{run}"),
    }


@pytest.fixture
def tiny(tmp_path: Path) -> TinyTraining:
    return TinyTraining(tmp_path, n_rows=6)


def train(tiny: TinyTraining, run: str, *, every: int = 2, resume: bool = False, seed: int = 0, **choices: Any) -> Any:
    """Track a probe through six steps; with `resume` from the trainer's last checkpoint."""
    model = tiny.load(seed)
    probe = tiny.open_probe(model, run=run, batch_tokens=300, **choices)
    trainer = tiny.trainer(model, probe.samples, SpanGradientCallback(probe, every=every), **saving(tiny, run))
    trainer.train(resume_from_checkpoint=resume or None)
    return trainer


def stop_after(tiny: TinyTraining, run: str, n_writes: int) -> None:
    """Track a probe in a training that is killed by an exception after some batches."""
    model = tiny.load()
    probe = tiny.open_probe(model, run=run, batch_tokens=300)
    write, written = probe.write, []

    def failing(step: int, batch: int, results: Any) -> None:
        if len(written) == n_writes:
            raise KeyboardInterrupt
        written.append(batch)
        write(step, batch, results)

    probe.write = failing
    trainer = tiny.trainer(model, probe.samples, SpanGradientCallback(probe, every=2), **saving(tiny, run))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


def read(tiny: TinyTraining, run: str, checkpoint: str) -> tuple[list[str], np.ndarray]:
    opened = gsd.open_run(run, workspace=tiny.workspace, checkpoint=checkpoint)
    return list(opened.spans["span"]), np.asarray(opened.vectors)


def assert_same_runs(tiny: TinyTraining, a: str, b: str) -> None:
    names = gsd.open_run(a, workspace=tiny.workspace).checkpoints
    assert names == gsd.open_run(b, workspace=tiny.workspace).checkpoints
    for name in names:
        (spans, vectors), (others, wanted) = read(tiny, a, name), read(tiny, b, name)
        assert spans == others, f"{name}: spans differ"
        np.testing.assert_array_equal(vectors, wanted, err_msg=name)


def test_a_tracked_run_can_be_analysed_and_followed(tiny: TinyTraining) -> None:
    train(tiny, "tuned")
    opened = gsd.open_run("tuned", workspace=tiny.workspace)
    names = ["step-00000", "step-00002", "step-00004", "step-00006"]
    assert opened.checkpoints == names
    assert opened.manifest["status"] == "captured"
    assert opened.manifest["tracking"] == {"kind": "probe", "group": None}
    assert opened.manifest["window_cosine"] == 1.0
    assert opened.manifest["dataset"]["n_samples"] == 6
    cost = opened.manifest["tracking_overhead"]
    assert 0 < cost["capture_seconds"] < cost["seconds"]
    assert cost["share"] == pytest.approx(cost["capture_seconds"] / cost["seconds"])
    run_gsd_json("analyze", "tuned", workspace=tiny.workspace)
    followed = run_gsd_json("timeline", "tuned", workspace=tiny.workspace)
    assert [each["step"] for each in followed["checkpoints"]] == [0, 2, 4, 6]
    losses = [each["measures"]["loss"]["value"] for each in followed["checkpoints"]]
    assert losses[-1] < losses[0] - 0.5, "the training must have lowered the loss of what it was trained on"
    exported = tiny.folder / "spans.csv"
    assert run_gsd("export", "tuned", "--what", "spans", "--out", exported, workspace=tiny.workspace).code == 0


@pytest.mark.parametrize("n_writes", [1, 3, 5], ids=["in step 0", "in step 2", "in step 4"])
def test_a_training_that_goes_on_completes_the_run(tiny: TinyTraining, n_writes: int) -> None:
    # Two batches a step: the interrupt leaves half of one. What is whole must not be captured again.
    train(tiny, "whole")
    stop_after(tiny, "stopped", n_writes)
    steps = n_writes // 2 * 2
    can_resume = steps > 2  # else the trainer has saved nothing yet, and begins anew
    store = Workspace.open(tiny.workspace)
    assert store.open_run("stopped").finished_batches(f"step-{steps:05d}") == {0}
    model = tiny.load()
    probe = tiny.open_probe(model, run="stopped", batch_tokens=300, replace=not can_resume)
    write, written = probe.write, []
    probe.write = lambda *each: (written.append(each[:2]), write(*each))
    options = saving(tiny, "stopped")
    trainer = tiny.trainer(model, probe.samples, SpanGradientCallback(probe, every=2), **options)
    trainer.train(resume_from_checkpoint=can_resume or None)
    if can_resume:
        assert written == [(4, 1), (6, 0), (6, 1)]
    assert_same_runs(tiny, "stopped", "whole")


@pytest.mark.slow
def test_a_killed_training_loses_nothing_that_was_whole(tiny: TinyTraining) -> None:
    # SIGKILL in the middle of a step: no handler, no flush. Records without a marker must not be seen.
    train(tiny, "whole")
    script = textwrap.dedent(
        f"""
        import os, signal, sys
        from pathlib import Path
        from gsd_core.store import Run
        from gsd_core.store.writer import BatchWriter
        from gsd_core.training import SpanGradientCallback
        from tests.test_tracking import saving
        from tests.training_support import TinyTraining

        tiny = TinyTraining(Path({str(tiny.folder)!r}), n_rows=6)
        model = tiny.load()
        probe = tiny.open_probe(model, run="killed", batch_tokens=300)
        end_step = probe.end_step

        def kill_between_records_and_markers(step, overhead):
            if step == 4:
                def commit(self):
                    import pyarrow as pa
                    for name, table in self.tables.items():
                        table.append(pa.Table.from_batches(self._rows[name], schema=table.schema))
                    os.kill(os.getpid(), signal.SIGKILL)
                BatchWriter.commit = commit
            end_step(step, overhead)

        probe.end_step = kill_between_records_and_markers
        tiny.trainer(model, probe.samples, SpanGradientCallback(probe, every=2), **saving(tiny, "killed")).train()
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    store = Workspace.open(tiny.workspace)
    assert store.open_run("killed").finished_batches("step-00002") == {0, 1}
    assert store.open_run("killed").finished_batches("step-00004") == set()
    train(tiny, "killed", resume=True)
    assert_same_runs(tiny, "killed", "whole")


def test_steps_captured_again_are_those_whose_weights_changed(tiny: TinyTraining) -> None:
    # The training went on from step 2 and came to other weights at 4: the run follows the training.
    trainer = train(tiny, "first")
    before = read(tiny, "first", "step-00004")[1]
    run_gsd_json("analyze", "first", "--checkpoint", "step-00004", workspace=tiny.workspace)
    model = tiny.load()
    probe = tiny.open_probe(model, run="first", batch_tokens=300)
    write, written = probe.write, []
    probe.write = lambda *each: (written.append(each[:2]), write(*each))
    options = {**saving(tiny, "second"), "max_grad_norm": 0.05}  # smaller steps than before
    other = tiny.trainer(model, probe.samples, SpanGradientCallback(probe, every=2), **options)
    other.train(resume_from_checkpoint=str(Path(trainer.args.output_dir) / "checkpoint-2"))
    assert written == [(4, 0), (4, 1), (6, 0), (6, 1)]
    spans, after = read(tiny, "first", "step-00004")
    assert len(spans) == len(set(spans))
    assert not np.array_equal(before, after)
    assert not Workspace.open(tiny.workspace).open_run("first").has_analysis("step-00004")
    assert gsd.open_run("first", workspace=tiny.workspace).checkpoints == [
        *("step-00000", "step-00002", "step-00004", "step-00006")
    ]


def test_costs_of_sessions_add_up(tiny: TinyTraining) -> None:
    stop_after(tiny, "sessions", 5)
    first = gsd.open_run("sessions", workspace=tiny.workspace).manifest["tracking_overhead"]
    train(tiny, "sessions", resume=True)
    both = gsd.open_run("sessions", workspace=tiny.workspace).manifest["tracking_overhead"]
    assert both["seconds"] > first["seconds"] > 0
    assert both["capture_cpu_seconds"] > first["capture_cpu_seconds"] > 0


def test_a_run_of_something_else_is_not_written_into(tiny: TinyTraining) -> None:
    train(tiny, "taken")
    for choices, needle in (
        ({}, "steps up to 6 already"),
        ({"tier": "hidden"}, "another tier"),
        ({"sketch_width": 64}, "another sketch"),
        ({"limit": 3}, "another limit"),
    ):
        with pytest.raises(UserError, match=needle):
            train(tiny, "taken", **choices)
    ride = tiny.open_ride(tiny.load(), run="taken")
    trainer = tiny.trainer(tiny.load(), ride.samples, SpanGradientCallback(ride=ride))
    with pytest.raises(UserError, match="made in another way"):
        trainer.train()
    train(tiny, "taken", tier="hidden", replace=True)
    assert gsd.open_run("taken", workspace=tiny.workspace).manifest["tier"] == "hidden"


def test_bad_choices_are_told(tiny: TinyTraining) -> None:
    model = tiny.load()
    for choices, needle in (
        ({"run": "a b"}, "not a valid name"),
        ({"tier": "local", "window": 3}, "means window 0"),
        ({"colour": 3}, "unknown choice 'colour', open_probe, there are segmenter"),
        ({"segmenter": "nonsense"}, "nonsense"),
    ):
        with pytest.raises(UserError, match=needle):
            tiny.open_probe(model, **choices)
    with pytest.raises(UserError, match="0 is not a number of steps"):
        tiny.open_ride(model, group=0)
    with pytest.raises(UserError, match="no data set and no file"):
        gsd.open_probe("nowhere", model=model, tokenizer=tiny.tokenizer, run="x", workspace=tiny.workspace)


def test_samples_that_do_not_fit_are_listed(tiny: TinyTraining) -> None:
    model = tiny.load()
    model.config.max_position_embeddings = 80
    probe = tiny.open_probe(model, run="short")
    assert 0 < len(probe.samples) < 6
    assert all("tokens > context 80" in each.reason for each in probe.skipped)
    tiny.trainer(model, probe.samples, SpanGradientCallback(probe), max_steps=1).train()
    run = Workspace.open(tiny.workspace).open_run("short")
    assert set(run.read_skipped()["sample"]) == {each.sample for each in probe.skipped}


@pytest.mark.parametrize("group", [1, 2, 4])
def test_a_ride_is_a_run_with_a_checkpoint_a_group_of_steps(tiny: TinyTraining, group: int) -> None:
    # Six samples, three a step: two steps are an epoch, so a group of two holds each sample once, one of four twice.
    model = tiny.load()
    ride = tiny.open_ride(model, group=group)
    tiny.trainer(model, ride.samples, SpanGradientCallback(ride=ride), max_steps=4).train()
    opened = gsd.open_run("ride", workspace=tiny.workspace)
    assert opened.checkpoints == [f"step-{step:05d}" for step in range(0, 4, group)]
    n_spans = sum(len(sample.spans) for sample in ride.samples)
    counts = [len(opened.at(name).spans) for name in opened.checkpoints]
    assert sum(counts) == (n_spans if group == 4 else 2 * n_spans)
    assert opened.manifest["tracking"]["n_repeated"] == (6 if group == 4 else 0)
    for name in opened.checkpoints:
        assert opened.at(name).spans["span"].is_unique
    if group == 2:
        assert set(opened.at("step-00000").spans["span"]) == set(opened.at("step-00002").spans["span"])
        run_gsd_json("analyze", "ride", workspace=tiny.workspace)
        assert run_gsd_json("timeline", "ride", workspace=tiny.workspace)["n_spans"] == n_spans


def test_a_ride_goes_on_where_the_training_does(tiny: TinyTraining) -> None:
    def go(run: str, until: int, resume: bool = False) -> None:
        model = tiny.load()
        ride = tiny.open_ride(model, run=run, group=4)
        trainer = tiny.trainer(
            model,
            ride.samples,
            SpanGradientCallback(ride=ride),
            **saving(tiny, run),
        )
        begin = ride.begin_step

        def stopping(step: int, fingerprint: str) -> set[int]:
            if step == until:
                raise KeyboardInterrupt
            return begin(step, fingerprint)

        ride.begin_step = stopping
        if until < 6:
            with pytest.raises(KeyboardInterrupt):
                trainer.train()
        else:
            trainer.train(resume_from_checkpoint=resume or None)

    go("whole", 6)
    go("stopped", 3)  # its last saved checkpoint is step 2, so step 2 is ridden on twice
    go("stopped", 6, resume=True)
    assert_same_runs(tiny, "stopped", "whole")


@pytest.mark.slow
def test_the_documented_script_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "training-callback.md").read_text(encoding="utf-8")
    script = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    (tmp_path / "script.py").write_text(script)
    places = {"GSD_WORKSPACE": str(tmp_path / "w"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, env={**os.environ, **places}
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert "['step-00000', 'step-00004', 'step-00008', 'step-00012']" in done.stdout.decode()
    ride = gsd.open_run("tuning-ride", workspace=tmp_path / "w")
    assert ride.checkpoints == ["step-00000", "step-00006"]
    assert [ride.at(name).spans["sample"].nunique() for name in ride.checkpoints] == [24, 24]


@pytest.mark.slow
def test_two_processes_train_and_one_captures(tiny: TinyTraining) -> None:
    # DDP over gloo: the run must hold one probe a step, and both processes must end.
    if not torch.distributed.is_available():
        pytest.skip("this torch has no distributed package")
    script = tiny.folder / "ddp.py"
    script.write_text(
        textwrap.dedent(
            f"""
            from pathlib import Path
            import torch
            from gsd_core.training import SpanGradientCallback
            from tests.training_support import TinyTraining

            tiny = TinyTraining(Path({str(tiny.folder)!r}), n_rows=6)
            model = tiny.load()
            probe = tiny.open_probe(model, run="ddp")
            ride = tiny.open_ride(model, run="ddp-ride")
            callback = SpanGradientCallback(probe, every=1, ride=ride)
            tiny.trainer(model, probe.samples, callback, max_steps=2, ddp_backend="gloo").train()
            # gloo's threads must end before the interpreter does, or it may abort.
            torch.distributed.destroy_process_group()
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", str(script)],
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    opened = gsd.open_run("ddp", workspace=tiny.workspace)
    assert opened.checkpoints == ["step-00000", "step-00001", "step-00002"]
    assert all(opened.at(name).spans["span"].is_unique for name in opened.checkpoints)
    assert opened.manifest["status"] == "captured"
    ride = gsd.open_run("ddp-ride", workspace=tiny.workspace)
    assert ride.spans["sample"].nunique() == 3, "the first process sees its own three samples of a step"
