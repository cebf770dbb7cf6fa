"""Wordings of the procedures that compute: six of them on the same numbers a, b, s = a + b, k, p = k·s.

COUNT  the procedures, each with four wordings that share no content word
"""

from __future__ import annotations

from gsd_core.dataset.demo.records import Procedure, StepSpec

COMBINE_SCALE = Procedure(
    "combine_scale",
    (
        "{n} puts {a} {kind} and {b} {other} {items} into every {box}. There "
        "are {k} {boxes}. How many {items} is that in total?",
        "Each of {k} {boxes} gets {a} {kind} {items} from {n}, and {b} {other} "
        "ones with them. Give the overall number of {items}.",
        "{n} packs {k} {boxes} alike: {a} {kind} {items} beside {b} {other}. "
        "Find the complete count of {items}.",
        "{k} {boxes} of {n} carry one same load, {a} {kind} plus {b} {other} "
        "{items}. What does the whole stock come to?",
    ),
    (
        StepSpec(
            "plan",
            (
                "First {1} out a {2} {box}, and then {3} by {k}.",
                "We {1} out what is in a {2} {box}, and after that {3} by {k}.",
                "Before we {3} by {k}, let us {1} out a {2} {box}.",
                "To {3} by {k}, one must {1} out a {2} {box}.",
            ),
            ("work figure puzzle reason", "single lone solitary separate", "multiply scale stretch enlarge"),
        ),
        StepSpec(
            "parts",
            (
                "Every {box} {1} {a} {kind} and {b} {other} {items}.",
                "It {1} {a} of the {kind} and {b} of the {other} {items}.",
                "There, each {box} {1} {a} {kind} {items} with {b} {other} ones.",
                "One {box} {1} both {a} {kind} and {b} {other} ones.",
            ),
            ("contains holds carries stores",),
        ),
        StepSpec(
            "combine",
            (
                "{1} {a} and {b} {2} {s} {items}.",
                "Now {1} {a} with {b} {2} {s}.",
                "As for one {box}, {1} {b} to {a} {2} {s}.",
                "So {1} these {a} and {b} {2} {s} {items}.",
            ),
            ("adding pooling joining summing", "makes forms yields produces"),
            "s",
        ),
        StepSpec(
            "scale",
            (
                "{1} {s} by {k} {2} {p}.",
                "With {k} {boxes}, {1} {s} {2} {p}.",
                "For all {k}, {1} this {s} {2} {p} {items}.",
                "Then {1} {s} by the {k} {boxes} {2} {p}.",
            ),
            ("multiplying scaling stretching enlarging", "gives brings delivers returns"),
            "p",
        ),
        StepSpec(
            "conclude",
            (
                "So the {1} is {p} {items}.",
                "That is a {1} of {p}.",
                "{n} has a {1} of {p} {items}.",
                "The {1} for {n} is then {p}.",
            ),
            ("total count tally quantity",),
        ),
    ),
    "p",
)

