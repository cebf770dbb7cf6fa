"""The settings of a capture on the data page.

show_settings   names, model, tier and spans, and the button that starts the job
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from gsd_core.dashboard.frame import workspaces
from gsd_core.dashboard.frame.page_text import show_error
from gsd_core.dashboard.jobs import commands, job_view
from gsd_core.dashboard.jobs.commands import SEGMENTERS, TIERS, WINDOWS, CaptureChoice
from gsd_core.errors import UserError

LARGEST_WITHOUT_LIMIT = 300
DEMO_MODEL = "The bundled demo model"


def show_settings(
    file: Path | None, mapping: dict[str, str], dataset: str, n_samples: int | None, has_steps: bool
) -> None:
    """Names, model, tier and spans, and the button that starts the job; ``file`` None: a stored data set."""
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
            help="A few hundred samples give a map within minutes on two cores.",
        )
    with second:
        tier = st.selectbox("Gradient tier", list(TIERS), key=f"set_tier_{key}")
        st.caption(TIERS[tier])
        window = st.selectbox(
            "Window (spans before it)",
            WINDOWS,
            disabled=tier != "span",
            key=f"set_window_{key}",
            help="all is exact. The cost of a small window does not grow with the number of spans; it is audited.",
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
            lines = commands.capture_commands(workspaces.workspace_uri(), choice)
            if any(info.name == run for info in workspaces.list_runs()):
                raise UserError("a run of this name exists", run, "choose another name")
        except UserError as error:
            show_error(error)
            return
        job_view.start_and_show(f"Capture {name} as {run}", lines, run=run, dataset=name)


def _free_run_name(dataset: str) -> str:
    """A run name that is not taken yet."""
    taken = {info.name for info in workspaces.list_runs()}
    number = 1
    while (name := dataset if number == 1 else f"{dataset}-{number}") in taken:
        number += 1
    return name
