"""What the page Training runs reads: groups of trainings, their logs, their answers.

Group            trainings that belong together, and their comparison
Run              one training, with its log and measurements
load_groups      all groups of a workspace
read_questions   what several trainings answer to the same questions
SINGLE           name of the group of trainings on their own
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from gsd_core.store.trainings import TrainingInfo, list_trainings, read_answers, read_trials

SINGLE = "single trainings"


class Run(NamedTuple):
    """``choice`` and ``seed`` as in the trials; of a training on its own its name. ``checkpoints``: a row a kept step,
    ``step, eval_loss, accuracy, mean_tokens`` as far as they were measured."""

    info: TrainingInfo
    choice: str
    seed: int
    checkpoints: pd.DataFrame

    @property
    def label(self) -> str:
        """Name in menus."""
        return self.info.name.rpartition("/")[2]

    @property
    def is_done(self) -> bool:
        """Whether it came to its end."""
        return self.info.record.get("status") == "trained"

    def read_log(self) -> pd.DataFrame:
        """A row a step; empty where nothing is logged yet."""
        return pd.DataFrame(self.info.read_log())


class Group(NamedTuple):
    """``runs`` in order; ``config`` and ``table`` (a row a choice) of ``gsd trials``, empty for single trainings."""

    name: str
    runs: list[Run]
    config: dict[str, Any]
    table: pd.DataFrame


def load_groups(folder: Path) -> dict[str, Group]:
    """Groups by name, newest first; trainings on their own come last."""
    members: dict[str, list[TrainingInfo]] = {}
    for info in list_trainings(folder):
        members.setdefault(info.name.rpartition("/")[0] or SINGLE, []).append(info)
    names = sorted(members, key=lambda name: name == SINGLE)  # stable: the others stay newest first
    return {name: _load_group(folder, name, members[name]) for name in names}


def _load_group(folder: Path, name: str, infos: list[TrainingInfo]) -> Group:
    trials = {} if name == SINGLE else read_trials(folder / name)
    config = trials.get("config") or {}
    result = trials.get("result") or {}
    order = {choice.replace(" ", "-"): choice for choice in config.get("choices") or []}
    runs = []
    for info in infos:
        own = info.name.rpartition("/")[2]
        stem, _, seed = own.rpartition("-")
        choice = order.get(stem, own if not config else stem)
        checkpoints = [each for each in info.record.get("checkpoints") or [] if isinstance(each, dict)]
        frame = pd.DataFrame(checkpoints, columns=["step", "eval_loss", "accuracy", "mean_tokens", "n_answers"])
        runs.append(Run(info, choice, int(seed) if seed.isdecimal() else 0, frame))
    places = list(order.values())
    runs.sort(key=lambda run: (places.index(run.choice) if run.choice in places else len(places), run.seed))
    rows = [each for each in result.get("choices") or [] if isinstance(each, dict)]
    return Group(name, runs, config, pd.DataFrame(rows))


def read_questions(runs: list[Run]) -> pd.DataFrame:
    """Answers at each training's last measured step: ``run, sample, text, answer, wanted, is_right, n_tokens``."""
    frames = []
    for run in runs:
        asked = run.checkpoints.dropna(subset="accuracy")
        if len(asked):
            rows = read_answers(run.info.folder, int(asked["step"].iloc[-1]))
            frames.append(pd.DataFrame(rows).assign(run=run.label))
    frames = [frame for frame in frames if {"sample", "text", "is_right"} <= set(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
