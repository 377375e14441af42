import errno
import io
import json
import os
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from scripts.cli import BadInput
from scripts.sources import Record, Reject, content_id, read_source

POSTS = [
    {"id": "a", "text": "Know SQL.\nAnd “R”.", "title": "Analyst"},
    {"id": "b", "text": 'Say "Python", please', "title": "Engineer"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows), encoding="utf-8")
        case ".csv":
            lines = [[*rows[0]], *([*row.values()] for row in rows)]
            quoted = (",".join('"' + value.replace('"', '""') + '"' for value in line) for line in lines)
            path.write_text("\ufeff" + "\r\n".join(quoted) + "\r\n", encoding="utf-8", newline="")
        case ".parquet":
            parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_the_same_posts_from_each_format(tmp_path: Path, suffix: str) -> None:
    records = list(read_source(write(tmp_path / f"posts{suffix}", POSTS)))
    assert [(r.id, r.text, r.fields) for r in records if isinstance(r, Record)] == [
        (row["id"], row["text"], {"title": row["title"]}) for row in POSTS
    ]


def test_folder_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "one.txt").write_text("Excel", encoding="utf-8")
    (tmp_path / ".hidden.txt").write_text("no", encoding="utf-8")
    (tmp_path / "notes.docx").write_bytes(b"PK")
    write(tmp_path / "posts.csv", POSTS)
    assert [record.id for record in read_source(tmp_path) if isinstance(record, Record)] == ["a", "b", "sub/one.txt"]


def test_a_bad_file_of_a_folder_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,description\n1,x\n", encoding="utf-8")
    write(tmp_path / "b.jsonl", POSTS)
    reject, *records = read_source(tmp_path)
    assert isinstance(reject, Reject) and reject.place.endswith("a.csv") and "--text-column" in reject.what
    assert [record.id for record in records if isinstance(record, Record)] == ["a", "b"]


def test_nor_does_one_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.jsonl", POSTS)
    write(tmp_path / "b.jsonl", POSTS)
    open_path = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "a.jsonl":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open_path(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    reject, *records = read_source(tmp_path)
    assert isinstance(reject, Reject) and (reject.place, reject.what) == (
        str(tmp_path / "a.jsonl"),
        "Permission denied",
    )
    assert [record.id for record in records if isinstance(record, Record)] == ["a", "b"]


def test_damage_in_parquet_costs_the_row_group_it_is_in(tmp_path: Path) -> None:
    path = tmp_path / "posts.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(POSTS * 2), path, row_group_size=2)
    data = bytearray(path.read_bytes())
    # The first pages stand right behind the magic number.
    data[10:60] = bytes(50)
    path.write_bytes(data)
    reject, *records = read_source(path)
    assert isinstance(reject, Reject) and reject.place == f"{path}:1" and "damaged" in reject.what
    assert [r.place for r in records if isinstance(r, Record)] == [f"{path}:3", f"{path}:4"]


def test_bad_rows_are_said_where_they_stand_and_the_good_ones_come(tmp_path: Path) -> None:
    lines = [b'{"text": "good"}', b"{", b"[1]", b'{"text": 3}', b'{"text": " "}', b'{"text": "\xff"}']
    deep = b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"\n".join([*lines, deep, b'{"text": "\\ud800"}', b"", b'{"text": "good too"}']))
    found = list(read_source(path))
    assert [r.text for r in found if isinstance(r, Record)] == ["good", "good too"]
    assert [r.place for r in found if isinstance(r, Reject)] == [f"{path}:{line}" for line in (2, 3, 4, 5, 6, 7, 8)]


def test_csv_with_bad_lines(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_bytes(b'id,text\n1,"two\nlines"\n2,a,b\n3,"x"y\n4,caf\xe9\n5,fine\n')
    found = list(read_source(path))
    assert [(r.id, r.text) for r in found if isinstance(r, Record)] == [("1", "two\nlines"), ("5", "fine")]
    assert [r.place for r in found if isinstance(r, Reject)] == [f"{path}:{line}" for line in (4, 5, 6)]


def test_values_that_json_cannot_hold(tmp_path: Path) -> None:
    row = {"text": "Know R.", "posted": datetime(2024, 5, 1), "salary": float("nan"), "tags": [Decimal("1.5"), None]}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "posts.parquet")
    (tmp_path / "posts.jsonl").write_text('{"text": "Know R.", "salary": NaN}')
    one, other = read_source(tmp_path)
    assert isinstance(one, Record) and one.fields == {"salary": None}
    assert isinstance(other, Record)
    assert other.fields == {"posted": "2024-05-01 00:00:00", "salary": None, "tags": ["1.5", None]}


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_a_list_of_lines(tmp_path: Path, suffix: str) -> None:
    (record,) = read_source(write(tmp_path / f"posts{suffix}", [{"text": ["Know SQL.", "And R."]}]))
    assert isinstance(record, Record) and record.text == "Know SQL.\nAnd R."


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    path = write(tmp_path / "posts.parquet", POSTS * 1000)
    data = path.read_bytes()
    for start in range(0, len(data), len(data) // 100):
        path.write_bytes(data[:start] + bytes(8) + data[start + 8 :])
        try:
            assert all(isinstance(found, Record | Reject) for found in read_source(path))
        except BadInput as error:
            assert "no Parquet file" in str(error) or "no column" in str(error)


def test_no_id_is_the_hash_of_the_text(tmp_path: Path) -> None:
    (record,) = read_source(write(tmp_path / "posts.jsonl", [{"text": "Know SQL."}]))
    assert isinstance(record, Record) and record.id == content_id("Know SQL.")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(b'{"text": "Know R."}\n')

    monkeypatch.setattr(sys, "stdin", Input)
    assert [r.text for r in read_source(Path("-")) if isinstance(r, Record)] == ["Know R."]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("none.csv", None, "no such file"),
        ("posts.csv", b"id,description\n1,x\n", "'description'"),
        ("posts.json", b'{"text": "x"}', "no array"),
        ("posts.parquet", b"x", "no Parquet file"),
        ("posts.xlsx", b"x", "cannot read .xlsx"),
    ],
)
def test_what_cannot_be_read_at_all(tmp_path: Path, name: str, content: bytes | None, what: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=what):
        list(read_source(tmp_path / name))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), max_size=5), st.data())
def test_any_bytes_lose_no_good_row(tmp_path_factory: pytest.TempPathFactory, junk: list[bytes], data: Any) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "posts.jsonl"
    lines = [line.replace(b"\n", b" ") for line in junk]
    place = data.draw(st.integers(0, len(lines)))
    lines.insert(place, b'{"id": "mine", "text": "Know SQL."}')
    path.write_bytes(b"\n".join(lines))
    assert any(isinstance(r, Record) and r.id == "mine" for r in read_source(path))
