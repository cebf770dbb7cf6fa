"""Rows of delimited text: CSV and TSV in any dialect.

DELIMITERS      the delimiters that are tried, with their names
Dialect         delimiter and quoting of a file
Table           an opened table: its dialect, columns, encoding, notes, rows
open_table      finds encoding, dialect and header of a file
detect_dialect  the dialect that gives the most regular rows
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from gsd_core.dataset.json_rows import Row
from gsd_core.dataset.streams import Container, detect_encoding, has_suffix, wide_encoding
from gsd_core.errors import UserError
from gsd_core.types import Rejection

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
MAX_NAME_CHARS = 80
MAX_NAME_WORDS = 6
MAX_SNIFFED_ROWS = 200
MOST_JUDGED = 256 << 20  # bytes; of a larger file the head shows how quotes are written
MAX_JUDGED_LINES = 100_000
ESCAPES = {
    "quote": 'quotes inside cells are written \\"; every other backslash was kept',
    "full": "quotes and backslashes inside cells are written with a backslash before them",
}
_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')
_LONE_BACKSLASH = re.compile(r'(?<!\\)(?:\\\\)*\\[^"\\\r\nN]')
_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)
_RULE_SIGNS = frozenset(" \t\r\n:|+=-")
_FOOTER = re.compile(r"\(\d+ rows?\)")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a table is written.

    ``escape``: "" where quotes inside a cell are doubled only; "quote" where a backslash may also stand before a quote
    and means nothing elsewhere; "full" where it escapes itself too, as databases write it. ``skips_blanks``: blanks
    after a delimiter belong to no cell.
    """

    delimiter: str
    quoted: bool = True
    escape: str = ""
    skips_blanks: bool = False

    def reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Cells of each record of `lines`, by the csv module."""
        if self.escape == "quote":
            lines = (_ESCAPED_QUOTE.sub(r'\1""', line) if '\\"' in line else line for line in lines)
        elif self.escape:
            edge = re.escape(self.delimiter)
            null = re.compile(rf"(^|{edge})\\N(?={edge}|\r?\n|$)")  # a whole cell "\N" is a database's NULL
            lines = (null.sub(r"\1", line) for line in lines)
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            escapechar="\\" if self.escape == "full" else None,
            skipinitialspace=self.skips_blanks,
        )

    def count_breaks(self, text: str) -> int:
        """How many records of `text` break the rules of this dialect: text behind a closing quote, a quote in a bare
        cell."""
        inner = r'[^"\\]|\\.|""' if self.escape == "full" else r'[^"]|""'
        if self.escape == "quote":
            text = _ESCAPED_QUOTE.sub(r'\1""', text)
        blank = r"[ ]*" if self.skips_blanks else ""
        edge = re.escape(self.delimiter)
        cell = re.compile(rf'{blank}(?:"(?:{inner})*+"|[^"\r\n{edge}]*+)(?:(?P<more>{edge})|\r?\n|\r|\Z)', re.DOTALL)
        at = n_breaks = 0
        while at < len(text):
            found = cell.match(text, at)
            if found is None:
                n_breaks += 1
                at = text.find("\n", at) + 1 or len(text)
            else:
                at = found.end()
        return n_breaks


@dataclass(slots=True)
class Table:
    """A table that can be read once. ``n_skipped`` lines stand before the header. ``notes`` are sentences for a person
    about how it is read."""

    container: Container
    dialect: Dialect
    encoding: str
    errors: str
    columns: list[str]
    has_header: bool
    notes: list[str] = field(default_factory=list)
    n_skipped: int = 0
    is_drawn: bool = False  # with a rule below the header; its cells are padded
    has_edges: bool = False  # drawn with a bar at both ends of each line

    def iter_rows(self) -> Iterator[Row]:
        """``(number, record | Rejection)``; the header and blank lines do not count."""
        where = str(self.container.path)
        limit = self.container.limits.max_record_bytes
        csv.field_size_limit(limit)  # this setting is the process' own, so it is set before each table
        with self.container.open() as stream:
            text = io.TextIOWrapper(stream, self.encoding, errors=self.errors, newline="")
            lines = _Lines(itertools.islice(text, self.n_skipped, None), self.n_skipped)
            reader = self.dialect.reader(lines)
            number = 0
            skip_header = self.has_header
            while True:
                lines.start_record()
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"the text is not valid {self.encoding} at byte {error.start + 1}",
                        where,
                        "save it as UTF-8",
                    ) from None
                except csv.Error as error:
                    raise UserError(
                        f"a cell cannot be read ({error})",
                        f"{where} line {lines.first}",
                        f"look for a quote without its end; a cell may have {limit >> 20} Mi characters",
                    ) from None
                if not cells or _is_rule(cells):
                    continue
                if skip_header:
                    skip_header = False
                    continue
                number += 1
                yield number, self._to_record(number, cells, lines)

    def _to_record(self, number: int, cells: list[str], lines: _Lines) -> dict[str, str] | Rejection:
        if lines.is_at_end and self.dialect.quoted and lines.has_open_quote(self.dialect):
            return Rejection(
                number,
                f"a quote opened in the record that starts at line {lines.first} is never closed; "
                "the rest of the file was read as one cell",
            )
        if self.has_edges and not cells[0].strip() and not cells[-1].strip():
            cells = cells[1:-1]
        if len(cells) != len(self.columns):
            return Rejection(
                number,
                f"line {lines.first}: {len(cells)} cells where the table has {len(self.columns)} columns; "
                "a delimiter inside a cell needs quotes around the cell",
            )
        if self.is_drawn:
            cells = [cell.strip() for cell in cells]
        return dict(zip(self.columns, cells, strict=True))


def _is_rule(cells: list[str]) -> bool:
    """Whether a record is the line below a drawn table's header, or what a database's shell says below the table."""
    text = "".join(cells).strip()
    return _is_rule_text(text) or (len(cells) == 1 and bool(_FOOTER.fullmatch(text)))


def _is_rule_text(text: str) -> bool:
    return "--" in text and set(text) <= _RULE_SIGNS


class _Lines:
    """Lines of a stream with their count, and the raw lines of the current record."""

    def __init__(self, stream: Iterable[str], n_before: int = 0):
        self._lines = iter(stream)
        self._record: list[str] = []
        self.first = 1
        self._n_lines = n_before
        self.is_at_end = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except StopIteration:
            self.is_at_end = True
            raise
        self._n_lines += 1
        self._record.append(line)
        return line

    def start_record(self) -> None:
        self.first = self._n_lines + 1
        self._record = []

    def has_open_quote(self, dialect: Dialect) -> bool:
        """Whether the record ends inside quotes; used only where the stream ended within the record."""
        probe = [*self._record, '"' + dialect.delimiter + "probe\r\n"]
        # Inside quotes, a closing quote ends the cell; outside, the added line would be a record of its own.
        return len(list(dialect.reader(probe))) == 1


def open_table(container: Container) -> Table:
    """Find encoding, dialect and header of a delimited text file.

    Raises `UserError` where the head is no table. ``notes`` name an encoding other than UTF-8, a missing header and
    renamed columns.
    """
    encoding, errors = detect_encoding(container)
    limit = container.limits.max_record_bytes
    csv.field_size_limit(limit)
    lines = _head_lines(container, encoding, errors)
    usual = "\t" if has_suffix(container.path, ".tsv", ".tab") else ","
    named = _SEPARATOR.fullmatch(lines[0].lstrip("\ufeff")) if lines else None
    lines = lines[1:] if named else lines
    dialect = detect_dialect(lines, prefer=named[1] if named else usual)
    if named:
        dialect = replace(dialect, delimiter=named[1])
    if dialect.quoted:
        dialect = _detect_quoting(container, encoding, errors, dialect, int(bool(named)))
    where = str(container.path)
    try:
        header = next((cells for cells in dialect.reader(lines) if cells), [])
    except csv.Error:
        header = []
    if len(header) < 2:
        raise UserError(
            "no table was found: no comma, tab, semicolon or bar gives lines of equal cells",
            where,
            "give JSON Lines, or CSV with a header line",
        )
    table = Table(container, dialect, encoding, errors, header, _is_header(header), n_skipped=int(bool(named)))
    table.is_drawn = dialect.delimiter == "|" and any(map(_is_rule_text, lines[:4]))
    if table.is_drawn and len(header) > 3 and not header[0].strip() and not header[-1].strip():
        table.has_edges, header = True, header[1:-1]
    if dialect.escape:
        table.notes.append(ESCAPES[dialect.escape])
    if encoding not in ("utf-8", "utf-8-sig"):
        how = "by its byte order mark" if wide_encoding(container.head) else "guessed"
        table.notes.append(f"the text is not UTF-8; it was decoded as {encoding} ({how})")
    if table.has_header:
        table.columns = _unique_names(header, table.notes)
    else:
        table.columns = [f"column_{number}" for number in range(1, len(header) + 1)]
        table.notes.append("no header line was found; the columns are named column_1, column_2, …")
    if dialect.delimiter != usual:
        table.notes.append(f"the delimiter is a {DELIMITERS[dialect.delimiter]}")
    return table


def _head_lines(container: Container, encoding: str, errors: str) -> list[str]:
    """The first lines: whole ones, at least one, at most a few hundred KiB."""
    lines: list[str] = []
    n_chars = 0
    with container.open() as stream:
        text = io.TextIOWrapper(stream, encoding, errors=errors, newline="")
        try:
            while n_chars < 1 << 19 and (line := text.readline(container.limits.max_record_bytes)):
                lines.append(line)
                n_chars += len(line)
        except UnicodeError as error:
            raise UserError(f"the text is not valid {encoding}", str(container.path), "save it as UTF-8") from error
    return lines


def detect_dialect(lines: list[str], prefer: str = ",") -> Dialect:
    """The dialect that makes of `lines` the most regular table of at least two columns.

    Regularity is the share of records with as many cells as the first. Among equals the simplest quoting wins, then
    `prefer`, then the most columns.
    """
    best, best_score = Dialect(prefer), (-1.0, 0, 0, 0)
    for delimiter in DELIMITERS:
        for quoted, escape in ((True, ""), (True, "quote"), (False, "")):
            if escape and not any('\\"' in line for line in lines):
                continue
            dialect = Dialect(delimiter, quoted, escape)
            widths = _widths(dialect, lines)
            if not widths or widths[0] < 2:
                continue
            regular = Counter(widths)[widths[0]] / len(widths)
            plainness = 2 - bool(escape) - 2 * (not quoted)
            score = (round(regular, 2), plainness, int(delimiter == prefer), widths[0])
            if score > best_score:
                best, best_score = dialect, score
    return best


def _detect_quoting(container: Container, encoding: str, errors: str, dialect: Dialect, n_skipped: int) -> Dialect:
    """The dialect with the escapes and blanks that the whole file shows: those that break its rules least.

    Of equals the plainest wins. "full" needs a file in which no backslash stands before an ordinary letter.
    """
    with container.open() as stream:
        lines = itertools.islice(io.TextIOWrapper(stream, encoding, errors=errors, newline=""), n_skipped, None)
        is_small = container.path.stat().st_size <= MOST_JUDGED
        text = "".join(lines if is_small else itertools.islice(lines, MAX_JUDGED_LINES))
    escapes = [""]
    if '\\"' in text:
        escapes += ["quote"] if _LONE_BACKSLASH.search(text) else ["full", "quote"]
    blanks = [False, True] if re.search(rf'{re.escape(dialect.delimiter)} +"', text) else [False]
    tried = [Dialect(dialect.delimiter, True, escape, skips) for skips in blanks for escape in escapes]
    return min(tried, key=lambda each: each.count_breaks(text))


def _widths(dialect: Dialect, lines: list[str]) -> list[int]:
    """Number of cells of each record in the head, without the last one, which may be cut."""
    widths = []
    try:
        for cells in dialect.reader(lines):
            if cells:
                widths.append(len(cells))
            if len(widths) > MAX_SNIFFED_ROWS:
                break
    except csv.Error:
        pass
    return widths[:-1] if len(widths) > 2 else widths


def _is_header(cells: list[str]) -> bool:
    """Whether the first record names columns: its cells are short, few words each, distinct, and not numbers."""
    names = [cell.strip() for cell in cells]
    filled = [name for name in names if name]
    if not filled or len(set(filled)) < len(filled) // 2 + 1:
        return False
    if any(len(name) > MAX_NAME_CHARS or len(name.split()) > MAX_NAME_WORDS for name in filled):
        return False
    return not any(name.replace(".", "").replace("-", "").isdecimal() or name.endswith("?") for name in filled)


def _unique_names(header: list[str], notes: list[str]) -> list[str]:
    names: list[str] = []
    for number, cell in enumerate(header, start=1):
        name = base = cell.strip() or f"column_{number}"
        count = 1
        while name in names:
            count += 1
            name = f"{base}_{count}"
        if count > 1:
            notes.append(f"the column name {base!r} appears again; the later column is called {name!r}")
        names.append(name)
    return names
