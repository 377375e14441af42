import os
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language

from scripts.cli import BadInput
from scripts.doccano_api import Example
from scripts.doccano_push import (
    Receipt,
    Strategy,
    Suggestion,
    choose,
    clean,
    not_yet_known,
    rank,
    read_new_posts,
    sift,
    suggest,
    suggested_spans,
    to_import,
)
from scripts.posts import Post
from tests.conftest import LABELS, make_posts


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8", newline="")
    return path


class TestReading:
    def test_csv(self, tmp_path: Path) -> None:
        path = write(tmp_path / "posts.csv", 'id,title,text\r\n7,Analyst,"Know SQL,\r\nand ""R"""\r\n,,Only text\r\n')
        first, second = read_new_posts([path], LABELS)
        assert (first.id, first.text, first.meta) == ("7", 'Know SQL,\nand "R"', {"title": "Analyst"})
        assert second.text == "Only text" and len(second.id) == 12

    def test_folder_of_text_files(self, tmp_path: Path) -> None:
        write(tmp_path / "b.txt", "Second\r\n")
        write(tmp_path / "a.txt", "\ufeffFirst 🚀")
        posts = read_new_posts([tmp_path], LABELS)
        assert [(post.id, post.text) for post in posts] == [("a", "First 🚀"), ("b", "Second")]

    def test_jsonl_keeps_unusual_line_ends(self, tmp_path: Path) -> None:
        path = write(tmp_path / "posts.jsonl", '{"id": "x", "text": "one\u2028two\u0085three", "country": "US"}\n')
        (post,) = read_new_posts([path], LABELS)
        assert post.text == "one\u2028two\u0085three" and post.meta == {"country": "US"}

    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("a.csv", "id,body\n1,x\n", "no column 'text'"),
            ("a.csv", 'text\n"open', "invalid CSV"),
            ("a.txt", " \n", "the text is blank"),
            ("a.jsonl", "{}\n", "no field 'text'"),
            ("a.pdf", "x", "no posts"),
            ("a.jsonl", '{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}\n', "already stands in"),
        ],
    )
    def test_faults(self, tmp_path: Path, name: str, content: str, says: str) -> None:
        with pytest.raises(BadInput, match=says):
            read_new_posts([write(tmp_path / name, content)], LABELS)

    def test_not_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"caf\xe9")
        with pytest.raises(BadInput, match="byte 0xe9 is not UTF-8"):
            read_new_posts([tmp_path / "a.txt"], LABELS)

    def test_same_id_in_two_files(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        files = [write(tmp_path / "a.txt", "One"), write(tmp_path / "sub" / "a.txt", "Two")]
        with pytest.raises(BadInput, match="2 posts have this id"):
            read_new_posts(files, LABELS)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="no such file"):
            read_new_posts([tmp_path / "none"], LABELS)


def test_known_posts_are_not_sent() -> None:
    new = [Post(id=id, text=text) for id, text in [("a", "A"), ("b", "B"), ("c", "C"), ("d", "D"), ("e", "E")]]
    annotated = [Post(id="a", text="A"), Post(id="other", text="B\r\n")]
    there = {"c": Example(1, "C, but edited", {"id": "c"}, False, 0), "x": Example(2, "D", {"id": "x"}, False, 0)}
    assert [post.id for post in not_yet_known(new, annotated, there)] == ["e"]


