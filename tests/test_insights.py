import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scripts.insights import Share, app, difference_interval


def skill(name: str, label: str = "TECHNOLOGY", **more: Any) -> dict[str, Any]:
    return {"start": 0, "end": 1, "text": name.upper(), "label": label, "score": 0.9, "skill": name} | more


def rows() -> list[dict[str, Any]]:
    """Twenty posts: analysts know Excel, engineers Spark; all know SQL; dbt comes up in the second half of the year."""
    posts = []
    for number in range(20):
        role, tool = ("analyst", "Excel") if number % 2 else ("engineer", "Spark")
        skills = [skill("SQL", requirement="required"), skill("SQL"), skill(tool)]
        month = 1 + number // 2
        if month > 6:
            skills.append(skill("<dbt>"))
        posts.append({"id": str(number), "role": role, "date": f"2026-{month:02d}-03", "skills": skills})
    return posts


def run(path: Path, output: Path, *options: str) -> Any:
    return CliRunner().invoke(app, [str(path), "--output", str(output), "--group", "role,country", *options])


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def test_tables_count_posts_not_mentions(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "report"
    output.mkdir()
    (output / "mine.html").write_text("keep")
    result = run(write_rows(*rows()), output, "--since", "2026-07")
    assert result.exit_code == 0, result.output
    assert read(output / "skills.csv")[0] == ["SQL", "TECHNOLOGY", "20", "1.0", "20"]
    assert ["analyst", "Excel", "TECHNOLOGY", "10", "1.0", "2.0"] in read(output / "by_role.csv")
    # SQL stands in every post: with it nothing goes together more often than by chance.
    assert all("SQL" not in row for row in read(output / "pairs.csv"))
    assert read(output / "trends.csv")[0][:5] == ["<dbt>", "TECHNOLOGY", "0.0", "1.0", "1.0"]
    assert ["2026-01", "SQL", "2", "1.0"] in read(output / "by_month.csv")
    page = (output / "insights.html").read_text(encoding="utf-8")
    assert "&lt;dbt&gt;" in page and "<dbt>" not in page
    assert "No column &#39;country&#39;" in page
    assert (output / "mine.html").read_text() == "keep"


def test_posts_without_dates_or_fields(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    result = run(write_rows({"id": "a", "skills": []}, {"id": "b", "skills": [skill("R")]}), tmp_path, "--least", "1")
    assert result.exit_code == 0, result.output
    assert "No dates" in (tmp_path / "insights.html").read_text(encoding="utf-8")


def test_a_row_a_skill_is_refused_with_the_remedy(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    result = run(write_rows({"id": "a", "start": 0, "end": 3, "label": "BUS"}), tmp_path / "out")
    assert result.exit_code == 1 and ":1: " in result.output and "--per post" in result.output
    assert not (tmp_path / "out").exists()


def test_nothing_found_is_said(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    result = run(write_rows({"id": "a", "skills": []}), tmp_path / "out")
    assert result.exit_code == 1 and "no post with a skill" in result.output


def test_interval_of_a_difference() -> None:
    # The first worked example of Newcombe 1998, method 10.
    assert difference_interval(Share(48, 80), Share(56, 70)) == pytest.approx((0.0524, 0.3339), abs=1e-4)
