"""Background jobs: command-line stages that a page starts, watches and stops.

Job           one job
start_job     write a job's folder and start its supervisor
read_job      one job by its id
list_jobs     every job of a workspace, newest first
cancel_job    ask a job to stop; finished work is kept
kill_job      end a job at once
restart_job   start the unfinished commands again as a new job
remove_job    delete an ended job
jobs_folder   where a workspace keeps its jobs
environment   environment of the subprocesses

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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from gsd_core.dashboard.jobs.job_steps import find_job
from gsd_core.dashboard.jobs.supervisor import count_before, is_alive, read_json, write_json
from gsd_core.errors import UserError

JOB_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
MAX_ACTIVE = 12  # running and waiting; more of them are probably a mistake
_ACTIVE = ("starting", "queued", "running")
START_GRACE_S = 20.0  # a job without a process counts as dead after this time


@dataclass(frozen=True)
class Job:
    """One job. ``status``: starting | queued | running | done | failed | cancelled. Times in seconds since the epoch.

    ``names`` are those of the commands in the registry; ``command`` is the index of the one that runs or ran last.
    ``is_dead``: its process vanished without a result. ``n_before``: jobs that must run before a queued one.
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
    names: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    is_cancelling: bool = False
    is_dead: bool = False
    n_before: int = 0

    @property
    def is_active(self) -> bool:
        """Whether the job has not ended."""
        return self.status in _ACTIVE

    @property
    def stage(self) -> str:
        """The command that runs or ran last in a word: ``capture``."""
        if self.command >= len(self.names):
            return Path(self.commands[self.command][0]).name if self.commands else ""
        name = self.names[self.command]
        told = find_job(name)
        return told.word if told else name

    @property
    def opens(self) -> str:
        """The page that shows what the job made; empty for none."""
        told = find_job(self.names[-1]) if self.names else None
        return told.opens if told else ""


def jobs_folder(workspace: str | Path) -> Path:
    """Where a workspace keeps its jobs."""
    return Path(workspace) / "jobs"


def start_job(
    workspace: str | Path,
    title: str,
    commands: list[list[str]],
    run: str | None = None,
    dataset: str | None = None,
    names: Sequence[str] = (),
) -> Job:
    """Start ``commands`` (argument lists, run in order until one fails) in the background; ``names`` are theirs in the
    registry (ours).

    They wait while ``MAX_RUNNING`` other jobs run. ``UserError`` where ``MAX_ACTIVE`` jobs run or wait already, or
    where the workspace cannot be written.
    """
    active = [job for job in list_jobs(workspace) if job.is_active]
    if len(active) >= MAX_ACTIVE:
        raise UserError(f"{len(active)} jobs run or wait already", active[0].title, "wait for one or cancel it")
    now = time.time()
    # Names sort by time, also within a second, and so give the order of the jobs.
    identity = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{int(now % 1 * 16**6):06x}"
    folder = jobs_folder(workspace) / identity
    try:
        folder.mkdir(parents=True)
        record = {
            "id": identity,
            "title": title,
            "commands": commands,
            "names": list(names),
            "run": run,
            "dataset": dataset,
            "started": now,
        }
        write_json(folder / "job.json", record)
        (folder / "log.txt").touch()
    except OSError as error:
        raise UserError(
            f"the job folder cannot be written ({error.strerror})", str(folder), "check its permissions"
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
    """The server's environment; this checkout can be imported from any working directory."""
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
            # It may have ended between the two reads above, so read once more before calling it dead.
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
        names=list(map(str, record.get("names", []))),
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
        os.killpg(pid, number)  # the supervisor leads its own session, so its pid is the group's
    except (ProcessLookupError, PermissionError):
        return False
    return True


def cancel_job(job: Job) -> bool:
    """Ask a job to stop (SIGINT to its group); the stage keeps finished work. False where it had ended."""
    (job.folder / "cancel").touch()
    return _signal_group(job, signal.SIGINT)


def kill_job(job: Job) -> bool:
    """End a job at once (SIGKILL). Finished batches are kept and the stage can be resumed."""
    (job.folder / "cancel").touch()
    return _signal_group(job, signal.SIGKILL)


def restart_job(workspace: str | Path, job: Job) -> Job:
    """Start the unfinished commands as a new job; one that had begun goes on in the way that its command declares."""
    finished = sum(1 for code in job.exit_codes if code == 0)
    remaining, names = [list(argv) for argv in job.commands[finished:]], job.names[finished:]
    if not remaining:
        raise UserError("the job has finished", job.title, "open its run instead")
    told = find_job(names[0]) if names else None
    if told and told.resume and told.resume not in remaining[0]:
        remaining[0].append(told.resume)
    return start_job(workspace, job.title, remaining, job.run, job.dataset, names)


def remove_job(job: Job) -> None:
    """Delete the folder of an ended job; what it stored is kept. ``UserError`` while it runs."""
    if job.is_active:
        raise UserError("the job is still running", job.title, "cancel it first")
    shutil.rmtree(job.folder, ignore_errors=True)
