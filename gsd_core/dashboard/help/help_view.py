"""The help page: a tour, the words, the measures with their sources, the keys.

show_help       the page
TOUR            pages in the order to visit them
WORDS           the terms of the pages
MEASURE_NAMES   names of the measures, which ``snippets.MEASURES`` explains
KEYS            keys by where they work
"""

from __future__ import annotations

import streamlit as st

from gsd_core.dashboard.frame.address import PAGES
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_choice import choose_keys
from gsd_core.dashboard.frame.snippets import MEASURES

TOUR = (
    ("map", "Map", "Every point is a span of a chain of thought. Click one to see its text and its trace."),
    (
        "trace",
        "Aligned spans",
        "Spans of other samples with similar gradients. Switch to other words to leave out those with similar text.",
    ),
    ("twins", "Twins", "Pairs of samples with similar reasoning and different questions, side by side."),
    ("stresses", "Stresses", "Sequences of clusters or families that recur across samples, and where they occur."),
    ("timeline", "Timeline", "The same spans at several checkpoints: when structure appears and disappears."),
    ("segments", "Segments", "Which parts of a trace bear on its answer, and which a curator would keep."),
    ("trainings", "Training runs", "The same fine-tune on different parts of the same traces, side by side."),
    ("evidence", "Evidence", "What a training step teaches, and whether labels confirm it, beside every baseline."),
)
WORDS = {
    "sample": "A row of a data set: a question, a chain of thought, an answer.",
    "span": "A part of the reasoning that gets one gradient: a step, a sentence or a window of tokens.",
    "gradient direction": "The gradient of a span's loss without its length: how the weights would change to make the "
    "span more likely. A sketch of some thousand numbers is stored, which keeps cosines up to a known error.",
    "tier": "Which gradient: of the span's own loss (span), the span's share of the training step (position), or one "
    "that a forward pass gives (hidden, head).",
    "window": "How many spans back a span's gradient may reach; all is exact. Earlier spans are held constant.",
    "centred": "The mean direction of the corpus is subtracted, because all spans share it.",
    "alignment": "Cosine of two centred directions, always shown with its null. It correlates; it does not explain.",
    "null": "What chance gives: cosines of random pairs of spans of different samples, and of random windows.",
    "q": "Expected share of false findings among all that are at least as extreme (Benjamini and Hochberg, 1995).",
    "cluster": "Spans whose directions lie close together; −1 is noise. Its name is made of its typical words.",
    "family": "A span with all spans of other samples that are aligned with it beyond chance; it may be in several. "
    "Confirmed: at most 5 % of such pairs by chance, tentative: at most 20 %. Its name is made of shared phrases.",
    "lesson": "A training step on one span, after which the losses of others are measured and the weights put back.",
    "segment": "A span whose bearing on the answer is measured. Strength is its share of the trace's integrated "
    "gradients; consistency is 1 where all its tokens pull the same way.",
    "stress": "A sequence of clusters (or of families, where clusters hold almost nothing) that recurs, in this order, "
    "in traces of several samples.",
    "lift": "Support of a stress over its support when every trace's spans are in shuffled order.",
    "twins": "Two samples whose spans align in order while their questions are no closer than half of all pairs.",
    "other words": "Texts that share no more words than 95 % of random pairs do.",
    "checkpoint": "The weights at one step of training.",
    "run": "One data set captured with one model and one configuration.",
}
MEASURE_NAMES = {
    "loss": "Loss",
    "norm": "Gradient norm",
    "coherence": "Coherence",
    "cosine": "Cosine",
    "exact": "Exact cosine",
    "lesson": "Learned",
    "window": "Cosine to exact",
    "spectral": "Spectral strength",
    "grace": "GRACE-like score",
    "answer_strength": "Strength on the answer",
}
KEYS = (
    ("Anywhere", "Tab", "to the next control"),
    ("Pages of a run", "P, N", "the checkpoint before and after, except while text is typed"),
    ("Trace", "← → ↑ ↓", "from span to span"),
    ("Trace", "Home, End", "first and last span"),
    ("Trace", "Enter", "choose the span: its aligned spans appear"),
    ("Trace, search", "Enter, Shift+Enter", "next and previous match; Escape ends the search"),
    ("Alignment", "← → ↑ ↓", "from cell to cell of the heat map, with Shift ten at once; Enter chooses"),
    ("Alignment", "Page Up, Page Down", "ten rows; Home and End within the row, with Ctrl over the whole map"),
    ("Twins", "← →", "to the aligned span of the other trace"),
    ("Maps", "scroll, drag", "zoom, pan; lasso and box are in the tool bar"),
)


def show_help() -> None:
    """Tour, words, measures, keys, and limits."""
    st.markdown("#### A tour")
    for start in range(0, len(TOUR), 3):
        for column, (page, title, text) in zip(st.columns(3), TOUR[start : start + 3], strict=False):
            with column.container(border=True, height="stretch"):
                st.page_link(PAGES[page], label=f"**{title}**")
                st.caption(text)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("#### Words")
        for word, meaning in WORDS.items():
            st.markdown(f"**{word}** — {escape(meaning)}")
    with right:
        st.markdown("#### Measures")
        for key, name in MEASURE_NAMES.items():
            st.markdown(f"**{name}** — {escape(MEASURES[key])}")
        st.markdown("#### Keys")
        for where, keys, what in KEYS:
            st.markdown(f"{where}: **{escape(keys)}** — {escape(what)}")
        choose_keys()
        st.markdown("#### What is not claimed")
        st.markdown(
            "Nothing here is causal: directions correlate with what spans have in common, and no page says why a model "
            "answers as it does. The page Evidence says where a simpler representation does as well or better."
        )
