"""Which commands and methods there are: our own, and those of installed packages.

list_commands   every command, in the order of ``gsd --help``
list_methods    those that are methods
find_command    one by its name
list_pages      the methods' pages, in the order of the navigation
list_exports    what ``gsd export --what`` knows
list_problems   packages whose methods cannot be loaded, and why
load            what an import string ``module:name`` names

Our own entries are the modules of ``gsd_core.methods``; another package declares its own under the entry point group
``gsd.methods``, each naming a ``Command`` or ``Method``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from functools import cache
from typing import Any

from gsd_core.errors import UserError
from gsd_core.registry.method import Command, Export, Method, Page

GROUP = "gsd.methods"


def load(name: str) -> Any:
    """The object that ``module:name`` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def _read() -> tuple[dict[str, Command], dict[str, str]]:
    """Name → command, and package → why its methods cannot be loaded."""
    room = importlib.import_module("gsd_core.methods")  # by name: the room of entries stands on this one

    found: list[Command] = []
    for each in pkgutil.iter_modules(room.__path__):
        module = importlib.import_module(f"{room.__name__}.{each.name}")
        found += [value for value in vars(module).values() if isinstance(value, Command)]
    commands = {each.name: each for each in sorted(found, key=lambda each: each.order)}
    problems: dict[str, str] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            command = entry.load()
            if not isinstance(command, Command):
                raise TypeError(f"{entry.value} is no Command")
            if command.name in commands:
                raise ValueError(f"there is a command {command.name!r} already")
        except Exception as error:  # whatever is wrong with a package of others, ours must go on
            problems[entry.value] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        else:
            commands[command.name] = command
    return commands, problems


def list_commands() -> list[Command]:
    """Every command, in the order of ``gsd --help``; those of other packages come last."""
    return list(_read()[0].values())


def list_problems() -> dict[str, str]:
    """Entry point → why it cannot be loaded."""
    return dict(_read()[1])


def find_command(name: str) -> Command:
    """The command of that name. Raises ``UserError`` where there is none."""
    found = _read()[0].get(name)
    if found is None:
        raise UserError(f"unknown command {name!r}", "gsd", "gsd --help lists them")
    return found


def list_methods() -> list[Method]:
    """The commands that are methods."""
    return [each for each in list_commands() if isinstance(each, Method)]


def list_pages() -> list[Page]:
    """The methods' pages, in the order of the navigation."""
    return sorted((each.page for each in list_methods() if each.page), key=lambda page: page.order)


def list_exports() -> dict[str, tuple[Method, Export]]:
    """Name → the method that it belongs to, and how it is made."""
    return {export.name: (method, export) for method in list_methods() for export in method.exports}
