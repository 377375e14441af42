"""The figures are right on posts small enough to count by hand, and the page is fit to read on a laptop and a phone."""

import itertools
from pathlib import Path
from typing import Any

import numpy
import pytest
from spacy.tokens import DocBin
from typer.testing import CliRunner

from scripts.convert import blank_pipeline, to_doc
from scripts.explore import Overlap, app, clusters, growth, mention_counts, overlap, post_counts, together
from scripts.posts import Post
from tests.conftest import LABELS, headless_chromium, make_posts

POSTS = make_posts(
    [
        "Know {{Python|T}}, {{SQL|T}} and {{python|T}}.",
        "Know {{SQL|T}} and {{pricing|B}}.",
        "Do {{pricing|M}} in {{Python|T}} and {{sql|T}}.",
        "Nothing at all.",
    ]
)


def test_mentions_and_the_posts_they_stand_in() -> None:
    assert mention_counts(POSTS)["python", "TECHNOLOGY"] == 3
    assert post_counts(POSTS)["python", "TECHNOLOGY"] == 2
    assert {label for phrase, label in mention_counts(POSTS) if phrase == "pricing"} == {"BUS", "TECHNICAL"}


def test_growth_is_the_mean_over_all_orders_of_posts() -> None:
    skills = [{"a", "b"}, {"a"}, {"a", "c"}, set[str]()]
    sizes = [[len(set[str]().union(*order[:n])) for n in range(5)] for order in itertools.permutations(skills)]
    numpy.testing.assert_allclose(growth([3, 1, 1], 4), numpy.mean(sizes, axis=0), atol=1e-12)
    assert growth([], 1).tolist() == [0, 0]


def test_skills_together_against_chance() -> None:
    observed, expected = together(POSTS, ["python", "sql", "pricing"])
    assert observed.tolist() == [[2, 2, 1], [2, 3, 2], [1, 2, 2]]
    assert expected[0].tolist() == [2 * 2 / 4, 2 * 3 / 4, 2 * 2 / 4]


def test_overlap_with_training_counts_spellings_under_any_label() -> None:
    assert overlap([POSTS[0], POSTS[2]], [POSTS[1]]) == Overlap(running=6, running_seen=3, distinct=3, distinct_seen=2)
    assert overlap([POSTS[2]], [POSTS[1]], "TECHNICAL") == Overlap(1, 1, 1, 1)
    assert overlap([POSTS[3]], [POSTS[1]]) == Overlap(0, 0, 0, 0)


def test_clusters_of_near_duplicates_the_largest_first() -> None:
    one, other = (" ".join(f"{name}{i}" for i in range(60)) for name in "ab")
    texts = [one, other, f"{one} x", "alone", f"{other} y", f"{other} z"]
    assert clusters([Post(id=str(i), text=text) for i, text in enumerate(texts)]) == [[1, 4, 5], [0, 2]]


def explore(folder: Path, encoder: Path, labels: list[str], *options: str, **parts: list[Post]) -> Any:
    nlp = blank_pipeline()
    for name in ("train", "dev", "test"):
        docs = [to_doc(post, nlp)[0] for post in parts.get(name, [])]
        DocBin(docs=docs, store_user_data=True).to_disk(folder / f"{name}.spacy")
    files = [part for name in ("train", "dev", "test") for part in (f"--{name}", str(folder / f"{name}.spacy"))]
    more = ["--posts", str(folder / "posts"), "--encoder", str(encoder), "--labels", ",".join(labels)]
    return CliRunner().invoke(app, [*files, *more, "--output", str(folder / "report" / "explore.html"), *options])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """The page of posts with all that a page can show, and with text that is no use to HTML or a plot."""
    folder = tmp_path_factory.mktemp("explore")
    phrases = ["<script>$x$", "$\\frac$", "资料", "long" * 50]
    skills = [*(f"{phrase}|{label}" for phrase in phrases for label in "TM"), "Python|T", "SQL|T", "planning|B"]
    nasty = ", ".join(f"{{{{{skill}}}}}" for skill in skills)
    train = make_posts([f"{nasty}\n" + " ".join(f"own{i}-{j}" for j in range(30)) for i in range(8)])
    rest = make_posts()
    (folder / "posts").mkdir()
    (folder / "posts" / "a.jsonl").write_text(
        '{"text": "Raw <b>one</b> ' + "w " * 300 + '"}\n{"text": "Raw <b>one</b> ' + "w " * 290 + '"}\n'
    )
    result = explore(folder, tiny_encoder, LABELS, train=train, dev=rest[:2], test=rest[2:])
    assert result.exit_code == 0, result.output
    return folder / "report" / "explore.html"


def test_text_of_posts_is_escaped(report: Path) -> None:
    written = report.read_text(encoding="utf-8")
    assert "&lt;script&gt;$x$" in written and "<script" not in written
    assert "Raw &lt;b&gt;one" in written and "<b>" not in written


def test_each_plot_lies_beside_the_page(report: Path) -> None:
    names = {path.stem for path in report.with_suffix("").iterdir()}
    assert names == {
        *("words", "wordpieces", "spans", "tail", "growth", "together", "overlap"),
        *(f"most_frequent_{label}" for label in LABELS),
    }
    assert report.read_text(encoding="utf-8").count('src="data:image/png;base64,') == len(names)


def test_one_post_without_others_and_a_label_without_spans(tmp_path: Path, tiny_encoder: Path) -> None:
    result = explore(tmp_path, tiny_encoder, [*LABELS, "NONE"], train=POSTS[:1])
    assert result.exit_code == 0, result.output
    written = (tmp_path / "report" / "explore.html").read_text(encoding="utf-8")
    assert "1 annotated post and 0 posts" in written and "NONE" in written
    assert "None of 1 post is a near-duplicate" in written


def test_posts_without_spans(tmp_path: Path, tiny_encoder: Path) -> None:
    assert explore(tmp_path, tiny_encoder, LABELS, train=POSTS[3:]).exit_code == 0


def test_bad_input_is_one_line(tmp_path: Path, tiny_encoder: Path) -> None:
    result = explore(tmp_path, tiny_encoder, LABELS)
    assert result.exit_code == 1 and "no post in it" in result.output
    result = explore(tmp_path, tmp_path, LABELS, train=POSTS)
    assert result.exit_code == 1 and "config.json: no such file" in result.output
    result = explore(tmp_path, tiny_encoder, LABELS, "--output", str(tmp_path / "page"), train=POSTS)
    assert result.exit_code == 1 and "name it something.html" in result.output
    assert not (tmp_path / "report").exists()


WIDER = """
return [...document.querySelectorAll('body *')]
    .filter(e => !e.parentElement.closest('.table') && e.getBoundingClientRect().right > innerWidth + 1)
    .map(e => e.outerHTML.slice(0, 100))
"""
MISSING = "return [...document.images].filter(image => !image.complete || !image.naturalWidth).length"


def test_the_page_fits_a_laptop_and_a_phone(report: Path) -> None:
    with headless_chromium() as driver:
        for width, height in ((1366, 768), (390, 844)):
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            driver.get(report.as_uri())
            assert driver.execute_script("return innerWidth") == width
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width
            assert driver.execute_script(WIDER) == []
            assert driver.execute_script(MISSING) == 0
        assert driver.get_log("browser") == []
