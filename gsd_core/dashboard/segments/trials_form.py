"""Train on the segments that the page keeps, beside controls: a form that starts ``gsd trials``.

offer_trials   the form below the figures
write_config   what was chosen → a configuration file in the workspace
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import streamlit as st

from gsd_core.dashboard.frame import workspaces
from gsd_core.dashboard.frame.page_text import show_error
from gsd_core.dashboard.frame.run_cache import Chosen
from gsd_core.dashboard.jobs import job_view
from gsd_core.dashboard.jobs.job_steps import Step
from gsd_core.errors import UserError
from gsd_core.methods.trials_method import CHOICES, TrialsOptions
from gsd_core.types import name_is_valid

PACKAGED = ("demo", "smollm2")
DEFAULT_CHOICES = ["full", "selective", "pruned", "random segments"]
NEED_GRADIENTS = ("spectral", "grace", "alignment")
CONFIGS = "configs"  # folder beside the trainings
N_QUESTIONS = 40
NO_QUESTIONS = "(none)"


def offer_trials(chosen: Chosen, thresholds: tuple[float, float], no_against: bool) -> None:
    """Name, model, choices, seeds, steps, and the button; nothing where jobs cannot run."""
    if not workspaces.can_run_jobs():
        return
    run = chosen.info.name
    with st.expander("Train on what is kept, and compare", icon=":material/model_training:"):
        left, right = st.columns(2, gap="medium")
        with left:
            name = st.text_input("Name", _free_name(run), key=f"trials_name_{run}")
            model = st.text_input(
                "Model", _find_model(chosen), key=f"trials_model_{run}", help="demo, smollm2, a folder or a hub id."
            )
            rank = st.number_input("LoRA rank (0: all weights)", 0, 256, 8, key=f"trials_lora_{run}")
            choices = st.multiselect(
                "Choices",
                [each for each in CHOICES if each not in NEED_GRADIENTS],
                default=DEFAULT_CHOICES,
                key=f"trials_choices_{run}",
            )
        with right:
            datasets = [NO_QUESTIONS, *(info.name for info in workspaces.list_datasets())]
            held = st.selectbox(
                "Held-out data set",
                datasets,
                key=f"trials_held_{run}",
                help=f"Its loss is measured, and its first {N_QUESTIONS} questions are answered. Take one that is not "
                "trained on.",
            )
            steps = st.number_input("Steps, of 8 samples", 1, 100_000, 60, key=f"trials_steps_{run}")
            n_seeds = st.number_input("Seeds", 1, 10, 3, key=f"trials_seeds_{run}")
            bare = st.toggle("without the first and the last two segments", key=f"trials_bare_{run}")
        st.caption(
            f"{len(choices) * n_seeds:,} trainings, one after the other, at tau {thresholds[0]:g} and beta "
            f"{thresholds[1]:g}. A step of SmolLM2 on short problems takes some 15 seconds on two cores."
        )
        if st.button("Start the trials", type="primary", icon=":material/play_arrow:", key=f"trials_start_{run}"):
            train: dict[str, Any] = {"model": model.strip(), "steps": int(steps), "batch_size": 8, "rate": 2e-4}
            train |= {"lora": int(rank)} if rank else {"rate": 2e-5}
            if held != NO_QUESTIONS:
                train |= {"eval": held, "eval_answers": N_QUESTIONS, "eval_limit": 2 * N_QUESTIONS}
            config: dict[str, Any] = {
                "name": name.strip(),
                "run": run,
                "checkpoint": chosen.checkpoint,
                "choices": choices,
            }
            config |= {"seeds": list(range(int(n_seeds))), "tau": thresholds[0], "beta": thresholds[1]}
            config |= {"no_against": no_against, "bare": bare, "train": train}
            try:
                file = write_config(workspaces.open_workspace().trainings_dir, config)
            except UserError as error:
                show_error(error)
                return
            job_view.start_and_show(Step("trials", TrialsOptions(file)), run=None)


def write_config(folder: Path, config: dict[str, Any]) -> Path:
    """``folder/configs/NAME.toml``. Raises ``UserError`` for a name that is none or taken, and without a choice."""
    name = str(config["name"])
    if not name_is_valid(name):
        raise UserError("a name may hold letters, digits, dot, dash, underscore, at most 64", name or "(empty)", "")
    file = folder / CONFIGS / f"{name}.toml"
    if file.exists() or (folder / name).exists():
        raise UserError("there are trials of this name", name, "choose another one")
    if not config["choices"]:
        raise UserError("nothing is chosen", "Choices", "choose at least one")
    lines = [f"{key} = {_encode(value)}" for key, value in config.items() if key != "train"]
    lines += ["[train]", *(f"{key} = {_encode(value)}" for key, value in config["train"].items())]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _encode(value: Any) -> str:
    """JSON in ASCII is TOML too, for texts, numbers, booleans and lists of them."""
    return json.dumps(value)


def _free_name(run: str) -> str:
    folder = workspaces.open_workspace().trainings_dir
    names = (f"{run}-trials" + (f"-{number}" if number > 1 else "") for number in count(1))
    return next(name for name in names if not (folder / name).exists())


def _find_model(chosen: Chosen) -> str:
    """The run's model where it can be loaded again by this name."""
    source = str((chosen.info.manifest.get("model") or {}).get("source") or "")
    return source if source in PACKAGED or "/" in source else "smollm2"