UNDO_CHANGE = Procedure(
    "undo_change",
    (
        "Every one of the {k} {boxes} of {n} lost {a} {items}, and {b} are "
        "left in each. How many {items} did {n} have at first?",
        "{n} sold {a} {items} out of each {box}, which keeps {b} now. With {k} "
        "{boxes}, what was the original amount?",
        "From all {k} {boxes} somebody took {a} {items}; the {b} still inside "
        "belong to {n}. Find the old count.",
        "After {a} {items} went missing per {box}, {n} sees {b} remain. For "
        "{k} {boxes}, how large had the starting supply been?",
    ),
    (
        StepSpec(
            "plan",
            (
                "We {1} the {2} first, for each {box}.",
                "Let us {1} the {2} in one {box}.",
                "Before all else, one has to {1} a {2}.",
                "First of all, {1} the {2}.",
            ),
            ("undo reverse cancel revoke", "loss drop decline fall"),
        ),
        StepSpec(
            "state",
            (
                "{b} {items} {1} after {a} {2}.",
                "In each {box} {b} {1}, while {a} {2}.",
                "There {1} {b}, as {a} {items} {2}.",
                "Since {a} {2}, only {b} {1}.",
            ),
            ("remain stay survive persist", "vanished disappeared departed escaped"),
        ),
        StepSpec(
            "restore",
            (
                "{1} {a} to {b} {2} {s}.",
                "So {1} {a} with the {b} {2} {s} {items}.",
                "For one {box}, {1} the {a} {2} {s}.",
                "Now {1} all {a} to the {b} {2} {s}.",
            ),
            ("restoring returning reinstating replacing", "rebuilds recreates recovers reveals"),
            "s",
        ),
        StepSpec(
            "scale",
            (
                "{k} {1} of {s} {2} {p}.",
                "With {k} {boxes}, {k} {1} of {s} {2} {p} {items}.",
                "All {k} {1} of {s} then {2} {p}.",
                "As {1} of {s}, these {k} {2} {p}.",
            ),
            ("copies lots sets batches", "equal total comprise constitute"),
            "p",
        ),
        StepSpec(
            "conclude",
            (
                "{1}, {n} {2} {p} {items}.",
                "So {n} {1} {2} {p}.",
                "It was {p} that {n} {1} {2}.",
                "What {n} {1} {2} was {p} {items}.",
            ),
            ("originally initially formerly previously", "owned possessed kept had"),
        ),
    ),
    "p",
)

SHARE_REMOVE = Procedure(
    "share_remove",
    (
        "{p} {items} fill {k} {boxes} equally. In every {box} of {n}, {a} are "
        "{kind} and the rest are {other}. How many {other} {items} does one {box} hold?",
        "{n} deals {p} {items} out to {k} {boxes} fairly. {a} in each turn out "
        "to be {kind}. What is the number of {other} ones there?",
        "Among {k} identical {boxes}, {p} {items} have been parted. {n} marks "
        "{a} per {box} as {kind}. Say how large its {other} portion is.",
        "{k} {boxes} of matching size store {p} {items} for {n}. If {a} in any "
        "{box} look {kind}, what amount appears {other}?",
    ),
    (
        StepSpec(
            "plan",
            (
                "First {1}, then {2} the {kind} ones.",
                "We {1} by {k} and {2} what is {kind}.",
                "Let us {1} all {p} and then {2} {a}.",
                "Before we {2} anything {kind}, we must {1}.",
            ),
            ("divide share split distribute", "subtract deduct discount exclude"),
        ),
        StepSpec(
            "share",
            (
                "{1} {p} by {k} {2} {s} to each.",
                "By {k}, {1} the {p} {items} {2} {s} to every {box}.",
                "So {1} {p} over {k} {boxes} {2} {s} to each.",
                "Then {1} all {p} {2} {s} to one {box}.",
            ),
            ("dividing sharing splitting distributing", "leaves assigns grants allots"),
            "s",
        ),
        StepSpec(
            "known",
            (
                "{a} of these {1} {kind}.",
                "There, {a} {items} {1} {kind}.",
                "In each {box}, {a} {1} {kind}.",
                "Of the {s}, {a} {1} {kind}.",
            ),
            ("appear seem look prove",),
        ),
        StepSpec(
            "remove",
            (
                "{1} {a} from {s} {2} {b}.",
                "From {s}, {1} {a} {2} {b}.",
                "So {1} the {a} {kind} ones {2} {b} of {s}.",
                "With {s} {items}, {1} {a} {2} {b}.",
            ),
            ("subtracting deducting discounting excluding", "spares saves preserves retains"),
            "b",
        ),
        StepSpec(
            "conclude",
            (
                "The {other} {1} is {b}.",
                "So each {box} has a {other} {1} of {b}.",
                "That is a {1} of {b} {other} {items}.",
                "In every {box} the {1} that is {other} has {b}.",
            ),
            ("portion part fraction segment",),
        ),
    ),
    "b",
)

