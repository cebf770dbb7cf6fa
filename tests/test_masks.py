"""Masks: files read back, what is kept always, labels that agree with the tokens of captured spans, pruned texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsd_core.dataset.masks import SampleMask, prune_sample, read_masks
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import tokenize_sample
from gsd_core.errors import UserError
from gsd_core.models.loading import open_model
from gsd_core.training.objectives import IGNORED, count_trained, make_labels
from gsd_core.types import Sample, TokenizedSample
from tests.cli_support import save_tiny_model

WORDS = ("one", "two 2.", "Wait, ", "\n\n", "three\n", "é", "  ", "four")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    return open_model(str(save_tiny_model(tmp_path_factory.mktemp("masks") / "model"))).tokenizer


def tokenize(sample: Sample, tokenizer: object, segmenter: object) -> TokenizedSample:
    found = tokenize_sample(sample, tokenizer, segmenter, max_tokens=None)  # type: ignore[arg-type]
    assert isinstance(found, TokenizedSample)
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_labels_are_the_tokens_of_the_captured_spans_that_are_kept(tokenizer: object, data: st.DataObject) -> None:
    text = "Start " + "".join(data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=14)))
    sample = Sample("a", "How many?", text, "12")
    captured = tokenize(sample, tokenizer, make_segmenter(data.draw(st.sampled_from(["sentences", "cues", "steps"]))))
    chosen = [span for span in captured.spans if data.draw(st.booleans())]
    kept = SampleMask(tuple((span.char_start, span.char_end) for span in chosen)).find_kept(has_always=False)
    read = tokenize(sample, tokenizer, make_segmenter("steps"))
    wanted = np.zeros(len(read.token_ids), dtype=bool)
    wanted[captured.spans[-1].end :] = True
    for span in chosen:
        wanted[span.start : span.end] = True
    labels = make_labels(read, kept)
    assert (labels != IGNORED).tolist() == wanted.tolist()
    assert (labels[wanted] == read.token_ids[wanted]).all()
    full = make_labels(read)
    assert (full[read.prompt_tokens :] == read.token_ids[read.prompt_tokens :]).all()
    assert count_trained([labels, full]) == int(wanted.sum()) + len(read.token_ids) - read.prompt_tokens


@pytest.mark.parametrize(
    ("n_spans", "wanted"),
    [(5, ((0, 2), (6, 10))), (3, ((0, 6),)), (2, ((0, 4),)), (1, ((0, 2),))],
)
def test_first_and_last_two_segments_are_kept_always(n_spans: int, wanted: tuple[tuple[int, int], ...]) -> None:
    spans = tuple((2 * at, 2 * at + 2) for at in range(n_spans))
    assert SampleMask((), spans).find_kept(has_always=True) == wanted
    assert SampleMask((), spans).find_kept(has_always=False) == ()
    assert SampleMask(((2, 4),), spans[:5]).find_kept(has_always=True)[0][0] == 0


def test_a_pruned_sample_holds_only_what_is_kept() -> None:
    sample = Sample("a", "Q", "One.\n\nWait, two.\n\nAnother three.", "3", meta={"kind": "x"})
    pruned = prune_sample(sample, ((0, 4), (16, 32)))
    assert pruned.reasoning == "One.\n\nAnother three."
    assert [pruned.reasoning[start:end] for start, end in pruned.steps] == ["One.", "\n\nAnother three."]
    assert (pruned.answer, pruned.meta) == ("3", {"kind": "x"})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[1]", "it has no sample"),
        ('{"sample": "a"}', "no list 'kept'"),
        ('{"sample": "a", "kept": [[3, 1]]}', "ends before it begins"),
        ('{"sample": "a", "kept": [[0, 3], [2, 4]]}', "overlap"),
        ('{"sample": "a", "kept": [[0, true]]}', "not a pair of whole numbers"),
        ('{"sample": "a", "kept": [[0, 9]], "reasoning": "abc"}', "which has 3 characters"),
        ('{"sample": "a", "kept": [], "reasoning": 4}', "not text"),
        ('{"sample": "a", "kept": []', "not a line of gsd select"),
        ("[" * 100_000, "not a line of gsd select"),
    ],
)
def test_a_line_that_is_no_mask_is_refused_by_its_number(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "mask.jsonl"
    file.write_text(json.dumps({"sample": "b", "kept": [[0, 2]]}) + "\n" + line + "\n")
    with pytest.raises(UserError) as error:
        read_masks(file)
    assert told in str(error.value)
    assert "line 2" in error.value.one_line()


def test_missing_empty_and_repeated_masks_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mask.jsonl"
    with pytest.raises(UserError, match="cannot be read"):
        read_masks(file)
    file.write_text("\n")
    with pytest.raises(UserError, match="empty"):
        read_masks(file)
    file.write_text('{"sample": "a", "kept": []}\n' * 2)
    with pytest.raises(UserError, match="twice"):
        read_masks(file)
