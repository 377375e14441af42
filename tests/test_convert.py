"""Conversion loses no span, keeps near-duplicates together, and leaves what is good alone when the input is bad."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import DocBin
from typer.testing import CliRunner

from scripts.convert import app, assign_splits, blank_pipeline, place, to_doc
from scripts.posts import Post
from tests.conftest import ANYTHING, LABELS, ROOT, make_posts

REAL = ROOT.parent / "shared" / "real" / "dev.jsonl"
SPLIT = (0.7, 0.15, 0.15)


def convert(*paths: Path, output: Path, options: tuple[str, ...] = ()) -> Any:
    arguments = [*map(str, paths), "--output", str(output), "--labels", ",".join(LABELS), *options]
    return CliRunner().invoke(app, arguments)


def docs_of(folder: Path) -> dict[str, list[Any]]:
    vocab = blank_pipeline().vocab
    return {
        name: list(DocBin().from_disk(folder / f"{name}.spacy").get_docs(vocab)) for name in ("train", "dev", "test")
    }


def test_every_post_and_span_arrives(annotations: Path, tmp_path: Path) -> None:
    result = convert(annotations, output=tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (annotations / "sample.jsonl").read_text().splitlines()]
    docs = [doc for part in docs_of(tmp_path / "out").values() for doc in part]
    assert sorted(doc.user_data["id"] for doc in docs) == sorted(row["id"] for row in rows)
    expected = {row["id"]: row["label"] for row in rows}
    for doc in docs:
        assert [[e.start_char, e.end_char, e.label_] for e in doc.ents] == expected[doc.user_data["id"]]
    assert (tmp_path / "out" / "rejects.jsonl").read_text() == ""


def test_conversion_is_repeatable(annotations: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        convert(annotations, output=tmp_path / name)
    for name in ("train.spacy", "dev.spacy", "test.spacy"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_span_that_cannot_be_aligned_is_kept_for_repair(
    annotations: Path, write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    row = {"id": "glued", "text": "Know xSQLx and Python\nnow", "label": [[6, 9, "TECHNOLOGY"], [15, 25, "TECHNOLOGY"]]}
    path = write_rows(row)
    result = convert(annotations, path, output=tmp_path / "out")
    assert result.exit_code == 0 and "2 spans cannot be aligned" in result.output
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [(reject["file"], reject["line"]) for reject in rejects] == [(str(path), 1)] * 2
    assert "ends inside a token" in rejects[0]["what"] and "crosses a line break" in rejects[1]["what"]
    strict = convert(annotations, path, output=tmp_path / "strict", options=("--strict",))
    assert strict.exit_code == 1 and f"{path}:1: " in strict.output
    assert not (tmp_path / "strict").exists()


def test_nothing_is_learned_from_a_span_that_cannot_be_aligned() -> None:
    post = Post.model_validate(
        {"id": "a", "text": "xSQLx, R", "spans": [{"start": 1, "end": 4, "label": "TECHNOLOGY"}], "source": "f:1"}
    )
    doc, rejects = to_doc(post, blank_pipeline())
    assert len(rejects) == 1
    assert [(token.text, token.ent_iob_) for token in doc[:2]] == [("x", "O"), ("SQLx", "")]


def test_bad_input_changes_nothing(annotations: Path, write_rows: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    convert(annotations, output=output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    bad = write_rows({"text": "Know SQL", "label": [[5, 99, "TECHNOLOGY"]]}, "{")
    result = convert(annotations, bad, output=output)
    assert result.exit_code == 1
    assert f"{bad}:1: " in result.output and f"{bad}:2: " in result.output and "Traceback" not in result.output
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


@pytest.mark.parametrize("split", ["0.7,0.3", "a,b,c", "0.7,0.2,0.2", "1.2,-0.1,-0.1"])
def test_a_split_that_is_none(annotations: Path, tmp_path: Path, split: str) -> None:
    result = convert(annotations, output=tmp_path / "out", options=("--split", split))
    assert result.exit_code == 1 and "is no split" in result.output


def test_missing_and_empty_input(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "none", "no such file or folder"), (tmp_path / "empty", "no post")):
        result = convert(path, output=tmp_path / "out")
        assert result.exit_code == 1 and message in result.output


def test_posts_keep_their_place_as_the_corpus_grows() -> None:
    posts = [Post(id=f"p{i}", text=f"post {i} " + " ".join(f"w{i}x{j}" for j in range(30))) for i in range(400)]
    parts = assign_splits(posts, SPLIT, seed=42)
    assert assign_splits(posts[200:], SPLIT, seed=42) == parts[200:]
    assert assign_splits(posts, SPLIT, seed=1) != parts
    shares = Counter(parts)
    assert 0.64 < shares["train"] / 400 < 0.76 and min(shares["dev"], shares["test"]) > 30


def test_near_duplicates_stay_together() -> None:
    text = " ".join(f"word{i}" for i in range(200))
    posts = [Post(id=f"copy{i}", text=f"{text} copy number {i}") for i in range(20)]
    parts = assign_splits(posts, SPLIT, seed=42)
    assert set(parts) == {place("copy0", SPLIT, 42)}


def test_posts_become_docs_with_their_entities() -> None:
    for post in make_posts():
        doc, rejects = to_doc(post, blank_pipeline())
        assert not rejects and doc.text == post.text
        assert [(e.start_char, e.end_char, e.label_) for e in doc.ents] == [
            tuple(s.model_dump().values()) for s in post.spans
        ]


@pytest.mark.skipif(not REAL.exists(), reason="the real posts are not distributed")
def test_real_posts_align_without_a_reject(tmp_path: Path) -> None:
    result = convert(REAL, output=tmp_path, options=("--strict",))
    assert result.exit_code == 0, result.output
    assert sum(len(doc.ents) for part in docs_of(tmp_path).values() for doc in part) == 1420


def test_the_shipped_corpus_aligns_without_a_reject(tmp_path: Path) -> None:
    result = convert(ROOT / "corpus" / "annotations", output=tmp_path, options=("--strict",))
    assert result.exit_code == 0, result.output


SPANS = st.lists(st.tuples(st.integers(-2, 30), st.integers(-2, 30), st.sampled_from(LABELS)), max_size=3)
ROW = st.fixed_dictionaries(
    {"text": st.text(st.characters(codec=None), max_size=30) | ANYTHING, "label": SPANS | ANYTHING},
    optional={"id": ANYTHING, "job": ANYTHING, "entities": ANYTHING, "relations": ANYTHING},
)
LINE = (ROW | ANYTHING).map(lambda row: json.dumps(row).encode()) | st.binary(max_size=60) | st.just(b"[" * 3000)


@settings(max_examples=200, deadline=None)
@given(lines=st.lists(LINE, max_size=3), utf16=st.booleans())
def test_whatever_a_file_holds_it_is_converted_or_refused_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], utf16: bool
) -> None:
    folder = tmp_path_factory.mktemp("any")
    good = {"id": "mine", "text": "Know SQL.", "label": [[5, 8, "TECHNOLOGY"]]}
    (folder / "posts.jsonl").write_bytes(b"\n".join([json.dumps(good).encode(), *lines]))
    options = ("--split", "1,0,0", *(("--unit", "utf16") if utf16 else ()))
    result = convert(folder / "posts.jsonl", output=folder / "out", options=options)
    if result.exit_code:
        assert isinstance(result.exception, SystemExit) and not (folder / "out").exists()
        assert all(line.startswith("✘ ") for line in result.stderr.split("\n")[:-1])
    else:
        assert "mine" in [doc.user_data["id"] for doc in docs_of(folder / "out")["train"]]
