"""The data page: upload a file, check what was understood, correct it.

show_data   the page below the jobs: source, preview, corrections, capture
"""

from __future__ import annotations

import html
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from gsd_core.dashboard.data import uploads
from gsd_core.dashboard.data.capture_form import show_settings
from gsd_core.dashboard.data.uploads import Corrections, Preview
from gsd_core.dashboard.frame import snippets, workspaces
from gsd_core.dashboard.frame.address import read_address, write_address
from gsd_core.dashboard.frame.page_text import escape, show_error
from gsd_core.dashboard.frame.snippets import Number
from gsd_core.dashboard.look.plot_text import shorten
from gsd_core.errors import UserError

ROLES = ("question", "reasoning", "answer")
AS_UNDERSTOOD = ""  # a column that was not corrected


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs={Corrections: repr})
def _preview(uri: str, file: str, corrections: Corrections, changed: float) -> Preview:
    return uploads.load_preview(uri, Path(file), corrections)


def show_data() -> None:
    """Source, preview, and the settings of a capture."""
    if not workspaces.can_run_jobs():
        st.info(f"{workspaces.find_obstacle()}: add data with `gsd datasets add`.", icon=":material/lock:")
        return
    datasets = {info.name: info for info in workspaces.list_datasets()}
    uploaded = uploads.list_uploads(workspaces.workspace_uri())
    sources = ["Upload a file"]
    if uploaded:
        sources.append("An uploaded file")
    if datasets:
        sources.append("A stored data set")
    st.session_state.setdefault("data_way", sources[1] if read_address("file") in uploaded and uploaded else sources[0])
    source = st.segmented_control("Source", sources, key="data_way", required=True, label_visibility="collapsed")
    if source == "A stored data set":
        name = st.selectbox("Data set", list(datasets), key="data_stored")
        info = datasets[name]
        snippets.show_numbers(
            Number("samples", f"{info.n_samples:,}"),
            Number("rows not used", f"{info.n_rejected:,}"),
            Number("words", f"{info.n_words:,}"),
            Number("format", info.format),
        )
        show_settings(None, Corrections(), name, info.n_samples, has_steps=False)
        return
    try:
        file = _choose_file(str(source), uploaded)
    except UserError as error:
        show_error(error)
        file = None
    if file is None:
        _show_formats()
        return
    _show_file(file)


def _choose_file(source: str, uploaded: list[str]) -> Path | None:
    """The file to read, None before there is one. ``UserError`` where it cannot be stored or found."""
    workspace = workspaces.workspace_uri()
    if source == "Upload a file":
        sent = st.file_uploader(
            "Chains of thought", type=uploads.UPLOAD_TYPES, label_visibility="collapsed", key="data_upload"
        )
        if sent is None:
            return None
        if st.session_state.get("data_saved") != sent.file_id:
            saved = uploads.save_upload(workspace, sent.name, sent)
            st.session_state["data_saved"] = sent.file_id
            st.session_state["data_saved_name"] = saved.name
            write_address("file", saved.name)
        name = st.session_state["data_saved_name"]
    else:
        wanted = read_address("file")
        index = uploaded.index(wanted) if wanted in uploaded else 0
        name = st.selectbox("File", uploaded, index=index)
        write_address("file", name)
    return uploads.find_upload(workspace, name)


def _show_formats() -> None:
    with st.container(border=True):
        st.markdown("**What can be read**")
        st.caption(
            "JSON Lines, a JSON array, CSV, TSV, Parquet, Arrow or Feather, also as gzip or zstd: lists of steps, chat "
            "messages, conversations, instruction/input/output, reasoning in the tags of many models. What was "
            "understood is shown first and can be corrected."
        )


