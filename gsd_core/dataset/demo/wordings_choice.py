"""Wordings of the procedures that choose, follow or track: six of them on the numbers that the computing ones use.

CHOICE  the procedures, each with four wordings that share no content word

Beside the common slots: ``{list}`` "Ana 12, Ben 31, …", ``{links}`` "Ana to Finn, …", ``{swaps}`` "Ana with Ben, …",
``{y}`` the person looked at and ``{v}`` their number, ``{z}`` the person kept so far and ``{w}`` their number.
"""

from __future__ import annotations

from gsd_core.dataset.demo.records import Procedure, StepSpec

SCAN_LARGEST = Procedure(
    "scan_largest",
    (
        "These people count their {items}: {list}. Who has the most?",
        "Holdings of {items} were written down, {list}. Name the champion.",
        "Here is what everybody brought in {items}: {list}. Which person is best?",
        "A prize waits for the largest heap of {items}, with {list}. Whose is it?",
    ),
    (
        StepSpec(
            "start",
            (
                "{2}, {z} is the {1} with {w}.",
                "The {1} is {2} {z}, at {w}.",
                "With {w} {items}, {z} is {2} the {1}.",
                "{z} is {2} the {1} for {w}.",
            ),
            ("leader champion winner favourite", "currently momentarily temporarily provisionally"),
            "z",
        ),
        StepSpec(
            "replace",
            (
                "{v} of {y} {1} {w} of {z}, so the {2} is {y}.",
                "As {v} {1} {w}, {y} is {2} and not {z}.",
                "{y} {1} {z} by {v} to {w} and is the {2}.",
                "With {v}, {y} {1} {z} at {w}, so {2} {y} it is.",
            ),
            ("beats tops outdoes surpasses", "leader champion winner favourite"),
            "w",
        ),
        StepSpec(
            "keep",
            (
                "{v} of {y} {1} to {w}, so {z} is still {2}.",
                "As {v} {1} to {w}, {z} is {2} and not {y}.",
                "{y} {1} to {z} by {v} to {w}; the {2} is {z} as before.",
                "With {v}, {y} {1} to {z} at {w}, again {2}.",
            ),
            ("loses yields surrenders bows", "leader champion winner favourite"),
            "w",
        ),
        StepSpec(
            "conclude",
            (
                "The {1} {2} is {z}.",
                "So {z} is the {1} {2}.",
                "As {1} {2} we have {z}.",
                "After all of them, {z} is the {1} {2}.",
            ),
            ("final ultimate definitive eventual", "leader champion winner favourite"),
        ),
    ),
    "z",
)

ORDER_MIDDLE = Procedure(
    "order_middle",
    (
        "Five people hold {items}: {list}. If they are ranked from low to high, who is in the middle?",
        "Take these amounts of {items}, {list}. Whose is the median?",
        "In a queue by number of {items} stand {list}. Which person will be third?",
        "Sorting {list} by {items}, find the one with two on either side.",
    ),
    (
        StepSpec(
            "plan",
            (
                "{1} them up to the {2}.",
                "We {1} all five for the {2}.",
                "To have the {2}, {1} them.",
                "Let us {1} these for a {2}.",
            ),
            ("rank order arrange sort", "middle centre midpoint median"),
        ),
        StepSpec(
            "lowest",
            (
                "The {1} is {v1} of {x1}.",
                "{x1} has {v1}, so {1}.",
                "With {v1}, {x1} is {1}.",
                "At {v1} {x1} is {1} of all.",
            ),
            ("lowest smallest tiniest slightest",),
            "x1",
        ),
        StepSpec(
            "second",
            (
                "The {1} one is {v2} of {x2}.",
                "{x2} has {v2} and is {1}.",
                "With {v2} there is {x2}, {1}.",
                "At {v2} {x2} is {1} to that.",
            ),
            ("following subsequent succeeding ensuing",),
            "x2",
        ),
        StepSpec(
            "third",
            (
                "{v3} of {x3} {1} the {2}.",
                "{x3} has {v3} and {1} the {2}.",
                "With {v3}, {x3} {1} this {2}.",
                "At {v3} {x3} now {1} our {2}.",
            ),
            ("occupies takes claims fills", "middle centre midpoint median"),
            "x3",
        ),
        StepSpec(
            "rest",
            (
                "{v4} of {x4} and {v5} of {x5} are {1}.",
                "{x4} has {v4} and {x5} has {v5}, both {1}.",
                "With {v4} or {v5}, {x4} as well as {x5} are {1}.",
                "At {v4} {x4}, at {v5} {x5} are {1}.",
            ),
            ("higher larger bigger greater",),
        ),
        StepSpec(
            "conclude",
            (
                "{x3} {1} in the {2}.",
                "So in the {2} {1} {x3}.",
                "It is {x3} who {1} in the {2}.",
                "In the {2} there {1} {x3}.",
            ),
            ("sits stands rests lies", "middle centre midpoint median"),
        ),
    ),
    "x3",
)

