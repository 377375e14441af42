"""What is spoilt is spoilt as it says, and the gold spans move along."""

import json
import random
from pathlib import Path

import pytest
from spacy.language import Language
from spacy.tokens import DocBin
from typer.testing import CliRunner

from scripts.evaluate import Key
from scripts.robustness import SPOILT, app, apply
from tests.conftest import make_examples, make_posts

TEXT = "Skills:\nPython & SQL on\nGoogle Cloud Platform"
SPANS = [Key(8, 14, "TECHNOLOGY"), Key(17, 20, "TECHNOLOGY"), Key(24, 45, "TECHNOLOGY")]


@pytest.mark.parametrize(
    ("name", "spoilt", "surfaces"),
    [
        ("as they are", TEXT, ["Python", "SQL", "Google Cloud Platform"]),
        ("lower case", TEXT.lower(), ["python", "sql", "google cloud platform"]),
        ("upper case", TEXT.upper(), ["PYTHON", "SQL", "GOOGLE CLOUD PLATFORM"]),
        ("without line breaks", TEXT.replace("\n", " "), ["Python", "SQL", "Google Cloud Platform"]),
        ("bullets glued to lines", TEXT.replace("\n", "\n•"), ["Python", "SQL", "Google Cloud Platform"]),
    ],
)
def test_spans_move_along(name: str, spoilt: str, surfaces: list[str]) -> None:
    text, spans = apply(SPOILT[name](TEXT, random.Random(0)), TEXT, SPANS)
    assert text == spoilt
    assert [text[span.start : span.end] for span in spans] == surfaces


def test_html_remnants_and_typos() -> None:
    text, spans = apply(SPOILT["HTML remnants"](TEXT, random.Random(0)), TEXT, SPANS)
    assert "Python &amp; SQL" in text.replace("&nbsp;", " ") and text.count("<br>\n") == 2
    assert [text[s.start : s.end].replace("&nbsp;", " ") for s in spans] == ["Python", "SQL", "Google Cloud Platform"]
    long = "communication and teamwork\n" * 200
    text, spans = apply(SPOILT["typos"](long, random.Random(0)), long, [Key(0, 13, "SOFT")])
    assert text != long and sorted(text) == sorted(long) and spans == [Key(0, 13, "SOFT")]


def test_the_table(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "model")
    docs = [example.reference for example in make_examples(trained, make_posts())]
    DocBin(docs=docs).to_disk(tmp_path / "test.spacy")
    metrics = tmp_path / "robustness.json"
    arguments = [str(tmp_path / "model"), "--test", str(tmp_path / "test.spacy"), "--metrics", str(metrics)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    figures = json.loads(metrics.read_text())
    assert list(figures) == list(SPOILT) and figures["as they are"]["f1"] > 0.9
    assert all(scores["gold"] == figures["as they are"]["gold"] for scores in figures.values())
