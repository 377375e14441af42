"""The corpus check finds what the guideline forbids, and nothing in the corpus that is shipped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scripts.check_corpus import app, check_span, marked_and_not, two_labels
from scripts.markup import parse_text
from scripts.posts import Post
from tests.conftest import LABELS, ROOT


def post_of(marked: str, id: str = "a") -> Post:
    text, spans = parse_text(marked)
    return Post(id=id, text=text, spans=spans, source="posts.jsonl:1")


def run(*paths: Path, options: tuple[str, ...] = ()) -> Any:
    return CliRunner().invoke(app, [*map(str, paths), "--labels", ",".join(LABELS), *options])


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        ("Know {{strong Python|T}}", "begins with 'strong'"),
        ("Know {{the cloud|M}}", "begins with 'the'"),
        ("Use {{data|M}}", "names no skill by itself"),
        ("Have {{SQL skills|T}}", "ends with 'skills'"),
        ("Have {{telecom domain knowledge|B}}", "ends with 'knowledge'"),
        ("Know {{SQL,|T}} now", "punctuation at an edge"),
        ("Know {{-SQL|T}} now", "punctuation at an edge"),
    ],
)
def test_edges_and_bare_words(marked: str, message: str) -> None:
    post = post_of(marked)
    (fault,) = check_span(post, post.spans[0])
    assert message in str(fault) and str(fault).startswith("posts.jsonl:1: post a, ")


@pytest.mark.parametrize(
    "surface",
    [
        "C++",
        "C#",
        ".NET",
        "Node.js",
        "advanced analytics",
        "interpersonal skills",
        "A/B testing",
        "R",
        "Great Expectations",
        "Domain knowledge",
    ],
)
def test_names_that_look_wrong_and_are_right(surface: str) -> None:
    post = post_of(f"Know {{{{{surface}|T}}}} well")
    assert list(check_span(post, post.spans[0])) == []


def test_phrases_marked_in_two_ways_are_listed() -> None:
    posts = [post_of("{{pricing|B}} and {{SQL|T}}", "a"), post_of("{{pricing|M}} or SQL, not MySQL", "b")]
    assert two_labels(posts) == [("pricing", {"BUS": 1, "TECHNICAL": 1})]
    (line,) = marked_and_not(posts)
    assert "'sql'" in line and "b: …" in line


def test_posts_and_sentences_that_are_alike(write_rows: Callable[..., Path]) -> None:
    story = " ".join(f"word{i}" for i in range(100))
    rows = [{"id": f"p{i}", "text": f"{story} {i} only{i}", "label": []} for i in range(2)]
    stock = [
        {"id": f"s{i}", "text": f"own{i} text{i}.\nOur team meets every day at nine sharp.", "label": []}
        for i in range(4)
    ]
    result = run(write_rows(*rows, *stock))
    assert result.exit_code == 1
    assert "post p1 is like p0" in result.output
    assert "4 posts have 'our team meets every day at nine sharp.'" in result.output


def test_what_is_copied_is_found(write_rows: Callable[..., Path]) -> None:
    sentence = "we are looking for a person who likes to count things all day long and more"
    own = write_rows({"id": "a", "text": f"Hello. {sentence}!", "label": []}, name="own.jsonl")
    other = write_rows({"id": "x", "text": f"Welcome, {sentence.upper()}"}, name="other.jsonl")
    result = run(own, options=("--against", str(other)))
    assert result.exit_code == 1 and "post a copies 'we are looking for" in result.output
    assert run(own).exit_code == 0


def test_the_shipped_corpus_has_no_fault() -> None:
    result = run(ROOT / "corpus" / "annotations")
    assert result.exit_code == 0, result.output
