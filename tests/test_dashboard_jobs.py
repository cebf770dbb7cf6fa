"""Background jobs: a page can always tell what became of the work it started."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gsd_core.dashboard.data.capture_form import make_steps
from gsd_core.dashboard.data.uploads import Corrections
from gsd_core.dashboard.frame.address import PAGES
from gsd_core.dashboard.jobs import job_output, job_store, supervisor
from gsd_core.dashboard.jobs.job_steps import Step, make_argv, make_title
from gsd_core.errors import UserError
from gsd_core.methods.capture_method import CaptureOptions
from gsd_core.registry.catalog import list_methods
from gsd_core.registry.options import iter_flags

# Stands for a long stage: writes progress, then waits for SIGINT, keeps what is finished and exits 130.
WAITS = """
import json, os, signal, sys
signal.signal(signal.SIGINT, lambda *_: (print('{"kept": 3}'), sys.stdout.flush(), os._exit(130)))
path = os.environ["GSD_PROGRESS_FILE"]
open(path + ".t", "w").write(json.dumps({"stage": "capture", "done": 3, "total": 10, "unit": "samples",
    "rate_per_s": 2.0, "eta_s": 3.5, "memory_bytes": 1e8}))
os.replace(path + ".t", path)
print("reading", file=sys.stderr, flush=True)
while True:
    signal.pause()
