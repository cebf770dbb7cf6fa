"""The races as text: tables for the terminal and for docs/performance.md.

format_race       one race as a plain table
format_targets    targets beside what was reached, as a plain table
render_markdown   all of a stored result
fill_document     puts it between the document's markers
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.race_busy import format_busy
from tests.benchmarks.race_figures import (
    MAIN,
    Result,
    compute_memory,
    compute_ratio,
    compute_targets,
    race_key,
)
from tests.benchmarks.race_work import BERGSON_WAYS, OWN_WAYS, PLAIN, Size

BEGIN, END = "<!-- races: begin, written by tests.benchmarks.races -->", "<!-- races: end -->"
MIB = 2**20


def format_race(result: Result) -> str:
    """Size and one line a way: CPU and wall seconds, memory, each over those of the plain step."""
    heads = ("CPU s", "/plain", "low", "high", "wall s", "/plain", "peak MiB", "/plain", "growth")
    lines = [Size(**result["size"]).describe(), f"{'':26}" + "".join(f"{head:>9}" for head in heads)]
    for way, found in result["ways"].items():
        cpu, wall = compute_ratio(result, way), compute_ratio(result, way, clock="wall_s")
        whole, growth = compute_memory(result, way)
        cells = [
            _middle(found["cpu_s"]),
            cpu.median,
            cpu.lowest,
            cpu.highest,
            _middle(found["wall_s"]),
            wall.median,
        ]
        numbers = [f"{cell:9.2f}" for cell in cells]
        numbers += [f"{found['peak_bytes'] / MIB:9.0f}", f"{whole:9.2f}", f"{growth:9.2f}"]
        lines.append(f"{way:26}" + "".join(numbers))
    return "\n".join(lines)


def format_targets(races: dict[str, Result]) -> str:
    """One line a target that `races` can answer."""
    lines = []
    for target in compute_targets(races):
        if target.reached is not None:
            sign = "≥" if target.at_least else "≤"
            verdict = "reached" if target.is_met else "missed"
            lines.append(f"{target.what:60} {sign} {target.wanted:<5} {target.reached:6.2f}  {verdict}")
    return "\n".join(lines)


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]


def _main_table(result: Result) -> list[str]:
    rows = []
    for way, found in result["ways"].items():
        cpu, wall = compute_ratio(result, way), compute_ratio(result, way, clock="wall_s").median
        whole, growth = compute_memory(result, way)
        rows.append(
            [
                way,
                f"{_middle(found['cpu_s']):.2f}",
                f"**{cpu.median:.2f}** ({cpu.lowest:.2f}–{cpu.highest:.2f})",
                f"{wall:.2f}",
                f"{found['peak_bytes'] / MIB:,.0f}",
                f"{whole:.2f}",
                f"{growth:.2f}",
                f"{found['settings']['batch_tokens']:,}",
            ]
        )
    head = [
        "way",
        "CPU s",
        "CPU / plain step",
        "wall / plain",
        "peak MiB",
        "/ plain",
        "growth / plain",
        "tokens a batch",
    ]
    return _table(head, rows)


def _scaling_table(races: Sequence[Result], head: str, labels: Sequence[str]) -> list[str]:
    rows = []
    for way in (*OWN_WAYS, *BERGSON_WAYS):
        cells = [f"{compute_ratio(r, way).median:.2f}" if way in r["ways"] else "" for r in races]
        if way != PLAIN and sum(map(bool, cells)) > 1:
            rows.append([way, *cells])
    seconds = [f"{1000 * _middle(r['ways'][PLAIN]['cpu_s']) / r['size']['samples']:.0f}" for r in races]
    rows.append(["plain step, CPU ms a sample", *seconds])
    return _table([head, *labels], rows)


def render_markdown(stored: dict[str, Any]) -> str:
    """Everything between the markers, for a stored result: ``environment``, ``races``, ``batch``, ``checks``."""
    races: dict[str, Result] = stored["races"]
    environment = stored["environment"]
    lines = [
        f"{environment['processor']}, {environment['cores']} cores, {environment['memory_gib']} GiB; "
        f"{environment['threads']} thread(s), torch {environment['torch']}, "
        f"transformers {environment['transformers']}, Bergson {environment['bergson']}; "
        f"{environment['rounds']} rounds; {environment['date']}.",
    ]
    loads = [race["load"] for race in races.values() if "load" in race]
    if loads:
        lines[0] += f" Load average of the machine, this work included: {min(loads)} to {max(loads)}."
    lines.append("")
    if MAIN in races:
        lines += [f"### {Size(**races[MAIN]['size']).describe()}", "", *_main_table(races[MAIN]), ""]
    rows = []
    for target in compute_targets(races):
        sign = "≥" if target.at_least else "≤"
        reached = "not run" if target.reached is None else f"{target.reached:.2f}"
        verdict = "" if target.reached is None else "yes" if target.is_met else "**no**"
        rows.append([target.what, f"{sign} {target.wanted}", reached, verdict])
    lines += ["### Targets", "", *_table(["", "wanted", "reached", "met"], rows), ""]
    by_spans = [races[key] for key in (race_key(Size(spans=n)) for n in (4, 8, 16, 32)) if key in races]
    if len(by_spans) > 1:
        labels = [str(r["size"]["spans"]) for r in by_spans]
        lines += [
            "### By spans a sample, 256 tokens; CPU / plain step",
            "",
            *_scaling_table(by_spans, "spans", labels),
            "",
        ]
    by_tokens = [races[key] for key in (race_key(Size(tokens=n)) for n in (256, 1024, 4096)) if key in races]
    if len(by_tokens) > 1:
        labels = [f"{r['size']['tokens']:,}" for r in by_tokens]
        lines += [
            "### By tokens a sample, 8 spans; CPU / plain step",
            "",
            *_scaling_table(by_tokens, "tokens", labels),
            "",
        ]
    uneven = race_key(Size(uneven=True))
    if uneven in races and MAIN in races:
        both = [races[MAIN], races[uneven]]
        table = _scaling_table(both, "spans", ["equal length", "random length"])
        lines += ["### Spans of random length; CPU / plain step", "", *table, ""]
    if stored.get("busy"):
        lines += _busy_section(stored["busy"])
    if stored.get("batch"):
        ratios = [[way, f"{_middle(found['cpu_s']):.2f}"] for way, found in stored["batch"]["ways"].items()]
        lines += [
            "### Choice of batch size: CPU seconds",
            "",
            *_table(["way, tokens a batch", "CPU s"], ratios),
            "",
        ]
    if stored.get("checks"):
        found = [[name, f"{value:.1e}"] for name, value in stored["checks"].items()]
        lines += [
            "### Same work: largest relative error, or difference of cosines",
            "",
            *_table(["compared", "gap"], found),
            "",
        ]
    return "\n".join(lines).strip()


def _busy_section(busy: dict[str, Any]) -> list[str]:
    machine, loads = busy["machine"], [busy[name]["load"] for name in ("idle", "busy")]
    head = ["", "tokens/s, spin", "yield", "wall, yield / spin", "CPU s, spin", "yield", "CPU, yield / spin"]
    return [
        "### Threads that spin and threads that yield",
        "",
        f"{Size(**busy['idle']['size']).describe()}; {machine['processor']}, {machine['cores']} cores, "
        f"{busy['threads']} threads, {machine['rounds']} rounds, {machine['date']}. Load average of the machine, this "
        f"work included: {loads[0]} without and {loads[1]} with a busy core of ours.",
        "",
        *_table(head, format_busy(busy)),
        "",
    ]


def fill_document(text: str, filling: str) -> str:
    """`text` with `filling` between its markers. Raises ``ValueError`` where it has not one of each, in order."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks its markers {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{filling}\n\n{END}{after}"
