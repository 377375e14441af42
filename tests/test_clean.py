"""What scrapers leave goes, what is written in a post stays, and cleaning again changes nothing."""

import html
import json
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from scripts.clean import EDITS, Report, Rule, Settings, app, clean_posts, edit
from scripts.cli import BadInput
from scripts.posts import read_posts
from scripts.sources import Record, Reject, read_source
from tests.conftest import LABELS, ROOT

REAL = ROOT.parent / "shared" / "real" / "posts.jsonl"
LONG = "You will build data pipelines in Python and SQL, and talk about them with people from many parts of the company"


def cleaned(text: str, rules: Iterable[Rule] = tuple(Rule)) -> str:
    edited = edit(text, tuple(rules))
    assert edited is not None
    return edited[0]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# Edits


@pytest.mark.parametrize(
    ("rule", "raw", "clean"),
    [
        ("lists", "['Know SQL', \"it's R\"]", "Know SQL\nit's R"),
        ("lists", '["Know SQL\\n", "R"]', "Know SQL\n\nR"),
        ("lists", "['Know SQL'\n 'R']", "Know SQL\nR"),
        ("lists", '["\\ud83d\\ude80 SQL"]', "🚀 SQL"),
        ("html", "<p>Know</p><ul><li>SQL<li>R &amp; D</ul>", "Know\nSQL\nR & D"),
        (
            "html",
            "<div>We are\n  hiring<br/>a <b>data</b>\n analyst<script>x</script></div>",
            "We are hiring\na data analyst",
        ),
        ("html", "Lines that were\nnever HTML,<br>with a remnant", "Lines that were\nnever HTML,\nwith a remnant"),
        ("html", "<pre>SQL\nR</pre><style>p {}</style><!-- x -->", "SQL\nR"),
        ("entities", "R&amp;amp;D &lt;5 years, people&#8217;s", "R&D <5 years, people’s"),
        ("encoding", "peopleâ€™s cafÃ©, Microsoft Â® Excel, ﬁnance", "people’s café, Microsoft ® Excel, finance"),
        ("line-ends", "SQL\r\nR\rSAS\u2028Excel", "SQL\nR\nSAS\nExcel"),
        ("invisible", "S\u200bQL\ufeff soft\xadware\n\uf0b7 R", "SQL software\n• R"),
        ("linkedin", "About the job\nKnow SQL.", "Know SQL."),
        ("linkedin", "About the jobKnow SQL.", "Know SQL."),
        (
            "linkedin",
            "Know SQL.\nSeniority level\nEntry level\n\nEmployment type\nPart-time\nJob function\nIT\nIndustries\nFood",
            "Know SQL.",
        ),
        ("linkedin", "SQL.\nSeniority levelEntry levelEmployment typeContractJob functionITIndustriesBanking", "SQL."),
        ("glassdoor", "$75K-$96K (Glassdoor est.)", "$75K-$96K"),
        ("show-more", "Know SQL.Show more\nAnd R\nShow moreShow less", "Know SQL.\nAnd R"),
        ("tracking", "Req ID: 2020-1488\nKnow SQL. #LI-AB1\n#IND1\nAnd R", "Know SQL.\nAnd R"),
        ("emails", "Write to ann.lee+jobs@example.co.uk.", "Write to [email]."),
        ("phones", "Call (408) 555-0100, 1-800-555-0100 or +44 (0)20 7946 0100.", "Call [phone], [phone] or [phone]."),
        (
            "headings",
            "Work with SQL.Requirements:\nRRequired Skills:",
            "Work with SQL.\nRequirements:\nRRequired Skills:",
        ),
        ("headings", "write reportsRequired Skills: SQL", "write reports\nRequired Skills: SQL"),
        ("blanks", "SQL\xa0 and\tR  \n\u3000Excel", "SQL and R\nExcel"),
        ("blank-lines", "\nSQL\n\n\n\nR\n", "SQL\n\nR"),
    ],
)
def test_each_edit(rule: str, raw: str, clean: str) -> None:
    assert cleaned(raw) == clean
    assert edit(raw, [Rule(rule)]) != (raw, set())
    assert cleaned(raw, set(EDITS) - {Rule(rule)}) != clean


