"""Runs a job's commands one after the other, outside the web server.

run_job       run every command of a job folder in order
count_before  number of older jobs that have not ended
is_alive      whether a process still runs
read_json     the object in a JSON file
write_json    write a JSON file whole or not at all
main          ``python -m gsd_core.dashboard.jobs.supervisor JOBDIR``

The job folder holds ``job.json`` (what to run). The supervisor adds ``state.json``, ``log.txt`` (standard error of all
commands) and ``out-N.json`` (standard output of command N), the commands write ``progress.json`` (see
``GSD_PROGRESS_FILE``). This module imports next to nothing, because it must start at once and outlive the server.

At most ``MAX_RUNNING`` jobs of a workspace run at once; the others wait, oldest first. A job stops at the first command
that fails. Cancel sends SIGINT to the process group: the command keeps finished work and exits 130. A supervisor that
is killed leaves its state as it was; readers notice that by its process id.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from gsd_core.console.threads import let_threads_yield

EXIT_INTERRUPTED = 130
MAX_RUNNING = 2  # a capture uses every core, so more of them would slow each other down
TURN_POLL_S = 0.5
ACTIVE = ("queued", "running")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to a partial file and rename it to ``path``, so that no reader sees half of it (ours)."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)


def is_alive(pid: int | None, created: float | None) -> bool:
    """Whether this process still runs; process ids are reused, so its time of creation is compared."""
    if not pid:
        return False
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return created is None or abs(process.create_time() - created) < 2.0
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``, empty where it is missing or no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def count_before(folder: Path) -> int:
    """Number of jobs beside ``folder`` that began earlier (names sort by time) and still wait or run."""
    n = 0
    for other in folder.parent.iterdir():
        if other.name >= folder.name or not (other / "job.json").is_file():
            continue
        state, process = read_json(other / "state.json"), read_json(other / "process.json")
        alive = is_alive(process.get("pid") or state.get("pid"), process.get("created"))
        n += alive and state.get("status", "queued") in ACTIVE
    return n


def _run_command(argv: list[str], out: Path, log: Path, environment: dict[str, str]) -> int:
    """Exit code of one command; 127 and a line in the log where it cannot be started."""
    with out.open("wb") as stdout, log.open("ab") as stderr:
        try:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment)
        except OSError as error:
            stderr.write(f"error: cannot start {argv[0]}: {error}\n".encode())
            return 127
        return child.wait()


def run_job(folder: Path) -> int:
    """Run the job in ``folder``; returns the exit code of the last command that ran (ours).

    ``state.json`` holds ``status`` ("queued" | "running" | "done" | "failed" | "cancelled"), ``command`` (index of the
    one that runs or ran last), ``exit_codes``, ``pid``, ``started`` and ``ended`` in seconds since the epoch.
    """
    stops: list[int] = []  # requests to stop; the commands get the signal too, as members of the process group
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stops.append(number))
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    environment = {**os.environ, "GSD_PROGRESS_FILE": str(folder / "progress.json"), "PYTHONUNBUFFERED": "1"}
    let_threads_yield(environment)
    state: dict[str, Any] = {
        "status": "queued",
        "command": 0,
        "exit_codes": [],
        "pid": os.getpid(),
        "started": time.time(),
        "ended": None,
    }
    write_json(folder / "state.json", state)
    while not stops and count_before(folder) >= MAX_RUNNING:
        time.sleep(TURN_POLL_S)
    state["status"], state["started"] = "running", time.time()
    code = 0
    for index, argv in enumerate(job["commands"]):
        state["command"] = index
        write_json(folder / "state.json", state)
        (folder / "progress.json").unlink(missing_ok=True)
        if stops:
            code = EXIT_INTERRUPTED
            break
        code = _run_command(argv, folder / f"out-{index}.json", folder / "log.txt", environment)
        state["exit_codes"].append(code)
        if code != 0:
            break
    if code == 0:
        state["status"] = "done"
    elif stops or code == EXIT_INTERRUPTED:
        state["status"] = "cancelled"
    else:
        state["status"] = "failed"
    state["ended"] = time.time()
    write_json(folder / "state.json", state)
    return code


def main(arguments: list[str] | None = None) -> int:
    """Command line: one argument, the job folder."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or not (Path(arguments[0]) / "job.json").is_file():
        sys.stderr.write("usage: python -m gsd_core.dashboard.jobs.supervisor JOBDIR\n")
        return 2
    return run_job(Path(arguments[0]))


if __name__ == "__main__":
    raise SystemExit(main())
