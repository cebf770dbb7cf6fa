"""Lists and objects that a table holds as text of Python, numpy or pandas.

looks_literal   whether a text begins and ends like a list, an object or an array
parse_literal   such a text → its value; ``BadValue`` with the cause

Only literals are read (``ast.literal_eval``): no name, call or operator is evaluated. Length and depth are limited.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from gsd_core.dataset.values import MAX_DEPTH, BadValue

MAX_CHARS = 4 << 20
# A string with its prefix, else one of the signs and words that matter.
_TOKEN = re.compile(
    r"""(?P<string>[rbuRBU]{0,2}(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))|(?P<array>\b(?:np\.|numpy\.)?array\()"""
    r"""|(?P<dtype>,\s*dtype=[\w.<>'"|]+\s*\))|(?P<missing>\b(?:nan|NaN|NaT|null|<NA>)\b|<NA>)"""
    r"""|(?P<word>\b(?:True|False|None|true|false)\b)|(?P<more>\.\.\.)|(?P<space>\s+)|(?P<other>.)""",
    re.DOTALL,
)
_ENTRIES = ("string", "missing", "word")


def looks_literal(text: str) -> bool:
    """Whether a text begins and ends like a list, an object or an array."""
    start, end = text.lstrip()[:6], text.rstrip()[-1:]
    return (start[:1] in ("[", "{", "(") and end in ("]", "}", ")")) or (start.startswith("array(") and end == ")")


def parse_literal(text: str) -> Any:
    """The value of one literal; arrays of numpy, with or without commas, become lists, missing values None.

    Raises `BadValue` for anything that is not a literal, is shortened by "...", or is too long or too deep.
    """
    if len(text) > MAX_CHARS:
        raise BadValue(f"a list as text has more than {MAX_CHARS >> 20} Mi characters")
    spelled = _to_python(text.strip())
    try:
        value = ast.literal_eval(spelled)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise BadValue(f"a list as text cannot be read ({reason})") from None
    return _to_lists(value)


def _to_python(text: str) -> str:
    """Python's own spelling: arrays as lists, commas between entries that only white space separates."""
    pieces: list[str] = []
    ends_entry = False  # whether the last piece can end an entry
    gap = False
    for match in _TOKEN.finditer(text):
        kind, said = match.lastgroup, match[0]
        if kind == "more":
            raise BadValue('a list as text is shortened by "...": the program that wrote it left entries out')
        if kind == "space":
            gap = True
            continue
        starts_entry = kind in _ENTRIES or kind == "array" or said in "[{(-+.0123456789"
        if gap and ends_entry and starts_entry:
            pieces.append(", ")
        elif gap:
            pieces.append(" ")
        gap = False
        ends_entry = kind in _ENTRIES or said[-1] in "]})0123456789."
        spelled = {"array": "(", "dtype": ")", "missing": "None", "word": said.capitalize()}
        pieces.append(spelled.get(kind or "", said))
    return "".join(pieces)


def _to_lists(value: Any, depth: int = 0) -> Any:
    """Tuples and sets as lists."""
    if depth > MAX_DEPTH:
        raise BadValue(f"a list as text is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        return {str(key): _to_lists(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_to_lists(each, depth + 1) for each in value]
    return value