class TestOrder:
    def test_uncertain_first(self) -> None:
        assert rank([0.1, 0.9, 0.5], [0, 1, 2], {}) == [1, 2, 0]

    def test_second_of_a_cluster_waits_for_all_firsts(self) -> None:
        assert rank([0.9, 0.8, 0.7, 0.1], [0, 0, 0, 3], {}) == [0, 3, 1, 2]

    def test_like_what_is_known_waits(self) -> None:
        assert rank([0.9, 0.1], [5, 6], {5: 1}) == [1, 0]

    def test_near_duplicates_are_spread(self, trained: Language) -> None:
        advert = " ".join(f"word{i}" for i in range(60))
        copies = [Post(id=f"copy-{i}", text=f"{advert} {i}") for i in range(5)]
        others = [Post(id=f"other-{i}", text=" ".join(f"text{i}-{j}" for j in range(60))) for i in range(2)]
        chosen = choose([*copies, *others], [], trained, Strategy.uncertainty, 3)
        assert sorted(post.id.split("-")[0] for post, _ in chosen) == ["copy", "other", "other"]

    def test_newest(self, trained: Language) -> None:
        dates = {"old": "2024-01-01", "new": "2026-05-01", "undated": None, "mid": "2025-01-01"}
        posts = [Post(id=id, text=f"Know {id}", meta={"date": date} if date else {}) for id, date in dates.items()]
        chosen = choose(posts, [], trained, Strategy.newest, 3)
        assert [post.id for post, _ in chosen] == ["new", "mid", "old"]

    def test_random_is_repeatable(self, trained: Language) -> None:
        posts = [Post(id=str(i), text=f"Know {i}") for i in range(30)]
        first, second = ([post.id for post, _ in choose(posts, [], trained, Strategy.random, 10)] for _ in range(2))
        assert first == second != [str(i) for i in range(10)]

    def test_uncertainty_needs_our_component(self) -> None:
        with pytest.raises(BadInput, match="skill_ner"):
            choose([Post(id="a", text="A")], [], spacy.blank("en"), Strategy.uncertainty, 1)

    def test_what_was_learned_is_less_uncertain(self, trained: Language) -> None:
        strange = Post(id="strange", text="Zyx qwv 12 & jkq; vvv ppp zzz (qqq) mmm nnn")
        known, unknown = suggest(trained, [make_posts()[0], strange])
        assert known.uncertainty is not None and unknown.uncertainty is not None
        assert 0 <= known.uncertainty < unknown.uncertainty <= 1
        assert len(known.spans) == len(make_posts()[0].spans)

    def test_packaged_pipeline(self, trained: Language, tmp_path: Path) -> None:
        """It drops the encoder's vectors after its last component."""
        trained.to_disk(tmp_path)
        packaged = spacy.load(tmp_path)
        packaged.add_pipe("doc_cleaner", config={"attrs": {"_.trf_data": None}, "silent": True})
        (one,), (other,) = (list(suggest(nlp, make_posts()[:1])) for nlp in (packaged, trained))
        assert one.uncertainty == pytest.approx(other.uncertainty) and one.spans

    def test_post_without_a_word(self, trained: Language) -> None:
        (suggestion,) = suggest(trained, [Post(id="a", text="\n\n")])
        assert suggestion == Suggestion([], 0.0)


def example(number: int, spans: list[list[Any]], confirmed: bool = False, comments: int = 0) -> Example:
    job = {"id": "x", "suggested": {"spans": [[*span, 0.5] for span in spans]}}
    return Example(number, "🚀 Python SQL", job, confirmed, comments)


SUGGESTED: list[list[Any]] = [[2, 8, "TECHNOLOGY"]]


class TestSift:
    def test_untouched_copies_go(self) -> None:
        first, second = example(1, SUGGESTED), example(2, SUGGESTED)
        spans = {1: suggested_spans(first), 2: suggested_spans(second)}
        assert sift([first, second], spans) == ([first], [second])

    def test_offsets_are_compared_in_utf16(self) -> None:
        assert suggested_spans(example(1, SUGGESTED)) == [(3, 9, "TECHNOLOGY")]

    def test_half_arrived_goes(self) -> None:
        post = example(1, SUGGESTED)
        assert sift([post], {1: []}) == ([], [post])

    @pytest.mark.parametrize("changes", [{"confirmed": True}, {"comments": 1}])
    def test_work_of_a_person_stays(self, changes: dict[str, Any]) -> None:
        first, second = example(1, SUGGESTED), example(2, SUGGESTED, **changes)
        assert sift([first, second], {1: suggested_spans(first), 2: []}) == ([second], [first])

    def test_two_worked_on_both_stay(self) -> None:
        first, second = example(1, SUGGESTED), example(2, SUGGESTED)
        worked = [(3, 9, "SOFT")]
        assert sift([first, second], {1: worked, 2: worked}) == ([first, second], [])


class TestImport:
    def test_browser_offsets_outside_code_points_inside(self) -> None:
        post = Post(id="a", text="🚀 Python", meta={"title": "T"})
        row = to_import(post, Suggestion([(2, 8, "TECHNOLOGY", 0.98765)], 0.1), "model 1", LABELS)
        assert row["label"] == [[3, 9, "TECHNOLOGY"]]
        assert row["job"]["id"] == "a" and row["job"]["title"] == "T"
        assert row["job"]["suggested"]["spans"] == [[2, 8, "TECHNOLOGY", 0.9877]]
        assert row.keys() == {"text", "label", "job"}

    def test_label_of_another_model(self) -> None:
        with pytest.raises(BadInput, match="unknown label"):
            to_import(Post(id="a", text="Python"), Suggestion([(0, 6, "SKILL", None)], None), "m", LABELS)


def test_receipt_survives(tmp_path: Path) -> None:
    row = to_import(Post(id="a", text="Python"), Suggestion([], 0.2), "model 1", LABELS)
    receipt = Receipt(tmp_path / "receipt.jsonl")
    receipt.note([row], "sending")
    assert Receipt(receipt.path).interrupted("a")
    receipt.note([row], "sent")
    again = Receipt(receipt.path)
    assert not again.interrupted("a") and again.rows["a"]["model"] == "model 1"
    assert os.listdir(tmp_path) == ["receipt.jsonl"]


def test_clean() -> None:
    assert clean("\r\nA\rB\r\n\tC \n") == "A\nB\n\tC"
