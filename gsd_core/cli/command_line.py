"""The command line: arguments in, exit code out.

main  run one command; 0 done, 1 internal failure, 2 wrong input, 130 interrupted

Standard output holds only the result. With ``--json`` it is exactly one JSON object, also after a failure
(``{"error": …, "exit": …}``); what libraries print goes to standard error. A command that keeps running (``serve``)
prints its result early.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TextIO

from gsd_core.cli.command_context import Context
from gsd_core.cli.command_parser import make_parser, parse_arguments
from gsd_core.console.threads import let_threads_yield
from gsd_core.console.workspace_choice import choose_workspace
from gsd_core.errors import Interrupted, UserError, explain_storage
from gsd_core.registry.catalog import load


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. It does not raise on bad input; a stop by signal returns 130."""
    let_threads_yield()  # before a command loads torch
    words = list(sys.argv[1:] if argv is None else argv)
    with _result_stream("--json" in words) as out:
        context = Context("", out, is_json="--json" in words, debug="--debug" in words)
        try:
            with _stop_signals():
                return _run(words, context)
        except UserError as error:
            return _fail(context, error.one_line(), 2)
        except (Interrupted, KeyboardInterrupt) as stop:
            told = stop.resume if isinstance(stop, Interrupted) else _command_line(words, context.resume_flag)
            resume = told or _command_line(words)
            context.emit_failure(f"interrupted, finished work is kept, resume with: {resume}", 130, resume=resume)
            return 130
        except BrokenPipeError:
            # The reader of our output is gone (`gsd … | head`); this prevents Python's message at exit.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
            return 1
        except SystemExit as leave:  # argparse after --help and --version
            return leave.code if isinstance(leave.code, int) else 1
        except MemoryError:
            fix = "try --limit, a smaller --batch-tokens or fewer checkpoints"
            return _fail(context, f"out of memory, this process, {fix}", 1)
        except Exception as error:
            if storage := explain_storage(error):
                return _fail(context, storage.one_line(), 2)
            text = f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
            where = f"{_command_line(words)}, --debug shows the traceback"
            return _fail(context, f"internal failure ({text}), {where}", 1)
        finally:
            context.close()


def _run(words: list[str], context: Context) -> int:
    asked = parse_arguments(make_parser(), words)
    context.is_json, context.quiet, context.debug = asked.is_json, asked.is_quiet, asked.is_debug
    context.workspace_uri = choose_workspace(asked.workspace)
    context.resume_flag = asked.command.job.resume if asked.command.job else ""
    if asked.command.needs == "context":
        return load(asked.command.run)(context, asked.options) or 0
    workspace = context.find_workspace(asked.command.needs)
    result = load(asked.command.run)(workspace, asked.options, context.progress)  # loads its code and libraries
    context.emit(result, partial(load(asked.command.describe), result))
    return 0


def _command_line(words: Sequence[str], more: str = "") -> str:
    """The command as typed, without ``--json``, with ``more`` if it is missing."""
    words = [word for word in words if word != "--json"]
    words += [more] if more and more not in words else []
    return " ".join(shlex.join(["gsd", *words]).split())


def _fail(context: Context, message: str, code: int) -> int:
    """Tell of the exception that is being handled, with its traceback under ``--debug``; returns ``code``."""
    if context.debug:
        context.close()
        traceback.print_exc(file=sys.stderr)
    context.emit_failure(f"error: {message}", code)
    return code


@contextlib.contextmanager
def _result_stream(is_json: bool) -> Iterator[TextIO]:
    """Standard output for the result only: with ``--json``, all other prints go to standard error.

    The file descriptor is redirected too, because libraries in C and child processes write to it.
    """
    original = sys.stdout
    if not is_json:
        yield original
        return
    try:
        has_descriptor = original.fileno() == 1 and sys.stderr.fileno() == 2
    except (OSError, ValueError, AttributeError):
        has_descriptor = False
    if not has_descriptor:  # a test's or a notebook's stand-in
        sys.stdout = sys.stderr
        try:
            yield original
        finally:
            sys.stdout = original
        return
    original.flush()
    saved = os.dup(1)
    out = os.fdopen(os.dup(saved), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield out
    finally:
        with contextlib.suppress(OSError):
            out.close()
        with contextlib.suppress(OSError):
            original.flush()
        os.dup2(saved, 1)
        os.close(saved)
        sys.stdout = original


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt, even if the shell started this process with SIGINT ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
