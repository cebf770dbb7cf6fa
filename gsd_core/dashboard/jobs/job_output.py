"""What a job wrote: progress, log, error.

Progress        the progress that a running command reported
read_progress   the last Progress
read_log        the last lines of the log
read_error      why the job failed
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from gsd_core.dashboard.jobs.job_store import Job
from gsd_core.dashboard.jobs.supervisor import read_json

LOG_TAIL_BYTES = 64_000


@dataclass(frozen=True)
class Progress:
    """Progress of a stage: ``done`` of ``total`` units, rate in units/s, ETA in s, memory in bytes."""

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


def read_progress(job: Job) -> Progress | None:
    """The progress that the running stage reported last, None before its first report."""
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
    """Why a job failed: its last ``error:`` line, else what is known."""
    for line in reversed(read_log(job, lines=400).split("\n")):
        if line.startswith("error:"):
            return line.removeprefix("error:").strip()
    if job.is_dead:
        return "the process vanished (it was killed, or the machine restarted); finished work is kept"
    return f"exit code {job.exit_codes[-1]}; see the log" if job.exit_codes else "it never started; see the log"