SHARE_COMPARE = Procedure(
    "share_compare",
    (
        "{n} splits {p} {items} evenly between {k} {boxes}. {m} keeps {a} in a "
        "{box}. By how many does {n} have more in a {box} than {m}?",
        "{p} {items} of {n} go to {k} {boxes} in equal shares, and the {box} "
        "of {m} stores {a}. What is the difference?",
        "After {n} distributes {p} {items} across {k} {boxes} uniformly, a "
        "{box} of {m} shows {a}. How far ahead does {n} come?",
        "Let {k} {boxes} carry {p} {items} of {n}, balanced alike, against {a} "
        "{items} per {box} for {m}. Find the gap.",
    ),
    (
        StepSpec(
            "plan",
            (
                "First the {1} of {n}, which we then {2} with {a}.",
                "The {1} is what we {2} with {a}.",
                "Let us {2} the {1} of {n} with that of {m}.",
                "To {2} them, one must have the {1} for {n}.",
            ),
            ("average ration mean quota", "contrast compare match confront"),
        ),
        StepSpec(
            "share",
            (
                "{1} {p} over {k} {boxes} {2} {s} in each.",
                "Over {k} {boxes}, {1} {p} {2} {s} in one.",
                "For {n}, {1} {p} into {k} {boxes} {2} {s} in every {box}.",
                "So {1} the {p} {items} over {k} {2} {s} in each.",
            ),
            ("apportioning allocating spreading dealing", "puts places sets drops"),
            "s",
        ),
        StepSpec(
            "rival",
            (
                "The {1} {m} {2} {a}.",
                "{m}, the {1}, {2} {a} in a {box}.",
                "A {box} of the {1} {2} {a}.",
                "As a {1}, {m} {2} {a} {items}.",
            ),
            ("rival contender competitor challenger", "manages offers presents boasts"),
        ),
        StepSpec(
            "gap",
            (
                "The {1} from {a} to {s} {2} {b}.",
                "From {s} down to {a} the {1} {2} {b}.",
                "So the {1} {2} {b}, with {s} over {a}.",
                "Between {a} and {s} a {1} {2} {b}.",
            ),
            ("gap difference distance margin", "measures spans covers reaches"),
            "b",
        ),
        StepSpec(
            "conclude",
            (
                "{n} {1} by {b} {items}.",
                "By {b}, {n} {1}.",
                "So {n} {1} over {m} by {b}.",
                "It is {n} who {1}, by {b} {items}.",
            ),
            ("leads wins excels triumphs",),
        ),
    ),
    "b",
)

COMBINE_FIT = Procedure(
    "combine_fit",
    (
        "{n} moves {a} {kind} and {b} {other} {items} on each trip. {p} "
        "{items} have to be moved. How many trips does {n} need?",
        "A {box} takes {a} {kind} {items} with {b} {other} ones. {n} owns {p} "
        "in the same mix. Which amount of {boxes} will do?",
        "Out of a store of {p} {items}, {n} loads {a} {kind} beside {b} "
        "{other} per round. Count the rounds until it is empty.",
        "One turn of {n} clears {a} {kind} {items}, as well as {b} {other}. "
        "Through how many turns do {p} {items} last?",
    ),
    (
        StepSpec(
            "plan",
            (
                "First {2} one {1}.",
                "We {2} one {1} before all the {p}.",
                "Let us {2} a {1}, then all of them.",
                "To {2} a {1} is what we do first.",
            ),
            ("trip round turn journey", "measure gauge assess evaluate"),
        ),
        StepSpec(
            "parts",
            (
                "{n} {1} {a} {kind} and {b} {other} ones.",
                "At once, {n} {1} {a} {kind} with {b} {other} {items}.",
                "It {1} both {a} {kind} and {b} {other} {items}.",
                "What {n} {1} is {a} {kind} and {b} {other}.",
            ),
            ("moves hauls transports conveys",),
        ),
        StepSpec(
            "combine",
            (
                "{1} {a} with {b} {2} to {s}.",
                "So {1} {a} and {b} {2} to {s} {items}.",
                "With {a} and {b}, {1} them {2} to {s}.",
                "Now {1} the {a} to the {b} {2} to {s}.",
            ),
            ("uniting merging blending mixing", "amounts comes extends runs"),
            "s",
        ),
        StepSpec(
            "fit",
            (
                "{k} times {s} {2} {1} {p}.",
                "With {k} of them, {s} {1} {p} {2}.",
                "Since {k} at {s} {2} {1} {p}, that is it.",
                "So {s} by {k} {1} {p} {2}.",
            ),
            ("fills covers exhausts matches", "precisely exactly evenly neatly"),
            "k",
        ),
        StepSpec(
            "conclude",
            ("{k} {2} {1}.", "So {k} {2} {1} for {p}.", "With {k}, the {2} {1}.", "It is {k} {2} that {1}."),
            ("suffice serve finish succeed", "trips rounds turns journeys"),
        ),
    ),
    "k",
)

