"""Write docs/reference.md from signatures and docstrings: ``python docs/write_reference.py``.

MODULES            what the reference tells, module by module
render_reference   the page's text
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from gsd_core.registry.catalog import list_commands
from gsd_core.registry.method import Method
from gsd_core.registry.options import Flag, iter_flags, make_flag

PAGE = Path(__file__).parent / "reference.md"
HEAD = """# Reference

Commands, results and the public Python API, written by `docs/write_reference.py` from declarations, signatures and
docstrings. Examples of every command are in [commands.md](commands.md), files in [store.md](store.md), the callback
with a script that runs in [training-callback.md](training-callback.md).

Letters of shapes: B rows of a batch, T tokens of a sample, S its spans, n spans of a run, P numbers in a direction
(sketch width), E numbers in a sentence embedding. Every function raises `UserError` for input that its caller can
fix."""
MODULES: dict[str, tuple[str, ...]] = {
    "gsd_core": ("open_run", "OpenedRun", "open_probe", "open_ride", "UserError"),
    "gsd_core.training": (
        *("SpanGradientCallback", "RowCollator", "make_training_rows", "add_row_numbers", "GradientSink"),
    ),
    "gsd_core.driver.tracked_run": ("TrackedRun",),
    "gsd_core.store": (
        *(
            "Workspace",
            "RunReader",
            "Results",
            "ResultWriter",
            "LazyVectors",
            "RunInfo",
            "DatasetInfo",
            "RunSample",
        ),
    ),
    "gsd_core.registry.method": ("Command", "Method", "Page", "Job", "Export"),
    "gsd_core.registry.result_kind": ("ResultKind", "Column", "make_columns"),
    "gsd_core.registry.options": ("option",),
    "gsd_core.dataset.load": ("load_dataset", "preview_dataset", "LoadedDataset"),
    "gsd_core.models.loading": ("load_model", "open_model", "LoadedModel"),
    "gsd_core.models.sources": ("resolve_checkpoints", "Checkpoint"),
    "gsd_core.types": (
        *("Sample", "Rejection", "TokenizedSample", "TokenSpan", "SpanRecord", "SampleRecords", "Skipped"),
    ),
}
WIDTH = 100
# A trainer calls these, no person does.
HOOKS = "on_"


class _Bare(str):
    """An annotation as it stands in the source; `inspect` would print its quotes."""

    __repr__ = str.__str__


def _sign(name: str, called: Any) -> str:
    """``name(…) -> …`` as a block of code, a parameter a line where one line is too short."""
    signature = inspect.signature(called)
    given = [
        each.replace(annotation=_Bare(each.annotation) if each.annotation != each.empty else each.empty)
        for each in signature.parameters.values()
        if each.name not in ("self", "cls")
    ]
    returned = "" if isinstance(called, type) else f" -> {signature.return_annotation}"
    inside = str(inspect.Signature(given))[1:-1]
    if len(name) + len(inside) + len(returned) > WIDTH:
        # `*` stands by itself in a signature, not among its parameters.
        parts = re.split(r", (?=[*\w]+(?:: |,|=|$))", inside)
        inside = "\n" + "".join(f"    {part},\n" for part in parts)
    return f"```python\n{name}({inside}){returned}\n```"


def _mark_up(text: str) -> str:
    """A paragraph of a docstring on one line, with Markdown's marks."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(text.split())).replace("``", "`")


def _iter_paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if paragraph.startswith(">>>"):
            yield re.sub(r"^(>>>|\.\.\.) ?", "", f"```python\n{paragraph}\n```", flags=re.MULTILINE)
        elif paragraph:
            yield _mark_up(paragraph)


def _iter_docstring(docstring: str) -> Iterator[str]:
    """Paragraphs, examples, and lists from the sections of numpy's style."""
    head, *sections = re.split(r"^(Parameters|Attributes|Raises)\n-+\n", inspect.cleandoc(docstring), flags=re.M)
    yield from _iter_paragraphs(head)
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        # A paragraph at the margin after an empty line ends the list.
        entries, *after = re.split(r"\n\n(?=\S)", body.strip("\n"), maxsplit=1)
        yield f"**{title}**"
        yield "\n".join(_iter_entries(re.split(r"\n(?=\S)", entries)))
        yield from _iter_paragraphs("".join(after))


