import pytest

from scripts.convert import blank_pipeline
from scripts.doccano_report import agreements, compare, corrected_most, count_outcomes, span_f1, token_kappa
from scripts.posts import Post, Span
from tests.conftest import LABELS

TEXT = "We need Python, machine learning models and SQL."


def span(surface: str, label: str) -> Span:
    start = TEXT.index(surface)
    return Span(start=start, end=start + len(surface), label=label)


def post(suggested: list[Span], final: list[Span]) -> Post:
    spans = [[s.start, s.end, s.label, 0.5] for s in suggested]
    return Post(id="a", text=TEXT, spans=final, meta={"suggested": {"spans": spans}})


PYTHON, SQL = span("Python", "TECHNOLOGY"), span("SQL", "TECHNOLOGY")
LONG, SHORT = span("machine learning models", "TECHNICAL"), span("machine learning", "TECHNICAL")


@pytest.mark.parametrize(
    ("suggested", "final", "outcomes"),
    [
        ([PYTHON], [PYTHON], ["accepted"]),
        ([LONG], [SHORT], ["boundary"]),
        ([PYTHON], [span("Python", "TECHNICAL")], ["label"]),
        ([LONG], [span("machine learning", "BUS")], ["boundary and label"]),
        ([PYTHON], [], ["deleted"]),
        ([], [SQL], ["added"]),
        ([PYTHON], [SQL], ["deleted", "added"]),
        # One suggestion split in two: one of them is the correction, the other is new.
        ([LONG], [span("machine", "TECHNICAL"), span("learning models", "TECHNICAL")], ["boundary", "added"]),
    ],
)
def test_outcomes(suggested: list[Span], final: list[Span], outcomes: list[str]) -> None:
    assert [change.outcome for change in compare(post(suggested, final))] == outcomes


def test_counts_and_phrases() -> None:
    posts = [post([LONG, PYTHON], [SHORT, PYTHON, SQL]), post([LONG], [SHORT]), post([PYTHON], [])]
    changes = [change for one in posts for change in compare(one)]
    counts = count_outcomes(changes, LABELS)
    assert counts["TECHNICAL"]["boundary"] == 2
    assert counts["TECHNOLOGY"] | {"added": 1, "accepted": 1, "deleted": 1} == counts["TECHNOLOGY"]
    assert set(counts["BUS"].values()) == {0}
    first, *rest = corrected_most(changes, top=10)
    assert first == {
        "phrase": "machine learning models",
        "suggested": "TECHNICAL",
        "became": "boundary",
        "count": 2,
    }
    assert {row["phrase"] for row in rest} == {"python", "sql"}


def annotated(*spans: Span) -> Post:
    return Post(id="a", text=TEXT, spans=list(spans))


def test_agreement() -> None:
    nlp = blank_pipeline()
    assert span_f1([(annotated(PYTHON, SQL), annotated(PYTHON))]) == pytest.approx(2 / 3)
    assert token_kappa([(annotated(PYTHON, SQL), annotated(PYTHON, SQL))], nlp) == 1
    # 10 tokens; both say TECHNOLOGY once, one twice: (0.9 - 0.74) / (1 - 0.74).
    assert len(nlp.make_doc(TEXT)) == 10
    assert token_kappa([(annotated(PYTHON, SQL), annotated(PYTHON))], nlp) == pytest.approx(0.16 / 0.26)
    assert token_kappa([(annotated(), annotated())], nlp) is None
    assert span_f1([(annotated(), annotated())]) is None


def test_agreement_needs_posts_of_both() -> None:
    by_annotator = {"ann": {"a": annotated(PYTHON)}, "bob": {"a": annotated(PYTHON)}, "eve": {"b": annotated(SQL)}}
    (row,) = agreements(by_annotator, blank_pipeline())
    assert row["annotators"] == ["ann", "bob"] and row["posts"] == 1 and row["span F1"] == 1
