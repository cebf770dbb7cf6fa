"""docs/commands.md: every example runs, every command and flag is told."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from gsd_core.capture.models import demo_folder
from gsd_core.pipeline.parser import make_parser
from tests.cli_support import ROOT, run_gsd
from tests.foreign_support import write_less

TEXT = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
EXAMPLES = [
    line.removeprefix("$ gsd ").strip()
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ gsd ")
]
# These two go on until somebody stops them; their flags are parsed, their work has tests of its own.
ENDLESS = ("demo", "serve")


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                inner = _commands(command)
                found.update({f"{name} {each}": value for each, value in inner.items()} or {name: command})
    return found


def test_every_command_has_an_example() -> None:
    missing = [
        name for name in _commands(make_parser()) if not any(each.startswith(name) for each in EXAMPLES)
    ]
    assert not missing, f"docs/commands.md has no example of {missing}"


def test_every_flag_is_told() -> None:
    flags = {
        option
        for command in _commands(make_parser()).values()
        for action in command._actions
        for option in action.option_strings
        if option not in ("-h", "--help")
    }
    missing = sorted(flag for flag in flags if not re.search(rf"{flag}\b", TEXT))
    assert not missing, f"docs/commands.md does not mention {missing}"


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.startswith(ENDLESS)])
def test_endless_examples_parse(example: str) -> None:
    assert make_parser().parse_args(shlex.split(example)).function


@pytest.mark.skipif(
    not (demo_folder() / "tokenizer.json").is_file(), reason="the demo model is not in this checkout"
)
def test_examples_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GSD_WORKSPACE", raising=False)
    for name, content in re.findall(r"```json (\S+)\n(.*?)```", TEXT, re.DOTALL):
        (tmp_path / name).write_text(content, encoding="utf-8")
    # What `gsd import` is shown on: a row for every row of problems.jsonl, also for the one that is no sample.
    write_less(tmp_path / "less-ckpt105-adam" / "dim64", torch.randn(4, 64, dtype=torch.float16))
    for example in EXAMPLES:
        if example.startswith(ENDLESS):
            continue
        outcome = run_gsd("--json", *shlex.split(example))
        assert outcome.code == 0, f"gsd {example}: {outcome.err}"
        result = json.loads(outcome.out)
        if example.startswith("datasets add"):
            assert [each["row"] for each in result["rejected"]] == [4], "the text says that row 4 is rejected"
        if example.startswith("neighbors"):
            assert len(result["neighbors"]) == 3
    assert {"spans.parquet", "clusters.csv", "vectors.npz", "tokens.jsonl"} <= {
        each.name for each in tmp_path.iterdir()
    }
