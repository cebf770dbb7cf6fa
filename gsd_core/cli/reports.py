"""What a person reads of a command's result.

describe_demo, describe_add, describe_preview, describe_list, describe_show   data sets and the demo
describe_capture, describe_analysis, describe_neighbors, describe_export      runs
describe_comparison, describe_twins, describe_stresses                        structure
describe_evaluation, describe_timeline                                        the structure benchmark; over training
describe_doctor                                                               the installation

Each takes the object that ``--json`` prints and returns a few lines of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gsd_core.console.output import format_bytes, format_count, format_seconds, format_table, format_text

MAX_ROWS_SHOWN = 20
Result = dict[str, Any]


def describe_demo(result: Result) -> str:
    """``gsd demo``: what there is to see, and where."""
    head = "demo is ready" + (" (it was made before)" if result["was_complete"] else "")
    shown = f"open {result['url']}  (Ctrl-C ends the dashboard)" if result["url"] else "gsd serve shows it"
    return (
        f"{head}: {result['n_samples']:,} samples, {result['n_spans']:,} spans, {result['n_clusters']} clusters, "
        f"{result['n_twins']:,} twins, {len(result['checkpoints'])} checkpoints in "
        f"{format_seconds(result['seconds'])}\n{shown}"
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
    rate = f"{format_count(result['tokens_per_s'])} tokens/s, " if result["tokens_per_s"] else ""
    lines = [
        f"run {result['run']}: {result['n_spans']:,} spans of {result['n_samples']:,} samples at tier "
        f"{result['tier']}{window}, sketch width {result['sketch_width']:,}"
        + (f", cosine of the window to exact {cosine:.3f}" if isinstance(cosine, float) else ""),
        f"{format_seconds(result['seconds'])}, {rate}peak memory {format_bytes(result['peak_memory_bytes'] or 0)}",
    ]
    if result["n_skipped"]:
        rows = [[each["sample"], each["reason"]] for each in result["skipped"][:MAX_ROWS_SHOWN]]
        lines.append(f"{result['n_skipped']:,} samples skipped:")
        lines.append(format_table(("sample", "reason"), rows, wide="reason"))
    return "\n".join([*lines, f"next: gsd analyze {result['run']}"])


def describe_import(result: Result) -> str:
    """``gsd import``: counts, the folding, notes, samples that have no usable row."""
    fold = f"folded from {result['stored_width']:,} to" if result["is_folded"] else "of"
    lines = [
        f"run {result['run']}: {result['n_spans']:,} spans of {result['n_samples']:,} samples from {result['format']}, "
        f"directions {fold} {result['sketch_width']:,} numbers in {len(result['layers']):,} layers, "
        f"checkpoints {', '.join(result['checkpoints'])}, {format_seconds(result['seconds'])}",
        *(f"note: {note}" for note in result["notes"]),
    ]
    if result["n_skipped"]:
        rows = [[each["sample"], each["reason"]] for each in result["skipped"][:MAX_ROWS_SHOWN]]
        lines.append(f"{result['n_skipped']:,} samples skipped:")
        lines.append(format_table(("sample", "reason"), rows, wide="reason"))
    return "\n".join([*lines, f"next: gsd analyze {result['run']}"])


def describe_analysis(result: Result) -> str:
    """``gsd analyze``: a row a checkpoint."""
    keys = ("checkpoint", "n_spans", "n_clusters", "noise_share", "n_stresses", "n_twins", "n_rewordings")
    rows = [[*(each[key] for key in keys), format_seconds(each["seconds"])] for each in result["checkpoints"]]
    names = ("checkpoint", "spans", "clusters", "noise share", "stresses", "twins", "in other words", "time")
    lines = [format_table(names, rows), "stresses and twins: those with q < 0.05"]
    if any(each["seconds"] == 0 for each in result["checkpoints"]):
        lines.append("0.0 s: analysed before and kept; --again does it anew")
    return "\n".join([*lines, f"next: gsd serve shows the map of run {result['run']}"])


def describe_neighbors(result: Result) -> str:
    """``gsd neighbors``: a row a neighbour, and the null that its cosine stands beside."""
    is_exact = "sketch_error" in result
    rows = [
        [
            each["span"],
            *([each["cosine_exact"]] if is_exact else []),
            each["cosine"],
            each["z"],
            each["q_value"],
            format_text(each["text"], 200),
        ]
        for each in result["neighbors"]
    ]
    columns = ("span", *(["exact"] if is_exact else []), "cosine", "z", "q", "text")
    lines = [
        f"{result['span']}: {format_text(result['text'], 200)}",
        format_table(columns, rows, wide="text"),
    ]
    if is_exact and result["sketch_error"] is not None:
        lines.append(f"the sketch is off by {result['sketch_error']:.3f} (root mean square, not centred)")
    if result["null_p95"] is not None:
        lines.append(f"95 % of random pairs of different samples lie below {result['null_p95']:.3f}")
    if result["windows_p95"] is not None:
        lines.append(f"95 % of spans with windows at random places lie below {result['windows_p95']:.3f}")
    return "\n".join(lines)


def describe_evaluation(result: Result) -> str:
    """``gsd evaluate``: a table for every checkpoint and metric, best first, and what it means."""
    lines = [f"{result['label']}, by {result['level']}; {result['n_left_out']:,} spans have no label"]
    verdicts = {verdict["checkpoint"]: verdict for verdict in result["verdicts"]}
    for checkpoint in result["checkpoints"]:
        own = [row for row in result["rows"] if row["checkpoint"] == checkpoint]
        for metric in dict.fromkeys(row["metric"] for row in own):
            part = sorted((r for r in own if r["metric"] == metric), key=lambda r: -r["value"])
            table = [[r["representation"], r["kind"], r["value"], r["ci_low"], r["ci_high"]] for r in part]
            real = next((row for row in part if row["kind"] != "control"), part[0])
            bounds = f"chance {real['chance']:.3f}, at best {real['ceiling']:.3f}, n {real['n']:,}"
            lines.append(f"\n{checkpoint}: {metric} ({bounds})")
            lines.append(format_table(("representation", "kind", "value", "low", "high"), table))
        if checkpoint in verdicts:
            verdict = verdicts[checkpoint]
            lines.append(f"{verdict['metric']}: {verdict['headline']} {verdict['detail']}")
    return "\n".join(lines)


def describe_timeline(result: Result) -> str:
    """``gsd timeline``: a row a measure, a column a checkpoint."""
    names = list(dict.fromkeys(name for each in result["checkpoints"] for name in each["measures"]))
    rows = [
        [name, *(each["measures"].get(name, {}).get("value", "") for each in result["checkpoints"])]
        for name in names
    ]
    head = ("measure", *(each["checkpoint"] for each in result["checkpoints"]))
    lines = [
        format_table(head, rows),
        f"{result['n_spans']:,} spans that every checkpoint holds; clusters of {result['reference']}, which flatters "
        "its own alignment; --json has intervals and chance",
    ]
    if result["seconds"] == 0:
        lines.append("computed before and kept; --again does it anew")
    return "\n".join([*lines, f"next: gsd serve shows the timeline of run {result['run']}"])


def describe_comparison(result: Result) -> str:
    """``gsd compare``: both scores with their null, a row for each aligned pair of spans."""
    texts = {each["span"]: each["text"] for each in (*result["spans_a"], *result["spans_b"])}
    rows = [
        [
            each["a"],
            format_text(texts[each["a"]], 60),
            each["b"],
            format_text(texts[each["b"]], 60),
            each["cosine"],
        ]
        for each in result["aligned"]
    ]
    semantic = "unknown" if result["semantic"] is None else f"{result['semantic']:.3f}"
    head = (
        f"{result['a']} and {result['b']}: structural {result['structural']:.3f} (q {result['q_value']:.4f}, against "
        f"{result['n_shuffles']:,} shuffled orders), semantic {semantic}"
    )
    if not rows:
        return f"{head}\nno run of two aligned spans: no cosine of two in order is above {result['threshold']:.3f}"
    return f"{head}\n" + format_table(("span", "text", "aligned with", "text", "cosine"), rows)


def describe_twins(result: Result) -> str:
    """``gsd twins``: a row a pair."""
    if not result["twins"]:
        return f"no twins at checkpoint {result['checkpoint']} ({result['n_pairs_tested']:,} pairs tested)"
    keys = ("rank", "a", "b", "structural", "semantic", "q_value", "n_aligned", "pattern")
    rows = [[each[key] for key in keys] for each in result["twins"]]
    names = ("rank", "a", "b", "structural", "semantic", "q", "aligned", "clusters")
    first = result["twins"][0]
    return "\n".join(
        [
            format_table(names, rows, wide="clusters"),
            f"{result['n_twins']:,} with q < 0.05 among {result['n_pairs_tested']:,} pairs tested; "
            f"half of random pairs of questions lie above {result['semantic_median']:.3f}",
            f"next: gsd compare {result['run']} {first['a']} {first['b']}",
        ]
    )


def describe_stresses(result: Result) -> str:
    """``gsd stresses``: a row a pattern."""
    if not result["stresses"]:
        return f"no pattern in {result['min_support']} samples or more at checkpoint {result['checkpoint']}"
    rows = [
        [
            each["stress"],
            each["support"],
            each["lift"],
            each["q_value"],
            each["n_occurrences"],
            " → ".join(format_text(label, 40) for label in each["labels"]),
        ]
        for each in result["stresses"]
    ]
    return (
        format_table(("", "samples", "lift", "q", "occurrences", "pattern"), rows, wide="pattern")
        + f"\n{result['n_stresses']:,} with q < 0.05 (lift and q: against shuffled orders within each trace)"
    )


def describe_selection(result: Result) -> str:
    """``gsd select``: what was kept, and how much of it the other measures would keep too."""
    rows = [[each["by"], f"{each['tokens_shared']:.0%}"] for each in result["agreement"]]
    lines = [
        f"{result['n_spans_kept']:,} of {result['n_spans']:,} spans of {result['n_samples']:,} samples, "
        f"{result['token_share']:.1%} of the tokens, in {result['out']}",
        f"mean {result['by']} score {result['score_kept']:.3f}, of all {result['score_all']:.3f}",
    ]
    if rows:
        lines.append(format_table(("at the same budget", "tokens shared"), rows))
    lines.append("The score correlates with what training does; it does not promise a better model.")
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
