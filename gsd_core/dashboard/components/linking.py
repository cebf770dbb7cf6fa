"""One module for the browser, from a file of JavaScript and the files that it imports.

link_modules   the text of that module
"""

from __future__ import annotations

import re
from pathlib import Path

_IMPORT = re.compile(r'^import \{([^}]+)\} from "(\.\.?/[^"]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:(?:async )?function|class|const) (\w+))", re.MULTILINE)
_COMMENT = re.compile(r"^ *//.*\n", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*|\bimport\s*[.(].*", re.MULTILINE)


def link_modules(entry: Path) -> str:
    """A module that exports what ``entry`` exports, and imports nothing (ours).

    Each imported file becomes a function of its own. It runs once, before the files that import it, and returns what it
    exports. The entry follows, and takes its imports from there. Understood are ``import { a } from "./file.js";`` and
    ``export`` before a function, a class or a const, both at the start of a line; ``export default`` in the entry only.
    Lines that are comments are left out, so a text of several lines must not have a line that begins with ``//``.

    Raises
    ------
    ValueError
        Where a file imports or exports in another way, imports what is not exported, or imports itself through others.
    """
    exports: dict[Path, list[str]] = {}  # in the order in which the files run
    scopes: list[str] = []

    def read(file: Path, importers: tuple[Path, ...]) -> str:
        def take(found: re.Match[str]) -> str:
            source = (file.parent / found[2]).resolve()
            if source in (file, *importers):
                raise ValueError(f"{file}: the import of {found[2]} is circular")
            if source not in exports:
                add(source, (file, *importers))
            unknown = {name.strip() for name in found[1].split(",")} - {"", *exports[source]}
            if unknown:
                raise ValueError(f"{file}: {found[2]} does not export {', '.join(sorted(unknown))}")
            return f"const {{{found[1]}}} = $file{list(exports).index(source)};"

        return _IMPORT.sub(take, _COMMENT.sub("", file.read_text(encoding="utf-8")))

    def add(file: Path, importers: tuple[Path, ...]) -> None:
        text = read(file, importers)
        exports[file] = _EXPORT.findall(text)
        body = _refuse_other(file, _EXPORT.sub("", text))
        names = ", ".join(exports[file])
        scopes.append(f"const $file{len(exports) - 1} = (() => {{\n{body}\nreturn {{ {names} }};\n}})();\n")

    text = read(entry.resolve(), ())
    _refuse_other(entry, _EXPORT.sub("", text).replace("export default function", "function", 1))
    return "".join(scopes) + text


def _refuse_other(file: Path, text: str) -> str:
    if found := _OTHER.search(text):
        raise ValueError(f"{file}: “{found[0]}” is not an import or export that can be linked")
    return text
