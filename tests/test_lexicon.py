"""The lexicon says what it means, and is found in text as a whole and not in parts of words."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts.cli import BadInput
from scripts.convert import blank_pipeline
from scripts.lexicon import Entry, SkillFinder, app, read_lexicon
from tests.conftest import LABELS, ROOT

SKILLS = """skill,label,aliases,ambiguous
A/B testing,TECHNICAL,split testing|AB testing,
C#,TECHNOLOGY,C Sharp,
C++,TECHNOLOGY,,
CI/CD,TECHNICAL,continuous integration,
communication,SOFT,,
Excel,TECHNOLOGY,Microsoft Excel|MS Excel,Excel
learning,SOFT,,learning
machine learning,TECHNICAL,ML,
Node.js,TECHNOLOGY,NodeJS,
R,TECHNOLOGY,,R
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "skills.csv"
    path.write_text(SKILLS, encoding="utf-8")
    return path


def find(path: Path, text: str) -> list[tuple[str, str]]:
    nlp = blank_pipeline()
    spans = SkillFinder(read_lexicon(path, LABELS), nlp)(nlp.make_doc(text))
    return [(span.text, span.label_) for span in sorted(spans)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("C++, C#, Node.js; CI/CD|A/B Testing", ["C++", "C#", "Node.js", "CI/CD", "A/B Testing"]),
        ("MACHINE LEARNING and ml", ["MACHINE LEARNING", "ml"]),
        ("use Microsoft Excel or Excel to excel", ["Microsoft Excel", "Excel"]),
        ("R&D in R, our Rs, R-rated and learning", ["R"]),
        ("miscommunication, C+, node", []),
        ("strong communicationSQL", ["communication"]),
    ],
)
def test_skills_are_found_whole(path: Path, text: str, found: list[str]) -> None:
    assert [surface for surface, _ in find(path, text)] == found


def test_entries_have_their_spellings(path: Path) -> None:
    entries = {entry.skill: entry for entry in read_lexicon(path, LABELS)}
    assert entries["Excel"] == Entry("Excel", "TECHNOLOGY", ("Microsoft Excel", "MS Excel"), frozenset({"Excel"}))
    assert entries["A/B testing"].spellings == ("A/B testing", "split testing", "AB testing")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SQL,TOOL,,", "unknown label 'TOOL'"),
        ("SQL,TECHNOLOGY,", "3 fields"),
        ("B,TECHNOLOGY,,", "sort by name"),
        ("R,TECHNOLOGY,,", "sort by name, each name once"),
        ("SQL,TECHNOLOGY,C Sharp,", "'C Sharp' is a spelling of 'C#' and 'SQL'"),
        ("SQL,TECHNOLOGY,R,R", ""),
        ("SQL,TECHNOLOGY,,Sequel", "ambiguous spelling 'Sequel' is none of its own"),
    ],
)
def test_what_is_wrong_is_one_clear_line(path: Path, line: str, message: str) -> None:
    path.write_text(SKILLS + line + "\n", encoding="utf-8")
    if not message:
        assert len(read_lexicon(path, LABELS)) == 11
        return
    with pytest.raises(BadInput) as error:
        read_lexicon(path, LABELS)
    assert message in str(error.value.faults[0]) and str(error.value.faults[0]).startswith(f"{path}:12: ")


def test_what_is_no_lexicon(path: Path) -> None:
    path.write_text("a,b\n", encoding="utf-8")
    for file, message in ((path, "the header is not"), (path.parent / "none.csv", "cannot be read")):
        result = CliRunner().invoke(app, [str(file), "--labels", ",".join(LABELS)])
        assert result.exit_code == 1 and message in result.output


def test_a_quote_left_open_swallows_nothing(path: Path) -> None:
    path.write_text(SKILLS + 'SQL,TECHNOLOGY,"Sequel,\nTableau,TECHNOLOGY,,\n', encoding="utf-8")
    with pytest.raises(BadInput, match="invalid CSV"):
        read_lexicon(path, LABELS)


def test_the_shipped_lexicon_is_valid_and_large() -> None:
    entries = read_lexicon(ROOT / "corpus" / "skills.csv", LABELS)
    sizes = {label: sum(entry.label == label for entry in entries) for label in LABELS}
    assert sizes["TECHNOLOGY"] >= 2000 and sizes["TECHNICAL"] >= 1700 and sizes["BUS"] >= 700 and sizes["SOFT"] >= 500
    assert sum(len(entry.aliases) for entry in entries) >= 4000
