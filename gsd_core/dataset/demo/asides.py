"""Sentences that occur in any procedure: asides, checks of a result, and corrections after a mistake.

FACTS       irrelevant facts, put into a question
ASIDES      remarks that set such a fact aside, a step of their own
CHECKS      self-check steps
TURNS       openings of a segment that corrects a mistake; each starts with one of the cues that the
            segment cutter knows
OPENINGS    first segments of a long trace
CLOSINGS    its last segments
CUED        openings of its other segments, of whatever kind; each starts with one of the cues too
RAMBLES     sentences of a segment that has nothing to do with the question
"""

from __future__ import annotations

FACTS: tuple[str, ...] = (
    "There are {d} {fact} nearby.",
    "The place also has {d} {fact}.",
    "{d} {fact} were bought last year.",
    "Someone mentions {d} {fact} too.",
)
ASIDES: tuple[str, ...] = (
    "The {d} {fact} play no part in this.",
    "We can leave out the {d} {fact}.",
    "It does not matter that there are {d} {fact}.",
    "Nobody asked about the {d} {fact}.",
)
CHECKS: tuple[str, ...] = (
    "Checking once more, this holds.",
    "Everything up to here seems right.",
    "I verified it a second time.",
    "Nothing was overlooked, as far as one can tell.",
    "The line above is fine.",
    "I have read it again and found no error.",
)
TURNS: tuple[str, ...] = (
    "Wait, that cannot be right.",
    "Wait, a slip happened.",
    "Alternatively, let us do it with more care.",
    "But wait, this is off.",
    "But alternatively, we can try once again.",
    "But just to be sure, let us do it again.",
    "However, a mistake shows up.",
    "Not sure about that, so I will redo it.",
    "Going back, the line was wrong.",
    "Backtrack, and let us fix this.",
    "Trace back, and put it right.",
    "Another attempt corrects it.",
)
OPENINGS: tuple[str, ...] = (
    "Let us begin.",
    "I will take the two questions one by one.",
    "We have time, so let us go slowly.",
    "Here is what I think.",
)
CLOSINGS: tuple[str, ...] = (
    "Going back over it, that is all.",
    "Not sure what else to say, so I stop here.",
    "However, this is enough.",
    "Another look is not needed.",
)
CUED: tuple[str, ...] = (
    "Wait, one thing more.",
    "Alternatively, think of this.",
    "But wait, there is something.",
    "But alternatively, look here.",
    "But just to go on.",
    "However, we are not done.",
    "Not sure what comes next.",
    "Going back to the text.",
    "Another point.",
)
RAMBLES: tuple[str, ...] = (
    "The {d} {fact} were painted last year, and nobody minds.",
    "I once saw {d} {fact} in such a place.",
    "Somebody moved the {d} {fact} to the other side.",
    "It would be nice to have {d} {fact} at home.",
    "The weather was fine on the day of the {d} {fact}.",
    "My uncle keeps {d} {fact} and never uses them.",
    "There was talk of {d} {fact}, but that is an old story.",
    "Of the {d} {fact} only a few are new.",
)
