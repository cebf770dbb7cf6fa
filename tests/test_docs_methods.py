"""What docstrings promise can be looked up: cited sections of methods.md exist, tables of contents are complete."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.cli_support import ROOT

METHODS = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
NUMBER = r"\d+(?:\.\d+)*"
# "methods §1.4", "``methods`` §1.1, §1.2", "methods.md §2", "Methods §1.4–1.6"; a line may end in between.
CITATION = re.compile(rf"methods(?:\.md)?[`\]]*\s+((?:§{NUMBER}(?:\s*[–-]\s*§?{NUMBER})?(?:,\s*)?)+)", re.IGNORECASE)
HEADING = re.compile(rf"^#{{2,4}} ({NUMBER})\.? ", re.MULTILINE)
ANCHORED = re.compile(rf'^<a id="s([\d-]+)"></a>\n#{{2,4}} ({NUMBER})\.? ', re.MULTILINE)
# A line of a table of contents: names, at least two blanks, a phrase.
ENTRY = re.compile(r"^[\w*][\w,* ]*?\S {2,}\S", re.MULTILINE)
MODULES = sorted((ROOT / "gsd_core").rglob("*.py"))


def iter_texts() -> Iterator[Path]:
    """Every file that may cite the document."""
    yield from (ROOT / "app.py", ROOT / "README.md")
    for folder in ("gsd_core", "pages", "docs", "tests"):
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (".py", ".md"))


def find_citations(text: str) -> list[str]:
    """Every section that `text` cites; of a range both ends."""
    return [number for cited in CITATION.findall(text) for number in re.findall(NUMBER, cited)]


def list_unnamed(module: Path) -> list[str]:
    """Public functions and classes that the module's docstring does not name; none where it holds no table."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree) or ""
    if not ENTRY.search(docstring):
        return []
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [each.name for each in tree.body if isinstance(each, kinds) and not each.name.startswith("_")]
    named = re.findall(r"\w+_\*\w*|\w+", docstring)  # run_*_command names a family
    return [name for name in public if not any(fnmatchcase(name, each) for each in named)]


def list_incomplete(modules: Iterable[Path]) -> list[str]:
    """A line for each module whose table of contents lacks a public function or class."""
    found = ((module.relative_to(ROOT), list_unnamed(module)) for module in modules)
    return [f"{module}: {', '.join(names)}" for module, names in found if names]


def test_every_cited_section_exists() -> None:
    sections = set(HEADING.findall(METHODS))
    cited = {
        (path.relative_to(ROOT), number)
        for path in iter_texts()
        for number in find_citations(path.read_text(encoding="utf-8"))
    }
    assert len(cited) > 30, "too few citations were found; was their form changed?"
    missing = sorted(f"{path}: §{number}" for path, number in cited if number not in sections)
    assert not missing, "cited, but no section of docs/methods.md:\n" + "\n".join(missing)


def test_citations_are_read_in_all_their_forms() -> None:
    text = "(methods §1.4, ours) ``methods`` §1.1, §1.2; Methods\n    §6, methods.md §2, Methods §1.4–1.6, [methods §5]"
    assert find_citations(text) == ["1.4", "1.1", "1.2", "6", "2", "1.4", "1.6", "5"]


def test_every_section_has_an_anchor_and_stands_in_order() -> None:
    anchored = ANCHORED.findall(METHODS)
    numbers = [number for _, number in anchored]
    assert numbers == HEADING.findall(METHODS), "the line before a heading must be its anchor"
    assert [anchor.replace("-", ".") for anchor, _ in anchored] == numbers
    assert numbers == sorted(numbers, key=lambda number: [int(part) for part in number.split(".")])


@pytest.mark.parametrize("text", [METHODS, GLOSSARY], ids=["methods.md", "glossary.md"])
def test_every_file_that_is_named_exists(text: str) -> None:
    named = set(re.findall(r"`((?:gsd_core|tests)/[\w./]*)`", text))
    assert named
    missing = sorted(path for path in named if not (ROOT / path).exists())
    assert not missing, f"moved or renamed: {', '.join(missing)}"


def test_tables_of_contents_name_every_public_function_and_class() -> None:
    incomplete = list_incomplete(MODULES)
    assert not incomplete, "\n".join(["the docstring's table lacks", *incomplete])
