"""The help page: what the words mean, what each measure says and where it comes from, which keys do what.

show_help   all of it
WORDS       the terms that pages use
MEASURE_NAMES   measures in the order in which they are explained; what they say stands in ``snippets.MEASURES``
KEYS        keys by where they work
"""

from __future__ import annotations

import streamlit as st

from gsd_core.dashboard.frame.address import PAGES
from gsd_core.dashboard.frame.page_text import escape
from gsd_core.dashboard.frame.run_choice import choose_keys
from gsd_core.dashboard.frame.snippets import MEASURES

TOUR = (
    (
        "map",
        "Map",
        "Every point is a span of a chain of thought. Click one: its text and its trace appear beside it.",
    ),
    (
        "trace",
        "Aligned spans",
        "Below are spans of other samples that pull the model the same way. Switch to other words to leave out those "
        "that merely sound alike.",
    ),
    (
        "twins",
        "Twins",
        "Whole samples that reason alike about different things, side by side, aligned spans joined.",
    ),
    (
        "stresses",
        "Stresses",
        "Sequences of spans that recur across samples, and every place where one occurs.",
    ),
    (
        "timeline",
        "Timeline",
        "The same spans at several checkpoints: when structure appears, and when it goes.",
    ),
    ("evidence", "Evidence", "Whether labels bear any of it out, beside every baseline and control."),
)
WORDS = {
    "sample": "A row of a data set: a question, a chain of thought, an answer.",
    "span": "A stretch of reasoning whose gradient is taken as one: a step, a sentence or a window of tokens.",
    "gradient direction": "How the weights would change to expect this span more, without its length; kept as a random "
    "sketch (Johnson–Lindenstrauss) that preserves cosines up to a known error.",
    "tier": "Which gradient: of the span's own loss (span), its share of the training step (position), or of what a "
    "forward pass gives (hidden, head).",
    "window": "How many spans back a span's gradient may reach; all is the exact one. The rest of the trace is held "
    "constant.",
    "centred": "Less the mean direction of the corpus: what all spans share says nothing about any of them.",
    "alignment": "Cosine of two centred directions, always beside what chance gives. It correlates; it does "
    "not explain.",
    "null": "What chance gives: random pairs of spans of different samples, and spans with windows at random places.",
    "q": "Share of false finds to expect among all that are at least as extreme (Benjamini and Hochberg, 1995).",
    "cluster": "Spans whose directions lie close together; −1 is noise. Its name is made of words that set it apart.",
    "stress": "A sequence of clusters that traces of several samples go through in this order.",
    "lift": "Support of a stress beside its support with every trace's spans in shuffled order.",
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
    "window": "Cosine to exact",
    "spectral": "Spectral strength",
    "grace": "GRACE-like score",
}
KEYS = (
    ("Anywhere", "Tab", "to the next control; a link that is copied opens the same view"),
    (
        "Pages of a run",
        "P, N",
        "the checkpoint before and after, where there are several, unless text is being written",
    ),
    ("Trace", "← → ↑ ↓", "from span to span"),
    ("Trace", "Home, End", "first and last span"),
    ("Trace", "Enter", "choose the span: its aligned spans appear"),
    ("Trace, search", "Enter, Shift+Enter", "next and previous place; Escape ends the search"),
    ("Alignment", "← → ↑ ↓", "from cell to cell of the heat map, with Shift ten at once; Enter chooses"),
    (
        "Alignment",
        "Page Up, Page Down",
        "ten rows; Home and End within the row, with Ctrl over the whole map",
    ),
    ("Twins", "← →", "to the aligned span of the other trace"),
    ("Maps", "scroll, drag", "zoom, pan; lasso and box are in the tool bar"),
)


def show_help() -> None:
    """Tour, words, measures, keys, and what is not claimed."""
    st.markdown("#### A way through")
    for start in range(0, len(TOUR), 3):
        for column, (page, title, text) in zip(st.columns(3), TOUR[start : start + 3], strict=True):
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
        for place, keys, what in KEYS:
            st.markdown(f"{place}: **{escape(keys)}** — {escape(what)}")
        choose_keys()
        st.markdown("#### What is not claimed")
        st.markdown(
            "Nothing here is causal: directions correlate with what spans have in common, and no page says why a model "
            "answers as it does. Where a simpler representation does as well or better, the page Evidence says so."
        )
