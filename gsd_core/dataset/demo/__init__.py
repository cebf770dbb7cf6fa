"""The demo corpus: generated word problems with known procedure, topic and wording.

generate_corpus, check_answer   the corpus, and a check of an answer to it
PROCEDURES, TOPICS, STYLES      names of its labels

Beside it: ``long_traces``, traces with segments that their answers do not need.
"""

from gsd_core.dataset.demo.generate import check_answer, generate_corpus
from gsd_core.dataset.demo.procedures import PROCEDURES, STYLES
from gsd_core.dataset.demo.topics import TOPICS

__all__ = ["PROCEDURES", "STYLES", "TOPICS", "check_answer", "generate_corpus"]
