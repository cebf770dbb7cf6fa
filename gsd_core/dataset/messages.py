"""Chat layouts: OpenAI ``messages`` and ShareGPT ``conversations``.

Turn           one message: role, text, and its reasoning where that is a field of its own
Exchange       a chat as question (all turns before the reply) and reply (the last assistant turn)
is_chat        whether a value looks like a chat
read_exchange  a chat to an `Exchange`, or `BadValue` with the reason
list_turns     the chat up to each reply that has a thought
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gsd_core.dataset.thoughts import split_thinking
from gsd_core.dataset.values import BadValue, check_text, to_plain

ROLE_KEYS = ("role", "from", "author", "speaker", "sender")
TEXT_KEYS = ("content", "value", "text", "message", "parts")
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts", "rationale")
ROLES = {
    "system": "System", "developer": "System",
    "user": "User", "human": "User", "prompter": "User", "question": "User", "instruction": "User",
    "assistant": "Assistant", "gpt": "Assistant", "model": "Assistant", "bot": "Assistant", "chatgpt": "Assistant",
    "chatbot": "Assistant", "ai": "Assistant", "chosen": "Assistant", "response": "Assistant", "answer": "Assistant",
    "reasoning": "Reasoning", "thinking": "Reasoning", "thought": "Reasoning", "thoughts": "Reasoning",
    "tool": "Tool", "function": "Tool", "observation": "Tool", "function_call": "Tool", "ipython": "Tool",
}  # fmt: skip
# Keys of an object that holds a question and its reply. A step may have a "question" and an "answer" too.
PAIR_ROLES = ("system", "human", "user", "prompter", "assistant", "gpt", "bot", "chatgpt", "chatbot", "ai", "model")
TOOL_BLOCKS = (
    "tool_use", "tool_result", "tool_call", "server_tool_use", "web_search_tool_result", "function_call",
    "function_call_output", "redacted_thinking", "refusal",
)  # fmt: skip
# Blocks that only a model's answer has.
THOUGHT_BLOCKS = ("thinking", "redacted_thinking")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. ``role`` is System, User, Assistant, Reasoning or Tool; ``reasoning`` is "" without such a field."""

    role: str
    text: str
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A chat as one question and one reply.

    ``question`` joins the system prompt and all turns before the reply, with their roles where there are several.
    ``has_user`` says whether a user's turn is among them. ``trailing`` are the turns after the reply. ``extras`` has
    one dict a message with its other fields, and is empty where no message has any. ``is_earlier``: the last reply has
    no thought, so an earlier one was taken.
    """

    question: str
    reasoning: str
    reply: str
    has_user: bool
    trailing: tuple[str, ...] = ()
    extras: list[dict[str, Any]] = field(default_factory=list)
    is_earlier: bool = False


def _to_messages(value: Any) -> Any:
    """The messages of what programs store in their place: objects with a question and a reply each; an object of
    equally long lists; the choices, candidates, items or blocks of an interface's logged answer; other values
    unchanged."""
    if isinstance(value, list | tuple) and value and all(isinstance(each, dict) for each in value):
        pairs = [_split_pair(each) for each in value]
        if all(pairs):
            return [message for pair in pairs for message in pair]
        if isinstance(value[0].get("message"), dict) and any(key in value[0]["message"] for key in ROLE_KEYS):
            return [value[0]["message"]]
        content = value[0].get("content")
        if isinstance(content, dict) and "parts" in content and any(key in content for key in ROLE_KEYS):
            return [content]
        if any(each.get("type") == "reasoning" and "role" not in each for each in value):
            return [_item_to_message(each) for each in value]
        if any(each.get("type") in THOUGHT_BLOCKS for each in value) and not any("role" in each for each in value):
            return [{"role": "assistant", "content": value}]
    if not isinstance(value, dict) or not any(key in value for key in ROLE_KEYS):
        return value
    parts = list(value.values())
    if all(isinstance(part, list) for part in parts) and len({len(part) for part in parts}) == 1:
        return [dict(zip(value, message, strict=True)) for message in zip(*parts, strict=True)]
    return value


def _split_pair(exchange: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of ``{"human": …, "assistant": …}``; none of another object."""
    roles = [key for key in exchange if key.lower() in PAIR_ROLES and isinstance(exchange[key], str)]
    roles.sort(key=lambda key: PAIR_ROLES.index(key.lower()))
    if not {"User", "Assistant"} <= {ROLES[key.lower()] for key in roles} or any(key in exchange for key in ROLE_KEYS):
        return []
    return [{"role": key.lower(), "content": exchange[key]} for key in roles]


