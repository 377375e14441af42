"""What was judged by hand can be measured again, and only what is still so counts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from spacy.language import Language
from typer.testing import CliRunner

from scripts.judgements import app, digest, leave_one_out
from scripts.skill_linker import Row

SKILLS = "skill,label,aliases\nMicrosoft Excel,TECHNOLOGY,Excel\n"
POST = {"id": "a", "text": "Excel, Lotus", "label": [[0, 5, "TECHNOLOGY"], [7, 12, "TECHNOLOGY"]]}


@pytest.fixture
def skills(tmp_path: Path) -> Path:
    path = tmp_path / "skills.csv"
    path.write_text(SKILLS, encoding="utf-8")
    return path


def test_links(write_rows: Callable[..., Path], skills: Path) -> None:
    judged = [
        {"post": "a", "start": 0, "end": 5, "verdict": "right", "answer": digest("Microsoft Excel")}
        | {"second": {"verdict": "wrong"}},
        {"post": "a", "start": 7, "end": 12, "verdict": "none", "answer": None, "second": {"verdict": "none"}},
    ]
    arguments = ["--posts", str(write_rows(POST)), "--skills", str(skills)]
    result = CliRunner().invoke(app, ["links", str(write_rows(*judged, name="judged.jsonl")), *arguments])
    assert result.exit_code == 0, result.output
    assert "precision 1.000, coverage 0.500 of 2 entities" in result.output
    assert "a second judge agrees on 0.500 (right / wrong 1)" in result.output
    skills.write_text(SKILLS.replace("Microsoft", "MS"), encoding="utf-8")
    result = CliRunner().invoke(app, ["links", str(write_rows(*judged, name="judged.jsonl")), *arguments])
    assert "changed 1" in result.output and "must be judged again" in result.output


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"post": "b", "start": 0, "end": 5, "verdict": "right", "answer": None}, "judged.jsonl:1: no post 'b'"),
        ({"post": "a", "start": 1, "end": 5, "verdict": "right", "answer": None}, "no entity [1, 5] in post a"),
        ("{", "judged.jsonl:1: invalid JSON"),
    ],
)
def test_other_posts_are_one_clear_line(
    write_rows: Callable[..., Path], skills: Path, row: dict[str, object] | str, says: str
) -> None:
    arguments = [str(write_rows(row, name="judged.jsonl")), "--posts", str(write_rows(POST)), "--skills", str(skills)]
    result = CliRunner().invoke(app, ["links", *arguments])
    assert result.exit_code == 1 and says in result.output and "Traceback" not in result.output


def test_context(write_rows: Callable[..., Path], trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "model")
    text = "Requirements:\nSQL\nNice to have:\nPython"
    judged = [
        {"post": "a", "start": 14, "end": 17, "requirement": "required", "section": "requirements"},
        {"post": "a", "start": 32, "end": 38, "requirement": "required", "section": "preferred"},
    ]
    arguments = [str(write_rows(*judged, name="judged.jsonl")), "--model", str(tmp_path / "model")]
    arguments += ["--posts", str(write_rows(json.dumps({"id": "a", "text": text})))]
    result = CliRunner().invoke(app, ["context", *arguments])
    assert result.exit_code == 0, result.output
    assert "requirement: 0.500 of 2 right" in result.output and "section: 1.000 of 2 right" in result.output


def test_spellings_left_out_of_the_table() -> None:
    table = [
        Row("communication", "SOFT", ("communicatoin", "talking")),
        Row("macroeconomics", "TECHNICAL", ()),
        Row("microeconomics", "TECHNICAL", ()),
    ]
    # The misspelling finds the name and the other way round; "talking" finds nothing.
    assert leave_one_out(table, 0.88) == (2, 2)
