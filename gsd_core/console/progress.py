"""Progress of long stages: a bar in the terminal, a file for the pages.

Progress  progress of one command; opens its stages in turn
Stage     one stage; ``advance`` it when work is done, ``show`` what is under way
FILE_INTERVAL_S, BAR_INTERVAL_S, LINE_INTERVAL_S, RATE_WINDOW_S   how often each is updated, and the span of rates
BEAT_INTERVAL_S   how long a stage may report nothing until a thread says that it still works

A terminal shows a bar with rate, time left and memory; other streams get a line every 8 seconds. If
``$GSD_PROGRESS_FILE`` is set, the numbers are also written there as JSON, whole at every moment: ``{stage, done, total,
unit, rate_per_s, eta_s, memory_bytes, updated, notes}``. ``updated`` is in seconds since 1970.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import psutil

from gsd_core.console.output import format_count, format_json, format_seconds

if TYPE_CHECKING:
    import rich.progress

FILE_INTERVAL_S = 0.5
BAR_INTERVAL_S = 0.1
LINE_INTERVAL_S = 8.0
BEAT_INTERVAL_S = 4.0
RATE_WINDOW_S = 20.0


class Stage:
    """One stage of a command. Made by :meth:`Progress.stage`; usable as a context manager.

    Attributes
    ----------
    done, total
        Finished and expected work in ``unit``; ``total`` is None if unknown.
    under_way
        Work that is begun and shown, but neither finished nor counted.
    """

    def __init__(self, progress: Progress, name: str, total: int | None, unit: str) -> None:
        self.name, self.total, self.unit, self.done, self.under_way = name, total, unit, 0, 0
        self.notes: dict[str, Any] = {}
        self.is_finished = False
        self._progress = progress
        self._recent: deque[tuple[float, int]] = deque([(progress.clock(), 0)])
        self._moved = progress.clock()

    def advance(self, n: int = 1, **notes: Any) -> None:
        """Report ``n`` more finished units. ``notes`` are shown beside the bar and replace older ones."""
        self.update(self.done + n, **notes)

    def show(self, under_way: int, **notes: Any) -> None:
        """Show ``under_way`` units beyond those done, in place of what was shown before, without counting them."""
        self._move(self.done, under_way, notes)

    def skip(self, n: int) -> None:
        """Count ``n`` units that were finished before this stage began. They do not count in the rate."""
        self._recent = deque((when, done + n) for when, done in self._recent)
        self.update(self.done + n)

    def update(self, done: int, total: int | None = None, **notes: Any) -> None:
        """Report that ``done`` units are finished in total; ``total`` replaces the expected number."""
        self.total = self.total if total is None else total
        self._move(done, 0, notes)

    def _move(self, done: int, under_way: int, notes: dict[str, Any]) -> None:
        now = self._progress.clock()
        if done + under_way != self.shown:
            self._moved = now
        self.done, self.under_way = done, under_way
        self.notes.update(notes)
        self._recent.append((now, self.shown))
        while len(self._recent) > 2 and now - self._recent[0][0] > RATE_WINDOW_S:
            self._recent.popleft()
        self._progress._report(self)

    @property
    def shown(self) -> int:
        """Work done and under way, which is what a person sees."""
        return self.done + self.under_way

    def rate_per_s(self) -> float | None:
        """Units per second over the last twenty seconds; None before any work."""
        (first_time, first_done), (last_time, last_done) = self._recent[0], self._recent[-1]
        if last_time <= first_time or last_done <= first_done:
            return None
        return (last_done - first_done) / (last_time - first_time)

    def eta_s(self) -> float | None:
        """Seconds left at the current rate; None if total or rate is unknown."""
        rate = self.rate_per_s()
        if self.total is None or rate is None:
            return None
        return max(0.0, (self.total - self.shown) / rate)

    def quiet_s(self) -> float:
        """Seconds since the number shown last changed."""
        return self._progress.clock() - self._moved

    def finish(self) -> None:
        """End the stage. A second call does nothing."""
        if not self.is_finished:
            self.is_finished, self.under_way = True, 0
            self._progress._report(self, force=True)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()


class Progress:
    """Progress of one command.

    ::

        with Progress() as progress:
            stage = progress.stage("capture", 1200, "tokens")
            stage.advance(80)

    Parameters
    ----------
    quiet
        No bar and no lines. The progress file is still written.
    stream
        Where bar and lines go; standard error by default.
    path
        The progress file; by default ``$GSD_PROGRESS_FILE``, if set.
    clock
        A clock in monotonic seconds.
    """

    def __init__(
        self,
        quiet: bool = False,
        stream: TextIO | None = None,
        *,
        path: str | Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quiet = quiet
        self.stream = sys.stderr if stream is None else stream
        self.clock = clock
        named = path if path is not None else os.environ.get("GSD_PROGRESS_FILE")
        self._path = Path(named) if named else None
        self._process = psutil.Process()
        self._stage: Stage | None = None
        self._bar: rich.progress.Progress | None = None
        self._bar_task: rich.progress.TaskID | None = None
        self._last_file = self._last_line = self._last_bar = self._last_report = float("-inf")
        self._lock = threading.RLock()
        self._ended: threading.Event | None = None

    def stage(self, name: str, total: int | None = None, unit: str = "items") -> Stage:
        """Open the next stage. An open stage is finished first."""
        with self._lock:
            if self._stage is not None:
                self._stage.finish()
            stage = Stage(self, name, total, unit)
            self._stage = stage
            self._last_line = self.clock()
            if not self.quiet and getattr(self.stream, "isatty", lambda: False)():
                self._open_bar(stage)
            self._report(stage, force=True)
        if self._ended is None and self.clock is time.monotonic:  # a test's clock beats by hand
            self._ended = threading.Event()
            threading.Thread(target=_keep_beating, args=(weakref.ref(self), self._ended), daemon=True).start()
        return stage

    def beat(self) -> None:
        """Show the open stage again where nothing has been reported for some seconds."""
        with self._lock:
            stage = self._stage
            is_due = self.clock() - self._last_report >= BEAT_INTERVAL_S
            if stage is not None and not stage.is_finished and is_due:
                self._report(stage)

    def note(self, text: str) -> None:
        """Print one line above the bar."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """Remove the bar. The last state stays in the progress file."""
        with self._lock:
            if self._ended is not None:
                self._ended.set()
                self._ended = None
            if self._stage is not None:
                self._stage.finish()
                self._stage = None
            self._close_bar()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _report(self, stage: Stage, force: bool = False) -> None:
        with self._lock:
            self._write(stage, force)

    def _write(self, stage: Stage, force: bool) -> None:
        now = self._last_report = self.clock()
        if self._path is not None and (force or now - self._last_file >= FILE_INTERVAL_S):
            self._last_file = now
            self._write_file(stage)
        if self.quiet:
            return
        if self._bar is not None and self._bar_task is not None:
            if force or now - self._last_bar >= BAR_INTERVAL_S:
                self._last_bar = now
                self._bar.update(self._bar_task, completed=stage.shown, total=stage.total, facts=self._facts(stage))
                self._bar.refresh()
            if stage.is_finished:
                self._close_bar()
        elif stage.is_finished or now - self._last_line >= LINE_INTERVAL_S:
            self._last_line = now
            total = "" if stage.total is None else f"/{format_count(stage.total)}"
            head = f"{stage.name}: {format_count(stage.shown)}{total} {stage.unit}"
            print(f"{head}  {self._facts(stage)}", file=self.stream, flush=True)

    def _facts(self, stage: Stage) -> str:
        rate, eta = stage.rate_per_s(), stage.eta_s()
        facts = []
        if rate is not None:
            facts.append(f"{format_count(rate)} {stage.unit}/s")
        if eta is not None and not stage.is_finished:
            facts.append(f"{format_seconds(eta)} left")
        facts.append(f"{self._memory_bytes() / 2**20:,.0f} MiB")
        facts += [f"{key} {value}" for key, value in stage.notes.items()]
        if not stage.is_finished and stage.quiet_s() >= BEAT_INTERVAL_S:
            facts.append(f"still working, {format_seconds(stage.quiet_s())}")
        return " · ".join(facts)

    def _memory_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    def _write_file(self, stage: Stage) -> None:
        assert self._path is not None
        state = {
            "stage": stage.name,
            "done": stage.shown,
            "total": stage.total,
            "unit": stage.unit,
            "rate_per_s": stage.rate_per_s(),
            "eta_s": stage.eta_s(),
            "memory_bytes": self._memory_bytes(),
            "updated": time.time(),
            "notes": stage.notes,
        }
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        try:
            partial.write_text(format_json(state), encoding="utf-8")
            partial.replace(self._path)
        except OSError as error:
            # A capture of hours must not fail because a page cannot show its progress.
            self.note(f"progress file {self._path} cannot be written ({error}); the work continues without it")
            self._path = None

    def _open_bar(self, stage: Stage) -> None:
        # rich takes 60 ms to import and only a terminal needs it.
        import rich.console
        import rich.progress

        self._close_bar()
        # No refresh thread and no redirection: standard output holds only the result.
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[facts]}", markup=False),
            console=rich.console.Console(file=self.stream),
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._bar_task = self._bar.add_task(stage.name, total=stage.total, facts="")
        self._bar.start()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._bar_task = None, None


def _keep_beating(progress: weakref.ref[Progress], ended: threading.Event) -> None:
    """Let `progress` beat until it is closed or gone."""
    while not ended.wait(BEAT_INTERVAL_S):
        me = progress()
        if me is None:
            return
        with suppress(OSError, ValueError):  # its stream is gone; the command will notice by itself
            me.beat()
        del me
