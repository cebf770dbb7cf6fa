"""What a model answers: texts do not depend on the batch, answers are read and compared, nothing hangs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gsd_core.rollouts import verify
from gsd_core.rollouts.generation import generate_texts, read_answer
from gsd_core.rollouts.verify import AnswerChecker, same_words
from gsd_core.types import TokenizedSample, TokenSpan
from tests.tiny_models import make_model


class Letters:
    """A tokenizer of numbers: token n is written ``n``."""

    eos_token_id, pad_token_id = 1, 0

    def decode(self, ids: np.ndarray, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return " ".join(str(int(each)) for each in ids if int(each) > 1)


def make_prompt(name: str, ids: list[int]) -> TokenizedSample:
    tokens = np.array([*ids, 9], dtype=np.int32)
    zeros = np.zeros(len(tokens), dtype=np.int32)
    span = TokenSpan(0, len(ids), len(ids) + 1, 0, 1, "x")
    return TokenizedSample(name, "", tokens, zeros, zeros, (span,), len(ids), 0)


@pytest.mark.parametrize("kind", ["llama-gqa", "gpt2"])
def test_texts_do_not_depend_on_the_batch(kind: str) -> None:
    model = make_model(kind)
    model.generation_config.eos_token_id = 1
    samples = [make_prompt(f"s{at}", list(range(5, 7 + 3 * at))) for at in range(4)]
    alone = [generate_texts(model, Letters(), [each], max_new_tokens=7)[0] for each in samples]
    done: list[int] = []
    model.train()
    together = generate_texts(model, Letters(), samples, max_new_tokens=7, batch_size=3, report=done.append)
    assert together == alone
    assert model.training, "the mode was changed"
    assert done == [3, 1]
    assert [each.sample for each in together] == ["s0", "s1", "s2", "s3"]
    for each, sample in zip(together, samples, strict=True):
        ids = torch.tensor(sample.token_ids[None, : sample.prompt_tokens].astype(np.int64))
        written = []
        for _ in range(each.n_tokens):
            with torch.no_grad():
                written.append(int(model.eval()(input_ids=ids).logits[0, -1].argmax()))
            ids = torch.cat([ids, torch.tensor([[written[-1]]])], dim=1)
        assert each.text == " ".join(str(token) for token in written if token > 1)
        assert each.is_cut == (written[-1] != 1)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So it is.\nAnswer: 12", "12"),
        ("So.\nAnswer: 12\nQuestion: Next?\nAnswer: 13", "12"),
        ("Answer: Ann and Ben\nmore", "Ann and Ben"),
        ("It is \\boxed{7}.", "7"),
        ("#### 5", "5"),
        ("The answer is 3.", "3"),
        ("Nothing is said", None),
    ],
)
def test_the_answer_of_a_text_is_read(text: str, answer: str | None) -> None:
    assert read_answer(text) == answer


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ann and Ben", "ben and ann.", True),
        ("12; Ann", "12; ann", True),
        ("12; 7", "7; 12", False),
        ("$1,000", "1000", True),
        ("yes", "no", False),
        (".5", "5", False),
        ("1.5", "1 5", False),
        ("12.", "12", True),
        ("", "", False),
    ],
)
def test_words_are_compared_without_case_marks_and_order_of_people(one: str, other: str, same: bool) -> None:
    assert same_words(one, other) == same


def test_mathematics_is_compared_as_such_in_a_process_of_its_own() -> None:
    with AnswerChecker() as checker:
        assert checker._process is None, "started before it is needed"
        assert checker.is_right("no", "no")
        assert checker._process is None
        assert checker.is_right("0.5", "\\frac{1}{2}")
        assert checker.is_right("12 apples", "12")
        assert not checker.is_right("13", "12")
        assert not checker.is_right(None, "12")
        assert not checker.is_right("1" * 600, "2")
        process = checker._process
        assert process is not None
        assert checker.n_undecided == 0
    assert process.poll() is not None, "the process lives on"


@pytest.mark.parametrize("habit", ["silent", "dying"])
def test_a_comparison_that_never_ends_is_wrong_and_counted(habit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_PROGRAM", f"tests.{habit}_process")
    with AnswerChecker(deadline=0.2) as checker:
        assert not checker.is_right("1", "2")
        assert checker.n_undecided == 1
        monkeypatch.undo()
        checker.deadline = verify.DEADLINE
        assert checker.is_right("1/2", "0.5"), "a new process must take over"
