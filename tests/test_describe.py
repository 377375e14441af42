"""The datasheet's figures are those of the shipped corpus, and the comparison finds what tells posts apart."""

from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from scripts.describe import BEGIN, END, app, form, skills, tell_apart
from scripts.posts import read_posts
from tests.conftest import LABELS, ROOT, make_posts


def test_figures_of_a_few_posts() -> None:
    posts = make_posts()
    figures = form(posts) | skills(posts, LABELS)
    assert figures["posts"] == "4" and figures["words in a line (10 %, 50 %, 90 %)"] == "2, 4, 8"
    assert figures["lines that are headings"] == "10.0 %" and figures["lines with a skill"] == "70.0 %"
    assert figures["spans"] == "17" and figures["TECHNOLOGY"] == "35.3 %"
    assert figures["distinct spellings"] == "16" and figures["of these, once"] == "93.8 %"


def test_the_datasheet_is_up_to_date() -> None:
    posts = read_posts([ROOT / "corpus" / "annotations"], LABELS)
    sheet = (ROOT / "corpus" / "README.md").read_text(encoding="utf-8")
    for name, value in (form(posts) | skills(posts, LABELS)).items():
        assert f"| {name} | {value} |" in sheet, "spacy project run describe"


def test_the_block_of_the_datasheet_is_replaced(annotations: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "README.md"
    sheet.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    arguments = [str(annotations), "--labels", ",".join(LABELS), "--datasheet", str(sheet)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    text = sheet.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "| posts | 24 |" in text and "old" not in text
    sheet.write_text("no block", encoding="utf-8")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1 and "no block for the statistics" in result.output
    assert sheet.read_text(encoding="utf-8") == "no block"


def test_what_gives_posts_away(annotations: Path, write_rows: Callable[..., Path]) -> None:
    ours = [f"we will use semicolons; always {i}; yes" for i in range(20)]
    theirs = [f"we will use commas, always {i}, yes" for i in range(30)]
    accuracy, us, them = tell_apart(ours, theirs, seed=0)
    assert accuracy == 1.0 and any(";" in ngram for ngram in us) and any("," in ngram for ngram in them)
    few = write_rows({"text": "only one"})
    result = CliRunner().invoke(app, [str(annotations), "--labels", ",".join(LABELS), "--against", str(few)])
    assert result.exit_code == 1 and "1 posts are too few" in result.output