@pytest.mark.parametrize(
    "text",
    [
        "C#, C++ <3, .NET, R&D, A/B, I/O, GD&T; p<0.05, <5 years, 3 < 4 > 2, List<String>, <title>, <> and AT&T",
        "• Python\n- SQL\n* “curly” ‘quotes’ – dashes… Zürich, naïve, 東京, 🤖, 👩\u200d💻, m², 50 °C, €60k",
        "$120,000 - $150,000, 100 000 - 120 000 EUR, $64.00 - 82.14, 1,408-555 things, +10 years, +20000 users, 24/7",
        "2018-2020, 2020-04-07, 0830-1630, 401(k), 10.2.1.300, 41 CFR 60-741.5(a), Role 200153999, ISO/IEC 27001:2013",
        "Seniority level is open.\nEmployment type: contract\nSQL",
        "We show more than dashboards. Glassdoor est une entreprise. See more of us",
        "About the job: it is hard\nAbout the job market\nPowerPoint Skills: good. JavaScript Experience: some",
        "['a' is a letter] and [1, 2]",
        "@amobee Women@Uptake #SQL #Python #India",
    ],
)
def test_what_is_written_stays(text: str) -> None:
    assert cleaned(text) == text


PIECES = (
    "<p>~</p>~<br>~<li>~</ul>~<div>~<b>~</b>~<script>~</script>~<pre>~<!--~-->~<~>~&lt;~&gt;~&amp;~amp;~&nbsp;~&#x27;"
    "~â€™~Ã©~Â ~C++ <3~['~', '~']~[\"~\"]~\\~<5~ ~.~:~•~- ~\r\n~\r~\n~\n\n\n~\f~\x85~\u2028~\xa0~\u200b~\u200d~\xad~\t"
    "~  ~\0~\x92~#LI-AB1~#IND~Req ID:~1234~ann@example.org~@~(408) 555-0100~+1 408~Requirements:~Skills~SQL."
    "~About the job~(Glassdoor est.)~Seniority level~Employment type~Job function~Industries~Show more~Show less"
).split("~")
NASTY = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=20).map("".join)


@settings(max_examples=300, deadline=None)
@given(NASTY, st.sets(st.sampled_from(list(EDITS)), max_size=3))
def test_cleaning_again_changes_nothing(text: str, skipped: set[Rule]) -> None:
    rules = set(Rule) - skipped
    assert edit(cleaned(text, rules), rules) == (cleaned(text, rules), set())


def test_a_hostile_post_takes_no_longer() -> None:
    began = time.monotonic()
    cleaned("<a " + "href" * 200_000)
    assert time.monotonic() - began < 10


@pytest.fixture(scope="module")
def corpus_rows() -> list[dict[str, Any]]:
    return [row for path in sorted((ROOT / "corpus" / "annotations").glob("*.jsonl")) for row in read(path)[::8]]


def test_no_skill_of_the_corpus_is_harmed(corpus_rows: list[dict[str, Any]]) -> None:
    for row in corpus_rows:
        once = cleaned(row["text"])
        assert edit(once) == (once, set())
        flat = " ".join(once.split())
        for start, end, _ in row["label"]:
            assert " ".join(row["text"][start:end].split()) in flat, row["id"]


def as_html(text: str) -> str:
    first, *lines = html.escape(text).split("\n")
    return f"<div>\n <p><strong>{first}</strong></p>\n<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul></div>"


FORMS: dict[str, Callable[[str], str]] = {
    "list items": as_html,
    "line breaks": lambda text: html.escape(text).replace("\n", "<br />\n"),
    "escaped twice": lambda text: html.escape(as_html(text)),
    "stringified list": lambda text: repr(text.split("\n")),
    "Latin-1": lambda text: text.encode().decode("latin-1"),
    "no-break blanks": lambda text: text.replace(" ", "\xa0").replace("\n", "\r\n"),
    "LinkedIn": lambda text: (
        f"About the job\n{text}\nShow more\n\nSeniority level\nAssociate\nEmployment type\nFull-time\n"
        "Job function\nFinance\nIndustries\nBanking\nInsurance"
    ),
}


