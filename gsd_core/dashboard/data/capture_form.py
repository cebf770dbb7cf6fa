"""The settings of a capture on the data page.

show_settings   names, model, tier and spans, and the button that starts the job
make_steps      what that job does
"""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path

import streamlit as st

from gsd_core.dashboard.data.uploads import Corrections, make_map
from gsd_core.dashboard.frame import workspaces
from gsd_core.dashboard.frame.page_text import show_error
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.errors import UserError
from gsd_core.methods.analyze_method import AnalyzeOptions
from gsd_core.methods.capture_method import SEGMENTERS, CaptureOptions
from gsd_core.methods.datasets_method import DatasetsAddOptions
from gsd_core.tiers import TIERS
from gsd_core.types import name_is_valid

LARGEST_WITHOUT_LIMIT = 150
WINDOWS = ("by cost", "all", "0", "1", "2", "4")
MODELS = {"SmolLM2-135M, a real small model": "smollm2", "The bundled demo model": "demo", "My own model": ""}
TOLD = {  # tokens a second: `python -m tests.benchmarks.real_model`, docs/performance.md
    "smollm2": "It reads real text. Two cores read some 150 tokens a second: 150 short problems take four minutes.",
    "demo": "For a quick try: it reads text within seconds, but 2.8 million parameters know little of it.",
    "": "Weights stay on this machine.",
}


def show_settings(
    file: Path | None, corrections: Corrections, dataset: str, n_samples: int | None, has_steps: bool
) -> None:
    """Names, model, tier and spans, and the button that starts the job; ``file`` None: a stored data set."""
    st.markdown("### Capture")
    key = dataset if file is None else file.name
    first, second = st.columns(2, gap="medium")
    with first:
        name = st.text_input("Data set name", dataset, disabled=file is None, key=f"set_dataset_{key}")
        run = st.text_input("Run name", _free_run_name(dataset), key=f"set_run_{key}")
        known = MODELS[st.radio("Model", list(MODELS), key=f"set_source_{key}")]
        st.caption(TOLD[known])
        given = st.text_input(
            "Folder, GGUF file or hub id",
            placeholder="/models/my-model or owner/name",
            disabled=bool(known),
            key=f"set_model_{key}",
            help="A causal language model in Hugging Face format, or a GGUF file. Code from the hub is never run.",
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
            help="The first ones of the data set.",
        )
    with second:
        tier = st.selectbox("Gradient tier", list(TIERS), key=f"set_tier_{key}")
        st.caption(f"{TIERS[tier].help} {TIERS[tier].serves}")
        window = st.selectbox(
            "Window (spans before it)",
            WINDOWS,
            disabled=not TIERS[tier].has_window,
            key=f"set_window_{key}",
            help="all is exact. The cost of a small window does not grow with the number of spans; it is audited. "
            "By cost: all where that is affordable, else 1.",
        )
        names = list(SEGMENTERS)
        default = names.index("steps" if has_steps or file is None else "sentences")
        segmenter = st.selectbox("Cut into", names, index=default, key=f"set_seg_{key}")
        st.caption(SEGMENTERS[segmenter])
    if st.button("Capture and analyse", type="primary", icon=":material/play_arrow:", key=f"start_{key}"):
        options = CaptureOptions(
            dataset=name,
            model=known or given.strip(),
            tier=tier,
            window=window if TIERS[tier].has_window and window != WINDOWS[0] else None,
            segmenter=segmenter,
            run=run,
            limit=None if everything else int(limit),
        )
        try:
            steps = make_steps(options, file, corrections)
            if any(info.name == run for info in workspaces.list_runs()):
                raise UserError("a run of this name exists", run, "choose another name")
        except UserError as error:
            show_error(error)
            return
        job_view.start_and_show(*steps, run=run, dataset=name)


def make_steps(options: CaptureOptions, file: Path | None, corrections: Corrections) -> list[Step]:
    """Read ``file`` where there is one, capture, analyse. ``UserError`` for a name or model that cannot be."""
    for name, what in ((options.dataset, "data set name"), (options.run or "", "run name")):
        if not name_is_valid(name):
            raise UserError(f"a {what} may hold letters, digits, dot, dash, underscore, at most 64", name or "(empty)")
    if not options.model.strip() or options.model.startswith("-"):
        raise UserError("this cannot be a model", options.model or "(empty)", "write a folder or a hub id")
    steps = [Step("capture", options), Step("analyze", AnalyzeOptions(options.run or ""))]
    if file is not None:
        add = DatasetsAddOptions(
            str(file),
            options.dataset,
            make_map(dict(corrections.mapping)),
            turns=corrections.turns,
            marks=corrections.marks,
        )
        steps.insert(0, Step("datasets add", add))
    return steps


def _free_run_name(dataset: str) -> str:
    """A run name that is not taken yet."""
    taken = {info.name for info in workspaces.list_runs()}
    names = chain([dataset], (f"{dataset}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)
