"""The data page: bring a file, see what was understood, correct it, capture it.

show_data      the whole page below the jobs
"""

from __future__ import annotations

import html
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from gsd_core.dashboard.data import uploads
from gsd_core.dashboard.data.uploads import Preview
from gsd_core.dashboard.frame import session, snippets
from gsd_core.dashboard.frame.address import read_address, write_address
from gsd_core.dashboard.frame.snippets import Number
from gsd_core.dashboard.jobs import commands, job_view
from gsd_core.dashboard.jobs.commands import SEGMENTERS, WINDOWS, CaptureChoice
from gsd_core.errors import UserError
from gsd_core.tiers import TIERS

ROLES = ("question", "reasoning", "answer")
AS_UNDERSTOOD = ""
LARGEST_WITHOUT_LIMIT = 300
DEMO_MODEL = "The bundled demo model"


@st.cache_resource(max_entries=16, show_spinner=False)
def _preview(uri: str, file: str, mapping: tuple[tuple[str, str], ...], changed: float) -> Preview:
    return uploads.load_preview(uri, Path(file), dict(mapping))


def show_data() -> None:
    """Source, preview, and capture settings, from top to bottom."""
    if not session.can_run_jobs():
        st.info(f"{session.find_obstacle()}: add data with `gsd datasets add`.", icon=":material/lock:")
        return
    datasets = {info.name: info for info in session.list_datasets()}
    brought = uploads.list_uploads(session.workspace_uri())
    ways = ["Upload a file"]
    if brought:
        ways.append("A file brought before")
    if datasets:
        ways.append("A stored data set")
    st.session_state.setdefault(
        "data_way", ways[1] if read_address("file") in brought and brought else ways[0]
    )
    way = st.segmented_control("Source", ways, key="data_way", required=True, label_visibility="collapsed")
    if way == "A stored data set":
        name = st.selectbox("Data set", list(datasets), key="data_stored")
        info = datasets[name]
        snippets.show(
            snippets.make_numbers(
                [
                    Number("samples", f"{info.n_samples:,}"),
                    Number("rows not used", f"{info.n_rejected:,}"),
                    Number("words", f"{info.n_words:,}"),
                    Number("format", info.format),
                ]
            )
        )
        _show_settings(None, {}, name, info.n_samples, has_steps=False)
        return
    file = _choose_file(str(way), brought)
    if file is None:
        _show_formats()
        return
    _show_file(file)


def _choose_file(way: str, brought: list[str]) -> Path | None:
    workspace = session.workspace_uri()
    if way == "Upload a file":
        sent = st.file_uploader(
            "Chains of thought", type=uploads.UPLOAD_TYPES, label_visibility="collapsed", key="data_upload"
        )
        if sent is None:
            return None
        if st.session_state.get("data_saved") != sent.file_id:
            try:
                saved = uploads.save_upload(workspace, sent.name, sent)
            except UserError as error:
                session.show_error(error)
                return None
            st.session_state["data_saved"] = sent.file_id
            st.session_state["data_saved_name"] = saved.name
            write_address("file", saved.name)
        name = st.session_state["data_saved_name"]
    else:
        wanted = read_address("file")
        index = brought.index(wanted) if wanted in brought else 0
        name = st.selectbox("File", brought, index=index)
        write_address("file", name)
    try:
        return uploads.find_upload(workspace, name)
    except UserError as error:
        session.show_error(error)
        return None


def _show_formats() -> None:
    with st.container(border=True):
        st.markdown("**What can be read**")
        st.caption(
            "JSON Lines, a JSON array, CSV, TSV or Parquet, gzip and zstd of these. Questions, answers and "
            "reasoning are found under their many names: a list of steps, chat messages, conversations, "
            "instruction/input/output, reasoning in <think> tags. What was understood is shown before "
            "anything runs, and can be corrected."
        )


def _show_file(file: Path) -> None:
    """What the reader understood on the left; corrections and capture settings on the right."""
    changed = file.stat().st_mtime
    stored = st.session_state.setdefault("data_mappings", {})
    mapping: dict[str, str] = stored.get(file.name, {})
    uri = session.workspace_uri()
    try:
        with st.spinner("Reading the first rows …"):
            preview = _preview(uri, str(file), tuple(sorted(mapping.items())), changed)
    except UserError as error:
        session.show_error(error)
        if mapping and st.button("Take the corrections back", icon=":material/undo:"):
            stored.pop(file.name, None)
            st.rerun()
        return
    left, right = st.columns([1, 1], gap="large")
    with left:
        st.markdown("### What was understood")
        snippets.show(
            snippets.make_numbers(
                [
                    Number("format", preview.format),
                    Number("rows looked at", str(preview.n_samples + preview.n_rejected)),
                    Number("usable", str(preview.n_samples)),
                    Number("not usable", str(preview.n_rejected)),
                ]
            )
        )
        for warning in preview.warnings:
            st.warning(session.escape(warning))
        _show_samples(preview)
        _show_rejected(preview)
    with right:
        st.markdown("### Which column is which")
        mapping = _correct(file, preview, mapping, stored)
        if preview.n_samples:
            has_steps = any(sample.get("steps") for sample in preview.samples)
            _show_settings(file, mapping, uploads.suggest_name(file.name), None, has_steps)
        else:
            st.error("No row can be used as it is. Choose the columns above.", icon=":material/error:")