FIRST_OVER = Procedure(
    "first_over",
    (
        "{n} walks past people with {items}, in this order: {list}. Who is the first to have more than {d}?",
        "Down the row of {items} owners go {list}. Where does {n} initially see an amount above {d}?",
        "{n} reads a roll, {list}, giving {items}. Report the earliest that exceeds {d}.",
        "Before {n} stand {list} in a line, with their {items}. Which one passes the bar of {d} soonest?",
    ),
    (
        StepSpec(
            "plan",
            (
                "{2} one after one with {d} as the {1}.",
                "With {d} as a {1}, {2} them all.",
                "We {2} each, and the {1} is {d}.",
                "The {1} being {d}, we {2} one by one.",
            ),
            ("limit bar threshold bound", "check inspect examine test"),
        ),
        StepSpec(
            "under",
            (
                "{y} with {v} {1} the {2} of {d}.",
                "As {v} is under {d}, {y} {1} the {2}.",
                "At {v}, {y} {1} it, for the {2} is {d}.",
                "The {v} of {y} {1} the {2} of {d}.",
            ),
            ("fails misses flunks undershoots", "limit bar threshold bound"),
            "v",
        ),
        StepSpec(
            "over",
            (
                "{y} with {v} {1} the {2} of {d}.",
                "As {v} is over {d}, {y} {1} the {2}.",
                "At {v}, {y} {1} it, for the {2} is {d}.",
                "The {v} of {y} {1} the {2} of {d}.",
            ),
            ("clears passes crosses overcomes", "limit bar threshold bound"),
            "v",
        ),
        StepSpec(
            "conclude",
            ("The {1} is {y}.", "So {y} is {1}.", "It is {y} who is {1}.", "As the {1} we have {y}."),
            ("earliest foremost initial soonest",),
        ),
    ),
    "y",
)

FOLLOW_CHAIN = Procedure(
    "follow_chain",
    (
        "Notes lead from one owner to the next: {links}. Their {items}: "
        "{list}. Start with {x1} and follow three notes. How many {items} are there?",
        "Arrows run {links}. The {items} kept are {list}. If {n} leaves {x1} "
        "and makes three jumps, what is found?",
        "A messenger sent by {x1} is handed on three times, always {links}. "
        "The {items} at each are {list}. Which number does the last host see?",
        "Each knows a neighbour, {links}, and the {items} are {list}. From "
        "{x1} go three doors. Read off the amount.",
    ),
    (
        StepSpec(
            "start",
            (
                "The {1} is {y} with {v}.",
                "{y} is our {1}, who has {v} {items}.",
                "We have {y} at {v} for our {1}.",
                "As {1} there is {y} at {v}.",
            ),
            ("departure origin source outset",),
        ),
        StepSpec(
            "hop",
            (
                "It {1} {2} to {y} with {v}.",
                "That {1} us {2}: {y}, who has {v}.",
                "This {1} {2}, and so {y} has {v}.",
                "As one {1} {2}, there is {y} at {v}.",
            ),
            ("points leads refers directs", "onward forward ahead further"),
            "y",
        ),
        StepSpec(
            "stop",
            (
                "After three {2} we {1} at {y}.",
                "We {1} at {y}, for the {2} are over.",
                "With all {2} done, {1} at {y}.",
                "Three {2} it was, so {1} at {y}.",
            ),
            ("halt stop cease pause", "hops jumps moves leaps"),
        ),
        StepSpec(
            "conclude",
            (
                "The {1} is {v}.",
                "So {v} is the {1}.",
                "As {1} we have {v}.",
                "There, the {1} is {v} {items}.",
            ),
            ("value figure quantity reading",),
        ),
    ),
    "v",
)

