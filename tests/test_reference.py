"""docs/reference.md is what its script writes now, and the script leaves no public name out."""

from __future__ import annotations

import importlib
import runpy

import pytest

from tests.cli_support import ROOT

SCRIPT = runpy.run_path(str(ROOT / "docs" / "write_reference.py"))


def test_the_reference_is_what_the_docstrings_say() -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == SCRIPT["render_reference"](), "a docstring changed: run python docs/write_reference.py"


@pytest.mark.parametrize("module", ["gsd_core", "gsd_core.training"])
def test_every_public_name_is_told(module: str) -> None:
    public = {name for name in importlib.import_module(module).__all__ if not name.startswith("__")}
    assert public <= set(SCRIPT["MODULES"][module]), "a new public name belongs into MODULES"


def test_the_sections_of_a_docstring_become_lists() -> None:
    told = """Does a thing with ``it``.

    Parameters
    ----------
    first, second
        What they
        mean.

    Raises
    ------
    ValueError
        For :func:`~other.thing`.

    A last word.
    """
    assert list(SCRIPT["_iter_docstring"](told)) == [
        "Does a thing with `it`.",
        "**Parameters**",
        "* `first`, `second`: What they mean.",
        "**Raises**",
        "* `ValueError`: For `other.thing`.",
        "A last word.",
    ]