def _item_to_message(item: dict[str, Any]) -> dict[str, Any]:
    kind = item.get("type")
    if kind == "reasoning":
        return {"role": "reasoning", "content": [*(item.get("summary") or []), *(item.get("content") or [])]}
    if kind in ("function_call", "function_call_output"):
        return {"role": "tool", "content": str(item.get("output") or item.get("arguments") or "")}
    return item


def is_chat(value: Any) -> bool:
    """Whether `value` is a non-empty list of messages, each with a role and a text."""
    if not value or not isinstance(value, dict | list | tuple):
        return False
    if not isinstance(value, dict) and not isinstance(value[0], dict):
        return False  # a list of steps, at once
    value = _to_messages(value)
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(message, dict) and _key_of(message, ROLE_KEYS) for message in value)
        and any(_key_of(message, TEXT_KEYS) for message in value)
    )


def _key_of(message: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        if message.get(key) is not None:
            return key
    return None


def read_exchange(value: Any, name: str = "the chat") -> Exchange:
    """A chat to question and reply: the last assistant turn that has a thought, else the last one.

    Where only calls and results of tools stand between it and the last one, the last one's text is the reply. Raises
    `BadValue` where there is no assistant turn, a role is unknown, or content is neither text nor thinking.
    """
    turns, extras = _read_turns(value, name)
    targets = [index for index, turn in enumerate(turns) if turn.role == "Assistant"]
    if not targets:
        raise BadValue(f"{name} has no assistant turn")
    target = next((index for index in reversed(targets) if _has_thought(turns, index)), targets[-1])
    reply = turns[target].text
    if target != targets[-1] and all(turn.role in ("Assistant", "Tool") for turn in turns[target:]):
        reply = turns[targets[-1]].text or reply
    start = target
    while start and turns[start - 1].role == "Reasoning":
        start -= 1
    reasoning = "\n\n".join(
        part for part in [*(turn.text for turn in turns[start:target]), turns[target].reasoning] if part.strip()
    )
    earlier = [turn for turn in turns[:start] if turn.text.strip() or turn.reasoning.strip()]
    return Exchange(
        question=_join_turns(earlier),
        reasoning=reasoning,
        reply=reply,
        has_user=any(turn.role == "User" for turn in earlier),
        trailing=tuple(f"{turn.role}: {turn.text}" for turn in turns[target + 1 :]),
        extras=extras if any(extras) else [],
        is_earlier=target != targets[-1],
    )


def _read_turns(value: Any, name: str) -> tuple[list[Turn], list[dict[str, Any]]]:
    turns, extras = [], []
    for number, message in enumerate(_to_messages(value), start=1):
        turn, extra = _read_turn(message, f"message {number} of {name}")
        turns.append(turn)
        extras.append(extra)
    return turns, extras


def _has_thought(turns: list[Turn], index: int) -> bool:
    """Whether an assistant turn thinks: in a field of its own, in the turn before it, or between tags."""
    if turns[index].reasoning.strip() or (index and turns[index - 1].role == "Reasoning"):
        return True
    thinking = split_thinking(turns[index].text)
    return thinking is not None and bool(thinking.reasoning.strip())


def list_turns(value: Any, name: str = "the chat") -> list[list[Any]]:
    """The messages up to and with each assistant turn that has a thought. Raises `BadValue` as `read_exchange`."""
    turns, _ = _read_turns(value, name)
    messages = list(_to_messages(value))
    return [
        messages[: index + 1]
        for index, turn in enumerate(turns)
        if turn.role == "Assistant" and _has_thought(turns, index)
    ]


def _join_turns(turns: list[Turn]) -> str:
    texts = ["\n\n".join(part for part in (turn.reasoning, turn.text) if part) for turn in turns]
    roles = [turn.role for turn in turns]
    # A system prompt and one question need no roles in front.
    if [role for role in roles if role != "System"] in ([], ["User"]):
        return "\n\n".join(texts)
    return "\n\n".join(text if role == "System" else f"{role}: {text}" for role, text in zip(roles, texts, strict=True))


def _read_turn(message: Any, name: str) -> tuple[Turn, dict[str, Any]]:
    if not isinstance(message, dict):
        raise BadValue(f"{name} is not an object")
    role_key, text_key = _key_of(message, ROLE_KEYS), _key_of(message, TEXT_KEYS)
    if role_key is None:
        raise BadValue(f"{name} has no role")
    given = message[role_key]
    if isinstance(given, dict):  # {"author": {"role": "user"}}
        given = given.get("role", "")
    role = ROLES.get(str(given).strip().lower())
    if role is None:
        raise BadValue(f"{name} has the unknown role {str(given)[:40]!r}")
    if role == "Assistant" and message.get("channel") == "analysis":
        role = "Reasoning"
    tools: list[Any] = []
    text, reasoning = _read_content(message[text_key] if text_key else None, name, tools)
    used = {role_key, text_key}
    details = _read_details(message.get("reasoning_details"))
    if details and role == "Assistant":
        used.add("reasoning_details")
    for key in REASONING_KEYS:
        part = message.get(key)
        if isinstance(part, str) and part.strip() and role == "Assistant":
            reasoning = f"{reasoning}\n\n{part}" if reasoning else part
            used.add(key)
    if details and not reasoning:
        reasoning = details
    extra = {
        str(key): to_plain(part, name)
        for key, part in message.items()
        if key not in used and part not in (None, "", [], {})
    }
    if tools:
        extra["content_blocks"] = to_plain(tools, name)
    return Turn(role, check_text(text, name), check_text(reasoning, name)), extra


def _read_details(details: Any) -> str:
    """The text of a router's ``reasoning_details``; encrypted ones have none."""
    if not isinstance(details, list):
        return ""
    found = [each.get("text") or each.get("summary") for each in details if isinstance(each, dict)]
    return "\n\n".join(text for text in found if isinstance(text, str) and text.strip())


def _read_content(content: Any, name: str, tools: list[Any] | None = None) -> tuple[str, str]:
    """``(text, reasoning)`` of a message's content, which is a text, an object with parts or a list of blocks.

    ``tools`` gets the blocks of calls and results.
    """
    if content is None:
        return "", ""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, dict):
        content = content["parts"] if isinstance(content.get("parts"), list) else [content]
    if not isinstance(content, list | tuple):
        raise BadValue(f"{name} has content that is neither text nor a list of blocks")
    texts: list[str] = []
    thoughts: list[str] = []
    for block in content:
        if isinstance(block, str):
            texts.append(block)
            continue
        if not isinstance(block, dict):
            raise BadValue(f"{name} has a content block that is not an object")
        kind = str(block.get("type") or "text").lower()
        if kind in TOOL_BLOCKS or "functionCall" in block or "functionResponse" in block:
            if tools is not None:
                tools.append(block)
        elif kind in ("thinking", "reasoning", "thought") or block.get("thought") is True:
            thoughts.append(_block_text(block, ("thinking", "reasoning", "text", "content", "summary"), name))
        elif kind in ("text", "input_text", "output_text", "summary_text", "reasoning_text"):
            texts.append(_block_text(block, ("text", "content", "value"), name))
        else:
            raise BadValue(f"{name} has a content block of type {kind[:40]!r}, which is not text")
    return "\n\n".join(texts), "\n\n".join(thoughts)


def _block_text(block: dict[str, Any], keys: tuple[str, ...], name: str) -> str:
    for key in keys:
        part = block.get(key)
        if isinstance(part, str):
            return part
        if isinstance(part, list) and part:
            return "\n\n".join(text for text in _read_content(part, name) if text)
    raise BadValue(f"{name} has a content block without text")
