"""Whether an answer is right: the same words, or the same mathematics.

AnswerChecker   compares answers; mathematics in a process of its own
same_words      whether two answers are the same but for case, marks and order of people
DEADLINE        seconds for one comparison

``math-verify`` reads LaTeX and numbers as sympy expressions. What sympy does with a text that somebody brought can take
for ever, and the library's own time limits use signals, which work in a main thread only. So it runs in another process
that is ended where it takes too long.
"""

from __future__ import annotations

import json
import queue
import re
import subprocess
import sys
import threading
from typing import IO, Any, Self

DEADLINE = 10.0
STARTUP = 120.0  # seconds; sympy is slow to load on a busy machine
MOST_CHARS = 500  # a longer answer is text, not mathematics
_MARKS = re.compile(r"(?:[\s!?*_\"'`$]|[.,](?!\d))+")  # a point before a digit is part of a number
_MATHEMATICS = re.compile(r"[\d\\^=]")
_PROGRAM = "gsd_core.rollouts.math_process"


def same_words(one: str, other: str) -> bool:
    """Whether two answers say the same: case, blanks and marks aside; parts between ``;`` in order, names around "and"
    in any order."""
    return _split(one) == _split(other) and bool("".join(_normalise(one)))


def _split(text: str) -> list[list[str]]:
    return [sorted(_normalise(part) for part in re.split(r"\band\b", each)) for each in text.split(";")]


def _normalise(text: str) -> str:
    return _MARKS.sub(" ", re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.lower())).strip()


class AnswerChecker:
    """Compares answers. A context manager: the process starts where it is first needed, and ends with the context.

    ``n_undecided`` counts comparisons that took longer than ``deadline`` seconds or ended the process.
    """

    def __init__(self, deadline: float = DEADLINE) -> None:
        self.deadline, self.n_undecided = deadline, 0
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_right(self, answer: str | None, wanted: str) -> bool:
        """Whether ``answer`` is ``wanted``. A comparison that cannot be decided counts as wrong."""
        if answer is None:
            return False
        if same_words(answer, wanted):
            return True
        if not (_MATHEMATICS.search(wanted) and _MATHEMATICS.search(answer)):
            return False
        if len(answer) > MOST_CHARS or len(wanted) > MOST_CHARS:
            return False
        return self._ask(answer, wanted)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def _ask(self, answer: str, wanted: str) -> bool:
        try:
            if self._process is None:
                self._start()
            asks = self._process.stdin if self._process is not None else None
            assert asks is not None
            asks.write(json.dumps([wanted, answer]) + "\n")
            asks.flush()
            line = self._lines.get(timeout=self.deadline)
        except (queue.Empty, OSError):
            line = None
        if line is None:
            self.n_undecided += 1
            self.close()
            return False
        return bool(json.loads(line))

    def _start(self) -> None:
        self._lines = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        threading.Thread(target=_pump, args=(self._process.stdout, self._lines), daemon=True).start()
        if self._lines.get(timeout=STARTUP) is None:
            raise OSError("the process of math-verify ended")


def _pump(lines: IO[str] | Any, into: queue.Queue[str | None]) -> None:
    """Lines of a pipe into a queue, then None: reading a pipe has no time limit of its own."""
    for line in lines:
        into.put(line)
    into.put(None)
