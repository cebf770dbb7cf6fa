"""The command line: arguments in, exit code out.

main      run one command; 0 done, 1 internal failure, 2 the user's input, 130 interrupted
Context   what a command gets beside its own flags: workspace, progress, where its result goes

Standard output belongs to the result. With ``--json`` that is exactly one JSON object, also where the command
fails (``{"error": …, "exit": …}``); whatever libraries print there is sent to standard error. A command that
goes on after its result (``serve``) emits it early.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from gsd_core.errors import Interrupted, UserError
from gsd_core.pipeline.output import compute_json_value
from gsd_core.pipeline.parser import make_parser, parse_arguments

if TYPE_CHECKING:
    from gsd_core.pipeline.progress import Progress
    from gsd_core.store import Workspace

DEFAULT_WORKSPACE = "./gsd-workspace"


class Context:
    """What every command gets beside its own flags."""

    def __init__(
        self,
        workspace_uri: str,
        out: TextIO,
        *,
        is_json: bool = False,
        quiet: bool = False,
        debug: bool = False,
    ) -> None:
        self.workspace_uri, self.is_json, self.quiet, self.debug = workspace_uri, is_json, quiet, debug
        self._out = out
        self.resume_flag = ""
        """What the command line needs besides, to go on after an interruption (``--resume``)."""
        self._has_emitted = False
        self._progress: Progress | None = None

    @property
    def progress(self) -> Progress:
        """The command's progress, made when first asked for."""
        if self._progress is None:
            from gsd_core.pipeline.progress import Progress

            self._progress = Progress(self.quiet)
        return self._progress

    def open_workspace(self, create: bool = False) -> Workspace:
        """The workspace; with ``create`` a missing one is made, else it raises ``UserError``."""
        from gsd_core.store import Workspace

        return Workspace.open(self.workspace_uri, create=create)

    def emit(self, result: dict[str, Any], text: Callable[[], str] | str = "") -> None:
        """Hand over the command's one result: JSON with ``--json``, else ``text`` for a person."""
        if self._has_emitted:
            raise RuntimeError("a command has one result")
        self.close()
        self._has_emitted = True
        if self.is_json:
            line = json.dumps(compute_json_value(result), allow_nan=False, ensure_ascii=True)
        else:
            line = text if isinstance(text, str) else text()
            line = line.encode(self._out.encoding or "utf-8", "replace").decode(self._out.encoding or "utf-8")
        if line:
            self._out.write(line + "\n")
            self._out.flush()

    def emit_failure(self, message: str, code: int, **more: object) -> None:
        """One ``error: …`` line on standard error; with ``--json`` the one object says the same."""
        self.close()
        print(message, file=sys.stderr, flush=True)  # noqa: T201
        if self.is_json and not self._has_emitted:
            with contextlib.suppress(OSError, ValueError):
                self.emit({"error": message.removeprefix("error: "), "exit": code, **more})

    def close(self) -> None:
        """Take the progress bar down."""
        if self._progress is not None:
            self._progress.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Never raises on bad input; a stop by signal returns 130."""
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
    from gsd_core.pipeline import commands

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
