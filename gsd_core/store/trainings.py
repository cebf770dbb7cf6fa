"""Trainings of a workspace: the folders that ``gsd train`` fills, read for pages and tables.

TrainingInfo     one training: what it was, its log, its answers
list_trainings   all trainings of a workspace
read_answers     what the model answered at a step
name_answers     file with the answers of a step
read_trials      what a group of trainings compares, and the table of it
TRIALS           file of such a group
RECORD, LOG      files with everything needed to repeat a training, and with a line for each step
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORD = "training.json"
LOG = "training_log.csv"
TRIALS = "trials.json"
DEPTH = 2  # a group of trainings has a folder of its own
MOST_TRAININGS = 500


@dataclass(frozen=True, slots=True)
class TrainingInfo:
    """``name``: path of the ``folder`` below that of all trainings; ``record``: what ``training.json`` holds."""

    name: str
    folder: Path
    record: dict[str, Any]

    def read_log(self) -> list[dict[str, float]]:
        """Lines of the log: ``step, epoch, loss, grad_norm, learning_rate, tokens, seconds, trained``."""
        try:
            with (self.folder / LOG).open(newline="", encoding="utf-8") as opened:
                lines = list(csv.DictReader(opened))
        except OSError:
            return []
        found = []
        for line in lines:  # the last one may be half written
            try:
                found.append({key: float(value) for key, value in line.items() if key and value})
            except (TypeError, ValueError):
                continue
        return [line for line in found if "step" in line and "loss" in line]


def name_answers(step: int) -> str:
    """``answers-00050.jsonl``."""
    return f"answers-{step:05d}.jsonl"


def list_trainings(folder: Path) -> list[TrainingInfo]:
    """Trainings below ``folder``, newest first; what is not one is left out."""
    found = []
    for depth in range(1, DEPTH + 1):
        for path in folder.glob("/".join([*["*"] * depth, RECORD])):
            try:
                record = json.loads(path.read_text("utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(record, dict) and isinstance(record.get("recipe"), dict):
                found.append(TrainingInfo(path.parent.relative_to(folder).as_posix(), path.parent, record))
    ordered = sorted(found, key=lambda each: (str(each.record.get("created", "")), each.name), reverse=True)
    return ordered[:MOST_TRAININGS]


def read_trials(folder: Path) -> dict[str, Any]:
    """``config`` and ``result`` of ``gsd trials``; empty where the folder is none of it, ``result`` None while it
    works."""
    try:
        found = json.loads((folder / TRIALS).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("config"), dict) else {}


def read_answers(folder: Path, step: int) -> list[dict[str, Any]]:
    """Rows ``sample, text, answer, wanted, is_right, n_tokens, is_cut``; none where nothing was asked."""
    try:
        lines = (folder / name_answers(step)).read_text("utf-8").split("\n")
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found
