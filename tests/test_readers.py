"""Every format that people bring is read, and hostile files are refused or lose only their bad rows.

Written as invariants: the same records give the same samples in every format; a bad row costs itself alone and is
named; what cannot be read at all is one `UserError` line; nothing is decoded in silence.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gsd_core.dataset.load import Choices, load_dataset, preview_dataset
from gsd_core.dataset.readers import Limits, iter_rows
from gsd_core.errors import UserError
from gsd_core.types import Rejection

RECORDS = [
    {
        "id": "eggs",
        "question": "Janet’s ducks lay 16 eggs; she eats 3, bakes with 4. How many are left?",
        "reasoning": 'She uses 3 + 4 = 7 eggs, "every day".\nSo 16 - 7 = 9 are left.',
        "answer": "9",
        "topic": "farm",
    },
    {
        "id": "trains",
        "question": "A train runs 60 km/h for 2 h. How far?",
        "reasoning": "Distance is speed × time, 60 × 2 = 120 km; done.",
        "answer": "120",
        "topic": "travel",
    },
    {
        "id": "coins",
        "question": "Tom has 3 coins and finds 4. How many, then?",
        "reasoning": "Add them: 3 + 4 = 7.",
        "answer": "7",
        "topic": "money",
    },
]
NAMES = list(RECORDS[0])


def lines(records=RECORDS) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def table(delimiter: str = ",", newline: str = "\r\n") -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=newline)
    writer.writerow(NAMES)
    writer.writerows(record.values() for record in RECORDS)
    return text.getvalue()


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(RECORDS), sink)
    return sink.getvalue()


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


FORMATS = {
    "lines.jsonl": ("jsonl", lines().encode()),
    "crlf.jsonl": ("jsonl", lines().replace("\n", "\r\n").encode()),
    "bom.jsonl": ("jsonl", codecs.BOM_UTF8 + lines().encode()),
    "no-name": ("jsonl", lines().encode()),
    "wide.jsonl": ("jsonl", lines().encode("utf-16")),
    "wide-without-mark.jsonl": ("jsonl", lines().encode("utf-16-le")),
    "old-line-ends.jsonl": ("jsonl", lines().replace("\n", "\r").encode()),
    "commas.jsonl": ("jsonl", lines().replace("}\n", "},\n").encode()),
    "encoded-twice.jsonl": ("jsonl", "".join(f"{json.dumps(json.dumps(r))}\n" for r in RECORDS).encode()),
    "events.jsonl": ("jsonl", "".join(f"data: {json.dumps(r)}\n\n" for r in RECORDS).encode()),
    "batches.jsonl": ("jsonl", f"{json.dumps(RECORDS[:2])}\n{json.dumps(RECORDS[2:])}\n".encode()),
    "python.jsonl": ("jsonl", "".join(f"{r!r}\n" for r in RECORDS).encode()),
    "array.json": ("json", json.dumps(RECORDS, indent=2).encode()),
    "one-line-array.jsonl": ("json", json.dumps(RECORDS).encode()),
    "columns.json": ("json", json.dumps({name: [r[name] for r in RECORDS] for name in NAMES}).encode()),
    "pandas.json": (
        "json",
        json.dumps({name: {str(i): r[name] for i, r in enumerate(RECORDS)} for name in NAMES}).encode(),
    ),
    "pandas-split.json": (
        "json",
        json.dumps({"columns": NAMES, "index": [0, 1, 2], "data": [list(r.values()) for r in RECORDS]}).encode(),
    ),
    "wrapped.json": ("json", json.dumps({"version": 1, "data": RECORDS}).encode()),
    "concatenated.json": ("json", "\n".join(json.dumps(r, indent=1) for r in RECORDS).encode()),
    "comma.csv": ("csv", table().encode()),
    "unix.csv": ("csv", table(newline="\n").encode()),
    "semicolon.csv": ("csv", table(";").encode()),
    "bar.txt": ("csv", table("|").encode()),
    "tab.tsv": ("tsv", table("\t").encode()),
    "bom.csv": ("csv", codecs.BOM_UTF8 + table().encode()),
    "excel-unicode.csv": ("tsv", table("\t").encode("utf-16")),
    "table.parquet": ("parquet", parquet()),
    "lines.jsonl.gz": ("jsonl+gz", gzip.compress(lines().encode())),
    "lines.jsonl.zst": ("jsonl+zst", zstd(lines().encode())),
    "comma.csv.gz": ("csv+gz", gzip.compress(table().encode())),
    "array.json.zst": ("json+zst", zstd(json.dumps(RECORDS).encode())),
    "table.parquet.gz": ("parquet+gz", gzip.compress(parquet())),
}


@pytest.mark.parametrize("name", FORMATS)
def test_same_records_give_same_samples_in_every_format(tmp_path: Path, name: str) -> None:
    kind, data = FORMATS[name]
    (tmp_path / name).write_bytes(data)
    loaded = load_dataset(tmp_path / name)
    assert loaded.format == kind
    assert not loaded.rejected
    got = [
        {
            "id": s.id,
            "question": s.question,
            "reasoning": s.reasoning.replace("\r\n", "\n"),
            "answer": s.answer,
            "topic": s.meta["topic"],
        }
        for s in loaded.samples
    ]
    assert got == RECORDS, f"{name}: a cell was cut, re-encoded or put into another column"


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r"), min_size=1).filter(
    lambda text: text.strip() and not text.startswith(("[", "{"))
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5), delimiter=st.sampled_from(",;\t|"))
def test_any_text_survives_a_table(tmp_path: Path, rows, delimiter: str) -> None:
    # Quotes, delimiters, line breaks of every kind inside cells must come back as they went in.
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("question", "reasoning", "answer"), *rows])
    path = tmp_path / "rows.csv"
    path.write_bytes(text.getvalue().encode())
    read = [row for _, row in iter_rows(path)]
    assert [tuple(row.values()) for row in read] == rows, "the dialect was misjudged or line ends were translated"


VALUE = st.one_of(
    st.text(),
    st.integers(),
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False),
    st.lists(st.text(max_size=3)),
)


@QUICK
@given(rows=st.lists(st.dictionaries(st.text(max_size=5), VALUE), min_size=2, max_size=6))
def test_any_record_survives_json_lines(tmp_path: Path, rows) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    # At least two, because a lone object may be a document with records inside.
    assert [row for _, row in iter_rows(path)] == rows


@QUICK
@given(
    data=st.binary(min_size=1, max_size=400),
    name=st.sampled_from(["x.jsonl", "x.json", "x.csv", "x.tsv", "x"]),
)
def test_any_bytes_give_rows_or_a_user_error(tmp_path: Path, data: bytes, name: str) -> None:
    # A traceback here is a hole: files come from strangers.
    path = tmp_path / name
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        preview_dataset(path)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("name", ["lines.jsonl.gz", "lines.jsonl.zst", "table.parquet", "table.parquet.gz"])
def test_a_cut_file_is_refused_whole(tmp_path: Path, name: str, cut: float) -> None:
    data = FORMATS[name][1]
    (tmp_path / name).write_bytes(data[: int(cut * len(data))])
    with pytest.raises(UserError, match="damaged or ends too early"):
        load_dataset(tmp_path / name)


def test_damage_behind_the_head_is_found_while_reading(tmp_path: Path) -> None:
    # The first 64 KiB are looked at when the file is opened; the damage lies behind them.
    many = lines([{**RECORDS[0], "id": str(n), "noise": hex(n**9)} for n in range(4000)]).encode()
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(many)[:-9])
    with pytest.raises(UserError, match="damaged or ends too early"):
        load_dataset(tmp_path / "x.jsonl.gz")


REFUSED = {
    "missing": (None, "no such file"),
    "empty.jsonl": (b"", "the file is empty"),
    "blank.csv": (b" \n\n", "white space"),
    "random.bin": (bytes(range(256)) * 20, "binary file"),
    "book.xlsx": (b"PK\x03\x04" + b"x" * 50, "Excel"),
    "weights.pkl": (b"\x80\x04\x95" + b"x" * 50, "pickle, which is never opened"),
    "broken.json": (b'[{"question": "a?"},\n{bad}]', "not valid JSON: .* line 2, column 2"),
    "empty.json": (b"[]", "no rows"),
    "header.csv": (b"question,reasoning\n", "no rows"),
    "prose.txt": (b"Once upon a time\nthere was a queen\n", "no table was found"),
    "text.parquet": (b"question", "not a Parquet file"),
    "latin.json": ('[{"question": "où?", "reasoning": "là"}]'.encode("latin-1"), "not valid utf-8 at byte"),
    "numbers.jsonl": (b"1\n2\n", "none of 2 rows can be used|no table was found"),
    "deep.json": (b"[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_one_line_naming_the_file(tmp_path: Path, name: str) -> None:
    data, told = REFUSED[name]
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=told) as caught:
        load_dataset(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.fix, "every refusal says what to do"


def test_who_has_no_columns_is_not_told_to_name_them(tmp_path: Path) -> None:
    broken, other = tmp_path / "broken.jsonl", tmp_path / "other.jsonl"
    broken.write_text('{"question": "x"\nnot json\n', encoding="utf-8")
    other.write_text('{"prompt_x": "1", "work_x": ""}\n', encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_dataset(broken)
    assert "--map" not in str(caught.value.fix)
    with pytest.raises(UserError) as caught:
        load_dataset(other)
    assert "--map" in str(caught.value.fix)


def test_directories_and_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="directory"):
        load_dataset(tmp_path)
    if Path("/dev/zero").exists():
        with pytest.raises(UserError, match="not a regular file"):
            load_dataset("/dev/zero")
    with pytest.raises(UserError, match=r"no such file|cannot be read"):
        load_dataset("a\x00b.jsonl")


GOOD = lines(RECORDS[:1]).strip()
BAD_LINES = {
    "broken json": ('{"question": ', "not valid JSON"),
    "not an object": ("[1, 2]", "a list, not an object"),
    "raw NUL": (GOOD.replace("eggs,", "eggs\x00,"), "Invalid control character"),
    "escaped NUL": (GOOD.replace("eggs,", "eggs\\u0000,"), "NUL character"),
    "half surrogate": (GOOD.replace("eggs,", "eggs\\ud83d,"), "half of a surrogate pair"),
    "bottomless": (GOOD[:-1] + ', "x": ' + "[" * 9000 + "]" * 9000 + "}", "nested too deeply"),
    "endless number": (GOOD[:-1] + ', "x": ' + "9" * 5000 + "}", "4300 digits"),
    "doubled key": (GOOD[:-1] + ', "answer": "8"}', "appears twice"),
    "no question": ('{"id": "q", "reasoning": "So it is."}', "question is empty"),
    "blank reasoning": ('{"id": "r", "question": "What?", "reasoning": " \\n"}', "reasoning is empty"),
}


@pytest.mark.parametrize("fault", BAD_LINES)
def test_a_bad_line_costs_itself_alone(tmp_path: Path, fault: str) -> None:
    bad, reason = BAD_LINES[fault]
    (tmp_path / "x.jsonl").write_text(f"{lines()}{bad}\n{GOOD}\n", encoding="utf-8")
    loaded = load_dataset(tmp_path / "x.jsonl")
    assert [s.id for s in loaded.samples] == ["eggs", "trains", "coins", "eggs~2"]
    assert [item.row for item in loaded.rejected] == [4]
    assert reason in loaded.rejected[0].reason
    with pytest.raises(UserError, match="row 4"):
        load_dataset(tmp_path / "x.jsonl", strict=True)


def test_a_line_that_is_not_utf8_names_its_byte(tmp_path: Path) -> None:
    data = lines().encode() + GOOD.encode().replace(b"eggs;", b"\xe9ggs;")
    (tmp_path / "x.jsonl").write_bytes(data)
    (rejection,) = load_dataset(tmp_path / "x.jsonl").rejected
    assert rejection.row == 4
    assert "0xe9" in rejection.reason


def test_non_finite_numbers_do_not_reach_meta(tmp_path: Path) -> None:
    # JSON has neither; a stored NaN would make the whole meta unreadable for others.
    (tmp_path / "x.jsonl").write_text(GOOD[:-1] + ', "a": NaN, "b": -Infinity}\n' + GOOD)
    meta = load_dataset(tmp_path / "x.jsonl").samples[0].meta
    assert (meta["a"], meta["b"]) == (None, "-inf")
    json.dumps(meta, allow_nan=False)


def test_a_longer_line_than_allowed_is_rejected_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f"{GOOD}\n{json.dumps({'x': 'y' * 5000})}\n{GOOD}\n")
    rows = [row for _, row in iter_rows(path, limits=Limits(max_record_bytes=2000))]
    assert [isinstance(row, Rejection) for row in rows] == [False, True, False]


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_decompression_bomb_is_stopped(tmp_path: Path, pack) -> None:
    (tmp_path / "x.jsonl.gz").write_bytes(pack((GOOD + "\n").encode() * 20_000))
    limits = Limits(max_ratio=20, ratio_floor_bytes=1 << 20)
    with pytest.raises(UserError, match="decompression bomb"):
        list(iter_rows(tmp_path / "x.jsonl.gz", limits=limits))
    with pytest.raises(UserError, match="decompression bomb"):
        list(iter_rows(tmp_path / "x.jsonl.gz", limits=Limits(max_bytes=1 << 20)))


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(FORMATS["array.json"][1])
    with pytest.raises(UserError, match="more than the limit"):
        iter_rows(tmp_path / "x.json", limits=Limits(max_bytes=100))
    with pytest.raises(UserError, match="write it as JSON Lines"):
        list(iter_rows(tmp_path / "x.json", limits=Limits(max_document_bytes=100)))


def test_rows_of_another_width_are_rejected_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(table(newline="\n") + "a,b\n\na,b,c,d,e,f\n", encoding="utf-8")
    loaded = load_dataset(tmp_path / "x.csv")
    assert len(loaded.samples) == 3
    assert [(item.row, item.reason.split(":")[0]) for item in loaded.rejected] == [
        (4, "line 6"),
        (5, "line 8"),
    ]


def test_an_unclosed_quote_is_told_instead_of_swallowing_rows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(table() + 'x,What?,"Two is\ny,What?,It is.,1,z\n', encoding="utf-8")
    (rejection,) = load_dataset(tmp_path / "x.csv").rejected
    assert rejection.row == 4
    assert "never closed" in rejection.reason


def test_backslash_escapes_and_stray_quotes_are_understood(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('question,reasoning\n"Say \\"hi, you\\"?","So \\"a\\", b."\n' * 1)
    (sample,) = load_dataset(tmp_path / "x.csv").samples
    assert (sample.question, sample.reasoning) == ('Say "hi, you"?', 'So "a", b.')
    (tmp_path / "y.tsv").write_text('question\treasoning\nWhy "so"?\tHe said "no" twice.\nHow?\t6" and 7" add.\n')
    assert [s.reasoning for s in load_dataset(tmp_path / "y.tsv").samples] == [
        'He said "no" twice.',
        '6" and 7" add.',
    ]


FRENCH = "question,reasoning,answer\n" + "Où est l'élève?,Il était à côté de la forêt.,là\n" * 4


def test_an_older_encoding_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(FRENCH.encode("latin-1"))
    loaded = load_dataset(tmp_path / "x.csv")
    assert loaded.samples[0].reasoning == "Il était à côté de la forêt."
    assert loaded.fields["encoding"] == "cp1252"
    assert any("decoded as cp1252" in note for note in loaded.notes)


def test_one_broken_byte_does_not_change_the_encoding_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(FRENCH.encode() + b"What?,It is \xe9.,x\n")
    loaded = load_dataset(tmp_path / "x.csv")
    assert loaded.samples[0].answer == "là"
    assert [item.row for item in loaded.rejected] == [5]
    assert "0xe9" in loaded.rejected[0].reason


def test_a_table_without_header_is_said_and_guessed_by_content(tmp_path: Path) -> None:
    row = "What do plants do with light?\t(D)\tPlants take light. Light gives energy. So plants gain energy.\n"
    (tmp_path / "x.tsv").write_text(row * 3)
    loaded = load_dataset(tmp_path / "x.tsv")
    assert [loaded.fields[role] for role in ("question", "reasoning", "answer")] == [
        "column_1",
        "column_3",
        "column_2",
    ]
    assert any("no header" in note for note in loaded.notes)
    assert len(loaded.samples) == 3, "the first row was taken for a header"


def test_repeated_column_names_keep_both_columns(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("question,reasoning,note,note\nWhat?,It is so.,a,b\n")
    loaded = load_dataset(tmp_path / "x.csv")
    assert loaded.samples[0].meta == {"note": "a", "note_2": "b"}
    assert any("appears again" in note for note in loaded.notes)


def test_splits_of_a_document_are_joined_and_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"train": RECORDS[:2], "test": RECORDS[2:]}))
    loaded = load_dataset(tmp_path / "x.json")
    assert [s.meta["split"] for s in loaded.samples] == ["train", "train", "test"]
    assert any("were joined" in note for note in loaded.notes)


CHATS = [
    [
        {"role": "user", "content": f"What is {n} and {n}?"},
        {"role": "assistant", "content": f"<think>Twice {n}.</think>{2 * n}"},
    ]
    for n in range(1, 4)
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lines.jsonl", "".join(f"{json.dumps(chat)}\n" for chat in CHATS)),
        ("list.json", json.dumps(CHATS)),
        ("wrapped.json", json.dumps({"conversations": [{"messages": chat} for chat in CHATS]})),
        ("keyed.json", json.dumps({"about": {"n": 3}, "examples": {str(n): {"chat": c} for n, c in enumerate(CHATS)}})),
    ],
)
def test_chats_without_names_of_columns_are_records(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = [(each.reasoning, each.answer) for each in load_dataset(tmp_path / name).samples]
    assert found == [(f"Twice {n}.", str(2 * n)) for n in range(1, 4)]


def test_a_lone_record_of_lists_is_not_taken_for_columns(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "It is so."}]
    (tmp_path / "x.json").write_text(json.dumps({"messages": chat, "tools": [1, 2]}))
    (sample,) = load_dataset(tmp_path / "x.json").samples
    assert (sample.question, sample.reasoning, sample.meta) == ("Why?", "It is so.", {"tools": [1, 2]})


def test_parquet_keeps_nested_values_and_dates(tmp_path: Path) -> None:
    import datetime

    rows = [
        {
            "question": "Q?",
            "steps": ["a b", "c"],
            "when": datetime.date(2024, 1, 2),
            "meta": {"k": 1},
            "n": 1.5,
        }
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    (sample,) = load_dataset(tmp_path / "x.parquet").samples
    assert sample.steps == ((0, 3), (4, 5))
    assert sample.meta == {"k": 1, "when": "2024-01-02", "n": 1.5}


def test_limit_head_progress_and_hash(tmp_path: Path) -> None:
    import hashlib

    many = lines([{**RECORDS[0], "id": str(n)} for n in range(2500)])
    path = tmp_path / "x.jsonl"
    path.write_text(many, encoding="utf-8")
    calls: list[int] = []
    loaded = load_dataset(path, on_progress=calls.append)
    assert calls == [1000, 2000, 2500]
    assert loaded.data_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(load_dataset(path, limit=7).samples) == 7
    with pytest.raises(UserError, match="--limit"):
        load_dataset(path, limit=0)
    preview = preview_dataset(path, head=5)
    assert (len(preview.samples), preview.data_hash) == (5, loaded.data_hash)


def test_a_column_of_no_concern_never_costs_a_row(tmp_path: Path) -> None:
    deep = GOOD[:-1] + ', "x": ' + "[" * 70 + "]" * 70 + "}"
    (tmp_path / "x.jsonl").write_text(f"{deep}\n", encoding="utf-8")
    loaded = load_dataset(tmp_path / "x.jsonl")
    assert len(loaded.samples) == 1
    assert "x" not in loaded.samples[0].meta
    assert "column 'x' left out in 1 rows" in loaded.fields["split"]


def _shards(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        row = {"id": f"r{number}", "question": "How many?", "reasoning": f"So {number} and one.", "answer": str(number)}
        (folder / name).write_text(json.dumps(row) + "\n", encoding="utf-8")
    return folder


def test_a_folder_of_shards_is_one_data_set_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = _shards(tmp_path / "a", ["part10.jsonl", "part2.jsonl", "part1.jsonl"])
    (folder / "README.md").write_text("about")
    loaded = load_dataset(folder)
    assert [each.id for each in loaded.samples] == ["r2", "r1", "r0"]
    assert any("3 files" in note for note in loaded.notes)
    assert load_dataset(folder).data_hash == loaded.data_hash


def test_a_split_of_a_folder_is_chosen_and_the_others_are_named(tmp_path: Path) -> None:
    folder = _shards(tmp_path / "a" / "data", ["test-0.jsonl", "train-0.jsonl", "train-1.jsonl"]).parent
    loaded = load_dataset(folder)
    assert [each.id for each in loaded.samples] == ["r1", "r2"]
    assert any("--split chooses another: test" in note for note in loaded.notes)
    assert [each.id for each in load_dataset(folder, choices=Choices("test")).samples] == ["r0"]
    with pytest.raises(UserError, match="it has test, train"):
        load_dataset(folder, choices=Choices("dev"))
    _shards(tmp_path / "b", ["dev.jsonl", "test.jsonl"])
    with pytest.raises(UserError, match="--split"):
        load_dataset(tmp_path / "b")


def test_folders_that_are_no_data_set_are_refused(tmp_path: Path) -> None:
    _shards(tmp_path / "mixed", ["a.jsonl", "b.json"])
    with pytest.raises(UserError, match="several kinds"):
        load_dataset(tmp_path / "mixed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError):
        load_dataset(tmp_path / "empty")
    _shards(tmp_path / "dict", ["x.jsonl"])
    (tmp_path / "dict" / "dataset_dict.json").write_text('{"splits": ["../../etc"]}')
    with pytest.raises(UserError, match="does not name the splits"):
        load_dataset(tmp_path / "dict")


def test_a_split_of_a_document_is_chosen(tmp_path: Path) -> None:
    rows = [{"question": "How many?", "reasoning": "One and one.", "answer": "2"}]
    (tmp_path / "x.json").write_text(json.dumps({"data": {"train": rows * 2, "test": rows}}))
    assert len(load_dataset(tmp_path / "x.json").samples) == 3
    assert len(load_dataset(tmp_path / "x.json", choices=Choices("test")).samples) == 1
    with pytest.raises(UserError, match="it has train, test"):
        load_dataset(tmp_path / "x.json", choices=Choices("dev"))


def test_every_turn_with_a_thought_can_be_a_sample(tmp_path: Path) -> None:
    turns = [
        ("user", "One and one?"),
        ("assistant", "<think>One.\nTwo.</think>2"),
        ("user", "And three?"),
        ("assistant", "<think>Two and one.</think>3"),
        ("user", "Thanks"),
        ("assistant", "You are welcome."),
    ]
    messages = [{"role": role, "content": text} for role, text in turns]
    (tmp_path / "x.jsonl").write_text(json.dumps({"id": "c", "messages": messages}) + "\n")
    last = load_dataset(tmp_path / "x.jsonl")
    assert [(each.id, each.reasoning, each.answer) for each in last.samples] == [("c", "Two and one.", "3")]
    assert "thought of an earlier turn in 1 rows" in last.fields["split"]
    every = load_dataset(tmp_path / "x.jsonl", choices=Choices(turns="all"))
    assert [(each.id, each.reasoning, each.answer) for each in every.samples] == [
        ("c", "One.\nTwo.", "2"),
        ("c/2", "Two and one.", "3"),
    ]


ROW = 'Let "f" be $\\frac{1}{2}$, ok?', 'By "AM-GM", $x\\ge 1$,\nso \\boxed{1}.', "C:\\dir\\"


@pytest.mark.parametrize("way", ["doubled", "escaped", "quotes only"])
def test_latex_and_quotes_survive_every_way_of_escaping(tmp_path: Path, way: str) -> None:
    text = "question,reasoning,answer\n"
    for number in range(3):
        cells = [f"{cell} {number}" for cell in ROW]
        if way == "doubled":
            written = [cell.replace('"', '""') for cell in cells]
        elif way == "escaped":
            written = [cell.replace("\\", "\\\\").replace('"', '\\"') for cell in cells]
        else:
            written = [cell.replace('"', '\\"') for cell in cells]
        text += ",".join(f'"{cell}"' for cell in written) + "\n"
    (tmp_path / "x.csv").write_text(text, newline="")
    loaded = load_dataset(tmp_path / "x.csv")
    assert [(each.question, each.reasoning, each.answer) for each in loaded.samples] == [
        tuple(f"{cell} {number}" for cell in ROW) for number in range(3)
    ]


def test_null_of_a_database_is_empty(tmp_path: Path) -> None:
    text = 'question,reasoning,answer\n"A \\"b\\"?","One and two.",\\N\n"C?",\\N,"3"\n'
    (tmp_path / "x.csv").write_text(text)
    loaded = load_dataset(tmp_path / "x.csv")
    assert [(each.question, each.answer) for each in loaded.samples] == [('A "b"?', "")]
    assert "reasoning is empty" in loaded.rejected[0].reason


def test_every_guess_is_told_with_its_rows_and_an_example_and_can_be_undone(tmp_path: Path) -> None:
    rows = [{"question": "How many?", "response": f"<think>One and {n}.</think>So {n}."} for n in range(3)]
    rows.append({"question": "How many?", "response": "No thought here."})
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_dataset(tmp_path / "x.jsonl")
    assert loaded.guesses == [{"what": "<think>", "rows": 3, "row": 1, "example": "One and 0. → So 0."}]
    whole = load_dataset(tmp_path / "x.jsonl", choices=Choices(marks="ignore"))
    assert whole.guesses == []
    assert whole.samples[0].reasoning == rows[0]["response"]
