"""Names are swapped as they should be, skills are left alone, and what changes is counted."""

import random
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.language import Language
from spacy.tokens import DocBin
from typer.testing import CliRunner

from scripts.evaluate import Key, keys_of
from scripts.fairness import CONTACT, add_contact, app, changes, employers_in, outside, swap_pronouns, swaps
from scripts.robustness import Edit, apply
from tests.conftest import make_examples, make_posts

ACME = "Acme Foods, a grocer, is hiring in Leeds. Acme Foods and Oxbow University use Python.\n"
OTHER = "About Bellwether\nBellwether has its office in Kenya.\n"


def swapped(kind: str, text: str) -> str:
    return apply(swaps([ACME, OTHER])[kind](text, random.Random(1)), text, [])[0]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("countries", "Kenya"), ("cities", "Leeds"), ("universities", "Oxbow University"), ("first names", "Emma")],
)
def test_a_name_becomes_another_and_the_rest_stays(kind: str, name: str) -> None:
    text = f"We know {name}, and {name} knows us."
    before, between, after = swapped(kind, text).partition(", and ")
    new = before.removeprefix("We know ")
    assert new != name and new[0].isupper() and after == f"{new} knows us." and between


def test_pronouns() -> None:
    text = "He or she knows her job. Ask her. His or her time is himself's."
    edits = swap_pronouns(text, random.Random(0))
    assert apply(edits, text, [])[0] == "She or he knows his job. Ask him. Her or his time is herself's."


def test_an_employer_is_found_where_the_post_introduces_it() -> None:
    assert employers_in(ACME) == ["Acme Foods"] and employers_in(OTHER) == ["Bellwether"]
    # A heading's words stand in the text, too, and a name that stands there once is no employer for sure.
    assert employers_in("About Benefits\nOur benefits are good. Benefits count.\nZeta is here.") == []
    assert swapped("employers", ACME) == ACME.replace("Acme Foods", "Bellwether")


def test_skills_are_left_alone() -> None:
    gold = [Key(0, 5, "TECHNOLOGY")]
    assert outside(gold, [Edit(0, 5, "x"), Edit(4, 6, "x"), Edit(5, 8, "x")]) == [Edit(5, 8, "x")]


def test_the_contact_stands_between_lines() -> None:
    text, (key,) = add_contact("Know R.\nKnow SQL.\nKnow Go.", [Key(23, 25, "TECHNOLOGY")])
    assert text == f"Know R.\nKnow SQL.\n{CONTACT}\nKnow Go." and text[key.start : key.end] == "Go"


def test_what_changes_is_counted() -> None:
    """A pipeline to which Emma is a technology, and Python is wherever it stands."""
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "TECHNOLOGY", "pattern": name} for name in ("Emma", "Python")])  # type: ignore[attr-defined]
    if not spacy.tokens.Span.has_extension("score"):
        spacy.tokens.Span.set_extension("score", default=None)
    texts = ["Emma knows Python", "Omar knows Python", "We know Python"]
    found = [sorted(keys_of(nlp(text))) for text in texts]
    figures = changes(nlp, texts, found, [[Edit(0, 4, "Guadalupe")], [Edit(0, 4, "Ingrid")], []])
    assert figures == {"posts": 2, "swaps": 2, "posts_changed": 0.5, "spans_changed": pytest.approx(1 / 3)}


def test_the_table(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "model")
    docs = [example.reference for example in make_examples(trained, make_posts())]
    DocBin(docs=docs).to_disk(tmp_path / "test.spacy")
    metrics = tmp_path / "fairness.json"
    arguments = [str(tmp_path / "model"), "--test", str(tmp_path / "test.spacy"), "--metrics", str(metrics)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    figures = srsly.read_json(metrics)
    assert list(figures) == ["countries", "cities", "universities", "pronouns", "first names", "employers"]
    assert figures["cities"]["swaps"] == 0 and figures["first names"]["swaps"] == len(docs)
    for made in figures.values():
        assert made["swaps"] == made["chance"]["swaps"] and 0 <= made["spans_changed"] <= 1
    first = metrics.read_bytes()
    assert CliRunner().invoke(app, arguments).exit_code == 0 and metrics.read_bytes() == first
