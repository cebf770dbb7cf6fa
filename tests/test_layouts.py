"""Rows of the collections that people really train on become the right question, reasoning and answer.

One case a layout, with the columns as the collection publishes them. The mapping is guessed, never given.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gsd_core.dataset.load import load_dataset

ASK = "How many apples has Tom after {n} days?"
WORK = "Each day brings Tom two apples, so after {n} days there are twice {n} of them in his big basket."


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str | list | None, **more: object) -> dict:
    return {"role": "assistant", "content": text, **more}


# name -> (row of number n, question, reasoning, answer as templates)
LAYOUTS = {
    "gsm8k": (
        lambda q, w, n: {"question": q, "answer": f"{w}\n<<2*{n}={2 * n}>>\n#### {2 * n}"},
        "{q}",
        "{w}\n<<2*{n}={m}>>",
        "{m}",
    ),
    "metamath": (
        lambda q, w, n: {
            "type": "GSM",
            "query": q,
            "original_question": "o",
            "response": f"{w}\n#### {n}\nThe answer is: {n}",
        },
        "{q}",
        "{w}",
        "{n}",
    ),
    "math": (
        lambda q, w, n: {
            "problem": q,
            "level": "5",
            "type": "Algebra",
            "solution": f"{w} So $\\boxed{{\\frac{{{n}}}{{2}}}}$.",
        },
        "{q}",
        "{w} So $\\boxed{{\\frac{{{n}}}{{2}}}}$.",
        "\\frac{{{n}}}{{2}}",
    ),
    "limo": (
        lambda q, w, n: {"question": q, "solution": f"{w} \\boxed{{{n}}}", "answer": str(n)},
        "{q}",
        "{w} \\boxed{{{n}}}",
        "{n}",
    ),
    "openmath": (
        lambda q, w, n: {"problem": q, "generated_solution": w, "expected_answer": n, "problem_source": "x"},
        "{q}",
        "{w}",
        "{n}",
    ),
    "open-r1": (
        lambda q, w, n: {
            "problem": q,
            "solution": "Short.",
            "answer": str(n),
            "source": "olympiads",
            "uuid": f"u-{n}",
            "generations": [f"<think>\n{w}\n</think>\nIt is {n}.", "<think>b</think>c"],
            "messages": [user(q), assistant(f"<think>\n{w}\n</think>\nIt is {n}.")],
        },
        "{q}",
        "{w}",
        "{n}",
    ),
    "answer-object": (
        lambda q, w, n: {"question": q, "reasoning": w, "answer": {"value": n, "unit": "apples"}},
        "{q}",
        "{w}",
        "{n}",
    ),
    "answer-object-texts": (
        lambda q, w, n: {"question": q, "explanation": w, "answers": {"text": [f"{n} apples"], "answer_start": [4]}},
        "{q}",
        "{w}",
        "{n} apples",
    ),
    "reply-object": (
        lambda q, w, n: {"prompt": q, "response": {"reasoning": w, "content": f"It is {n}."}},
        "{q}",
        "{w}",
        "It is {n}.",
    ),
    "generations": (
        lambda q, w, n: {"problem": q, "generations": [f"<think>{w}</think>So {n}", "<think>b</think>c"]},
        "{q}",
        "{w}",
        "So {n}",
    ),
    "s1k": (
        lambda q, w, n: {
            "solution": f"{n}",
            "question": q,
            "cot_type": "math",
            "cot": None,
            "thinking_trajectories": [w],
            "attempt": "a",
        },
        "{q}",
        "{w}",
        "{n}",
    ),
    "stratos": (
        lambda q, w, n: {
            "system": "Think first.",
            "conversations": [
                {"from": "user", "value": q},
                {
                    "from": "assistant",
                    "value": f"<|begin_of_thought|>\n\n{w}\n\n<|end_of_thought|>\n\n"
                    f"<|begin_of_solution|>\n\nSo $\\boxed{{{n}}}$.\n\n<|end_of_solution|>",
                },
            ],
        },
        "Think first.\n\n{q}",
        "{w}",
        "{n}",
    ),
    "openthoughts": (
        lambda q, w, n: {
            "problem": q,
            "deepseek_reasoning": w,
            "deepseek_solution": f"It is {n}.",
            "ground_truth_solution": None,
            "domain": "m",
        },
        "{q}",
        "{w}",
        "It is {n}.",
    ),
    "cot-collection": (
        lambda q, w, n: {
            "source": f"Answer this: {q}",
            "target": "yes",
            "rationale": w,
            "task": "t",
            "type": "CoT",
        },
        "Answer this: {q}",
        "{w}",
        "yes",
    ),
    "aqua": (
        lambda q, w, n: {"question": q, "options": ["A)1", "B)2"], "rationale": w, "correct": "B"},
        "{q}\n\nA)1\nB)2",
        "{w}",
        "B",
    ),
    "strategyqa": (
        lambda q, w, n: {
            "qid": f"x{n}",
            "term": "Tom",
            "question": q,
            "answer": False,
            "facts": [w, "B."],
            "decomposition": ["c?"],
        },
        "{q}",
        "{w}\nB.",
        "False",
    ),
    "processbench": (
        lambda q, w, n: {
            "id": f"g-{n}",
            "generator": "m",
            "problem": q,
            "steps": [w, "B."],
            "final_answer_correct": True,
            "label": 1,
        },
        "{q}",
        "{w}\nB.",
        "",
    ),
    "prm800k": (
        lambda q, w, n: {
            "question": {"problem": q, "ground_truth_answer": str(n)},
            "label": {
                "steps": [
                    {
                        "completions": [{"text": "no", "rating": -1}, {"text": w, "rating": 1}],
                        "human_completion": None,
                        "chosen_completion": 1,
                    },
                    {
                        "completions": None,
                        "human_completion": {"text": "B."},
                        "chosen_completion": None,
                        "text": "B.",
                    },
                ],
                "finish_reason": "solution",
            },
        },
        "{q}",
        "{w}\nB.",
        "{n}",
    ),
    "trl-steps": (
        lambda q, w, n: {"prompt": q, "completions": [w, "B."], "labels": [True, False]},
        "{q}",
        "{w}\nB.",
        "",
    ),
    "trl-chat": (
        lambda q, w, n: {"prompt": [user(q)], "completion": [assistant(f"<think>{w}</think>{n}")]},
        "{q}",
        "{w}",
        "{n}",
    ),
    "alpaca": (
        lambda q, w, n: {"instruction": "Solve.", "input": q, "output": w},
        "Solve.\n\n{q}",
        "{w}",
        "",
    ),
    "orca": (
        lambda q, w, n: {"id": f"n.{n}", "system_prompt": "Be kind.", "question": q, "response": w},
        "Be kind.\n\n{q}",
        "{w}",
        "",
    ),
    "svamp": (
        lambda q, w, n: {
            "ID": f"c-{n}",
            "Body": "Tom has trees.",
            "Question": q,
            "Equation": "( 1 + 2 )",
            "Answer": 3,
            "Type": "Add",
        },
        "Tom has trees.\n\n{q}",
        "( 1 + 2 )",
        "3",
    ),
    "prontoqa": (
        lambda q, w, n: {
            "context": "Cats purr.",
            "question": q,
            "chain_of_thought": [w, "B."],
            "answer": "True",
        },
        "Cats purr.\n\n{q}",
        "{w}\nB.",
        "True",
    ),
    "medical": (
        lambda q, w, n: {"Question": q, "Complex_CoT": w, "Response": f"It is {n}."},
        "{q}",
        "{w}",
        "It is {n}.",
    ),
    "openai": (
        lambda q, w, n: {
            "messages": [
                {"role": "system", "content": "Be brief."},
                user(q),
                assistant(f"It is {n}.", reasoning_content=w),
            ]
        },
        "Be brief.\n\n{q}",
        "{w}",
        "It is {n}.",
    ),
    "thinking-blocks": (
        lambda q, w, n: {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": q}]},
                assistant(
                    [
                        {"type": "thinking", "thinking": w, "signature": "s"},
                        {"type": "text", "text": f"It is {n}."},
                    ]
                ),
            ]
        },
        "{q}",
        "{w}",
        "It is {n}.",
    ),
    "reasoning-turn": (
        lambda q, w, n: {"messages": [user(q), {"role": "reasoning", "content": w}, assistant(f"{n}")]},
        "{q}",
        "{w}",
        "{n}",
    ),
    "several-turns": (
        lambda q, w, n: {
            "conversations": [
                {"from": "human", "value": "Hi."},
                {"from": "gpt", "value": "Hello."},
                {"from": "human", "value": q},
                {"from": "gpt", "value": w},
                {"from": "human", "value": "Thanks."},
            ]
        },
        "User: Hi.\n\nAssistant: Hello.\n\nUser: {q}",
        "{w}",
        "",
    ),
    "lists-of-a-chat": (
        lambda q, w, n: {"conversations": {"from": ["human", "gpt"], "value": [q, w]}},
        "{q}",
        "{w}",
        "",
    ),
    "chat-as-json-text": (
        lambda q, w, n: {"messages": json.dumps([user(q), assistant(f"<think>{w}</think>{n}")])},
        "{q}",
        "{w}",
        "{n}",
    ),
    "template-ate-the-tag": (
        lambda q, w, n: {"prompt": q, "response": f"{w}\n</think>\n\nFinal."},
        "{q}",
        "{w}",
        "Final.",
    ),
    "unknown-names": (
        lambda q, w, n: {"aa": n, "bb": q, "cc": w},
        "{q}",
        "{w}",
        "",
    ),
    "vllm-outputs": (
        lambda q, w, n: {
            "prompt": q,
            "outputs": [{"index": 0, "text": f"<think>\n{w}\n</think>\n{n}", "token_ids": [1]}],
        },
        "{q}",
        "{w}",
        "{n}",
    ),
    "responses-of-models": (
        lambda q, w, n: {
            "question": q,
            "reference_answer": str(n),
            "responses": [{"response_model": "m", "response": w}, {"response_model": "k", "response": "No."}],
        },
        "{q}",
        "{w}",
        "{n}",
    ),
    "lm-evaluation-harness": (
        lambda q, w, n: {
            "doc_id": n,
            "doc": {"question": q, "answer": f"A reference, of no concern here.\n#### {n}"},
            "target": f"A reference, of no concern here.\n#### {n}",
            "arguments": [[f"Question: {q}\nAnswer:", {"until": ["Question:"]}]],
            "resps": [[f"{w}\n#### {n}"]],
            "filtered_resps": [str(n)],
            "exact_match": 1.0,
        },
        "{q}",
        "{w}",
        "{n}",
    ),
    "verl": (
        lambda q, w, n: {
            "data_source": "gsm8k",
            "prompt": [user(q)],
            "reward_model": {"style": "rule", "ground_truth": str(n)},
            "extra_info": {"question": q, "answer": f"{w}\n#### {n}", "index": n, "split": "train"},
        },
        "{q}",
        "{w}",
        "{n}",
    ),
    "json-reply": (
        lambda q, w, n: {"prompt": q, "response": json.dumps({"reasoning": w, "confidence": 0.5, "answer": n})},
        "{q}",
        "{w}",
        "{n}",
    ),
    "json-reply-in-a-fence": (
        lambda q, w, n: {
            "prompt": q,
            "response": f"```json\n{json.dumps({'steps': [w, 'So.'], 'final_answer': n})}\n```",
        },
        "{q}",
        "{w}\nSo.",
        "{n}",
    ),
    "steps-with-labels": (
        lambda q, w, n: {"question": q, "steps": [{"step": "Step 1", "explanation": w}], "answer": n},
        "{q}",
        "{w}",
        "{n}",
    ),
    "steps-with-descriptions": (
        lambda q, w, n: {"question": q, "reasoning": [{"step": 1, "description": w}], "answer": n},
        "{q}",
        "{w}",
        "{n}",
    ),
    "numbered-keys": (
        lambda q, w, n: {"question": q, "reasoning": {"Step 2": "So.", "Step 1": w}, "answer": n},
        "{q}",
        "{w}\nSo.",
        "{n}",
    ),
    "answer-heading": (
        lambda q, w, n: {"prompt": q, "response": f"{w}\n\n### Final Answer\n{n}"},
        "{q}",
        "{w}\n\n### Final Answer\n{n}",
        "{n}",
    ),
    "text-zephyr": (
        lambda q, w, n: {"text": f"<|user|>\n{q}</s>\n<|assistant|>\n<think>\n{w}\n</think>\nIt is {n}.</s>"},
        "{q}",
        "{w}",
        "It is {n}.",
    ),
    "text-llama-2": (
        lambda q, w, n: {"text": f"<s>[INST] <<SYS>>\nHelp.\n<</SYS>>\n\n{q} [/INST] <think>{w}</think>{n} </s>"},
        "Help.\n\n{q}",
        "{w}",
        "{n}",
    ),
    "text-alpaca": (
        lambda q, w, n: {
            "text": f"Below is an instruction.\n\n### Instruction:\n{q}\n\n### Response:\n<think>{w}</think>{n}"
        },
        "{q}",
        "{w}",
        "{n}",
    ),
    "text-guanaco": (
        lambda q, w, n: {"text": f"### Human: {q}### Assistant: <think>{w}</think>{n}"},
        "{q}",
        "{w}",
        "{n}",
    ),
    "text-vicuna": (
        lambda q, w, n: {"text": f"A chat between two. USER: {q} ASSISTANT: <think>{w}</think>{n}</s>"},
        "{q}",
        "{w}",
        "{n}",
    ),
    "exchanges": (
        lambda q, w, n: {"conversation": [{"human": q, "assistant": f"<think>{w}</think>{n}"}], "category": "x"},
        "{q}",
        "{w}",
        "{n}",
    ),
    "steps-that-ask": (
        lambda q, w, n: {"question": q, "steps": [{"question": "Which sum?", "text": w, "answer": "4"}], "answer": n},
        "{q}",
        "{w}",
        "{n}",
    ),
    "preferences-as-text": (
        lambda q, w, n: {
            "chosen": f"\n\nHuman: {q}\n\nAssistant: <think>{w}</think>{n}",
            "rejected": f"\n\nHuman: {q}\n\nAssistant: No.",
        },
        "{q}",
        "{w}",
        "{n}",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_known_collections_are_understood(tmp_path: Path, name: str) -> None:
    make, *templates = LAYOUTS[name]
    rows = [make(ASK.format(n=n), WORK.format(n=n), n) for n in range(3, 9)]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_dataset(path, strict=True)
    for n, sample in zip(range(3, 9), loaded.samples, strict=True):
        words = {"q": ASK.format(n=n), "w": WORK.format(n=n), "n": n, "m": 2 * n}
        expected = [template.format(**words) for template in templates]
        assert [sample.question, sample.reasoning, sample.answer] == expected, f"understood as {loaded.fields}"


@pytest.mark.parametrize(
    "text",
    [
        "The template is <|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|> and so we count to four.",
        "First comes USER: then text, then ASSISTANT: and the reply, so there are two labels.",
        "We write [INST] before and [/INST] after the question, so two marks are needed.",
        "Human: a label alone makes no chat, and the sum is four.",
        "### Instruction: this heading has no reply below it, and the sum is four.",
    ],
)
def test_a_reasoning_that_only_speaks_of_a_chat_stays_whole(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    rows = [{"question": ASK.format(n=n), "reasoning": text, "answer": str(n)} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert {sample.reasoning for sample in load_dataset(path, strict=True).samples} == {text}


def test_a_json_object_without_reasoning_stays_a_text(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    text = json.dumps({"tool": "add", "numbers": [1, 2], "note": "two and one make three"})
    rows = [{"question": ASK.format(n=n), "reasoning": text, "answer": str(n)} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert {sample.reasoning for sample in load_dataset(path, strict=True).samples} == {text}


def test_a_reference_solution_in_the_place_of_an_answer_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    gold = "A reference of two steps.\n#### 12"
    rows = [{"question": ASK.format(n=n), "reasoning": WORK.format(n=n), "answer": gold} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_dataset(path, strict=True)
    assert {sample.answer for sample in loaded.samples} == {"12"}
    assert {sample.meta["reference_solution"] for sample in loaded.samples} == {gold}
    assert "answer behind a reference solution" in {guess["what"] for guess in loaded.guesses}


@pytest.mark.parametrize(
    "text",
    [
        "### Instruction: a" + " " * 300_000 + "b",
        "Human: a" + "\n" * 300_000 + "b",
        "Below is an instruction" + " " * 300_000 + "b USER: c",
        " " * 300_000 + "x [INST] y",
        "### Answer\n" + " " * 300_000 + "x\ny",
    ],
    ids=lambda text: text.strip()[:16],
)
def test_white_space_without_end_does_not_cost_its_square(tmp_path: Path, text: str) -> None:
    # With the square of its length this test would not end.
    path = tmp_path / "x.jsonl"
    rows = [{"question": ASK.format(n=n), "reasoning": text} for n in range(2)]
    rows += [{"question": ASK.format(n=n), "steps": [{"step": " " * 300_000 + "then"}]} for n in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_dataset(path, map={"question": "question", "reasoning": "reasoning"}).samples[0].reasoning == text
    assert load_dataset(path, map={"question": "question", "reasoning": "steps"}).samples
