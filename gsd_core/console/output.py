"""Output of commands: text for a person, values for JSON.

SHOWN_ROWS          how many rows of a long list are printed
compute_json_value  numpy, pandas, paths, NaN → plain JSON values (NaN and infinities become null)
format_json         any value → its JSON text on one line
format_table        rows of cells → one aligned text table
format_count        12345.6 → "12,346"
format_seconds      3725 → "1 h 02 min"
format_bytes        2_500_000 → "2.4 MiB"
format_text         text on one line, cut, without control characters
"""

from __future__ import annotations

import io
import json
import math
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

SHOWN_ROWS = 20  # --json has the whole list


def compute_json_value(value: Any) -> Any:
    """``value`` as plain JSON values: NaN and infinities become None, arrays become lists, the rest becomes text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): compute_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [compute_json_value(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return compute_json_value(asdict(value))
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy here
        return compute_json_value(value.tolist())
    if hasattr(value, "isoformat"):
        return None if value != value else value.isoformat()  # pandas' NaT is unequal to itself
    if type(value).__name__ == "NAType":
        return None
    return str(value)


def format_json(value: Any, is_ascii: bool = True) -> str:
    """``compute_json_value`` as JSON text on one line; ``is_ascii`` escapes all other characters."""
    return json.dumps(compute_json_value(value), allow_nan=False, ensure_ascii=is_ascii)


def format_text(text: object, width: int = 60) -> str:
    """``text`` on one line of at most ``width`` characters, without control characters."""
    line = " ".join(str(text).split())
    line = "".join(char if unicodedata.category(char)[0] != "C" else "·" for char in line)
    return line if len(line) <= width else line[: width - 1] + "…"


def format_count(number: float) -> str:
    """A count with thousands separators; small fractions keep three digits."""
    if isinstance(number, float) and (not math.isfinite(number) or 0 < abs(number) < 10):
        return f"{number:.3g}"
    return f"{round(number):,}"


def format_seconds(seconds: float) -> str:
    """A duration, for example ``1 h 02 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def format_bytes(n_bytes: float) -> str:
    """A size in binary units."""
    size, units = float(n_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.0f} B" if units[0] == "B" else f"{size:.1f} {units[0]}"


def format_table(columns: Sequence[str], rows: Sequence[Sequence[object]], wide: str | None = None) -> str:
    """One aligned table, numbers to the right. The column named ``wide`` is cut to the remaining width.

    Markup in cells is printed as text.
    """
    import rich.box
    import rich.console
    import rich.table
    import rich.text

    width = max(60, shutil.get_terminal_size((110, 24)).columns)
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    texts = [[rich.text.Text(_format_cell(cell)) for cell in row] for row in rows]
    taken = 3 * len(columns)
    for position, name in enumerate(columns):
        is_number = bool(rows) and all(isinstance(row[position], int | float | None) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
        if name != wide:
            taken += max([len(name), *(row[position].cell_len for row in texts)])
    for row in texts:
        for name, text in zip(columns, row, strict=True):
            if name == wide:
                text.truncate(max(20, width - taken), overflow="ellipsis")
        table.add_row(*row)
    buffer = io.StringIO()
    console = rich.console.Console(file=buffer, width=width, color_system=None, force_terminal=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip("\n").splitlines())


def _format_cell(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.3f}" if math.isfinite(cell) else "-"
    return format_text(cell, 400)