SWAP_TRACK = Procedure(
    "swap_track",
    (
        "People hold {items}: {list}. They swap everything, {swaps}. How many does {z} hold at the end?",
        "Four heaps of {items} belong to {list}. Owners trade in full, "
        "{swaps}. Finally, what amount has {z}?",
        "At first the {items} are {list}. Complete exchanges happen, {swaps}. Which number winds up by {z}?",
        "{items} lie so: {list}. Whole loads switch places, {swaps}. Afterwards, what is the load of {z}?",
    ),
    (
        StepSpec(
            "start",
            (
                "At the {1}: {list}.",
                "We have {list} at the {1}.",
                "The {1} has {list}.",
                "In the {1} it is {list}.",
            ),
            ("beginning opening onset commencement",),
        ),
        StepSpec(
            "swap",
            (
                "{1} {2} {v} to {y} and {w} to {m}.",
                "What {1} {2} {y} is {v}, and {m} {w}.",
                "For {y} it is {v} that {1} {2}, for {m} {w}.",
                "With this, {1} {2} {y} the {v} but {m} the {w}.",
            ),
            ("swapping trading exchanging switching", "hands gives grants transfers"),
            "v",
        ),
        StepSpec(
            "look",
            ("At the end, {1} {z}.", "Now we {1} {z}.", "Then {1} what {z} has.", "After all that, {1} {z}."),
            ("locate find identify consult",),
        ),
        StepSpec(
            "conclude",
            (
                "{z} {1} with {u}.",
                "With {u} {items}, {z} {1}.",
                "So {z} {1} at {u}.",
                "It is {u} with which {z} {1}.",
            ),
            ("ends finishes closes concludes",),
        ),
    ),
    "u",
)

PAIR_MATCH = Procedure(
    "pair_match",
    (
        "Two of these people have exactly {s} {items} together: {list}. Which two?",
        "A pair out of {list} owns {s} {items} jointly. Name both.",
        "From {list}, choose partners whose {items} sum up to {s}. Who are they?",
        "To reach {s} {items}, a couple must merge theirs: {list}. Find that couple.",
    ),
    (
        StepSpec(
            "plan",
            (
                "We {1} for {2} with {s}.",
                "Let us {1} for {2} who have {s}.",
                "{1} for two {2} at {s}.",
                "To have {s}, {1} for {2}.",
            ),
            ("seek hunt search look", "partners companions mates allies"),
        ),
        StepSpec(
            "discard",
            (
                "{1} {y}, for {v} is over {s}.",
                "With {v} over {s}, {1} {y}.",
                "We {1} {y} at {v}, more than {s}.",
                "As {v} is above {s}, {1} {y}.",
            ),
            ("discard reject dismiss eliminate",),
            "v",
        ),
        StepSpec(
            "miss",
            (
                "{y} with {v} {1} {w}, which is {2}.",
                "At {v}, {y} {1} {w}, but that is {2}.",
                "Now {y} has {v} and {1} {w}, {2} here.",
                "The {v} of {y} {1} the {2} {w}.",
            ),
            ("needs requires demands wants", "absent missing unavailable nonexistent"),
            "w",
        ),
        StepSpec(
            "hit",
            (
                "{y} with {v} {1} {w}, which {z} {2}.",
                "At {v}, {y} {1} {w}, and that {z} {2}.",
                "Now {y} has {v} and {1} {w}; {z} {2} it.",
                "The {v} of {y} {1} the {w} {z} {2}.",
            ),
            ("needs requires demands wants", "provides supplies furnishes contributes"),
            "w",
        ),
        StepSpec(
            "conclude",
            (
                "So the {1} is {y} and {z}.",
                "This {1} is {y} with {z}.",
                "As {1} we have {y} and {z}.",
                "The {1} that has {s} is {y} and {z}.",
            ),
            ("pair couple duo twosome",),
        ),
    ),
    "pair",
)

CHOICE: tuple[Procedure, ...] = (SCAN_LARGEST, ORDER_MIDDLE, FIRST_OVER, FOLLOW_CHAIN, SWAP_TRACK, PAIR_MATCH)
