"""Posts go to an editor and come back as they were."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts.markup import app, parse_text, render_text
from scripts.posts import Post
from tests.conftest import MARKED

FILE = """%%% acme-1
title: Data Engineer
country: US

We need {{Python|T}} 😀 and
{{data modelling|TECHNICAL}}.

%%% acme-2
title: Analyst

Be {{curious|S}}.
"""


def test_files_go_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "posts.txt").write_text(FILE, encoding="utf-8")
    run = CliRunner().invoke
    assert run(app, ["to-jsonl", str(tmp_path / "posts.txt"), str(tmp_path / "posts.jsonl")]).exit_code == 0
    first, second = map(json.loads, (tmp_path / "posts.jsonl").read_text().splitlines())
    assert first["id"] == "acme-1" and first["title"] == "Data Engineer" and first["country"] == "US"
    assert first["text"] == "We need Python 😀 and\ndata modelling."
    assert first["label"] == [[8, 14, "TECHNOLOGY"], [21, 35, "TECHNICAL"]]
    assert second["text"] == "Be curious."
    assert run(app, ["to-markup", str(tmp_path / "posts.jsonl"), str(tmp_path / "again.txt")]).exit_code == 0
    assert run(app, ["to-jsonl", str(tmp_path / "again.txt"), str(tmp_path / "again.jsonl")]).exit_code == 0
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "posts.jsonl").read_bytes()


@pytest.mark.parametrize("marked", MARKED)
def test_marks_go_there_and_back(marked: str) -> None:
    text, spans = parse_text(marked)
    assert "{" not in text
    assert render_text(Post(id="a", text=text, spans=spans)) == marked


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("Know {{SQL|T} now", "broken mark near"),
        ("Know {{SQL}} now", "broken mark near"),
        ("Know {{SQL|Q}} now", "unknown label"),
        ("Know {{ SQL|T}} now", "blank at an edge"),
    ],
)
def test_broken_marks_are_one_clear_line(tmp_path: Path, body: str, message: str) -> None:
    path = tmp_path / "posts.txt"
    path.write_text(f"\n%%% acme-1\ntitle: X\n\n{body}\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["to-jsonl", str(path), str(tmp_path / "out.jsonl")])
    assert result.exit_code == 1
    assert f"{path}:2: post acme-1: " in result.output and message in result.output
    assert not (tmp_path / "out.jsonl").exists()


def test_what_is_no_markup(tmp_path: Path) -> None:
    path = tmp_path / "posts.txt"
    path.write_text("plain text", encoding="utf-8")
    result = CliRunner().invoke(app, ["to-jsonl", str(path), str(tmp_path / "out.jsonl")])
    assert result.exit_code == 1 and "no post in the file" in result.output
    path.write_text("%%% a\nno colon\n\ntext", encoding="utf-8")
    result = CliRunner().invoke(app, ["to-jsonl", str(path), str(tmp_path / "out.jsonl")])
    assert result.exit_code == 1 and "is not 'key: value'" in result.output


def test_what_markup_has_no_room_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text(json.dumps({"id": "two words", "text": "a\r\n%%% b", "label": []}) + "\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["to-markup", str(path), str(tmp_path / "out.txt")])
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert not (tmp_path / "out.txt").exists()
