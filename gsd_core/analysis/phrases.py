"""Names that tell what steps do: phrases that a group's steps share across samples once numbers and names are masked.

compute_phrases   group → its phrases, best first
mask_words        a text as words, with numbers and names masked
NUMBER, NAME      what stands for a number and for a name

"She has 3 * 4 = 12 apples" and "Tom pays 5 * 2 = $10" share "# * # =" and no noun. A phrase counts once a sample, and
is the better the more of the group's samples and the fewer of all spans have it (ours; after the masked templates of
log parsing, Zhu et al. 2019, arXiv 1811.03509).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

NUMBER, NAME = "#", "…"
LONGEST = 5
LEAST_SHARE = 0.34
"""Share of a group's samples that a phrase must be in."""
MAX_WORDS = 120  # of one text
_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d[\d,]*(?:\.\d+)?(?:/\d+)?|[-+*/=×÷<>^%−]")
_PLAIN_WORDS = "a an the of to and is are was were be it its he she they his her their we i you"
_BLANK = frozenset(_PLAIN_WORDS.split())


def mask_words(text: str, names: frozenset[str] = frozenset()) -> list[str]:
    """Words, operators and masks of a text, in small letters; `names` are words to mask."""
    found = []
    for token in _TOKEN.findall(text)[:MAX_WORDS]:
        word = token.replace("’", "'")
        if word[0].isdigit():
            found.append(NUMBER)
        elif word.casefold() in names:
            found.append(NAME)
        else:
            found.append(word.casefold())
    return found


def compute_phrases(
    texts: Sequence[str], samples: Sequence[object] | np.ndarray, groups: Mapping[int, np.ndarray], n: int = 3
) -> dict[int, list[str]]:
    """Up to `n` phrases of each group, best first; none contains another.

    ``texts`` (n,) and ``samples`` (n,) are those of all spans, ``groups`` the rows of each group. A group whose steps
    share no phrase gets an empty list.
    """
    names = _find_names(texts)
    grams = [_find_grams(mask_words(text, names)) for text in texts]
    everywhere: Counter[str] = Counter()
    for own in grams:
        everywhere.update(own)
    return {
        group: _rank([(samples[row], grams[row]) for row in rows], everywhere, len(texts), n)
        for group, rows in groups.items()
    }


def _find_names(texts: Sequence[str]) -> frozenset[str]:
    """Words that begin with a capital letter wherever they stand, also inside sentences: names of people and places."""
    inside, capital, first = Counter[str](), Counter[str](), Counter[str]()
    for text in texts:
        for number, token in enumerate(_TOKEN.findall(text)[:MAX_WORDS]):
            if not token[0].isalpha():
                continue
            key = token.replace("’", "'").casefold()
            if number == 0:
                first[key] += token[0].isupper()
                continue
            inside[key] += 1
            capital[key] += token[0].isupper()
    names = {word for word, count in capital.items() if 2 * count > inside[word] and len(word) > 1}
    # A word that only begins sentences is no name unless it is rare: "First", "So", "Therefore" are frequent.
    often = max(5, len(texts) // 200)
    names |= {word for word, count in first.items() if not inside[word] and count < often}
    return frozenset(names - {"i"} - set(_BLANK))


def _find_grams(words: Sequence[str]) -> set[str]:
    """Phrases of one to five words that hold more than function words and masks."""
    found: set[str] = set()
    for start in range(len(words)):
        for stop in range(start + 1, min(start + LONGEST, len(words)) + 1):
            part = words[start:stop]
            if part[0] in _BLANK or part[-1] in _BLANK or part[0] == NAME or part[-1] == NAME:
                continue
            if any(word not in _BLANK and word not in (NUMBER, NAME) for word in part):
                found.add(" ".join(part))
    return found


def _rank(members: Sequence[tuple[object, set[str]]], everywhere: Counter[str], n_spans: int, n: int) -> list[str]:
    """The best phrases of one group: share of its samples × log of that by the share of all spans × √length."""
    of_sample: dict[object, set[str]] = {}
    for sample, own in members:
        of_sample.setdefault(sample, set()).update(own)
    counts: Counter[str] = Counter()
    for grams in of_sample.values():
        counts.update(grams)
    size = len(of_sample)
    scored = []
    for gram, count in counts.items():
        if count < 2 or count < LEAST_SHARE * size:
            continue
        lift = (count / size) / (everywhere[gram] / n_spans)
        if lift > 1:
            scored.append((-(count / size) * math.log(lift) * math.sqrt(1 + gram.count(" ")), gram))
    chosen: list[str] = []
    for _, gram in sorted(scored):
        padded = f" {gram} "
        if all(padded not in f" {each} " and f" {each} " not in padded for each in chosen):
            chosen.append(gram)
        if len(chosen) == n:
            break
    return chosen
