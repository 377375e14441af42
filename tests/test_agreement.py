"""Agreement counts what both annotators marked alike, and refuses to compare different posts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scripts.agreement import app, differences, pair_up, strict_f1
from tests.conftest import LABELS

TEXT = "Know SQL and R, be curious"


def row(*label: list[Any], id: str = "a", text: str = TEXT) -> dict[str, Any]:
    return {"id": id, "text": text, "label": list(label)}


@pytest.fixture
def sides(write_rows: Callable[..., Path]) -> tuple[Path, Path]:
    first = write_rows(row([5, 8, "TECHNOLOGY"], [19, 26, "SOFT"]), row(id="b"), name="first.jsonl")
    second = write_rows(row([5, 8, "TECHNOLOGY"], [13, 14, "TECHNOLOGY"], [19, 26, "BUS"]), name="second.jsonl")
    return first, second


def test_strict_f1_by_label(sides: tuple[Path, Path]) -> None:
    pairs = pair_up(*sides, LABELS)
    assert strict_f1(pairs, set(LABELS)) == pytest.approx(2 * 1 / (2 + 3))
    assert strict_f1(pairs, {"TECHNOLOGY"}) == pytest.approx(2 * 1 / (1 + 2))
    assert strict_f1(pairs, {"SOFT"}) == 0.0


def test_differences_say_who_marked_what(sides: tuple[Path, Path]) -> None:
    assert set(differences(pair_up(*sides, LABELS))) == {
        ("curious", "SOFT", "first"),
        ("curious", "BUS", "second"),
        ("r", "TECHNOLOGY", "second"),
    }


def test_the_command(sides: tuple[Path, Path], write_rows: Callable[..., Path]) -> None:
    options = ["--labels", ",".join(LABELS), "--show", "9"]
    result = CliRunner().invoke(app, [*map(str, sides), *options])
    assert result.exit_code == 0, result.output
    assert "1 posts" in result.output and "0.4000" in result.output and "'r' TECHNOLOGY: second only" in result.output
    other = write_rows(row(text="Another text"), name="other.jsonl")
    result = CliRunner().invoke(app, [str(sides[0]), str(other), *options])
    assert result.exit_code == 1 and f"{other}:1: post 'a' is not in" in result.output
