"""What every command gets besides its own flags.

Context   workspace, progress and output
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gsd_core.console.output import format_json

if TYPE_CHECKING:
    from gsd_core.console.progress import Progress
    from gsd_core.store import Workspace


class Context:
    """Workspace, progress and output of one command."""

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
        """The flag that resumes the command after an interruption."""
        self._has_emitted = False
        self._progress: Progress | None = None

    @property
    def progress(self) -> Progress:
        """The command's progress, created on first use."""
        if self._progress is None:
            from gsd_core.console.progress import Progress

            self._progress = Progress(self.quiet)
        return self._progress

    def open_workspace(self, create: bool = False) -> Workspace:
        """The workspace. A missing one is created with ``create``; else it raises ``UserError``."""
        from gsd_core.store import Workspace

        return Workspace.open(self.workspace_uri, create=create)

    def find_workspace(self, needs: str) -> Workspace | None:
        """The workspace for a command that ``needs`` it so (``registry.method.Command``), or None."""
        is_missing = "://" not in self.workspace_uri and not Path(self.workspace_uri).exists()
        if needs == "nothing" or (needs == "workspace if there" and is_missing):
            return None
        workspace = self.open_workspace(create=needs == "new workspace")
        if needs == "new workspace":
            workspace.check_writable()  # before a model is loaded, and minutes are spent
        return workspace

    def emit(self, result: dict[str, Any], text: Callable[[], str] | str = "") -> None:
        """Print the command's one result: JSON with ``--json``, else ``text``."""
        if self._has_emitted:
            raise RuntimeError("a command has one result")
        self.close()
        self._has_emitted = True
        if self.is_json:
            line = format_json(result)
        else:
            line = text if isinstance(text, str) else text()
            line = line.encode(self._out.encoding or "utf-8", "replace").decode(self._out.encoding or "utf-8")
        if line:
            self._out.write(line + "\n")
            self._out.flush()

    def emit_failure(self, message: str, code: int, **more: object) -> None:
        """Print one line on standard error; with ``--json`` also a JSON object that says the same."""
        self.close()
        print(message, file=sys.stderr, flush=True)  # noqa: T201
        if self.is_json and not self._has_emitted:
            with contextlib.suppress(OSError, ValueError):
                self.emit({"error": message.removeprefix("error: "), "exit": code, **more})

    def close(self) -> None:
        """Remove the progress bar."""
        if self._progress is not None:
            self._progress.close()