def restored(texts: Iterable[str], form: Callable[[str], str]) -> float:
    """The share of clean texts that come back line by line, blank ones apart, from a messy form."""
    pairs = [(cleaned(text), cleaned(form(cleaned(text)))) for text in texts]
    return sum([*filter(None, a.split("\n"))] == [*filter(None, b.split("\n"))] for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("form", FORMS)
def test_messy_posts_are_restored(form: str, corpus_rows: list[dict[str, Any]]) -> None:
    assert restored([row["text"] for row in corpus_rows[::6]], FORMS[form]) == 1


@pytest.mark.skipif(not REAL.exists(), reason="the real posts are not distributed")
def test_messy_real_posts_are_restored() -> None:
    texts = [row["text"] for row in read(REAL)[::160]]
    assert {form: restored(texts, make) for form, make in FORMS.items()} == dict.fromkeys(FORMS, 1)


# Posts


def records(*texts: str) -> list[Record | Reject]:
    return [Record(f"posts.jsonl:{i}", f"p{i}", text, {"title": "Analyst"}) for i, text in enumerate(texts)]


def prose(seed: int) -> str:
    """English words enough for a post, in an order of their own."""
    return " ".join(random.Random(seed).choices(LONG.split(), k=60))


def test_files_in_posts_out(tmp_path: Path) -> None:
    raw = tmp_path / "raw.csv"
    texts = [f"<p>{prose(1)}</p>", prose(1) + " more", prose(2), prose(1), "too short"]
    lines = [f'7,"{text}",{salary}' for text, salary in zip(texts, range(5), strict=True)]
    raw.write_text("\n".join(["id,description,salary", *lines, "9,one field too many,1,2"]), encoding="utf-8")
    output, rejects, summary = (tmp_path / name for name in ("posts.jsonl", "rejects.jsonl", "summary.json"))
    result = run(raw, "--text-column", "description", "--output", output, "--rejects", rejects, "--summary", summary)
    assert result.exit_code == 0, result.output
    kept = read(output)
    assert [(row["salary"], row["cluster"] == row["id"]) for row in kept] == [("0", True), ("2", True)]
    assert [post.text for post in read_posts([output], LABELS, annotated=False)] == [prose(1), prose(2)]
    assert [row["place"] for row in read(rejects)] == [f"{raw}:7"]
    figures = json.loads(summary.read_text())
    assert figures["left"] == 2 and figures["rejected"] == 1
    assert figures["rules"]["html"] == {"posts": 5, "changed": 1}
    assert figures["rules"]["too-short"] == {"posts": 5, "caught": 1}
    assert figures["rules"]["duplicates"]["caught"] == figures["rules"]["near-duplicates"]["caught"] == 1
    # Again: the same.
    assert run(output, "--output", tmp_path / "again.jsonl").exit_code == 0
    assert (tmp_path / "again.jsonl").read_bytes() == output.read_bytes()


def test_duplicates_that_are_kept_have_the_cluster_of_the_first() -> None:
    texts = [prose(1), prose(2), prose(1) + " more", prose(2)]
    report = Report()
    rows = list(clean_posts(records(*texts), Settings(keep_duplicates=True), report))
    assert [row["cluster"] for row in rows] == ["p0", "p1", "p0", "p1"] and report.left == 4


def test_other_languages_are_counted_and_short_texts_not_judged() -> None:
    german = "Wir suchen Menschen, die gerne mit Daten arbeiten und ihre Ergebnisse verständlich erklären können. " * 3
    report = Report()
    rows = list(clean_posts(records(LONG, german, "Datenanalyse mit Python"), Settings(min_words=1), report))
    assert [row["id"] for row in rows] == ["p0", "p2"] and report.languages == {"de": 1}


def test_every_post_has_an_id_of_its_own_and_no_span_is_shifted() -> None:
    items = [Record("x", "1", prose(seed), {}) for seed in (1, 2, 3)] + [
        Record("y", "2", prose(4), {"label": [[0, 2, "SOFT"]]})
    ]
    report = Report()
    assert [row["id"] for row in clean_posts(items, Settings(), report)] == ["1", "1-2", "1-3"]
    assert [reject.place for reject in report.rejects] == ["y"]


def test_where_nothing_is_left_nothing_is_overwritten(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "posts.jsonl"
    output.write_text("good\n")
    for path in (write_rows({"text": "too short"}, "{", name="raw.jsonl"), tmp_path / "none.csv"):
        result = run(path, "--output", output)
        assert result.exit_code == 1 and f"✘ {path}: no" in result.stderr, result.output
    assert "no posts given" in run().stderr
    assert output.read_text() == "good\n"


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([".jsonl", ".json", ".csv", ".parquet", ".txt", ".html"]),
    st.binary(max_size=200)
    | NASTY.map(str.encode)
    | st.recursive(st.none() | st.floats() | st.text(max_size=9), lambda s: st.lists(s, max_size=3), max_leaves=9).map(
        lambda value: json.dumps([{"text": value, "x": value}]).encode()
    )
    | st.builds(lambda piece: piece.encode() * 2_000, st.sampled_from([*PIECES, "a", '[{"text":'])),
)
def test_any_input_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(content)
    report = Report()
    try:
        json.dumps(list(clean_posts(read_source(path), Settings(min_words=1), report)))
    except BadInput as error:
        assert "\n" not in str(error)
    assert all("\n" not in reject.what for reject in report.rejects)
