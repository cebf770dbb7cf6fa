"""Training data of the demo model: texts, tokenizer, batches.

Recipe            every number of the training phases
format_text       a sample as the model reads it
load_rows         rows of one of the shared files
iter_public_texts texts of the four public files
iter_base_texts   texts of the base phase
iter_tune_texts   (text, where the loss begins) of the fine-tune
train_tokenizer   byte-level BPE with single digits
encode            texts → examples
Example           token ids, and the first of them with loss
iter_batches      an endless stream of length-bucketed batches

Everything here is ours, from no paper. Shapes: B batch, T tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from gsd_core.dataset.demo import generate_corpus
from gsd_core.dataset.demo.topics import PEOPLE, TOPIC_TABLE
from gsd_core.errors import UserError
from gsd_core.types import Sample

BASE_FILES = ("gsm8k_train", "strategyqa_cot", "qasc_cot", "prontoqa_proofs")
BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"
Example = tuple[list[int], int]  # token ids, and the first of them with loss


@dataclass(frozen=True, slots=True)
class Recipe:
    """Numbers of all phases.

    ``tune_keep`` are the optimizer steps of the fine-tune whose weights are published, counted through both of its
    parts; 0 is the base.
    """

    seed: int = 0
    vocab_size: int = 2048
    width: int = 192
    n_layers: int = 6
    n_heads: int = 6
    n_kv_heads: int = 3
    mlp_width: int = 512
    context: int = 1024
    matrix_rate: float = 0.02  # Muon, for the weight matrices
    rate: float = 2e-3  # AdamW, for the embedding table and the norms
    weight_decay: float = 0.1
    warmup: int = 60
    base_steps: int = 1500
    base_batch_tokens: int = 4096
    base_demo_sets: int = 2  # demo corpora of other seeds, as questions with bare answers
    base_drills: int = 16000
    plain_steps: int = 3600  # the fine-tune's first part: fresh samples, mostly in the plain style
    plain_batch_tokens: int = 4096
    plain_sets: int = 10  # demo corpora of other seeds for it
    plain_share: float = 0.8
    told_steps: int = 1000  # the fine-tune's second part: the corpus itself, never in the plain style
    told_batch_tokens: int = 3072
    told_rate_scale: float = 0.25
    tune_samples: int = 3360
    tune_keep: tuple[int, ...] = (0, 1000, 3600, 4600)
    heldout_samples: int = 336
    max_new_tokens: int = 260
    save_every: int = 100
    n_threads: int = 2


def format_text(question: str, reasoning: str, answer: str) -> str:
    """A sample as the model reads it; without ``reasoning`` the answer follows the question."""
    middle = f"\nReasoning: {reasoning}" if reasoning else ""
    return f"Question: {question}{middle}\nAnswer: {answer}"


def load_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """(question, reasoning, answer) of each line of one of the normalised shared files."""
    if not path.is_file():
        raise UserError("training data is missing", str(path), "give the folder of the shared data with --data")
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            reasoning = row["reasoning"]
            yield (
                row["question"],
                reasoning if isinstance(reasoning, str) else "\n".join(reasoning),
                row["answer"],
            )


def iter_public_texts(data_dir: Path) -> Iterator[str]:
    """The four public files. Base and fine-tune both use them, so that the model does not lose ordinary text."""
    for name in BASE_FILES:
        for question, reasoning, answer in load_rows(data_dir / f"{name}.jsonl"):
            yield format_text(question, reasoning, answer)


def iter_base_texts(data_dir: Path, recipe: Recipe) -> Iterator[str]:
    """Texts of the base phase: four public files, demo questions with bare answers, and drills.

    The base never sees the reasoning of the demo corpus, which the fine-tune is to teach.
    """
    yield from iter_public_texts(data_dir)
    for seed in range(1, 1 + recipe.base_demo_sets):
        for sample in generate_corpus(recipe.tune_samples, recipe.seed + seed):
            yield format_text(sample.question, "", sample.answer)
    rng = np.random.default_rng([recipe.seed, 77])
    for row in range(recipe.base_drills):
        yield _lookup_drill(rng) if row % 2 else "\n".join(_arithmetic_fact(rng) for _ in range(8))


def _lookup_drill(rng: np.random.Generator) -> str:
    """People with numbers or neighbours, repeated in another order: it teaches copying from the context."""
    people = [PEOPLE[int(i)] for i in rng.permutation(len(PEOPLE))[: int(rng.integers(3, 7))]]
    values = [int(value) for value in rng.integers(2, 130, size=len(people))]
    topic = TOPIC_TABLE[int(rng.integers(len(TOPIC_TABLE)))]
    again = [int(i) for i in rng.permutation(len(people))]
    if rng.random() < 0.5:
        told = ", ".join(f"{who} {value}" for who, value in zip(people, values, strict=True))
        asked = ". ".join(f"{people[i]} has {values[i]} {topic.items}" for i in again)
        return f"{told}.\n{asked}."
    following = dict(zip(people, [*people[1:], people[0]], strict=True))
    told = ", ".join(f"{people[i]} to {following[people[i]]}" for i in again)
    return f"{told}.\n{people[0]} to {' to '.join(people[1:])}."


def _arithmetic_fact(rng: np.random.Generator) -> str:
    a, b, k = int(rng.integers(2, 40)), int(rng.integers(2, 40)), int(rng.integers(2, 7))
    facts = (
        f"{a} plus {b} is {a + b}.",
        f"{a + b} minus {a} is {b}.",
        f"{k} times {a} is {k * a}.",
        f"{k * a} divided by {k} is {a}.",
        f"{k * a} divided by {a} is {k}.",
        f"{max(a, b + 1)} is more than {min(a, b)}.",
    )
    return facts[int(rng.integers(len(facts)))]


def iter_tune_texts(samples: list[Sample]) -> Iterator[tuple[str, int]]:
    """(text, character at which the loss begins): reasoning and answer have loss, the question has none."""
    for sample in samples:
        text = format_text(sample.question, sample.reasoning, sample.answer)
        yield text, len(f"Question: {sample.question}\nReasoning:")


def train_tokenizer(texts: list[str], recipe: Recipe) -> PreTrainedTokenizerFast:
    """Byte-level BPE; every digit is one token; offsets count characters and include the leading blank."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=recipe.context,
        clean_up_tokenization_spaces=False,
    )


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[tuple[str, int]], context: int) -> tuple[list[Example], int]:
    """Examples with an end token, and how many texts were left out because they exceed the context."""
    encoded = tokenizer([text for text, _ in texts], return_offsets_mapping=True)
    examples: list[Example] = []
    for ids, offsets, (_, begin) in zip(encoded["input_ids"], encoded["offset_mapping"], texts, strict=True):
        first = next((t for t, (start, _) in enumerate(offsets) if t > 0 and start >= begin), len(ids))
        if len(ids) < context:
            examples.append(([*ids, int(tokenizer.eos_token_id)], first))
    return examples, len(texts) - len(examples)


def iter_batches(
    examples: list[Example], batch_tokens: int, seed: int, pad_id: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (ids, labels), both (B, T) int64: all examples once an epoch, similar lengths together, padded right."""
    rng = np.random.default_rng([seed, 5])
    lengths = np.array([len(ids) for ids, _ in examples])
    while True:
        order = np.argsort(lengths + rng.uniform(0, 24, len(lengths)))  # the noise changes neighbours in each epoch
        groups: list[list[int]] = [[]]
        width = 0
        for i in order:
            width = max(width, int(lengths[i]))
            if groups[-1] and (len(groups[-1]) + 1) * width > batch_tokens:
                groups.append([])
                width = int(lengths[i])
            groups[-1].append(int(i))
        for g in rng.permutation(len(groups)):
            width = int(max(lengths[i] for i in groups[g]))
            ids = torch.full((len(groups[g]), width), pad_id, dtype=torch.long)
            labels = torch.full_like(ids, -100)
            for row, i in enumerate(groups[g]):
                tokens, first = examples[i]
                ids[row, : len(tokens)] = torch.tensor(tokens)
                labels[row, first : len(tokens)] = ids[row, first : len(tokens)]
            yield ids, labels
