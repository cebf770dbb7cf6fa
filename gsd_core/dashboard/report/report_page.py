"""A self-contained HTML report of a run: its interactive figures in one file that opens without a network.

make_report   the report as text
write_report  the report as a file, for ``gsd export``

Figures and queries are those of the pages. Every text from data is escaped, and a content security policy forbids the
file to load anything.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from gsd_core.comparison.verdict import compute_verdict
from gsd_core.console.files import whole_file
from gsd_core.dashboard.alignment import alignment_figures
from gsd_core.dashboard.evidence import evidence_figures
from gsd_core.dashboard.evidence.evidence_queries import choose_default_rows, load_evidence
from gsd_core.dashboard.look.figure_frame import use_no_webgl
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.map import map_figures
from gsd_core.dashboard.reading.run_view import RunView, describe_tier, load_run_view
from gsd_core.dashboard.reading.structure_queries import Structure, compute_reference, load_structure
from gsd_core.dashboard.stresses import stresses_figures
from gsd_core.dashboard.twins import twins_figures
from gsd_core.methods.analyze_method import STRUCTURE
from gsd_core.store import Run

MAX_ROWS = 12
MAX_TEXT = 280
_STYLE = """
body { font: 15px/1.55 system-ui, sans-serif; color: #1f2937; background: #fff; margin: 0 auto; max-width: 1120px;
padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .4rem; }
p.note, figcaption { color: #6b7280; font-size: .87rem; } figure { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: .87rem; } td, th { text-align: left; vertical-align: top;
padding: .35rem .6rem .35rem 0; border-bottom: 1px solid #e5e7eb; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: .9rem; }
dt { color: #6b7280; } dd { margin: 0; }
.side { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.q { border-left: 3px solid #0072B2; padding-left: .7rem; margin: .2rem 0; }
"""


def make_report(run: Run, checkpoint: str) -> str:
    """The whole file. It leaves out what was not computed for the checkpoint, and says so."""
    view = load_run_view(run, checkpoint)
    structure = load_structure(run, checkpoint) if run.results.has(STRUCTURE, checkpoint) else None
    evidence = load_evidence(run)
    parts, missing = [_describe_run(run, view)], []
    if view.is_analyzed:
        parts += _show_map(view)
    else:
        missing.append("layout and clusters")
    if structure is not None:
        parts += [*_show_twins(view, structure), *_show_stresses(structure), *_show_cosines(structure)]
    else:
        missing.append("twins and stresses")
    if len(evidence):
        parts += _show_evidence(evidence)
    else:
        missing.append("the structure benchmark")
    if missing:
        parts.append(f'<p class="note">Not computed for this checkpoint: {", ".join(missing)}.</p>')
    parts.append(
        '<p class="note">Alignment of gradient directions correlates with what the texts share; nothing in this report '
        "is a causal claim.</p>"
    )
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{_escape(run.name)} · GSD report</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head>"
        f"<body>{''.join(parts)}</body></html>"
    )


def write_report(run: Run, checkpoint: str, path: Path, report: Callable[[int, int], None]) -> int:
    """Write the report whole or not at all; returns the number of its spans."""
    text = make_report(run, checkpoint)
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return run.count_spans(checkpoint)


def _describe_run(run: Run, view: RunView) -> str:
    manifest = run.manifest
    model, dataset, sketch = (manifest.get(key) or {} for key in ("model", "dataset", "sketch"))
    kind = f"{model.get('architecture')}, {model.get('n_parameters', 0):,} parameters"
    store = (manifest.get("imported") or {}).get("format")  # the model of an imported run is unknown
    facts = {
        "Model": f"{model.get('source')} ({f'gradients imported from {store}' if store else kind})",
        "Checkpoint": f"{view.checkpoint} of {', '.join(run.checkpoints)}",
        "Data": f"{dataset.get('name')}: {len(view.samples):,} samples, {len(view.spans):,} spans",
        "Gradient": f"{describe_tier(manifest)}; segmenter {manifest.get('segmenter')}; "
        f"sketch of {sketch.get('width', '?')} numbers",
        "Captured": f"{str(manifest.get('created', ''))[:16].replace('T', ' ')} with GSD {manifest.get('gsd_version')}",
        "Hashes": f"model {str(model.get('hash'))[:12]}, data {str(dataset.get('data_hash'))[:12]}",
    }
    rows = "".join(f"<dt>{_escape(key)}</dt><dd>{_escape(value)}</dd>" for key, value in facts.items())
    return f"<h1>{_escape(run.name)}</h1><p class=note>Gradients of reasoning spans, GSD report</p><dl>{rows}</dl>"


def _show_map(view: RunView) -> list[str]:
    color = map_figures.list_color_choices(view)["cluster"]
    figure = map_figures.plot_map(view, np.ones(len(view.spans), dtype=bool), color, height=620)
    rows = []
    for cluster in view.clusters.head(MAX_ROWS).to_dict("records"):
        exemplars = [view.spans["text"].iloc[view.row_of[s]] for s in cluster["exemplars"] if s in view.row_of]
        quotes = "".join(f'<div class="q">{_escape(shorten(str(text), MAX_TEXT))}</div>' for text in exemplars[:3])
        rows.append([_escape(cluster["label"]), f"{cluster['size']:,}", quotes])
    return [
        "<h2>Map of span-gradient directions</h2>",
        _embed(figure, "UMAP layout of centred directions (cosine); one point a span, coloured by cluster."),
        f"<h2>Clusters: the largest of {len(view.clusters)}</h2>",
        _table(("cluster", "spans", "spans nearest its centre"), rows, numbers=(1,)),
    ]


def _show_twins(view: RunView, structure: Structure) -> list[str]:
    figure = twins_figures.plot_quadrants(view, structure, compute_reference(structure, "semantic"))
    questions = view.samples.set_index("sample")["question"].to_dict() if "question" in view.samples else {}
    parts = [
        "<h2>Structural twins</h2>",
        _embed(
            figure,
            "Pairs of samples: similarity of the questions against that of the reasoning's gradient directions.",
        ),
        _tabulate_twins(structure.twins, questions) or "<p>No twins were found.</p>",
    ]
    if len(structure.rewordings):
        parts += ["<h3>In other words</h3>", _tabulate_twins(structure.rewordings, questions)]
    return parts


def _tabulate_twins(twins: pd.DataFrame, questions: dict[str, str]) -> str:
    """The first twins as a table, empty where there are none."""
    rows = []
    for twin in twins.head(MAX_ROWS).to_dict("records"):
        pair = "".join(
            f"<div><b>{_escape(twin[side])}</b><br>{_cut(questions.get(twin[side], ''))}</div>" for side in "ab"
        )
        numbers = (
            f"{twin['structural']:.2f}",
            f"{twin['semantic']:.2f}",
            str(twin["n_aligned"]),
            f"{twin['q_value']:.3g}",
        )
        rows.append([f'<div class="side">{pair}</div>', *numbers])
    heads = ("two samples", "structural", "semantic", "aligned spans", "q")
    return _table(heads, rows, numbers=(1, 2, 3, 4)) if rows else ""


def _show_stresses(structure: Structure) -> list[str]:
    rows = [
        [
            " → ".join(_escape(label) for label in stress["labels"]),
            f"{stress['support']:,}",
            f"{stress['lift']:.1f}",
            f"{stress['q_value']:.3g}",
        ]
        for stress in structure.stresses.head(MAX_ROWS).to_dict("records")
    ]
    if not rows:
        return ["<h2>Aligned sequential stresses</h2><p>No sequence of clusters recurs.</p>"]
    return [
        "<h2>Aligned sequential stresses</h2>",
        _embed(
            stresses_figures.plot_stresses(structure.stresses),
            "Recurring sequences of clusters: samples that have them, against their lift over shuffled order.",
        ),
        _table(("clusters in order", "samples", "lift", "q"), rows, numbers=(1, 2, 3)),
    ]


def _show_cosines(structure: Structure) -> list[str]:
    if not len(structure.cosines):
        return []
    figure = alignment_figures.plot_cosines(structure.cosines, float("nan"))
    return [
        "<h2>Cosines across samples</h2>",
        _embed(figure, "Pairs of spans of different samples. Same-cluster pairs are alike by construction."),
    ]


def _show_evidence(evidence: pd.DataFrame) -> list[str]:
    rows, metric = choose_default_rows(evidence)
    verdict = compute_verdict(rows)
    said = f"{verdict.headline} {verdict.detail}" if verdict else ""
    first = rows.iloc[0]
    return [
        f"<h2>Evidence: {_escape(first['label'])} by {_escape(first['level'])}</h2><p>{_escape(said)}</p>",
        _embed(
            evidence_figures.plot_dots(rows, metric),
            f"{metric} at {first['checkpoint']}, with 95 % intervals over samples; dashed: chance.",
        ),
    ]


def _embed(figure: go.Figure, caption: str) -> str:
    figure = use_no_webgl(figure)  # the file's policy forbids to compile code
    figure.update_layout(template="plotly_white", paper_bgcolor="white", plot_bgcolor="white")
    body = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
    return f"<figure>{body}<figcaption>{_escape(caption)}</figcaption></figure>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    def cell(tag: str, column: int, text: str) -> str:
        return f"<{tag}{' class=n' if column in numbers else ''}>{text}</{tag}>"

    top = "".join(cell("th", i, _escape(head)) for i, head in enumerate(heads))
    body = "".join(f"<tr>{''.join(cell('td', i, text) for i, text in enumerate(row))}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cut(text: object) -> str:
    return _escape(shorten(str(text), MAX_TEXT))


def _escape(text: object) -> str:
    return html.escape(str(text))
