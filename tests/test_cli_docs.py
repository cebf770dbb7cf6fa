"""The pages in docs/: every example runs, every command line parses; commands.md has every command and flag."""

from __future__ import annotations

import argparse
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsd_core.cli.command_parser import make_parser, parse_arguments
from tests.cli_support import ROOT, run_gsd
from tests.foreign_support import SIZES, write_bergson, write_less

PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
PAGES["README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = PAGES["commands.md"]
# These two run until they are stopped. Their flags are parsed here; other tests run them.
ENDLESS = ("demo", "serve")
# Number of the tutorial's samples that are captured here; all of them would take minutes.
N_PROOFS = 12


def read_examples(text: str) -> list[list[str]]:
    """The words of every line after a ``$`` in the page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


def read_shell_lines(text: str) -> list[str]:
    """The lines of a page's other blocks that begin with ``gsd``, including names that the reader replaces."""
    blocks = re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL)
    return [line for line in "".join(blocks).replace("\\\n", " ").splitlines() if line.startswith("gsd ")]


EXAMPLES = {name: found for name, text in PAGES.items() if (found := read_examples(text))}
SHELL_LINES = [(name, line) for name, text in PAGES.items() for line in read_shell_lines(text)]


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                inner = _commands(command)
                found.update({f"{name} {each}": value for each, value in inner.items()} or {name: command})
    return found


def test_every_command_has_an_example() -> None:
    shown = [" ".join(words[1:]) for words in EXAMPLES["commands.md"]]
    missing = [name for name in _commands(make_parser()) if not any(each.startswith(name) for each in shown)]
    assert not missing, f"docs/commands.md has no example of {missing}"


def test_every_flag_is_mentioned() -> None:
    flags = {
        option
        for command in _commands(make_parser()).values()
        for action in command._actions
        for option in action.option_strings
        if option not in ("-h", "--help")
    }
    missing = sorted(flag for flag in flags if not re.search(rf"{flag}\b", COMMANDS))
    assert not missing, f"docs/commands.md does not mention {missing}"


@pytest.mark.parametrize(
    ("page", "words"),
    [(name, words[1:]) for name, lines in EXAMPLES.items() for words in lines if words[0] == "gsd"]
    + [(name, shlex.split(line, comments=True)[1:]) for name, line in SHELL_LINES],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else value,
)
def test_every_command_line_parses(page: str, words: list[str]) -> None:
    # Also those that cannot run here, because they need other files, a bucket or a cluster.
    assert parse_arguments(make_parser(), words).command, f"{page} shows gsd {shlex.join(words)}"


def test_every_link_has_a_target() -> None:
    """Links to other files of the repository, and to headings of the pages."""
    broken = []
    for name, text in PAGES.items():
        home = ROOT if name == "README.md" else ROOT / "docs"
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, heading = target.partition("#")
            if "://" in target:
                continue
            page = (home / path).resolve() if path else home / name
            if not page.exists() or (heading and heading not in _anchors(page)):
                broken.append(f"{name}: {target}")
    assert not broken


def test_every_screenshot_is_made_by_the_script() -> None:
    pytest.importorskip("playwright", reason="the script needs playwright")
    shots = runpy.run_path(str(ROOT / "docs" / "take_screenshots.py"))["SHOTS"]
    assert set(shots) == {path.stem for path in (ROOT / "docs" / "images").glob("*.png")}


def _anchors(page: Path) -> set[str]:
    """Targets of links: a page's anchors, and GitHub's names of its headings (lower case, no signs, hyphens)."""
    text = page.read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    named = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return named | set(re.findall(r'^<a id="([^"]+)"></a>$', text, re.MULTILINE))


def _bring_less(folder: Path, _: pytest.FixtureRequest) -> None:
    # A row for every row of problems.jsonl, also for the rejected one.
    write_less(folder / "less-ckpt105-adam" / "dim64", torch.randn(4, 64, dtype=torch.float16))


def _bring_bergson(folder: Path, _: pytest.FixtureRequest) -> None:
    rows = np.random.default_rng(0).normal(size=(6, sum(SIZES.values())))
    write_bergson(folder / "my-index", rows.astype(np.float32))


def _read_proofs(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "prontoqa_proofs.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _bring_proofs(folder: Path, request: pytest.FixtureRequest) -> None:
    """PrOntoQA's own file, made from the normalised real data; proofs that commands name come first."""
    proofs = _read_proofs(request.getfixturevalue("shared_data"))
    named = {word.split("#")[0] for words in EXAMPLES["tutorial.md"] for word in words}
    proofs.sort(key=lambda proof: proof["id"] not in named)
    public = [
        {
            "id": proof["id"],
            "context": proof["meta"]["context"],
            "question": proof["meta"]["query"],
            "answer": {"True": "A", "False": "B"}[proof["answer"]],
            "explanation": proof["reasoning"],
        }
        for proof in proofs
    ]
    (folder / "dev.json").write_text(json.dumps(public), encoding="utf-8")


BRING: dict[str, Callable[[Path, pytest.FixtureRequest], None]] = {
    "commands.md": _bring_less,
    "how-to.md": _bring_bergson,
    "tutorial.md": _bring_proofs,
}


def _run_example(page: str, words: list[str], folder: Path) -> None:
    if words[0] == "python":
        done = subprocess.run([sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{page}: {shlex.join(words)}: {done.stderr}"
        return
    outcome = run_gsd("--json", *words[1:])
    assert outcome.code == 0, f"{page}: {shlex.join(words)}: {outcome.err}"
    result = json.loads(outcome.out)
    if page == "commands.md" and words[1:3] == ["datasets", "add"]:
        assert [each["row"] for each in result["rejected"]] == [4], "the text says that row 4 is rejected"
    if words[1] == "neighbors":
        assert len(result["neighbors"]) == int(words[words.index("--top") + 1])


@pytest.mark.parametrize("page", EXAMPLES)
def test_examples_run_in_order(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GSD_WORKSPACE", raising=False)
    for name, content in re.findall(r"```\w+ (\S+)\n(.*?)```", PAGES[page], re.DOTALL):
        (tmp_path / name).write_text(content, encoding="utf-8")
    if page in BRING:
        BRING[page](tmp_path, request)
    for words in map(list, EXAMPLES[page]):
        assert words[0] in ("gsd", "python"), f"{page} shows a command that this test cannot run: {words[0]}"
        if words[1] in ENDLESS:
            continue
        if page == "tutorial.md" and "--limit" in words:
            words[words.index("--limit") + 1] = str(N_PROOFS)
        _run_example(page, words, tmp_path)
        if "--out" in words:
            assert (tmp_path / words[words.index("--out") + 1]).exists()


def test_the_tutorials_labels_equal_those_of_the_real_data(
    tmp_path: Path, shared_data: Path, request: pytest.FixtureRequest
) -> None:
    # The labels of the real data were derived separately; the tutorial's script must give the same.
    _bring_proofs(tmp_path, request)
    script = re.search(r"```python label_steps\.py\n(.*?)```", PAGES["tutorial.md"], re.DOTALL)
    assert script
    subprocess.run([sys.executable, "-c", script[1]], cwd=tmp_path, check=True)
    made = {row["id"]: row for row in map(json.loads, (tmp_path / "proofs.jsonl").read_text("utf-8").splitlines())}
    for proof in _read_proofs(shared_data):
        assert made[proof["id"]]["step_types"] == proof["meta"]["step_types"]
        assert made[proof["id"]]["question"] == proof["question"]
