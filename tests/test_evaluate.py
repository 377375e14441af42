"""The figures are what they say they are."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from typer.testing import CliRunner

from scripts.cli import BadInput
from scripts.convert import app as convert_app
from scripts.evaluate import (
    Contrast,
    Judged,
    Key,
    app,
    bootstrap_interval,
    calibration_error,
    contrast_figures,
    counts,
    evaluate,
    read_contrast,
)
from scripts.posts import to_row
from tests.conftest import LABELS, ROOT, make_posts

TEXT = "Python and machine learning with SQL"
PYTHON, LEARNING, SQL = Key(0, 6, "TECHNOLOGY"), Key(11, 27, "TECHNICAL"), Key(33, 36, "TECHNOLOGY")


def test_strict_untyped_and_seen() -> None:
    found: dict[Key, float | None] = {PYTHON: 0.9, Key(11, 27, "BUS"): 0.8, Key(29, 33, "SOFT"): 0.1}
    report = evaluate([Judged(TEXT, frozenset({PYTHON, LEARNING, SQL}), found)], {"python"}, samples=100, seed=0)
    assert report["strict"]["precision"] == report["strict"]["recall"] == pytest.approx(1 / 3)
    assert report["untyped"]["f1"] == pytest.approx(2 / 3)
    assert report["seen_mentions"]["f1"] == 1.0
    assert report["unseen_mentions"]["recall"] == 0.0 and report["unseen_mentions"]["gold"] == 2
    assert report["per_label"]["TECHNOLOGY"] == {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "gold": 2, "found": 1}
    assert report["per_label"]["BUS"]["precision"] == 0.0


def test_partial_overlap_gives_half() -> None:
    report = evaluate([Judged(TEXT, frozenset({LEARNING}), {Key(19, 27, "TECHNICAL"): None})], set(), 100, 0)
    assert report["strict"]["f1"] == 0.0
    assert report["partial"]["f1"] == 0.5
    assert report["calibration_error"] is None


def test_a_skill_named_twice_counts_once_among_distinct_skills() -> None:
    text = "SQL, sql and R"
    gold = frozenset({Key(0, 3, "TECHNOLOGY"), Key(5, 8, "TECHNOLOGY"), Key(13, 14, "TECHNOLOGY")})
    report = evaluate([Judged(text, gold, {Key(0, 3, "TECHNOLOGY"): 1.0})], set(), 100, 0)
    assert report["distinct_skills"]["recall"] == 0.5
    assert report["strict"]["recall"] == pytest.approx(1 / 3)


def test_nothing_found_and_nothing_to_find() -> None:
    report = evaluate([Judged(TEXT, frozenset(), {})], set(), 100, 0)
    assert report["strict"]["f1"] == 0.0 and report["posts"] == 1


def test_interval_holds_the_score_and_narrows_with_more_posts() -> None:
    part = [counts({1, 2, 3, 4}, {1, 2, 3, 9}), counts({1, 2}, {1, 2}), counts({1, 2, 3}, {7})]
    few, many = (bootstrap_interval(part * n, 1000, seed=0) for n in (2, 50))
    total = 2 * 5 / (9 + 7)
    assert few[0] < many[0] < total < many[1] < few[1]


def test_calibration_error_is_the_gap_between_score_and_share() -> None:
    keys = [Key(i, i + 1, "SOFT") for i in range(10)]
    judged = Judged("x" * 10, frozenset(keys[:5]), dict.fromkeys(keys, 0.75))
    assert calibration_error([judged]) == pytest.approx(0.25)
    judged = Judged("x" * 10, frozenset(keys[:5]), {key: float(key.start < 5) for key in keys})
    assert calibration_error([judged]) == pytest.approx(0.0)


def test_contrast_asks_for_the_skill_and_for_its_absence() -> None:
    nlp = spacy.blank("en")
    patterns = [{"label": "TECHNOLOGY", "pattern": "Excel"}, {"label": "TECHNICAL", "pattern": "data mining"}]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)  # type: ignore[attr-defined]
    sentences = [
        Contrast("Know Excel", 5, 10, "TECHNOLOGY"),
        Contrast("Excel with us", 0, 5, None),
        Contrast("A mining company", 2, 8, None),
        Contrast("Do data mining", 8, 14, "TECHNICAL"),
        Contrast("Know Excel", 5, 10, "SOFT"),
    ]
    figures = contrast_figures(nlp, sentences)
    assert figures["accuracy"] == 3 / 5 and [w["label"] for w in figures["wrong"]] == [None, "SOFT"]


def test_the_contrast_set_is_in_pairs() -> None:
    sentences = read_contrast(ROOT / "tests" / "contrast.jsonl")
    assert len(sentences) == len({sentence.text for sentence in sentences}) == 200
    for with_skill, without in zip(sentences[::2], sentences[1::2], strict=True):
        assert with_skill.label in LABELS and without.label is None
        words = [s.text[s.start : s.end].lower() for s in (with_skill, without)]
        assert words[0] == words[1]


def test_a_bad_line_of_the_contrast_set(tmp_path: Path) -> None:
    path = tmp_path / "contrast.jsonl"
    path.write_text(
        '{"text": "Know SQL", "start": 5, "end": 8, "label": null}\n{"text": "Know SQL", "start": 5, "end": 9}\n'
    )
    with pytest.raises(BadInput, match=r"contrast.jsonl:2: not a sentence"):
        read_contrast(path)


def test_the_command_on_the_test_split_and_on_gold_posts(
    trained: Language, annotations: Path, write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    trained.to_disk(tmp_path / "model")
    corpus = tmp_path / "corpus"
    CliRunner().invoke(convert_app, [str(annotations), "--output", str(corpus), "--labels", ",".join(LABELS)])
    arguments = [str(tmp_path / "model"), "--test", str(corpus / "test.spacy"), "--train", str(corpus / "train.spacy")]
    metrics = tmp_path / "metrics.json"
    result = CliRunner().invoke(app, [*arguments, "--metrics", str(metrics)])
    assert result.exit_code == 0, result.output
    report = json.loads(metrics.read_text())
    assert report["loss"] > 0 and 0 < report["token_accuracy"] < 1
    assert f"{report['strict']['f1']:.4f}" in result.output

    # A gold span that no tokens match is a span missed, not one forgotten.
    rows = [to_row(post) for post in make_posts()] + [{"id": "glued", "text": "xSQLx", "label": [[1, 4, "TECHNOLOGY"]]}]
    result = CliRunner().invoke(app, [*arguments, "--gold", str(write_rows(*rows)), "--metrics", str(metrics)])
    assert result.exit_code == 0, result.output
    report = json.loads(metrics.read_text())
    assert report["posts"] == 5 and report["gold_spans"] == sum(len(row["label"]) for row in rows)
    assert report["strict"]["recall"] == (report["gold_spans"] - 1) / report["gold_spans"]

    bad = write_rows({"text": "a", "label": [[0, 9, "SOFT"]]}, name="bad.jsonl")
    for path, message in ((bad, f"{bad}:1: "), (tmp_path / "none", "no such file or folder")):
        result = CliRunner().invoke(app, [*arguments, "--gold", str(path)])
        assert result.exit_code == 1 and message in result.output
