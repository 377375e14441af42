"""Posts are read whole, faults are all reported with file and line, and nothing is lost on the way back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.cli import BadInput
from scripts.posts import Unit, codepoint_offsets, parse_post, read_posts, to_row, utf16_offsets, write_jsonl
from tests.conftest import LABELS, ROOT

REAL = ROOT.parent / "shared" / "real" / "dev.jsonl"


def faults(path: Path, **options: Any) -> list[str]:
    with pytest.raises(BadInput) as error:
        read_posts([path], LABELS, **options)
    return [str(fault) for fault in error.value.faults]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"text": "Know SQL", "label": [[5, 8, "TOOL"]]},
            "unknown label (use one of TECHNOLOGY, TECHNICAL, BUS, SOFT)",
        ),
        ({"text": "Know SQL", "label": [[5, 9, "TECHNOLOGY"]]}, "offset outside the text (0 to 8)"),
        ({"text": "Know SQL", "label": [[-1, 3, "TECHNOLOGY"]]}, "offset outside the text"),
        ({"text": "Know SQL", "label": [[5, 5, "TECHNOLOGY"]]}, "start is not before its end"),
        ({"text": "Know SQL", "label": [[8, 5, "TECHNOLOGY"]]}, "start is not before its end"),
        ({"text": "Know SQL", "label": [[4, 8, "TECHNOLOGY"]]}, "blank at an edge (shorten it to [5, 8])"),
        ({"text": "Know SQL", "label": [[4, 5, "TECHNOLOGY"]]}, "blank at an edge (remove it)"),
        ({"text": "Know SQL", "label": [[0, 8, "SOFT"], [5, 8, "TECHNOLOGY"]]}, "spans overlap: 'Know SQL'"),
        ({"text": "Know SQL", "label": [[5, 8]]}, "is not [start, end, label]"),
        ({"text": "Know SQL", "label": [["5", 8, "SOFT"]]}, "is not [start, end, label]"),
        ({"text": "Know SQL"}, "no field 'label' with a list of spans"),
        ({"label": []}, "no field 'text' with a string"),
        ({"text": "  ", "label": []}, "the text is blank"),
        ({"text": "half \ud83d", "label": []}, "half of a surrogate pair"),
        ("{not json", "invalid JSON"),
        ("[1, 2]", "a list, not an object"),
    ],
)
def test_one_clear_line_for_each_fault(write_rows: Callable[..., Path], row: Any, message: str) -> None:
    path = write_rows({"text": "fine", "label": []}, row)
    (line,) = faults(path)
    assert line.startswith(f"{path}:2: ") and message in line


def test_all_faults_are_reported_at_once(write_rows: Callable[..., Path]) -> None:
    bad = {"id": "a", "text": "Know SQL", "label": [[5, 9, "TECHNOLOGY"], [0, 4, "X"], [9, 1, "SOFT"]]}
    path = write_rows(bad, "{", {"id": "a", "text": "twice", "label": []})
    lines = faults(path)
    assert len(lines) == 5
    assert f"{path}:3: id 'a' already stands in {path}:1" in lines[-1]


def test_duplicate_ids_across_files(write_rows: Callable[..., Path]) -> None:
    one = write_rows({"id": 7, "text": "one", "label": []}, name="a/one.jsonl")
    write_rows({"id": 7, "text": "two", "label": []}, name="a/two.jsonl")
    (line,) = faults(one.parent)
    assert f"already stands in {one}:1" in line


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (line,) = faults(tmp_path / "missing.jsonl")
    assert "no such file or folder" in line
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    (line,) = faults(empty)
    assert "the file is empty" in line
    utf16 = tmp_path / "utf16.jsonl"
    utf16.write_bytes('{"text": "é", "label": []}\n'.encode("latin-1"))
    (line,) = faults(utf16)
    assert line.startswith(f"{utf16}:1: byte 0xe9 is not UTF-8")


def test_both_forms_of_doccano(write_rows: Callable[..., Path]) -> None:
    entities = [{"id": 3, "label": "TECHNOLOGY", "start_offset": 5, "end_offset": 8}]
    path = write_rows(
        {"id": 1, "text": "Know SQL", "label": [[5, 8, "TECHNOLOGY"]], "title": "DBA"},
        {"id": 2, "text": "Know SQL", "entities": entities, "relations": [], "Comments": []},
        {"id": 3, "text": "Know SQL", "label": [[5, 8, "TECHNOLOGY"]], "job": {"id": "ours", "title": "DBA"}},
    )
    one, two, three = read_posts([path], LABELS)
    assert one.spans == two.spans == three.spans
    assert (one.id, three.id) == ("1", "ours")
    assert one.meta["title"] == three.meta["title"] == "DBA"


def test_spans_are_sorted_and_texts_kept_exactly(write_rows: Callable[..., Path]) -> None:
    text = " a\r\nSQL\u2028R \u00a0😀\u0301"
    path = write_rows({"text": text, "label": [[8, 9, "TECHNOLOGY"], [4, 7, "TECHNOLOGY"]]})
    (post,) = read_posts([path], LABELS)
    assert post.text == text
    assert [text[span.start : span.end] for span in post.spans] == ["SQL", "R"]


def test_utf16_offsets_become_code_points(write_rows: Callable[..., Path]) -> None:
    row = {"text": "😀 know SQL 👩‍🔬 and R", "label": [[8, 11, "TECHNOLOGY"], [22, 23, "TECHNOLOGY"]]}
    path = write_rows(row)
    (post,) = read_posts([path], LABELS, Unit.utf16)
    assert [post.text[span.start : span.end] for span in post.spans] == ["SQL", "R"]
    offsets = utf16_offsets(post.text)
    assert [[offsets[s.start], offsets[s.end], s.label] for s in post.spans] == row["label"]
    assert [codepoint_offsets(post.text)[offset] for offset in offsets] == list(range(len(post.text) + 1))
    _, wrong = parse_post({"text": "😀R", "label": [[1, 3, "TECHNOLOGY"]]}, LABELS, Unit.utf16)
    assert "inside a surrogate pair" in wrong[0][0]


def test_a_post_without_an_id_gets_one_that_stays(write_rows: Callable[..., Path]) -> None:
    row = {"text": "Know SQL", "label": []}
    (one,) = read_posts([write_rows(row)], LABELS)
    (two,) = read_posts([write_rows({"text": "other"} | {"label": []}, row)], LABELS)[1:]
    assert one.id == two.id != ""


def test_what_is_written_reads_the_same(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    row = {"id": "a", "title": "é 😀", "text": "Know SQL\u2028 now", "label": [[5, 8, "TECHNOLOGY"]]}
    posts = read_posts([write_rows(row)], LABELS)
    write_jsonl(tmp_path / "out.jsonl", map(to_row, posts))
    assert (tmp_path / "out.jsonl").read_bytes().isascii()
    assert json.loads((tmp_path / "out.jsonl").read_text()) == row


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text("old")

    def rows() -> Any:
        yield {"text": "new"}
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_jsonl(path, rows())
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["posts.jsonl"]


@pytest.mark.skipif(not REAL.exists(), reason="the real posts are not distributed")
def test_real_posts_are_valid() -> None:
    posts = read_posts([REAL], LABELS)
    assert len(posts) == 40 and sum(len(post.spans) for post in posts) == 1420
