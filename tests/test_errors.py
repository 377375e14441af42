"""Each error stands once, under its kind, and text from posts stays text."""

from pathlib import Path

from spacy.language import Language
from spacy.tokens import DocBin
from typer.testing import CliRunner

from scripts.errors import Kind, app, errors_page, find_errors
from scripts.evaluate import Judged, Key
from tests.conftest import make_examples, make_posts

TEXT = "Python and machine learning with <script>SQL</script>"
PYTHON, LEARNING, SQL = Key(0, 6, "TECHNOLOGY"), Key(11, 27, "TECHNICAL"), Key(41, 44, "TECHNOLOGY")


def test_kinds() -> None:
    found: dict[Key, float | None] = {Key(0, 6, "BUS"): 0.5, Key(19, 27, "TECHNICAL"): 0.6, Key(28, 32, "SOFT"): 0.7}
    errors = find_errors([Judged(TEXT, frozenset({PYTHON, LEARNING, SQL}), found)], {"sql"})
    assert [(error.kind, error.span, error.instead, error.seen) for error in errors] == [
        (Kind.label, Key(0, 6, "BUS"), (PYTHON,), False),
        (Kind.boundary, Key(19, 27, "TECHNICAL"), (LEARNING,), False),
        (Kind.invented, Key(28, 32, "SOFT"), (), False),
        (Kind.missed, SQL, (), True),
    ]


def test_what_is_right_is_no_error() -> None:
    assert find_errors([Judged(TEXT, frozenset({PYTHON}), {PYTHON: 0.9})], set()) == []


def test_text_of_posts_is_escaped() -> None:
    judged = [Judged(TEXT, frozenset({SQL}), {PYTHON: 0.9, Key(34, 40, "TECHNOLOGY"): None})]
    written = errors_page(find_errors(judged, set()), judged, "<b>posts</b>")
    assert "<script>" not in written and "&lt;<mark>script</mark>&gt;SQL" in written and "<b>" not in written


def test_the_page(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "model")
    docs = [example.reference for example in make_examples(trained, make_posts())]
    docs[0].ents = ()
    DocBin(docs=docs).to_disk(tmp_path / "test.spacy")
    data = ["--test", str(tmp_path / "test.spacy"), "--train", str(tmp_path / "test.spacy")]
    output = tmp_path / "report" / "errors.html"
    result = CliRunner().invoke(app, [str(tmp_path / "model"), *data, "--output", str(output)])
    assert result.exit_code == 0, result.output
    written = output.read_text()
    assert "invented" in result.output and written.count("data:image/png") == 2 and ">Invented</h2>" in written