def _show_file(file: Path) -> None:
    """What the reader understood on the left; corrections and settings on the right."""
    changed = file.stat().st_mtime
    stored: dict[str, Corrections] = st.session_state.setdefault("data_corrections", {})
    corrections = stored.get(file.name, Corrections())
    uri = workspaces.workspace_uri()
    try:
        with st.spinner("Reading the first rows …"):
            preview = _preview(uri, str(file), corrections, changed)
    except UserError as error:
        show_error(error)
        if corrections != Corrections() and st.button("Undo the corrections", icon=":material/undo:"):
            stored.pop(file.name, None)
            st.rerun()
        return
    left, right = st.columns([1, 1], gap="large")
    with left:
        st.markdown("### What was understood")
        snippets.show_numbers(
            Number("format", preview.format),
            Number("rows read", str(preview.n_samples + preview.n_rejected)),
            Number("usable", str(preview.n_samples)),
            Number("not usable", str(preview.n_rejected)),
        )
        for warning in preview.warnings:
            st.warning(escape(warning))
        _show_guesses(preview)
        for sample in preview.samples[:3]:
            with st.container(border=True):
                st.html(_sample_html(sample))
        if preview.rejected:
            with st.expander(f"{preview.n_rejected} rows that cannot be used, and why", icon=":material/block:"):
                st.dataframe(pd.DataFrame(preview.rejected), hide_index=True, alt="Rows that cannot be used")
    with right:
        st.markdown("### Which column is which")
        corrections = _correct(file, preview, corrections, stored)
        if preview.n_samples:
            has_steps = any(sample.get("steps") for sample in preview.samples)
            show_settings(file, corrections, uploads.suggest_name(file.name), None, has_steps)
        else:
            st.error("No row can be used. Choose the columns above.", icon=":material/error:")


def _column_name(column: str, understood: str) -> str:
    return column or f"as understood: {understood or 'nothing'}"


def _show_guesses(preview: Preview) -> None:
    """A line for everything that was decided in rows, with how many there are and the first of them."""
    for guess in preview.guesses:
        example = f"; row {guess['row']}: {shorten(str(guess.get('example', '')), 160)}" if "row" in guess else ""
        st.caption(escape(f"{guess['what']}: {guess['rows']:,} row{'s' if guess['rows'] != 1 else ''}{example}"))


def _correct(file: Path, preview: Preview, known: Corrections, stored: dict[str, Corrections]) -> Corrections:
    chosen: dict[str, str] = {}
    mapping = dict(known.mapping)
    for role, column in zip(ROLES, st.columns(len(ROLES)), strict=True):
        understood = preview.fields.get(role, "")
        options = [AS_UNDERSTOOD, *preview.columns]
        current = mapping.get(role, AS_UNDERSTOOD)
        value = column.selectbox(
            role.capitalize(),
            options,
            index=options.index(current) if current in options else 0,
            key=f"map_{role}_{file.name}",
            format_func=partial(_column_name, understood=understood),
        )
        if value:
            chosen[role] = value
    layout = preview.fields.get("layout")
    if layout:
        second = preview.fields.get("runner_up")
        beside = f" The column {second} could be the reasoning too." if second else ""
        st.caption(escape(f"Layout: {layout}. Every other column is kept as a label.{beside}"))
    turns, marks = known.turns, known.marks
    if layout in ("messages", "conversations"):
        every = st.toggle("Every turn that has a thought is a sample", turns == "all", key=f"turns_{file.name}")
        turns = "all" if every else "last"
    if preview.guesses or marks == "ignore":
        whole = st.toggle("Leave every text whole", marks == "ignore", key=f"marks_{file.name}")
        marks = "ignore" if whole else "read"
    corrections = Corrections(tuple(sorted(chosen.items())), turns, marks)
    if corrections != known:
        stored[file.name] = corrections
        st.rerun()
    return corrections


def _sample_html(sample: dict[str, Any]) -> str:
    """A sample of the preview as HTML, with every text escaped."""
    steps = sample.get("steps") or []
    reasoning = str(sample.get("reasoning") or "")
    if steps and all(isinstance(step, str) for step in steps):
        shown = "".join(f"<li>{html.escape(step)}</li>" for step in steps[:12])
        body = f'<ol style="margin:.2rem 0 .2rem 1.2rem;padding:0">{shown}</ol>'
    else:
        text = reasoning if len(reasoning) <= 700 else reasoning[:700] + " …"
        body = f'<div style="white-space:pre-wrap">{html.escape(text)}</div>'
    question = shorten(str(sample.get("question") or ""), 400)
    answer = shorten(str(sample.get("answer") or ""), 160)
    name = html.escape(str(sample.get("id", "")))
    small = 'style="font-size:.75rem;opacity:.65;margin-top:.3rem"'
    return (
        f'<div style="overflow-wrap:anywhere;line-height:1.5"><div {small}>{name} · question</div>'
        f"{html.escape(question) or '<i>none</i>'}<div {small}>reasoning</div>{body}"
        f"<div {small}>answer</div>{html.escape(answer) or '<i>none</i>'}</div>"
    )