def _column_name(column: str, understood: str) -> str:
    return column or f"as understood: {understood or 'nothing'}"


def _correct(
    file: Path, preview: Preview, mapping: dict[str, str], stored: dict[str, dict[str, str]]
) -> dict[str, str]:
    chosen: dict[str, str] = {}
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
        st.caption(session.escape(f"Layout: {layout}. Every other column is kept as a label."))
    if chosen != mapping:
        stored[file.name] = chosen
        st.rerun()
    return chosen


def _show_samples(preview: Preview) -> None:
    for sample in preview.samples[:3]:
        with st.container(border=True):
            st.html(_sample_html(sample))


def _sample_html(sample: dict[str, Any]) -> str:
    """A sample of the preview; everything in it is escaped."""
    steps = sample.get("steps") or []
    reasoning = str(sample.get("reasoning") or "")
    if steps and all(isinstance(step, str) for step in steps):
        shown = "".join(f"<li>{html.escape(step)}</li>" for step in steps[:12])
        body = f'<ol style="margin:.2rem 0 .2rem 1.2rem;padding:0">{shown}</ol>'
    else:
        text = reasoning if len(reasoning) <= 700 else reasoning[:700] + " …"
        body = f'<div style="white-space:pre-wrap">{html.escape(text)}</div>'
    question = session.shorten(str(sample.get("question") or ""), 400)
    answer = session.shorten(str(sample.get("answer") or ""), 160)
    name = html.escape(str(sample.get("id", "")))
    small = 'style="font-size:.75rem;opacity:.65;margin-top:.3rem"'
    return (
        f'<div style="overflow-wrap:anywhere;line-height:1.5"><div {small}>{name} · question</div>'
        f"{html.escape(question) or '<i>none</i>'}<div {small}>reasoning</div>{body}"
        f"<div {small}>answer</div>{html.escape(answer) or '<i>none</i>'}</div>"
    )


def _show_rejected(preview: Preview) -> None:
    if preview.rejected:
        with st.expander(f"{preview.n_rejected} rows that cannot be used, and why", icon=":material/block:"):
            st.dataframe(pd.DataFrame(preview.rejected), hide_index=True, alt="Rows that cannot be used")


def _show_settings(
    file: Path | None, mapping: dict[str, str], dataset: str, n_samples: int | None, has_steps: bool
) -> None:
    """Names, model, tier and spans; the button that starts the job."""
    st.markdown("### Capture")
    key = dataset if file is None else file.name
    first, second = st.columns(2, gap="medium")
    with first:
        name = st.text_input("Data set name", dataset, disabled=file is None, key=f"set_dataset_{key}")
        run = st.text_input("Run name", _free_run_name(dataset), key=f"set_run_{key}")
        source = st.radio("Model", [DEMO_MODEL, "My own model"], key=f"set_source_{key}")
        own = source != DEMO_MODEL
        model = st.text_input(
            "Folder or hub id",
            placeholder="/models/my-model or owner/name",
            disabled=not own,
            key=f"set_model_{key}",
            help="A causal language model in Hugging Face format. Code from the hub is never run.",
        )
        everything = st.toggle("All samples", value=False, key=f"set_all_{key}")
        most = max(n_samples or 1_000_000, 1)
        limit = st.number_input(
            "At most this many samples",
            1,
            most,
            min(LARGEST_WITHOUT_LIMIT, most),
            disabled=everything,
            key=f"set_limit_{key}",
            help="A few hundred samples draw a map within minutes on two cores.",
        )
    with second:
        tier = st.selectbox("Gradient tier", list(TIERS), key=f"set_tier_{key}")
        st.caption(f"{TIERS[tier].help} {TIERS[tier].serves}")
        window = st.selectbox(
            "Window (spans before it)",
            WINDOWS,
            disabled=not TIERS[tier].has_window,
            key=f"set_window_{key}",
            help="all is exact; a small window costs the same whatever the number of spans, and is audited.",
        )
        names = list(SEGMENTERS)
        default = names.index("steps" if has_steps or file is None else "sentences")
        segmenter = st.selectbox("Cut into", names, index=default, key=f"set_seg_{key}")
        st.caption(SEGMENTERS[segmenter])
    choice = CaptureChoice(
        dataset=name,
        run=run,
        file=file,
        mapping=mapping,
        model=model if own else "demo",
        tier=tier,
        window=window,
        segmenter=segmenter,
        limit=None if everything else int(limit),
    )
    if st.button("Capture and analyse", type="primary", icon=":material/play_arrow:", key=f"start_{key}"):
        try:
            lines = commands.capture_commands(session.workspace_uri(), choice)
            if any(info.name == run for info in session.list_runs()):
                raise UserError("a run of this name exists", run, "choose another name")
        except UserError as error:
            session.show_error(error)
            return
        job_view.start_and_show(f"Capture {name} as {run}", lines, run=run, dataset=name)


def _free_run_name(dataset: str) -> str:
    """A run name that is not taken yet."""
    taken = {info.name for info in session.list_runs()}
    number = 1
    while (name := dataset if number == 1 else f"{dataset}-{number}") in taken:
        number += 1
    return name
