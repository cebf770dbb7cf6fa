"""The command line: arguments in, exit code out.

main  run one command; 0 done, 1 internal failure, 2 the user's input, 130 interrupted

Standard output belongs to the result. With ``--json`` that is exactly one JSON object, also where the command
fails (``{"error": …, "exit": …}``); whatever libraries print there is sent to standard error. A command that
goes on after its result (``serve``) emits it early.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from gsd_core.cli.command_context import Context
from gsd_core.cli.command_parser import make_parser, parse_arguments
from gsd_core.console.threads import let_threads_yield
from gsd_core.errors import Interrupted, UserError

DEFAULT_WORKSPACE = "./gsd-workspace"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Never raises on bad input; a stop by signal returns 130."""
    let_threads_yield()  # before a command loads torch
    words = list(sys.argv[1:] if argv is None else argv)
    with _result_stream("--json" in words) as out:
        context = Context("", out, is_json="--json" in words, debug="--debug" in words)
        try:
            with _stop_signals():
                return _run(words, context)
        except UserError as error:
            _show_trace(context)
            context.emit_failure(f"error: {error.one_line()}", 2)
            return 2
        except Interrupted as stop:
            resume = stop.resume or _command_line(words)
            context.emit_failure(
                f"interrupted, finished work is kept, go on with: {resume}", 130, resume=resume
            )
            return 130
        except KeyboardInterrupt:
            resume = _command_line(words, context.resume_flag)
            context.emit_failure(
                f"interrupted, finished work is kept, go on with: {resume}", 130, resume=resume
            )
            return 130
        except BrokenPipeError:
            # The reader of our output has gone (`gsd … | head`); keep Python from complaining about it at exit.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
            return 1
        except SystemExit as leave:  # argparse after --help and --version
            return leave.code if isinstance(leave.code, int) else 1
        except MemoryError:
            _show_trace(context)
            context.emit_failure(
                "error: out of memory, this process, try --limit, a smaller --batch-tokens or fewer checkpoints",
                1,
            )
            return 1
        except Exception as error:
            _show_trace(context)
            text = " ".join(str(error).split()) or "no message"
            context.emit_failure(
                f"error: internal failure ({type(error).__name__}: {text}), {_command_line(words)}, "
                "--debug shows the traceback",
                1,
            )
            return 1
        finally:
            context.close()


def _run(words: list[str], context: Context) -> int:
    flags = parse_arguments(make_parser(), words)
    context.is_json, context.quiet, context.debug = flags.json, flags.quiet, flags.debug
    context.workspace_uri = flags.workspace or os.environ.get("GSD_WORKSPACE") or DEFAULT_WORKSPACE
    # A command's rooms (and their libraries) are loaded only when it runs: `gsd --help` stays quick.
    from gsd_core.cli import commands

    run: Callable[[Context, Any], int | None] = getattr(commands, flags.function)
    return run(context, flags) or 0


def _command_line(words: Sequence[str], more: str = "") -> str:
    """The line that was typed, without ``--json``, with ``more`` if it is not there yet."""
    words = [word for word in words if word != "--json"]
    words += [more] if more and more not in words else []
    return " ".join(shlex.join(["gsd", *words]).split())


def _show_trace(context: Context) -> None:
    if context.debug:
        context.close()
        traceback.print_exc(file=sys.stderr)


@contextlib.contextmanager
def _result_stream(is_json: bool) -> Iterator[TextIO]:
    """Standard output for the result alone: with ``--json``, everybody else's prints go to standard error.

    The file descriptor is moved too, so that libraries written in C and child processes cannot slip in.
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
    """SIGINT and SIGTERM both raise KeyboardInterrupt, also where a shell started us with SIGINT ignored."""
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