BUDGET_CHECK = Procedure(
    "budget_check",
    (
        "A {box} needs {a} {kind} and {b} {other} {items}. {n} wants to fill "
        "{k} {boxes} and owns {d} {items} of the right mix. Is that enough, yes or no?",
        "With {d} {items} in reserve, can {n} serve {k} {boxes} that demand "
        "{a} {kind} and {b} {other} ones apiece, yes or no?",
        "{n} must supply {k} {boxes}, {a} {kind} plus {b} {other} {items} to "
        "each. Does a stock of {d} suffice, yes or no?",
        "For {k} {boxes}, every one using {a} {kind} beside {b} {other} "
        "{items}, {n} has set aside {d}. Will it last, yes or no?",
    ),
    (
        StepSpec(
            "plan",
            (
                "First the {1}, then the {2}.",
                "Is the {1} within the {2}?",
                "Let us have the {1} before the {2}.",
                "The {2} must be over the {1}.",
            ),
            ("demand requirement consumption usage", "stock reserve supply inventory"),
        ),
        StepSpec(
            "unit",
            (
                "A {box} {1} {a} and {b}, or {s}.",
                "Each {box} {1} {a} with {b}, that is {s} {items}.",
                "One {box} {1} {s}, from {a} and {b}.",
                "As {a} and {b} are {s}, a {box} {1} {s}.",
            ),
            ("takes swallows absorbs devours",),
            "s",
        ),
        StepSpec(
            "scale",
            (
                "Having {k} {boxes} {1} {s} to {p}.",
                "For {k}, that {1} {s} to {p}.",
                "It {1} the {s} to {p} over {k} {boxes}.",
                "With {k} of them, this {1} {s} to {p}.",
            ),
            ("raises lifts boosts pushes",),
            "p",
        ),
        StepSpec(
            "own",
            (
                "{d} {items} are {1}.",
                "{n} has {d} {1}.",
                "With {n} there is {d} {1}.",
                "For {n}, these {d} are {1}.",
            ),
            ("available ready handy waiting",),
        ),
        StepSpec(
            "judge",
            (
                "Against {p}, {d} is {is_not}{1}.",
                "For {p} to be there, {d} is {is_not}{1}.",
                "So {d} is {is_not}{1} for {p}.",
                "With {p} in all, these {d} are {is_not}{1}.",
            ),
            ("enough ample sufficient adequate",),
        ),
        StepSpec(
            "conclude",
            (
                "That is the {1} for {n}.",
                "As {1}, {n} has that.",
                "So much for the {1}.",
                "The {1} of {n} is just this.",
            ),
            ("decision verdict reply response",),
        ),
    ),
    "verdict",
)

COUNT: tuple[Procedure, ...] = (
    COMBINE_SCALE,
    UNDO_CHANGE,
    SHARE_REMOVE,
    SHARE_COMPARE,
    COMBINE_FIT,
    BUDGET_CHECK,
)
