"""All commands and methods: those of this package and of installed packages.

list_commands   every command, in the order of ``gsd --help``
list_methods    the commands that are methods
find_command    a command by its name
list_pages      the methods' pages, in the order of the navigation
list_exports    what ``gsd export --what`` can write
list_problems   entry points that cannot be loaded, and why
load            the object that an import string ``module:name`` names
GROUP           ``gsd.methods``, the entry point group of other packages

This package declares its commands in ``gsd_core.methods``. Another package names each ``Command`` or ``Method`` in the
entry point group.
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
    """Name → command, and entry point → why it cannot be loaded."""
    room = importlib.import_module("gsd_core.methods")  # by name: gsd_core.methods imports this package

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
                raise TypeError(f"{entry.value} is not a Command")
            if command.name in commands:
                raise ValueError(f"another command is already named {command.name!r}")
        except Exception as error:  # another package must not break gsd
            problems[entry.value] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        else:
            commands[command.name] = command
    return commands, problems


def list_commands() -> list[Command]:
    """Every command, in the order of ``gsd --help``; other packages come last."""
    return list(_read()[0].values())


def list_problems() -> dict[str, str]:
    """Entry point → why it cannot be loaded."""
    return dict(_read()[1])


def find_command(name: str) -> Command:
    """The command of that name. Raises ``UserError`` for an unknown name."""
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
    """Name of an export → its method, and the export."""
    return {export.name: (method, export) for method in list_methods() for export in method.exports}
