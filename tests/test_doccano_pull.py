from pathlib import Path
from typing import Any, ClassVar

import pytest

from scripts.cli import BadInput
from scripts.doccano_api import Project
from scripts.doccano_pull import Rows, back_up, check, compare, describe, merge, read_before, rows_of, was_edited
from scripts.doccano_push import Suggestion, to_import
from scripts.posts import Post, Unit, to_row, write_jsonl
from tests.conftest import LABELS

PROJECT = Project(1, "my project", shared=True)


def exported(number: int, text: str, *label: list[Any], **rest: Any) -> dict[str, Any]:
    return {"id": number, "text": text, "label": list(label), "Comments": [], **rest}


class TestCheck:
    def test_browser_offsets_become_code_points(self) -> None:
        row = exported(9, "🚀🚀 Python", [5, 11, "TECHNOLOGY"], job={"id": "a", "title": "T"})
        posts, bad = check([row], PROJECT, LABELS, Unit.utf16)
        assert not bad
        assert to_row(posts["a"]) == {
            "id": "a",
            "title": "T",
            "text": "🚀🚀 Python",
            "label": [[3, 9, "TECHNOLOGY"]],
        }

    def test_code_points_stay(self) -> None:
        row = exported(9, "🚀🚀 Python", [3, 9, "TECHNOLOGY"], job={"id": "a"})
        posts, _ = check([row], PROJECT, LABELS, Unit.codepoint)
        assert posts["a"].spans[0].start == 3

    def test_a_post_that_was_not_pushed_gets_an_id_of_its_project(self) -> None:
        posts, _ = check([exported(9, "Python")], PROJECT, LABELS, Unit.utf16)
        assert posts.keys() == {"my-project-9"}

    @pytest.mark.parametrize(
        ("label", "says"),
        [
            ([0, 6, "SALARY"], "unknown label"),
            ([0, 7, "SOFT"], "blank at an edge"),
            ([0, 99, "SOFT"], "outside the text"),
            ([10, 11, "SOFT"], "surrogate"),
        ],
    )
    def test_faults_name_the_post(self, label: list[Any], says: str) -> None:
        rows = [exported(1, "Python is 🚀", label, job={"id": "bad"}), exported(2, "Python", job={"id": "good"})]
        posts, (bad,) = check(rows, PROJECT, LABELS, Unit.utf16)
        assert posts.keys() == {"good"}
        assert bad.id == "bad" and bad.example == 1 and says in bad.wrong[0][0]

    def test_the_same_post_twice(self) -> None:
        rows = [exported(2, "Python", job={"id": "a"}), exported(1, "Python", job={"id": "a"})]
        posts, (bad,) = check(rows, PROJECT, LABELS, Unit.utf16)
        assert posts.keys() == {"a"} and bad.example == 2 and "second post" in bad.wrong[0][0]

    def test_comments_are_kept(self) -> None:
        row = exported(1, "Python", job={"id": "a"}) | {"Comments": ["unsure"]}
        posts, _ = check([row], PROJECT, LABELS, Unit.utf16)
        assert posts["a"].meta == {"Comments": ["unsure"]}


def test_whose_spans() -> None:
    own = Project(1, "p", shared=False)
    assert rows_of({"all": [{"id": 1}]}, PROJECT, None) == [{"id": 1}]
    assert rows_of({"ann": [{"id": 1}]}, own, None) == [{"id": 1}]
    assert rows_of({"ann": [], "bob": [{"id": 1}]}, own, "bob") == [{"id": 1}]
    with pytest.raises(BadInput, match="of ann, bob"):
        rows_of({"ann": [], "bob": []}, own, None)
    with pytest.raises(BadInput, match="no annotator 'eve'"):
        rows_of({"ann": []}, own, "eve")
    with pytest.raises(BadInput, match="leave out"):
        rows_of({"all": []}, PROJECT, "ann")


class TestChange:
    before: ClassVar[Rows] = {
        id: {"id": id, "text": f"text of {id}", "label": []} for id in ("same", "changed", "gone", "unusable")
    }

    def test_kinds(self) -> None:
        rows = [exported(i, f"text of {id}", job={"id": id}) for i, id in enumerate(["same", "new"])]
        rows.append(exported(8, "text of changed", [0, 4, "SOFT"], job={"id": "changed"}))
        rows.append(exported(9, "text of unusable", [0, 5, "SOFT"], job={"id": "unusable"}))
        posts, bad = check(rows, PROJECT, LABELS, Unit.utf16)
        change = compare(self.before, posts, bad)
        assert change == (["new"], ["changed"], ["gone"], ["unusable"])
        kept = merge(self.before, posts, change, prune=False)
        assert kept.keys() == {"same", "changed", "gone", "unusable", "new"}
        assert kept["changed"]["label"] == [[0, 4, "SOFT"]] and kept["unusable"] == self.before["unusable"]
        assert merge(self.before, posts, change, prune=True).keys() == kept.keys() - {"gone"}

    def test_what_changed_is_named(self) -> None:
        old = {"text": "Python and SQL", "label": [[0, 6, "SOFT"], [11, 14, "TECHNOLOGY"]]}
        new = {"text": "Python and SQL", "label": [[0, 6, "TECHNOLOGY"], [11, 14, "TECHNOLOGY"]]}
        assert describe(old, new) == "- 'Python' SOFT, + 'Python' TECHNOLOGY"
        assert describe(old, old | {"text": "Other"}) == "its text was edited"
        assert describe(old, old | {"title": "T"}) == "its metadata changed"


def test_unreadable_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "doccano-p.jsonl"
    path.write_text('{"id": "a"}\n<<<<<<< HEAD\n')
    with pytest.raises(BadInput, match="invalid JSON"):
        read_before(path)


def test_backups_do_not_replace_each_other(tmp_path: Path) -> None:
    path = tmp_path / "doccano-p.jsonl"
    for number in range(3):
        write_jsonl(path, [{"id": number}])
        back_up(path, tmp_path / "backups")
    assert len(list((tmp_path / "backups").iterdir())) == 3


def test_edited_text_is_noticed() -> None:
    row = to_import(Post(id="a", text="Python"), Suggestion([], None), "m", LABELS)
    assert not was_edited(Post(id="a", text="Python", meta=row["job"]))
    assert was_edited(Post(id="a", text="Python!", meta=row["job"]))
    assert not was_edited(Post(id="a", text="never pushed"))
