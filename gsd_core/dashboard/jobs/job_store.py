"""Background jobs: command-line stages that a page starts, watches and stops.

Job           one job as its folder tells it
Progress      the last progress a running stage wrote
start_job     write the folder and start its supervisor in a session of its own
list_jobs     every job of a workspace, newest first
read_job      one job; a job whose process is gone without a result is "failed"
cancel_job    ask it to stop; what is finished is kept
kill_job      end it at once, where asking did not help
restart_job   start the same commands again as a new job; a capture goes on where it stopped
remove_job    forget an ended job
read_log      the last lines of its log
read_progress, read_error, read_result   what it says of itself, why it failed, what a command printed

Files in ``WORKSPACE/jobs/JOB/``: see :mod:`gsd_core.dashboard.jobs.supervisor`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from gsd_core.dashboard.jobs.supervisor import count_before, is_alive, read_json, write_json
from gsd_core.errors import UserError

JOB_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
MAX_ACTIVE = 12  # running and waiting; more is a mistake rather than a plan
LOG_TAIL_BYTES = 64_000
_ACTIVE = ("starting", "queued", "running")
START_GRACE_S = 20.0  # how long a job may be without a process before it counts as dead


@dataclass(frozen=True)
class Progress:
    """What a stage says of itself: ``done`` of ``total`` units, rate in units/s, ETA in s, memory in bytes."""

    stage: str
    done: float
    total: float | None
    unit: str
    rate_per_s: float | None
    eta_s: float | None
    memory_bytes: float | None

    @property
    def share(self) -> float | None:
        """Finished share in [0, 1], None where the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else None


@dataclass(frozen=True)
class Job:
    """One job. ``status``: starting | queued | running | done | failed | cancelled. Times in seconds since the epoch.

    ``n_before``: for one that waits for its turn, how many come first.
    """

    id: str
    title: str
    status: str
    run: str | None
    dataset: str | None
    commands: list[list[str]]
    command: int
    started: float
    ended: float | None
    folder: Path
    exit_codes: list[int] = field(default_factory=list)
    is_cancelling: bool = False
    is_dead: bool = False
    n_before: int = 0

    @property
    def is_active(self) -> bool:
        """Whether something may still happen."""
        return self.status in _ACTIVE

    @property
    def stage(self) -> str:
        """The command that runs or ran last, in a word: ``capture``."""
        return _stage_of(self.commands[self.command]) if self.commands else ""


def _stage_of(argv: list[str]) -> str:
    words = iter(argv)
    for word in words:
        if word in ("datasets", "capture", "analyze", "demo", "export"):
            return "read the data" if word == "datasets" else word
    return Path(argv[0]).name if argv else ""


def jobs_folder(workspace: str | Path) -> Path:
    """Where a workspace keeps its jobs."""
    return Path(workspace) / "jobs"


def start_job(
    workspace: str | Path,
    title: str,
    commands: list[list[str]],
    run: str | None = None,
    dataset: str | None = None,
) -> Job:
    """Start ``commands`` (argument lists, run in order until one fails) in the background, or line them up behind the
    jobs that run already (ours).

    Errors
    ------
    UserError
        Twelve jobs run or wait already, or the workspace cannot be written.
    """
    active = [job for job in list_jobs(workspace) if job.is_active]
    if len(active) >= MAX_ACTIVE:
        raise UserError(
            f"{len(active)} jobs run or wait already", active[0].title, "wait for one or cancel it"
        )
    now = time.time()
    # Names sort by time, also within a second: they say whose turn comes first.
    identity = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{int(now % 1 * 16**6):06x}"
    folder = jobs_folder(workspace) / identity
    try:
        folder.mkdir(parents=True)
        record = {
            "id": identity,
            "title": title,
            "commands": commands,
            "run": run,
            "dataset": dataset,
            "started": now,
        }
        write_json(folder / "job.json", record)
        (folder / "log.txt").touch()
    except OSError as error:
        raise UserError(
            f"the job folder cannot be written ({error.strerror})", str(folder), "check its rights"
        ) from error
    with (folder / "supervisor.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gsd_core.dashboard.jobs.supervisor", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment(),
        )
    created = None
    with contextlib.suppress(psutil.Error):
        created = psutil.Process(process.pid).create_time()
    write_json(folder / "process.json", {"pid": process.pid, "created": created})
    return read_job(workspace, identity)


