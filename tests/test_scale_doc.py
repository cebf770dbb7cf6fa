"""docs/scale.md: its table is what its own formula gives, and its formula is that of the capture plan."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from gsd_core.driver.capture_plan import PREFIX_SHARE
from tests.cli_support import ROOT

TEXT = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
PROBLEM = (7e9, 100_000, 500, 20)
ROWS: list[tuple[str, dict[str, Any]]] = [
    ("`hidden`, `head`, with `--no-measures`", {"window": "hidden", "measures": 0}),
    ("`hidden`, `head`", {"window": "hidden"}),
    ("`span`, window 0, with audit", {"window": 0}),
    ("`span`, window 1, with audit", {"window": 1}),
    ("`span`, window 2, with audit", {"window": 2}),
    ("`span`, exact", {"window": None}),
]


@pytest.fixture(scope="module")
def estimate() -> Callable[..., tuple[float, float, int, float]]:
    code = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert code is not None, "the formula is gone from the page"
    names: dict[str, Any] = {}
    exec(compile(code[1], "docs/scale.md", "exec"), names)
    return names["estimate"]


def as_range(low: float, high: float, digits: int) -> str:
    """Two roundings joined, or the one that both are."""
    ends = [f"{low:.{digits}f}", f"{high:.{digits}f}"]
    return ends[0] if ends[0] == ends[1] else "–".join(ends)


@pytest.mark.parametrize(("tier", "flags"), ROWS)
def test_every_row_is_what_the_formula_gives(
    estimate: Callable[..., tuple[float, float, int, float]], tier: str, flags: dict[str, Any]
) -> None:
    best, worst = estimate(*PROBLEM, mfu=0.40, **flags), estimate(*PROBLEM, mfu=0.35, **flags)
    cells = [
        f"{best[0]:.2f}".rstrip("0").rstrip("."),
        as_range(best[1], worst[1], 1),
        as_range(best[2], worst[2], 0),
        as_range(best[3], worst[3], 0),
    ]
    assert f"| {tier} | {' | '.join(cells)} |" in TEXT


def test_the_formula_uses_the_prefix_share_of_the_plan(
    estimate: Callable[..., tuple[float, float, int, float]],
) -> None:
    assert estimate(7e9, 1, 1, 20, measures=0)[0] == pytest.approx(1 + PREFIX_SHARE * 20)
