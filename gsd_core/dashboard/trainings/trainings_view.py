"""The page Training runs: trainings of the workspace side by side.

show_trainings   a group of trainings: what they compare, their losses, their answers; or how to begin
"""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from gsd_core.dashboard.frame import snippets, workspaces
from gsd_core.dashboard.frame.address import choose
from gsd_core.dashboard.frame.charts import show_chart
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.dashboard.trainings import training_figures
from gsd_core.dashboard.trainings.training_figures import AXES
from gsd_core.dashboard.trainings.training_queries import SINGLE, Group, Run, load_groups, read_questions

LISTING_TTL_S = 5  # seconds; trainings grow while one looks
MOST_COLUMNS = 3
_WHAT = (
    "The same fine-tune on different parts of the same traces. Selective training reads a whole trace and has loss "
    "only on the segments that bear on the answer; pruning cuts the others out; random segments and the rest are "
    "controls."
)
_HOW = """
```
gsd train --dataset NAME --model smollm2 --lora 8 --eval HELDOUT --eval-answers 50
gsd attribute --run RUN
gsd select --run RUN --by segments --out mask.jsonl
gsd train --dataset NAME --model smollm2 --lora 8 --objective selective --mask mask.jsonl
gsd trials FILE.toml
```
"""


@st.cache_resource(ttl=LISTING_TTL_S, show_spinner="Reading the trainings …")
def _load(uri: str, folder: str) -> dict[str, Group]:
    return load_groups(workspaces.open_workspace().trainings_dir)


def show_trainings() -> None:
    """The page."""
    workspace = workspaces.open_workspace()
    if not workspace.is_local:
        st.info("Trainings are kept on the machine that trains; this workspace is elsewhere.", icon=":material/lock:")
        return
    groups = _load(workspaces.workspace_uri(), str(workspace.trainings_dir))
    if not groups:
        with st.container(border=True):
            st.markdown("### No trainings yet")
            st.caption("Fine-tune a model, whole or on what bears on the answer; each training appears here.")
            st.markdown(_HOW)
        return
    names = list(groups)
    group = groups[choose("Trainings", "group", names, default=names[0], width=420)]
    _show_numbers(group)
    if group.name != SINGLE:
        st.caption(_WHAT)
    if len(group.table):
        _show_table(group)
    _show_losses(group)
    _show_answers(group)


def _show_numbers(group: Group) -> None:
    record = group.runs[0].info.record
    recipe = record.get("recipe") or {}
    shown = [
        snippets.Number("trainings", f"{len(group.runs):,}"),
        snippets.Number("finished", f"{sum(run.is_done for run in group.runs):,}"),
        snippets.Number("model", shorten(str((record.get("model") or {}).get("source") or "–").rpartition("/")[2], 24)),
        snippets.Number("data set", shorten(str((record.get("data") or {}).get("name") or "–"), 24)),
    ]
    if group.name != SINGLE:
        shown += [
            snippets.Number("samples", f"{(record.get('data') or {}).get('n_samples', 0):,}"),
            snippets.Number("steps", f"{recipe.get('steps', 0):,}", f"of {recipe.get('batch_size', 0)} samples"),
            snippets.Number("weights", f"LoRA {recipe['lora']}" if recipe.get("lora") else "all"),
        ]
        if group.config.get("tau") is not None:
            shown.append(snippets.Number("tau, beta", f"{group.config['tau']:g}, {group.config.get('beta', 0):g}"))
    snippets.show_numbers(*shown)


def _show_table(group: Group) -> None:
    """Right answers and lengths by choice; the table itself below."""
    table = group.table
    sides = [
        (name, title, is_share)
        for name, title, is_share in (
            ("accuracy", "right answers to held-out questions", True),
            ("tokens", "tokens of an answer", False),
        )
        if f"{name}_low" in table
    ]
    for column, (name, title, is_share) in zip(st.columns(max(1, len(sides)), gap="large"), sides, strict=False):
        with column:
            show_chart(
                training_figures.plot_trials(table, group.runs, name, title, is_share),
                key=f"trainings_{name}",
                alt=f"{title} by choice",
                name=f"{group.name} {name}",
                table=lambda: table,
            )
    if sides:
        st.caption(
            "Dots with lines: means with 95 % intervals over seeds and questions. Small dots: single seeds. Dotted: "
            f"{escape(table['choice'].iloc[0])}."
        )
    with st.expander("As a table"):
        st.dataframe(table.drop(columns="seeds", errors="ignore"), hide_index=True)


def _show_losses(group: Group) -> None:
    chosen = _choose_runs(group)
    axis = choose("Against", "axis", list(AXES), default="step", format_func=AXES.__getitem__, width=220)
    left, right = st.columns(2, gap="large")
    for column, held_out in ((left, False), (right, True)):
        runs = [run for run in chosen if not held_out or run.checkpoints["eval_loss"].notna().any()]
        if not runs:
            column.caption("No held-out loss yet. It is measured at kept steps, on the data set of --eval.")
            continue
        with column:
            show_chart(
                training_figures.plot_losses(runs, axis, held_out),
                key=f"trainings_loss_{held_out}",
                alt="Held-out loss" if held_out else "Loss while training",
                name=f"{group.name} {'held-out ' if held_out else ''}loss",
                table=partial(_tabulate_losses, runs, held_out),
            )


def _choose_runs(group: Group) -> list[Run]:
    if group.name != SINGLE:
        return group.runs
    labels = [run.label for run in group.runs]
    picked = st.multiselect("Shown", labels, default=labels[:8], key="trainings_shown")
    return [run for run in group.runs if run.label in picked]


def _tabulate_losses(runs: list[Run], held_out: bool) -> pd.DataFrame:
    frames = [(run.checkpoints if held_out else run.read_log()).assign(training=run.label) for run in runs]
    return pd.concat(frames, ignore_index=True)


def _show_answers(group: Group) -> None:
    """Texts of several trainings side by side."""
    rows = read_questions(group.runs)
    if not len(rows):
        return
    st.markdown("#### What they answer")
    labels = list(dict.fromkeys(rows["run"]))
    first = [
        next(run.label for run in group.runs if run.choice == choice)
        for choice in dict.fromkeys(run.choice for run in group.runs if run.label in labels)
    ]
    picked = st.multiselect("Trainings", labels, default=first[:MOST_COLUMNS], max_selections=4, key="trainings_read")
    samples = list(dict.fromkeys(rows["sample"].astype(str)))
    wanted = rows.drop_duplicates("sample").set_index("sample")["wanted"]
    sample = choose(
        f"Question ({len(samples):,})",
        "question",
        samples,
        default=samples[0],
        format_func=lambda name: f"{name}  ·  {shorten(str(wanted.get(name, '')), 40)}",
        width=420,
    )
    own = rows[rows["sample"] == sample].set_index("run")
    for column, label in zip(st.columns(max(1, len(picked)), gap="medium"), picked, strict=False):
        with column:
            if label not in own.index:
                st.caption(f"{escape(label)}: no answer to this question")
                continue
            row = own.loc[label]
            st.caption(
                f"**{escape(label)}** · {'right' if row['is_right'] else 'not right'}: "
                f"{escape(shorten(str(row['answer']), 60))} · {int(row['n_tokens']):,} tokens"
            )
            st.html(training_figures.make_answer(str(row["text"]), bool(row["is_right"])))
