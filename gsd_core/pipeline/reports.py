"""What a person reads of a command's result.

describe_demo, describe_add, describe_preview, describe_list, describe_show   data sets and the demo
describe_capture, describe_analysis, describe_neighbors, describe_export      runs
describe_doctor                                                               the installation

Each takes the object that ``--json`` prints and returns a few lines of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gsd_core.pipeline.output import format_bytes, format_count, format_seconds, format_table, format_text

MAX_ROWS_SHOWN = 20
Result = dict[str, Any]


def describe_demo(result: Result) -> str:
    """``gsd demo``: what there is to see, and where."""
    head = "demo is ready" + (" (it was made before)" if result["was_complete"] else "")
    shown = f"open {result['url']}  (Ctrl-C ends the dashboard)" if result["url"] else "gsd serve shows it"
    return (
        f"{head}: {result['n_samples']:,} samples, {result['n_spans']:,} spans, {result['n_clusters']} clusters, "
        f"{len(result['checkpoints'])} checkpoints in {format_seconds(result['seconds'])}\n{shown}"
    )


def describe_add(result: Result) -> str:
    """``gsd datasets add``: counts, what was understood, every rejected row (the first twenty)."""
    return "\n".join(
        [
            f"data set {result['dataset']}: {result['n_samples']:,} samples from {result['format']}, "
            f"{result['n_rejected']:,} rows rejected",
            _fields_line(result["fields"]),
            *_rejected_lines(result["rejected"]),
            *(f"note: {each}" for each in result["warnings"]),
        ]
    )


def describe_preview(result: Result) -> str:
    """``gsd datasets preview``: columns, what was understood, the first samples."""
    return "\n".join(
        [
            f"{result['format']}, columns {format_text(', '.join(result['columns']), 400)}",
            _fields_line(result["fields"]),
            _samples_table(result["samples"]),
            *_rejected_lines(result["rejected"]),
            *(f"note: {each}" for each in result["warnings"]),
        ]
    )


def describe_list(result: Result) -> str:
    """``gsd datasets list``: a table."""
    if not result["datasets"]:
        return "no data sets yet; gsd datasets add FILE stores one"
    keys = ("name", "n_samples", "n_words", "n_rejected", "format")
    rows = [[*(each[key] for key in keys), each["problem"] or each["source"]] for each in result["datasets"]]
    return format_table(("name", "samples", "words", "rejected", "format", "source"), rows, wide="source")


def describe_show(result: Result) -> str:
    """``gsd datasets show``: where it is from, its first samples, its rejected rows."""
    return "\n".join(
        [
            f"data set {result['dataset']}: {result['n_samples']:,} samples from {result['source']} "
            f"({result['format']}, {str(result['created'])[:19]})",
            _fields_line(result["fields"]),
            _samples_table(result["samples"]),
            *_rejected_lines(result["rejected"]),
        ]
    )


def describe_capture(result: Result) -> str:
    """``gsd capture``: counts, the window's cosine to exact, speed, skipped samples."""
    window = "" if result.get("window") is None else f", window {result['window']}"
    cosine = result.get("window_cosine")
    lines = [
        f"run {result['run']}: {result['n_spans']:,} spans of {result['n_samples']:,} samples at tier "
        f"{result['tier']}{window}, sketch width {result['sketch_width']:,}"
        + (f", cosine of the window to exact {cosine:.3f}" if isinstance(cosine, float) else ""),
        f"{format_seconds(result['seconds'])}, {format_count(result['tokens_per_s'] or 0)} tokens/s, "
        f"peak memory {format_bytes(result['peak_memory_bytes'] or 0)}",
    ]
    if result["n_skipped"]:
        rows = [[each["sample"], each["reason"]] for each in result["skipped"][:MAX_ROWS_SHOWN]]
        lines.append(f"{result['n_skipped']:,} samples skipped:")
        lines.append(format_table(("sample", "reason"), rows, wide="reason"))
    return "\n".join([*lines, f"next: gsd analyze {result['run']}"])


def describe_analysis(result: Result) -> str:
    """``gsd analyze``: a row a checkpoint."""
    keys = ("checkpoint", "n_spans", "n_clusters", "noise_share")
    rows = [[*(each[key] for key in keys), format_seconds(each["seconds"])] for each in result["checkpoints"]]
    lines = [format_table(("checkpoint", "spans", "clusters", "noise share", "time"), rows)]
    if any(each["seconds"] == 0 for each in result["checkpoints"]):
        lines.append("0.0 s: analysed before and kept; --again does it anew")
    return "\n".join([*lines, f"next: gsd serve shows the map of run {result['run']}"])


def describe_neighbors(result: Result) -> str:
    """``gsd neighbors``: a row a neighbour, and the null that its cosine stands beside."""
    rows = [
        [each["span"], each["cosine"], each["q_value"], format_text(each["text"], 200)]
        for each in result["neighbors"]
    ]
    lines = [
        f"{result['span']}: {format_text(result['text'], 200)}",
        format_table(("span", "cosine", "q", "text"), rows, wide="text"),
    ]
    if result["null_p95"] is not None:
        lines.append(f"95 % of random pairs of different samples lie below {result['null_p95']:.3f}")
    return "\n".join(lines)


def describe_export(result: Result) -> str:
    """``gsd export``: where it went, and labels that do not fit."""
    return "\n".join(
        [
            f"{result['rows']:,} rows ({result['what']}, checkpoint {result['checkpoint']}) in {result['out']}",
            *(
                f"note: {name} labels steps, but has another length in {n:,} samples, which stay without label"
                for name, n in result.get("unmatched", {}).items()
            ),
        ]
    )


def describe_doctor(result: Result) -> str:
    """``gsd doctor``: a row a check."""
    rows = [
        [_mark(each), each["name"], format_text(each["value"], 60), format_text(each["fix"], 60)]
        for each in result["checks"]
    ]
    end = "all is there" if result["ok"] else "something is missing: see the last column"
    return format_table(("", "check", "found", "what to do"), rows) + f"\n{end}"


def _mark(check: Result) -> str:
    if check["ok"]:
        return "ok"
    return "MISSING" if check["is_needed"] else "hint"


def _fields_line(fields: Result) -> str:
    parts = [f"{key} ← {value}" for key, value in fields.items() if value]
    return f"understood: {format_text(', '.join(parts), 400)}  (correct it with --map)"


def _samples_table(samples: Sequence[Result]) -> str:
    rows = [
        [
            each["id"],
            format_text(each["question"], 40),
            format_text(each["reasoning"], 200),
            format_text(each["answer"], 20),
        ]
        for each in samples
    ]
    return format_table(("id", "question", "reasoning", "answer"), rows, wide="reasoning")


def _rejected_lines(rejected: Sequence[Result]) -> list[str]:
    if not rejected:
        return []
    rows = [[each["row"], each["reason"]] for each in rejected[:MAX_ROWS_SHOWN]]
    more = len(rejected) - len(rows)
    table = format_table(("row", "reason"), rows, wide="reason")
    return [
        "rows that cannot be used:",
        table,
        *([f"… and {more:,} more; --json has them all"] if more else []),
    ]
