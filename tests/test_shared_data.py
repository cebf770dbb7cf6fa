"""Every file of real data is read without a rejected row, with its labels and steps in place.

The expected counts are those of the data's own README; where the data is missing these tests are skipped.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gsd_core.dataset.load import LoadedDataset, load_dataset

N_RECORDS = {
    "gsm8k_train": 5605,
    "gsm8k_test_socratic": 1319,
    "gsm8k_model_solutions": 1600,
    "mathqa_test": 1000,
    "aqua_rat_dev_test": 508,
    "svamp": 1000,
    "bbh_cot_code_davinci_002": 2857,
    "bbh_cot_prompts_human": 72,
    "prontoqa_proofs": 500,
    "qasc_cot": 1084,
    "strategyqa_cot": 1919,
    "thought_anchors_labelled": 40,
    "thought_branches_mmlu_r1": 117,
    "aiw_r1_distill": 720,
}


def read(folder: Path, name: str) -> tuple[LoadedDataset, list[dict]]:
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the real data")
    # Lines end at a line feed only: the questions hold other line separators.
    return load_dataset(path), [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.mark.parametrize("name", N_RECORDS)
def test_every_record_arrives_as_it_is(shared_data: Path, name: str) -> None:
    loaded, records = read(shared_data, name)
    assert not loaded.rejected, loaded.rejected[:3]
    assert not loaded.notes
    assert len(loaded.samples) == N_RECORDS[name]
    assert [loaded.fields[role] for role in ("id", "question", "reasoning", "answer")] == [
        "id",
        "question",
        "reasoning",
        "answer",
    ]
    for sample, record in zip(loaded.samples, records, strict=True):
        assert sample.id == record["id"]
        assert sample.question == record["question"]
        assert sample.answer == record["answer"]
        steps = record["reasoning"]
        if isinstance(steps, list):
            assert [sample.reasoning[start:end] for start, end in sample.steps] == steps
        else:
            assert (sample.reasoning, sample.steps) == (steps, ())
        assert sample.meta == {**record["meta"], "source": record["source"]}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("gsm8k_test_socratic", "step_subquestions"),
        ("gsm8k_train", "step_ops"),
        ("prontoqa_proofs", "step_types"),
        ("thought_anchors_labelled", "step_functions"),
    ],
)
def test_step_labels_have_one_entry_a_step(shared_data: Path, name: str, label: str) -> None:
    loaded, _ = read(shared_data, name)
    for sample in loaded.samples:
        assert len(sample.meta[label]) == len(sample.steps), f"{sample.id}: a step was lost or joined"
