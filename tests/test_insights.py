import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scripts import insights
from scripts.insights import Pair, Share, Skill, app, difference_interval, draw_graph


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
    assert ["2026-01", "SQL", "2", "1.0"] in read(output / "months.csv")
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


@pytest.mark.parametrize("name", ["$60% - $80%", "$100K - $150K", "$_$"])
def test_dollars_are_no_formula(write_rows: Callable[..., Path], tmp_path: Path, name: str) -> None:
    posts = [{"id": str(i), "role": name, "skills": [skill(name), skill("SQL"), skill("R")]} for i in range(6)]
    other = [{"id": str(i), "role": "b", "skills": [skill("Excel")]} for i in range(6, 12)]
    result = run(write_rows(*posts, *other), tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_what_goes_together_stands_together() -> None:
    a, b, c = (Skill(name, "TECHNOLOGY") for name in "abc")
    drawn: dict[Skill, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(insights.networkx, "draw_networkx_nodes", lambda graph, places, **_: drawn.update(places))
        # The pair of a and b is far stronger than that of b and c: it must not be drawn farther apart for it.
        draw_graph([Pair(a, b, 9, 16.0), Pair(b, c, 9, 1.1)], Counter({a: 9, b: 9, c: 9}))
    strong, weak = (sum((drawn[one] - drawn[other]) ** 2) for one, other in ((a, b), (b, c)))
    assert strong <= 1.1 * weak


def test_months_as_a_group_keep_their_table(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    posts = [row | {"month": row["date"][:7]} for row in rows()]
    arguments = [str(write_rows(*posts)), "--output", str(tmp_path / "out"), "--group", "month", "--least", "1"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert len(read(tmp_path / "out" / "by_month.csv")[0]) == 6 and len(read(tmp_path / "out" / "months.csv")[0]) == 4


def test_a_month_that_is_none_is_refused(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    for month in ("2026-7", "07/2026"):
        result = run(write_rows(*rows()), tmp_path / "out", "--since", month)
        assert result.exit_code == 1 and f"--since: '{month}' is no month" in result.output
    result = run(tmp_path / "none.jsonl", tmp_path / "out")
    assert result.exit_code == 1 and "no such file" in result.output


def test_nothing_found_is_said(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    result = run(write_rows({"id": "a", "skills": []}), tmp_path / "out")
    assert result.exit_code == 1 and "no post with a skill" in result.output


def test_interval_of_a_difference() -> None:
    # The first worked example of Newcombe 1998, method 10.
    assert difference_interval(Share(48, 80), Share(56, 70)) == pytest.approx((0.0524, 0.3339), abs=1e-4)