def environment() -> dict[str, str]:
    """The server's environment, with this checkout importable whatever the working directory."""
    root = str(Path(__file__).resolve().parents[3])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def read_job(workspace: str | Path, identity: str) -> Job:
    """One job by its id. ``UserError`` where there is none."""
    folder = jobs_folder(workspace) / identity
    if not JOB_ID.fullmatch(identity) or not (folder / "job.json").is_file():
        raise UserError("unknown job", identity, "choose one from the list of jobs")
    record, state, process = (read_json(folder / name) for name in ("job.json", "state.json", "process.json"))
    status = str(state.get("status", "starting"))
    started = float(record.get("started") or 0.0)
    dead = False
    if status in _ACTIVE:
        is_young = time.time() - started < START_GRACE_S
        pid = process.get("pid") or state.get("pid")
        if not is_alive(pid, process.get("created")) and not (pid is None and is_young):
            # It may have ended between the two reads above: ask once more before calling it dead.
            state = read_json(folder / "state.json")
            status = str(state.get("status", "starting"))
            if status in _ACTIVE:
                dead = True
                status = "cancelled" if (folder / "cancel").exists() else "failed"
    commands = [list(map(str, argv)) for argv in record.get("commands", [])]
    return Job(
        id=identity,
        title=str(record.get("title", identity)),
        status=status,
        run=record.get("run"),
        dataset=record.get("dataset"),
        commands=commands,
        command=min(int(state.get("command", 0)), max(0, len(commands) - 1)),
        started=started,
        ended=state.get("ended"),
        folder=folder,
        exit_codes=list(state.get("exit_codes", [])),
        is_cancelling=(folder / "cancel").exists(),
        is_dead=dead,
        n_before=count_before(folder) if status == "queued" else 0,
    )


def list_jobs(workspace: str | Path) -> list[Job]:
    """Every readable job, newest first."""
    folder = jobs_folder(workspace)
    if not folder.is_dir():
        return []
    names = sorted((entry.name for entry in folder.iterdir() if JOB_ID.fullmatch(entry.name)), reverse=True)
    found = []
    for name in names:
        with contextlib.suppress(UserError):
            found.append(read_job(workspace, name))
    return found


def _signal_group(job: Job, number: signal.Signals) -> bool:
    """Send a signal to the job's whole process group; False where it has ended or its process is gone."""
    if read_json(job.folder / "state.json").get("status", "starting") not in _ACTIVE:
        return False
    process = read_json(job.folder / "process.json")
    pid = process.get("pid")
    if not isinstance(pid, int) or not is_alive(pid, process.get("created")):
        return False
    try:
        os.killpg(pid, number)  # the supervisor leads a session of its own, so its pid names the group
    except (ProcessLookupError, PermissionError):
        return False
    return True


def cancel_job(job: Job) -> bool:
    """Ask a job to stop (SIGINT to its group): the stage keeps what is finished. False where it had ended."""
    (job.folder / "cancel").touch()
    return _signal_group(job, signal.SIGINT)


def kill_job(job: Job) -> bool:
    """End a job that does not answer a cancel. Finished batches are safe; the stage can be resumed."""
    (job.folder / "cancel").touch()
    return _signal_group(job, signal.SIGKILL)


def restart_job(workspace: str | Path, job: Job) -> Job:
    """Start the commands again that did not finish; a capture that had begun goes on with ``--resume``."""
    finished = sum(1 for code in job.exit_codes if code == 0)
    remaining = [list(argv) for argv in job.commands[finished:]]
    if remaining and "capture" in remaining[0] and "--resume" not in remaining[0]:
        remaining[0].append("--resume")
    if not remaining:
        raise UserError("the job has finished", job.title, "open its run instead")
    return start_job(workspace, job.title, remaining, run=job.run, dataset=job.dataset)


def remove_job(job: Job) -> None:
    """Forget an ended job: its folder goes, what it stored stays. ``UserError`` while it runs."""
    if job.is_active:
        raise UserError("the job is still running", job.title, "cancel it first")
    shutil.rmtree(job.folder, ignore_errors=True)


def read_progress(job: Job) -> Progress | None:
    """The running stage's own word on how far it is, None where it has not spoken yet."""
    raw = read_json(job.folder / "progress.json")
    if not raw.get("stage"):
        return None

    def number(name: str) -> float | None:
        value = raw.get(name)
        return float(value) if isinstance(value, int | float) and value == value else None

    return Progress(
        stage=str(raw["stage"]),
        done=number("done") or 0.0,
        total=number("total"),
        unit=str(raw.get("unit") or ""),
        rate_per_s=number("rate_per_s"),
        eta_s=number("eta_s"),
        memory_bytes=number("memory_bytes"),
    )


def read_log(job: Job, lines: int = 40) -> str:
    """The last lines of the log, without terminal control characters; ``""`` while there is none."""
    try:
        with (job.folder / "log.txt").open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    kept = [line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")]
    return "\n".join([line for line in kept if line.strip()][-lines:])


def read_error(job: Job) -> str:
    """The line that tells why a job failed: its last ``error:`` line, else what is known."""
    for line in reversed(read_log(job, lines=400).split("\n")):
        if line.startswith("error:"):
            return line.removeprefix("error:").strip()
    if job.is_dead:
        return "the process ended without a word (killed, or the machine was restarted); what was finished is kept"
    return (
        f"exit code {job.exit_codes[-1]}; see the log" if job.exit_codes else "it never started; see the log"
    )


def read_result(job: Job, command: int) -> dict[str, Any]:
    """The JSON object that command number ``command`` printed, empty where it printed none."""
    return read_json(job.folder / f"out-{command}.json")