def _iter_entries(entries: list[str]) -> Iterator[str]:
    for entry in entries:
        names, _, told = entry.partition("\n")
        yield f"* {', '.join(f'`{name}`' for name in names.split(', '))}: {_mark_up(told)}"


def _iter_fields(kind: type) -> Iterator[str]:
    """Fields of a class that have a docstring below them."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            yield f"* `{ast.unparse(field.target)}`: {_mark_up(ast.literal_eval(below.value))}"


def _iter_members(kind: type) -> Iterator[str]:
    """Public methods and properties that the class itself defines."""
    for name, member in vars(kind).items():
        if name.startswith(("_", HOOKS)) or not isinstance(
            member, property | cached_property | classmethod
        ) | inspect.isfunction(member):
            continue
        yield f"#### {kind.__name__}.{name}"
        if not isinstance(member, property | cached_property):
            yield _sign(f"{kind.__name__}.{name}" if isinstance(member, classmethod) else name, getattr(kind, name))
        yield from _iter_docstring(member.__doc__ or "")


def _iter_commands() -> Iterator[str]:
    """Every command with its flags and, of a method, what it keeps and what can be exported."""
    for command in list_commands():
        yield f"### gsd {command.name}"
        yield f"{command.help[0].upper()}{command.help[1:]}." + (f" {command.notes}" if command.notes else "")
        rows = [_describe_flag(flag) for flag in iter_flags(command.options)]
        if rows:
            yield "\n".join(["| flag | default | means |", "|---|---|---|", *rows])
        if not isinstance(command, Method):
            continue
        if command.page:
            yield f"Page: *{command.page.title}*."
        if command.exports:
            yield f"`gsd export --what`: {', '.join(f'`{export.name}`' for export in command.exports)}."
        for kind in command.results:
            scope = "a checkpoint" if kind.is_by_checkpoint else "a run"
            yield f"Result `{kind.name}` of {scope}:"
            yield "\n".join(
                f"* `{table}`: " + "; ".join(f"`{c.name}` {c.kind}, {c.comment}" for c in columns)
                for table, columns in kind.tables.items()
            )


def _describe_flag(flag: Flag) -> str:
    name = flag.metavar or flag.name.upper() if flag.is_positional else make_flag(flag.name)
    value = "" if flag.kind is bool or flag.default in (None, []) else str(flag.default)
    if flag.is_list and flag.default:
        value = " ".join(map(str, flag.default))
    return " | ".join(
        [
            "| `" + name.replace("|", "\\|") + "`",
            f"`{value}`" if value else "",
            f"{flag.help.replace('|', chr(92) + '|')} |",
        ]
    )


def render_reference() -> str:
    """The whole page. Raises ``AttributeError`` for a name that is gone, ``ValueError`` for one without a docstring."""
    listed, parts = (
        ["* Commands: " + ", ".join(f"[{c.name}](#gsd-{c.name.replace(' ', '-')})" for c in list_commands())],
        [],
    )
    parts += ["## Commands", *_iter_commands()]
    for module_name, names in MODULES.items():
        parts.append(f"## {module_name}")
        listed.append(f"* `{module_name}`: " + ", ".join(f"[{name}](#{name.lower()})" for name in names))
        for name in names:
            told = getattr(importlib.import_module(module_name), name)
            docstring = inspect.getdoc(told)
            if not docstring:
                raise ValueError(f"{module_name}.{name} has no docstring")
            parts.append(f"### {name}")
            if not re.search(r"\bMade by\b|\bProtocol\b", f"{docstring} {getattr(told, '__bases__', '')}"):
                parts.append(_sign(name, told))
            parts += _iter_docstring(docstring)
            if isinstance(told, type):
                parts += ["\n".join(_iter_fields(told)), *_iter_members(told)]
    return "\n\n".join([HEAD, "\n".join(listed), *filter(None, parts)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render_reference(), encoding="utf-8")
