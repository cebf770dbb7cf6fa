"""A whole chat written out in one text → its messages.

looks_transcript  whether a text begins like one
read_transcript   the messages of such a text

Read are the marks of chat templates (ChatML, Llama 2 and 3, Gemma, DeepSeek, Zephyr) and the labels of older
collections ("### Instruction:", "### Human:", "Human:", "USER:").
"""

from __future__ import annotations

import re

from gsd_core.dataset.values import BadValue

USERS, MODELS = {"user", "human"}, {"assistant", "model"}
HEAD_CHARS = 2000  # in which the first mark stands
MARKS = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<｜User｜>", "<|user|>", "[INST]", "USER:")
_LABEL = re.compile(
    r"\s*+(?:###\s*+(?:Human|User|Instruction|System)\s*+:|(?:Human|User)\s*+:|Below is an instruction)"
)
# A text that only speaks of such marks has other words before the first.
_PREAMBLE = re.compile(
    r"\s*+(?:<s>|<bos>|<\|begin_of_text\|>|<｜begin▁of▁sentence｜>|Below is an instruction[^#]*+"
    r"|A chat between[^\n]*+)?\s*+",
    re.IGNORECASE,
)
_BARE = "Human|User|Assistant"
_HEADED = f"{_BARE}|System|Instruction|Input|Context|Response"
_ROLE_OF = {"instruction": "user", "input": "user", "context": "user", "response": "assistant"}
# White space is taken possessively or in one line only: a file of nothing else must not cost the square of its length.
FORMS = tuple(
    re.compile(form, re.DOTALL)
    for form in (
        r"<\|im_start\|>\s*(?P<role>\w+)[^\n]*\n(?P<text>.*?)(?:<\|im_end\|>|(?=<\|im_start\|>)|\Z)",
        r"<\|start_header_id\|>\s*(?P<role>\w+)\s*<\|end_header_id\|>\s*(?P<text>.*?)"
        r"(?:<\|e[ot][tm]_id\|>|(?=<\|start_header_id\|>)|\Z)",
        r"<start_of_turn>\s*(?P<role>\w+)\s*\n(?P<text>.*?)(?:<end_of_turn>|(?=<start_of_turn>)|\Z)",
        r"<｜(?P<role>User|Assistant)｜>(?P<text>.*?)(?:<｜end▁of▁sentence｜>|(?=<｜(?:User|Assistant)｜>)|\Z)",
        r"<\|(?P<role>system|user|assistant)\|>(?P<text>.*?)(?:</s>|<\|end\|>|(?=<\|(?:system|user|assistant)\|>)|\Z)",
        r"(?P<role><</?SYS>>|\[/?INST\])(?P<text>.*?)(?:</s>|(?=<</?SYS>>|\[/?INST\])|\Z)",
        rf"###\s*(?P<role>{_HEADED})\s*:(?P<text>.*?)(?=###\s*+(?:{_HEADED})\s*+:|\Z)",
        rf"(?:\A\s*+|\n[ \t]*+)(?P<role>{_BARE})[ \t]*+:(?P<text>.*?)(?=\n[ \t]*+(?:{_BARE})[ \t]*+:|\Z)",
        r"\b(?P<role>USER|ASSISTANT):(?P<text>.*?)(?:</s>|(?=\s(?:USER|ASSISTANT):)|\Z)",
    )
)
_BRACKETS = {"<<sys>>": "system", "<</sys>>": "user", "[inst]": "user", "[/inst]": "assistant"}


def looks_transcript(text: str) -> bool:
    """Whether a mark of a chat template stands near the beginning of a text, or a label of a turn at its beginning."""
    head = text[:HEAD_CHARS]
    return any(mark in head for mark in MARKS) or _LABEL.match(text) is not None


def read_transcript(text: str) -> list[dict[str, str]]:
    """The messages of a text that holds turns of a user and of a model; of one role that follow each other, as one.

    Raises `BadValue` for any other text.
    """
    if looks_transcript(text):
        for form in FORMS:
            messages: list[dict[str, str]] = []
            found = list(form.finditer(text))
            if not found or found[0].start() > HEAD_CHARS or _PREAMBLE.fullmatch(text[: found[0].start()]) is None:
                continue
            for match in found:
                role, content = match["role"].lower(), match["text"].strip()
                role = _BRACKETS.get(role) or _ROLE_OF.get(role, role)
                if messages and messages[-1]["role"] == role and content:
                    messages[-1]["content"] = f"{messages[-1]['content']}\n\n{content}".strip()
                elif content or not messages or messages[-1]["role"] != role:
                    messages.append({"role": role, "content": content})
            roles = {message["role"] for message in messages}
            if roles & USERS and roles & MODELS:
                # Llama 2 puts the system prompt into the user's first turn, which is empty before it.
                return [each for each in messages if each["content"] or each["role"] == "assistant"]
    raise BadValue("the text is no transcript")
