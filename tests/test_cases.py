"""Files of the kinds that people bring are read as they would rightly be, or refused with the cause.

``data/cases.json`` has a row a file of ``../shared/cases``: its kind in our words, how many samples and rejected rows
it gives, reasoning, answer and number of steps of the first three, or the beginning of the refusal. For the files that
the table of cases names, these are the right values; for the others, what was read when the row was written, so that a
change is seen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gsd_core.dataset.load import load_dataset
from gsd_core.errors import UserError

CASES = json.loads((Path(__file__).parent / "data" / "cases.json").read_text("utf-8"))
SHOWN = 300  # characters of a reasoning that the table holds


@pytest.mark.parametrize("case", CASES, ids=[f"{case['file']} ({case['kind']})" for case in CASES])
def test_a_file_is_read_as_it_would_rightly_be(case: dict[str, Any], shared_cases: Path) -> None:
    path = shared_cases / case["file"]
    if "refused" in case:
        with pytest.raises(UserError) as refusal:
            load_dataset(path)
        assert refusal.value.what.startswith(case["refused"])
        assert refusal.value.fix, "a refusal must name the way out"
        return
    loaded = load_dataset(path)
    found = [
        [each.reasoning[:SHOWN], each.answer[:120], len(each.steps)] for each in loaded.samples[: len(case["first"])]
    ]
    assert found == case["first"]
    assert (len(loaded.samples), len(loaded.rejected)) == (case["samples"], case["rejected"])


def test_every_file_of_the_cases_is_in_the_table(shared_cases: Path) -> None:
    known = {case["file"].split("/")[0] for case in CASES}
    there = {
        path.relative_to(shared_cases).as_posix()
        for path in shared_cases.rglob("*")
        if path.is_file() and path.relative_to(shared_cases).parts[0] in known - {"disk"}
    }
    assert there <= {case["file"] for case in CASES}