"""


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.02)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def ended(workspace: Path, identity: str) -> Callable[[], bool]:
    return lambda: not job_store.read_job(workspace, identity).is_active


@pytest.fixture
def waiting_job(tmp_path: Path):
    """A job whose first command waits to be interrupted; whatever a test leaves running is ended."""
    job = job_store.start_job(tmp_path, "waits", [python(WAITS), python("print(1)")], run="r")
    wait_for(lambda: job_output.read_progress(job) is not None, "first progress")
    yield tmp_path, job
    job_store.kill_job(job)


def test_commands_run_in_order_and_each_result_is_kept(tmp_path):
    lines = [python("print('{\"step\": 1}')"), python("print('{\"step\": 2}')")]
    job = job_store.start_job(tmp_path, "two steps", lines, run="r")
    wait_for(ended(tmp_path, job.id), "the end of two short commands")
    job = job_store.read_job(tmp_path, job.id)
    assert job.status == "done", job_output.read_log(job)
    results = [supervisor.read_json(job.folder / f"out-{command}.json") for command in range(2)]
    assert results == [{"step": 1}, {"step": 2}]
    assert job.exit_codes == [0, 0]


def test_a_failure_stops_the_chain_and_its_error_line_is_shown(tmp_path):
    fails = "import sys; print('error: no such column, data.csv, choose another', file=sys.stderr); sys.exit(2)"
    never = tmp_path / "never"
    job = job_store.start_job(tmp_path, "fails", [python(fails), python(f"open({str(never)!r}, 'w')")])
    wait_for(ended(tmp_path, job.id), "the failure")
    job = job_store.read_job(tmp_path, job.id)
    assert job.status == "failed"
    assert job_output.read_error(job) == "no such column, data.csv, choose another"
    assert not never.exists(), "a command ran although the one before it had failed"


def test_a_command_that_cannot_start_is_a_failure_with_a_reason(tmp_path):
    job = job_store.start_job(tmp_path, "no program", [["/nonexistent/program"]])
    wait_for(ended(tmp_path, job.id), "the failure")
    job = job_store.read_job(tmp_path, job.id)
    assert job.status == "failed"
    assert "cannot start" in job_output.read_error(job)


def test_progress_of_a_running_stage_is_read(waiting_job):
    workspace, job = waiting_job
    progress = job_output.read_progress(job)
    assert progress is not None
    assert (progress.stage, progress.done, progress.total, progress.unit) == ("capture", 3, 10, "samples")
    assert progress.share == pytest.approx(0.3)
    assert job_store.read_job(workspace, job.id).status == "running"


def test_cancel_lets_the_stage_keep_what_is_finished(waiting_job):
    workspace, job = waiting_job
    assert job_store.cancel_job(job)
    wait_for(ended(workspace, job.id), "the end after a cancel")
    job = job_store.read_job(workspace, job.id)
    assert job.status == "cancelled", "a cancelled job must not look failed or done"
    assert supervisor.read_json(job.folder / "out-0.json") == {"kept": 3}, (
        "the stage got no chance to keep what it had finished"
    )
    assert not job_store.cancel_job(job), "a cancel after the end must say that nothing was there to cancel"


def test_a_killed_supervisor_is_noticed(waiting_job):
    workspace, job = waiting_job
    process = json.loads((job.folder / "process.json").read_text())
    os.killpg(process["pid"], signal.SIGKILL)
    wait_for(ended(workspace, job.id), "a dead job counting as ended")
    job = job_store.read_job(workspace, job.id)
    assert job.status == "failed"
    assert job.is_dead
    assert "vanished" in job_output.read_error(job)


def test_a_reused_process_number_is_not_our_job(tmp_path):
    """After a reboot another program may carry the number of a job that died."""
    job = job_store.start_job(tmp_path, "short", [python("pass")])
    wait_for(ended(tmp_path, job.id), "the end")
    supervisor.write_json(job.folder / "state.json", {"status": "running", "command": 0})
    own = psutil.Process()
    record = {"pid": own.pid, "created": own.create_time() - 1000}
    supervisor.write_json(job.folder / "process.json", record)
    job = job_store.read_job(tmp_path, job.id)
    assert job.status == "failed"
    assert not job_store.cancel_job(job), "a signal would have gone to somebody else's process"


def test_an_interrupted_capture_goes_on_with_resume(tmp_path):
    script = "import sys; sys.exit(0 if '--resume' in sys.argv else 130)"
    add, capture = python("pass"), [*python(script), "capture", "--dataset", "d"]
    names = ["datasets add", "capture"]
    job = job_store.start_job(tmp_path, "capture", [add, capture], run="r", dataset="d", names=names)
    wait_for(ended(tmp_path, job.id), "the end")
    job = job_store.read_job(tmp_path, job.id)
    assert job.status == "cancelled"
    assert job.stage == "capture"
    again = job_store.restart_job(tmp_path, job)
    assert again.commands == [[*capture, "--resume"]], "finished commands must not run twice"
    wait_for(ended(tmp_path, again.id), "the resumed end")
    assert job_store.read_job(tmp_path, again.id).status == "done"


def test_only_a_command_that_declares_a_flag_is_resumed_with_it(tmp_path):
    analyze = [*python("import sys; sys.exit('--resume' in sys.argv or 130)"), "analyze", "capture"]
    job = job_store.start_job(tmp_path, "a run called capture", [analyze], run="capture", names=["analyze"])
    wait_for(ended(tmp_path, job.id), "the end")
    again = job_store.restart_job(tmp_path, job_store.read_job(tmp_path, job.id))
    assert again.commands == [analyze], "the name of the run was taken for the command"
    wait_for(ended(tmp_path, again.id), "the end of the second")


@pytest.mark.parametrize("method", [each for each in list_methods() if each.job], ids=lambda each: each.name)
def test_every_method_has_a_word_a_title_and_a_page_to_open(tmp_path, method):
    job = job_store.start_job(tmp_path, "short", [python("pass")], run="r", names=[method.name])
    wait_for(ended(tmp_path, job.id), "the end")
    job = job_store.read_job(tmp_path, job.id)
    assert job.stage == method.job.word
    assert job.opens in PAGES
    needed = {flag.name: "x" for flag in iter_flags(method.options) if flag.is_needed}
    assert "{" not in make_title([Step(method.name, method.options(**needed))])


def status_of(workspace: Path, job: job_store.Job) -> str:
    return job_store.read_job(workspace, job.id).status


def test_the_third_job_waits_for_its_turn_and_the_fourth_for_the_third(waiting_job):
    workspace, first = waiting_job
    others = [job_store.start_job(workspace, name, [python(WAITS)]) for name in ("second", "third", "fourth")]
    try:
        second, third, fourth = others
        wait_for(lambda: status_of(workspace, second) == "running", "the second job's turn")
        for job, n_before in ((third, 2), (fourth, 3)):
            wait_for(lambda job=job: status_of(workspace, job) == "queued", "a waiting job")
            assert job_store.read_job(workspace, job.id).n_before == n_before
        with pytest.raises(UserError, match="still running"):
            job_store.remove_job(job_store.read_job(workspace, third.id))
        job_store.kill_job(first)  # also one that dies vanished gives its turn away
        wait_for(lambda: status_of(workspace, third) == "running", "the third job's turn")
        assert status_of(workspace, fourth) == "queued", "more than two jobs run at once"
        assert job_store.cancel_job(fourth)
        wait_for(ended(workspace, fourth.id), "the end of a job that never had its turn")
        assert status_of(workspace, fourth) == "cancelled"
    finally:
        for job in others:
            job_store.kill_job(job)


def test_there_is_an_end_to_waiting(waiting_job, monkeypatch):
    workspace, _ = waiting_job
    monkeypatch.setattr(job_store, "MAX_ACTIVE", 1)
    with pytest.raises(UserError, match="run or wait already"):
        job_store.start_job(workspace, "one too many", [python("pass")])


@pytest.mark.parametrize("identity", ["../../etc", "", "20260101-000000-zzzzzz", "20260101-000000-abcdef"])
def test_a_job_id_is_never_a_path(tmp_path, identity):
    with pytest.raises(UserError):
        job_store.read_job(tmp_path, identity)


def test_half_written_files_never_break_the_list(tmp_path):
    job = job_store.start_job(tmp_path, "short", [python("pass")])
    wait_for(ended(tmp_path, job.id), "the end")
    (job.folder / "progress.json").write_text('{"stage": "cap')
    (job.folder / "state.json").write_text("[]")
    wait_for(ended(tmp_path, job.id), "a job without state and process counting as ended")
    (found,) = job_store.list_jobs(tmp_path)
    assert job_output.read_progress(found) is None
    assert found.status == "failed", "a job without state and process has ended badly"


def test_log_tail_loses_terminal_control_and_overdrawn_bars(tmp_path):
    job = job_store.start_job(tmp_path, "short", [python("pass")])
    wait_for(ended(tmp_path, job.id), "the end")
    (job.folder / "log.txt").write_bytes(b"start\n 10%\r 50%\r100%\n\x1b[31mred\x1b[0m\n\xff\n")
    assert job_output.read_log(job) == "start\n100%\nred\n\ufffd"


def test_capture_commands_follow_the_command_line_contract(tmp_path):
    options = CaptureOptions("d", "demo", run="r", window="all", limit=10)
    steps = make_steps(options, tmp_path / "x.jsonl", Corrections((("question", "q"),)))
    add, capture, analyze = (make_argv(tmp_path, step) for step in steps)
    assert add[-6:] == ["add", str(tmp_path / "x.jsonl"), "--name", "d", "--map", "question=q"]
    assert capture[capture.index("--limit") + 1] == "10"
    assert capture[capture.index("--window") + 1] == "all"
    assert analyze[-2:] == ["analyze", "r"]


@pytest.mark.parametrize("broken", [{"run": "a/b"}, {"dataset": ""}, {"model": "--help"}, {"model": " "}])
def test_names_that_the_command_line_would_misread_are_refused(tmp_path, broken):
    with pytest.raises(UserError):
        make_steps(CaptureOptions(**{"dataset": "d", "model": "demo", "run": "r", **broken}), None, Corrections())
