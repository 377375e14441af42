"""Weak labels come from the lexicon alone, and the report sets what they give beside the published figures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab
from typer.testing import CliRunner

from scripts import weak_label, weak_report, weak_split
from scripts.convert import blank_pipeline
from tests.conftest import LABELS

SKILLS = "skill,label,aliases,ambiguous\nC++,TECHNOLOGY,,\nmachine learning,TECHNICAL,ML,\nR,TECHNOLOGY,,R\n"


def weak(posts: Path, output: Path, *options: str) -> Any:
    lexicon = output.parent / "skills.csv"
    lexicon.write_text(SKILLS, encoding="utf-8")
    arguments = [str(posts), "--lexicon", str(lexicon), "--labels", ",".join(LABELS), "--output", str(output)]
    return CliRunner().invoke(weak_label.app, [*arguments, *options])


def docs_of(path: Path) -> list[Doc]:
    return list(DocBin().from_disk(path).get_docs(Vocab()))


def test_labels_go_to_docbin_and_jsonl(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    posts = write_rows({"id": "a", "title": "x", "text": "Know C++ and R."}, {"id": "b", "text": "Nothing."})
    result = weak(posts, tmp_path / "weak.spacy", "--jsonl", str(tmp_path / "weak.jsonl"))
    assert result.exit_code == 0, result.output
    assert [[ent.text for ent in doc.ents] for doc in docs_of(tmp_path / "weak.spacy")] == [["C++", "R"], []]
    rows = [json.loads(line) for line in (tmp_path / "weak.jsonl").read_text().splitlines()]
    label = [[5, 8, "TECHNOLOGY"], [13, 14, "TECHNOLOGY"]]
    assert rows[0] == {"id": "a", "title": "x", "text": "Know C++ and R.", "label": label}
    result = weak(tmp_path / "none", tmp_path / "out.spacy")
    assert result.exit_code == 1 and "no such file or folder" in result.output


def test_posts_to_evaluate_on_are_left_out(corpus: Path, tmp_path: Path, annotations: Path) -> None:
    result = weak(annotations, tmp_path / "weak.spacy", "--exclude", str(corpus / "test.spacy"))
    assert result.exit_code == 0, result.output
    ids = {doc.user_data["id"] for doc in docs_of(tmp_path / "weak.spacy")}
    held = {doc.user_data["id"] for doc in docs_of(corpus / "test.spacy")}
    assert ids and held and not ids & held and len(ids) + len(held) <= 24


@pytest.mark.parametrize("words", [1, 2, 3, 4, 50])
def test_chunks_leave_nothing_out_and_cut_no_entity(words: int) -> None:
    nlp = blank_pipeline()
    doc = nlp.make_doc("Know C++, R and\nmachine learning. Be curious about data science and so on, every day!")
    doc.ents = [Span(doc, 1, 2, "X"), Span(doc, 6, 8, "X")]
    chunks = list(weak_split.cut(doc, words))
    assert "".join(chunk.text_with_ws for chunk in chunks) == doc.text_with_ws
    assert [ent.text for chunk in chunks for ent in chunk.ents] == ["C++", "machine learning"]
    sizes = [sum(not (token.is_space or token.is_punct) for token in chunk) for chunk in chunks]
    assert max(sizes) <= words + 1 and (words > 10 or min(sizes[:-1]) >= words)


def test_the_split_is_random_by_chunk_and_repeatable(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    posts = write_rows(*({"id": str(i), "text": f"C++ {i} " * 40} for i in range(10)))
    weak(posts, tmp_path / "weak.spacy")
    arguments = [str(tmp_path / "weak.spacy"), str(tmp_path / "parts"), "--words", "10"]
    contents = []
    for _ in range(2):
        result = CliRunner().invoke(weak_split.app, arguments)
        assert result.exit_code == 0 and "train 56, dev 12, test 12" in result.output
        contents.append([(tmp_path / "parts" / f"{part}.spacy").read_bytes() for part in ("train", "dev", "test")])
    assert contents[0] == contents[1]
    result = CliRunner().invoke(weak_split.app, [*arguments[:2], "--words", "1000", "--split", "0.99,0.005,0.005"])
    assert result.exit_code == 1 and "do not fill three splits" in result.output


def test_the_report_stands_beside_the_published_row(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    result = CliRunner().invoke(weak_report.app, [str(tmp_path)])
    assert result.exit_code == 1 and "no such file or folder" in result.output
    weak(write_rows({"id": "a", "text": "C++ and R " * 50}), tmp_path / "posts.spacy")
    CliRunner().invoke(weak_split.app, [str(tmp_path / "posts.spacy"), str(tmp_path), "--words", "10"])
    (tmp_path / "log.jsonl").write_text('{"step": 0}\n{"step": 7}\n')
    strict = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3}
    for name in ("metrics.json", "metrics_gold.json"):
        (tmp_path / name).write_text(json.dumps({"strict": strict, "token_accuracy": 0.75, "loss": 0.125}))
    result = CliRunner().invoke(weak_report.app, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    rows = {line.split("  ")[0]: line.split() for line in result.output.splitlines() if "0." in line}
    assert rows["published"][-5:] == ["0.9119", "0.9312", "0.9214", "0.9912", "0.0307"]
    assert rows["this lexicon's labels"][-8:] == ["15", "7", "66.7", "0.5000", "0.2500", "0.3333", "0.7500", "0.1250"]
