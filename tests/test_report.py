"""The report says what the figures say, its confusions are right, and text from posts stays text."""

import os
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from spacy.language import Language
from spacy.tokens import DocBin
from typer.testing import CliRunner

from scripts.errors import Kind
from scripts.evaluate import Judged, Key
from scripts.report import app, confusion, scores_by, worst_errors
from tests.conftest import ROOT, headless_chromium, make_examples, make_posts

REAL = ROOT / "docs" / "real_posts.json"
TEXT = "Python and machine learning with SQL"
PYTHON, LEARNING, SQL = Key(0, 6, "TECHNOLOGY"), Key(11, 27, "TECHNICAL"), Key(33, 36, "TECHNOLOGY")


def judged(gold: set[Key], *found: Key) -> Judged:
    return Judged(TEXT, frozenset(gold), dict.fromkeys(found, 0.5))


def test_confusion_matches_spans_that_overlap() -> None:
    """Machine learning was found in two pieces, of which the longer one counts."""
    post = judged({PYTHON, LEARNING, SQL}, PYTHON, Key(11, 18, "BUS"), Key(19, 27, "TECHNICAL"), Key(28, 32, "BUS"))
    assert confusion([post], ["BUS", "TECHNICAL", "TECHNOLOGY"]).tolist() == [
        [0, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 1],
        [2, 0, 0, 0],
    ]


def test_scores_by_group() -> None:
    post = judged({PYTHON, LEARNING, SQL}, PYTHON, LEARNING, Key(28, 32, "SOFT"))
    times = {PYTHON: 7, LEARNING: 2, SQL: 0, Key(28, 32, "SOFT"): 4}
    groups = scores_by([post], [times], (0, 1, 2, 5, 20))
    assert list(groups) == ["0", "1", "2-4", "5-19", "20+"]
    assert groups["0"]["recall"] == 0 and groups["5-19"]["f1"] == 1 and groups["20+"]["gold"] == 0
    assert groups["2-4"]["precision"] == 0.5 and groups["2-4"]["recall"] == 1


def test_the_surest_errors_come_first() -> None:
    post = Judged(
        TEXT, frozenset({PYTHON, LEARNING, SQL}), {PYTHON: 0.9, Key(28, 32, "SOFT"): 0.3, Key(7, 10, "BUS"): 0.8}
    )
    wrong, missed = worst_errors([post], [{0: 0.1, 7: 0.2, 11: 0.99, 19: 0.6, 28: 0.3, 33: 0.7}])
    assert [(error.span.label, score) for error, score in wrong] == [("BUS", 0.8), ("SOFT", 0.3)]
    assert [(error.span, error.kind, score) for error, score in missed] == [
        (SQL, Kind.missed, 0.7),
        (LEARNING, Kind.missed, 0.6),
    ]


@pytest.fixture
def arguments(trained: Language, figures: Path, tmp_path: Path) -> list[str]:
    """What the command needs. One post of the test split has markup in it, and nothing of it is annotated."""
    trained.to_disk(tmp_path / "model")
    posts = make_posts()
    posts[0].text = posts[0].text.replace("We need", "<script>document.title = 'run'</script><b>We</b> need")
    posts[0].spans = []
    docs = [example.reference for example in make_examples(trained, posts)]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "test.spacy")
    data = ["--test", str(tmp_path / "test.spacy"), "--train", str(tmp_path / "test.spacy")]
    given = ["--figures", str(figures), "--real", str(REAL)]
    return [str(tmp_path / "model"), *data, *given, "--output", str(tmp_path / "report.html")]


def test_the_page(arguments: list[str], figures: Path, tmp_path: Path) -> None:
    srsly.write_json(figures / "robustness.json", {"as they are": {"precision": 0.1, "recall": 0.1, "f1": 0.1}})
    os.utime(figures / "robustness.json", (0, 0))
    swaps = {"posts": 3, "swaps": 4, "posts_changed": 0.125, "spans_changed": 0.01}
    srsly.write_json(figures / "fairness.json", {"cities": swaps | {"chance": swaps}})
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    strict, real = (srsly.read_json(path)["strict"]["f1"] for path in (figures / "metrics.json", REAL))
    assert f"strict F1 {strict:.3f}" in written and f"F1 was {real:.3f}" in written and "12.5 %" in written
    # Of another pipeline than the one evaluated last.
    assert "before this one" in " ".join(result.output.split()) and "spoilt posts" not in written
    assert "spacy project run stock-ner; spacy project run robustness" in written
    assert "<script" not in written and "&lt;b&gt;We" in written
    assert "post post-0" in written and written.count("data:image/png") == 7


def test_the_page_in_a_browser(arguments: list[str], tmp_path: Path) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 0
    with headless_chromium() as browser:
        for width, height in ((1366, 768), (390, 844)):
            size: dict[str, Any] = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.get((tmp_path / "report.html").as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert browser.execute_script("return [...document.images].every(image => image.naturalWidth > 0)")
            assert browser.title.startswith("Skills in job posts")
            colours = (
                "return [...document.querySelectorAll('.entity')].map(mark => getComputedStyle(mark).backgroundColor)"
            )
            assert "rgb(122, 236, 236)" in browser.execute_script(colours)
        assert browser.get_log("browser") == []


def test_what_it_cannot_show_is_one_clear_line(arguments: list[str], figures: Path, tmp_path: Path) -> None:
    (figures / "log.jsonl").write_text("{")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1 and "log.jsonl: invalid JSON" in result.output
    (figures / "log.jsonl").unlink()
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1 and "log.jsonl: no such file" in result.output
    srsly.write_jsonl(figures / "log.jsonl", [{"epoch": 1}])
    other = spacy.blank("en")
    other.add_pipe("ner")
    other.initialize()
    other.to_disk(tmp_path / "other")
    result = CliRunner().invoke(app, [str(tmp_path / "other"), *arguments[1:]])
    assert result.exit_code == 1 and "not found by skill_ner" in result.output
    assert not (tmp_path / "report.html").exists()
