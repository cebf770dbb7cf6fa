"""The command lines behind the buttons.

CaptureChoice     what a person chose on the Data page
base_command      ``python -m gsd_core`` on a workspace, printing JSON
capture_commands  read a file (or take a stored data set), capture it, analyse it
analyze_commands  analyse a run
evaluate_commands  evaluate all checkpoints against a label
exact_commands    rank a span's neighbours exactly
preview_command   show what the reader understands of a file
map_flag          ``question=COL,reasoning=COL,answer=COL``
WINDOWS, SEGMENTERS what may be chosen; each segmenter with a sentence that explains it
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from gsd_core.errors import UserError
from gsd_core.tiers import DEFAULT_TIER, get_tier
from gsd_core.types import name_is_valid

WINDOWS = ["all", "0", "1", "2", "4"]
SEGMENTERS = {
    "steps": "The file's own list of steps, else its lines.",
    "sentences": "One span a sentence.",
    "paragraphs": "One span a paragraph.",
    "cues": "A new span at cue words such as “Wait”.",
    "cues-wide": "A new span at a wider list of cue words.",
    "windows:16": "Windows of 16 tokens, whatever they say.",
}


@dataclass(frozen=True)
class CaptureChoice:
    """What to capture. ``file`` is read into ``dataset`` first; None: the data set is stored already.

    ``limit`` in samples, None for all; ``window`` "all" or a number of spans, used by tiers with a window only.
    """

    dataset: str
    run: str
    file: Path | None = None
    mapping: dict[str, str] = field(default_factory=dict)
    model: str = "demo"
    tier: str = DEFAULT_TIER
    window: str = "all"
    segmenter: str = "steps"
    limit: int | None = None

    def check(self) -> None:
        """``UserError`` for a name or model that the command line would refuse."""
        for name, what in ((self.dataset, "data set name"), (self.run, "run name")):
            if not name_is_valid(name):
                raise UserError(
                    f"a {what} may hold letters, digits, dot, dash, underscore, at most 64", name or "(empty)"
                )
        if not self.model.strip():
            raise UserError("no model given", "", "write demo, a folder or a hub id")
        if self.model.startswith("-"):
            raise UserError("a model's name cannot begin with a dash", self.model)


def base_command(workspace: str | Path) -> list[str]:
    """``python -m gsd_core`` on this workspace, printing JSON."""
    return [sys.executable, "-m", "gsd_core", "--workspace", str(workspace), "--json"]


def exact_commands(workspace: str | Path, run: str, checkpoint: str, span: str, top: int) -> list[list[str]]:
    """Rank a span's neighbours by gradients without a sketch."""
    words = ["neighbors", run, "--span", span, "--checkpoint", checkpoint, "--top", str(top), "--exact"]
    return [[*base_command(workspace), *words]]


def map_flag(mapping: dict[str, str]) -> list[str]:
    """``["--map", "question=COL,…"]``, empty where nothing was corrected. ``UserError``: a column it cannot say."""
    chosen = {name: column for name, column in mapping.items() if column}
    for column in chosen.values():
        if "," in column or "=" in column:
            raise UserError("a column with a comma or an equals sign cannot be chosen", column, "rename it")
    return ["--map", ",".join(f"{name}={column}" for name, column in chosen.items())] if chosen else []


def preview_command(
    workspace: str | Path, file: Path, mapping: dict[str, str] | None = None, head: int = 20
) -> list[str]:
    """``gsd datasets preview FILE``."""
    command = [*base_command(workspace), "datasets", "preview", str(file), "--head", str(head)]
    return command + map_flag(mapping or {})


def analyze_commands(workspace: str | Path, run: str) -> list[list[str]]:
    """The commands behind "Analyse this run"."""
    return [[*base_command(workspace), "analyze", run]]


def evaluate_commands(
    workspace: str | Path, run: str, label: str, level: str, differ: list[str]
) -> list[list[str]]:
    """The command behind "Evaluate all checkpoints"; labels are named without their ``meta.``."""

    def named(field: str) -> str:
        return field if field.startswith("meta.") else f"meta.{field}"

    command = [*base_command(workspace), "evaluate", run, "--label", named(label), "--level", level]
    command += ["--checkpoint", "all"]
    return [command + (["--differ", *map(named, differ)] if differ else [])]


def capture_commands(workspace: str | Path, choice: CaptureChoice) -> list[list[str]]:
    """``datasets add`` (where there is a file), ``capture``, ``analyze``. ``UserError`` as in ``check``."""
    choice.check()
    base = base_command(workspace)
    commands = []
    if choice.file is not None:
        add = [*base, "datasets", "add", str(choice.file), "--name", choice.dataset]
        commands.append(add + map_flag(choice.mapping))
    capture = [*base, "capture", "--dataset", choice.dataset, "--model", choice.model.strip()]
    capture += ["--tier", choice.tier, "--segmenter", choice.segmenter, "--run", choice.run]
    if get_tier(choice.tier).has_window:
        capture += ["--window", choice.window]
    if choice.limit:
        capture += ["--limit", str(choice.limit)]
    commands.append(capture)
    return commands + analyze_commands(workspace, choice.run)
