"""Flags of every command, made from the declared options.

make_parser      the parser of ``gsd``
parse_arguments  words → ``Parsed``; raises ``UserError``
Parsed           the command, its options and the global flags
ArgumentParser   argparse with errors on one line and no abbreviations

Global flags stand before or after the command. The options dataclass holds the defaults; the parser does not.
"""

from __future__ import annotations

import argparse
import difflib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from gsd_core import __version__
from gsd_core.errors import UserError
from gsd_core.registry.catalog import find_command, list_commands, list_exports
from gsd_core.registry.method import Command
from gsd_core.registry.options import Flag, iter_flags, make_flag
from gsd_core.tiers import ALIASES, TIERS

_ABSENT = argparse.SUPPRESS
_GROUPS = {"datasets": "read, list, show and remove data sets"}  # help of the first word of two-word commands


class Parsed(NamedTuple):
    """``workspace`` is None where it was not given."""

    command: Command
    options: Any
    workspace: str | None
    is_json: bool
    is_quiet: bool
    is_debug: bool


class ArgumentParser(argparse.ArgumentParser):
    """argparse that raises ``UserError`` and accepts no abbreviated flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise ``UserError`` with argparse's message."""
        unknown = re.match(r"argument (?:COMMAND|ACTION): invalid choice: '(.*?)'", message)
        if unknown:
            names = _command_names(self)
            near = difflib.get_close_matches(unknown[1], names, n=1)
            fix = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"unknown command {unknown[1]!r}", self.prog, f"{fix}commands are {', '.join(names)}")
        raise UserError(message, self.prog, f"{self.prog} --help shows every flag")


def parse_arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> Parsed:
    """The command of ``words`` with its options. Raises ``UserError`` for wrong words."""
    given = vars(parser.parse_args(list(words)))
    if "command" not in given:
        asked = given.get("parser", parser)
        raise UserError("no command given", asked.prog, f"give one of {', '.join(_command_names(asked))}")
    command = find_command(given["command"])
    names = [flag.name for flag in iter_flags(command.options)]
    options = command.options(**{name: given[f"option_{name}"] for name in names if f"option_{name}" in given})
    return Parsed(command, options, given["workspace"], given["json"], given["quiet"], given["debug"])


def make_parser() -> ArgumentParser:
    """The parser of ``gsd``."""
    parser = ArgumentParser(
        prog="gsd",
        description="Span-level gradients of chain-of-thought fine-tuning: capture, map, compare.",
        epilog="exit: 0 done, 1 internal failure, 2 your input, 130 interrupted (finished work is kept)",
    )
    parser.add_argument("--version", action="version", version=f"gsd {__version__}")
    _add_global_flags(parser, is_root=True)
    groups = {"": parser.add_subparsers(metavar="COMMAND", parser_class=ArgumentParser)}
    for command in list_commands():
        first, _, name = command.name.rpartition(" ")
        if first not in groups:
            group = _add_command(groups[""], first, _GROUPS.get(first, first))
            group.set_defaults(parser=group)  # alone it prints its commands
            groups[first] = group.add_subparsers(metavar="ACTION", parser_class=ArgumentParser)
        added = _add_command(groups[first], name, command.help)
        added.epilog = command.notes or None
        added.set_defaults(command=command.name)
        for flag in iter_flags(command.options):
            _add_flag(added, flag)
    return parser


def _add_command(commands: Any, name: str, help_text: str) -> ArgumentParser:
    command: ArgumentParser = commands.add_parser(
        name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}."
    )
    _add_global_flags(command, is_root=False)
    return command


def _add_flag(parser: ArgumentParser, flag: Flag) -> None:
    told: dict[str, Any] = {"dest": f"option_{flag.name}", "default": _ABSENT, "help": _describe(flag)}
    if flag.kind is bool:
        parser.add_argument(make_flag(flag.name), action="store_true", **told)
        return
    if flag.is_list:
        told["nargs"] = "+"
    choices = _CHOICES[flag.check]() if flag.check in _CHOICES else flag.choices
    told |= {"choices": choices} if choices else {"type": _CHECKS.get(flag.check, flag.kind)}
    if flag.metavar or not choices:
        told["metavar"] = flag.metavar or flag.name.upper()
    if flag.is_positional:
        parser.add_argument(**{**told, "default": None})
    else:
        parser.add_argument(make_flag(flag.name), required=flag.is_needed, **told)


def _describe(flag: Flag) -> str:
    """The option's docstring in argparse's form, with the default unless the docstring has it."""
    text = flag.help.removesuffix(".").replace("%", "%%")
    is_told = "default" in text.lower() or flag.is_needed
    if is_told or flag.kind is bool or flag.default in (None, "", []):
        return text
    value = " ".join(map(str, flag.default)) if flag.is_list else str(flag.default)
    return f"{text} (default {value.replace('%', '%%')})"


def _add_global_flags(parser: argparse.ArgumentParser, is_root: bool) -> None:
    # A default in a sub-parser would overwrite a flag that was given before the command.
    group = parser.add_argument_group("everywhere")
    group.add_argument(
        "--workspace",
        metavar="DIR",
        default=None if is_root else _ABSENT,
        help="default: $GSD_WORKSPACE, else ./gsd-workspace",
    )
    for flag, text in (
        ("--json", "print exactly one JSON object"),
        ("--quiet", "show no progress"),
        ("--debug", "show tracebacks"),
    ):
        group.add_argument(flag, action="store_true", default=False if is_root else _ABSENT, help=text)


def _command_names(parser: argparse.ArgumentParser) -> list[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return list(action.choices)
    return []


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def _count(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _port(text: str) -> int:
    number = _positive(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{text} is above 65535")
    return number


def _window(text: str) -> str:
    if text != "all" and not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither all nor a whole number from 0")
    return text


_CHOICES: dict[str, Callable[[], tuple[str, ...]]] = {
    "export": lambda: tuple(list_exports()),
    "tier": lambda: (*TIERS, *ALIASES),
}
_CHECKS: dict[str, Callable[[str], Any]] = {
    "positive": _positive,
    "count": _count,
    "above zero": _above_zero,
    "port": _port,
    "window": _window,
}
