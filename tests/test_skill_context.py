"""Whether a skill is required, preferred or mentioned, where it stands, and by what words one can tell."""

import time
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin

from scripts.skill_context import LINE_BREAKS, SECTIONS, judge

SKILLS = ("Python", "SQL", "Spark", "Tableau", "Hadoop", "Excel", "SAS")

POST = """About Acme
We run on Python.
What you’ll do
Build dashboards in Tableau.
Requirements:
• 3+ years of SQL
• Excel; Spark is a plus
• No SAS experience required
Preferred Qualifications
Hadoop
What we offer
A bonus, and training in SAS if required.
Acme is an equal opportunity employer, with or without Python."""

EXPECTED = [
    ("Python", "mentioned", "company", "About Acme"),
    ("Tableau", "mentioned", "responsibilities", "What you’ll do"),
    ("SQL", "required", "requirements", "Requirements:"),
    ("Excel", "required", "requirements", "Requirements:"),
    ("Spark", "preferred", "requirements", "a plus"),
    ("SAS", "mentioned", "requirements", "No SAS experience required"),
    ("Hadoop", "preferred", "preferred", "Preferred Qualifications"),
    ("SAS", "mentioned", "benefits", "What we offer"),
    ("Python", "mentioned", "legal", "equal opportunity"),
]


@pytest.fixture(scope="module")
def nlp() -> Language:
    nlp = spacy.blank("en")
    patterns = [{"label": "TECHNOLOGY", "pattern": [{"ORTH": skill}]} for skill in SKILLS]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)  # type: ignore[attr-defined]
    nlp.add_pipe("skill_context")
    return nlp


def said(nlp: Language, text: str) -> dict[str, str]:
    return {ent.text: ent._.requirement for ent in nlp(text).ents}


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\n\n", "\u2028", "\u0085"])
def test_a_post_with_headings(nlp: Language, line_break: str) -> None:
    doc = nlp(POST.replace("\n", line_break))
    found = [(ent.text, ent._.requirement, ent._.section, ent._.evidence.text) for ent in doc.ents]
    assert found == EXPECTED
    assert all(ent._.evidence.doc is doc for ent in doc.ents)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Words that ask for it, before and after it.
        ("Python required, Spark preferred.", {"Python": "required", "Spark": "preferred"}),
        ("Must have SQL and Python; Spark a plus", {"SQL": "required", "Python": "required", "Spark": "preferred"}),
        ("Must have SQL, Spark a plus", {"SQL": "required", "Spark": "preferred"}),
        ("Strong SQL skills, Tableau a plus", {"SQL": "required", "Tableau": "preferred"}),
        ("Responsibilities\nHave experience with SQL", {"SQL": "required"}),
        ("Experience with Python, SQL, or Spark is a big plus", dict.fromkeys(("Python", "SQL", "Spark"), "preferred")),
        ("Experience with SQL, experience in Spark a plus", {"SQL": "required", "Spark": "preferred"}),
        ("SQL and Spark, a plus", {"SQL": "preferred", "Spark": "preferred"}),
        ("Experience in SQL, Spark and Excel a major plus", dict.fromkeys(("SQL", "Spark", "Excel"), "preferred")),
        ("Strong Excel skills with the ability to learn Python", {"Excel": "required", "Python": "required"}),
        ("Job Details:\nExperience with SQL", {"SQL": "required"}),
        ("Nice to have: Spark, Hadoop", {"Spark": "preferred", "Hadoop": "preferred"}),
        ("Experience with SQL, ideally Python", {"SQL": "required", "Python": "preferred"}),
        ("Bonus points if you know Hadoop", {"Hadoop": "preferred"}),
        ("Knowledge of Python or SAS preferred", {"Python": "preferred", "SAS": "preferred"}),
        ("Proficiency in SQL (Python preferred)", {"SQL": "required", "Python": "preferred"}),
        ("Knowledge of SQL, Python (preferred)", {"SQL": "required", "Python": "preferred"}),
        ("Tableau experience would be helpful", {"Tableau": "preferred"}),
        # Negation.
        ("Experience with Spark is not required", {"Spark": "mentioned"}),
        ("You don't need to know Hadoop", {"Hadoop": "mentioned"}),
        ("Spark is not required but a plus", {"Spark": "preferred"}),
        ("Tableau preferred but not required", {"Tableau": "preferred"}),
        # No heading: who has what.
        ("5+ years of Python and strong SQL skills", {"Python": "required", "SQL": "required"}),
        ("We have deep knowledge of Spark.", {"Spark": "mentioned"}),
        ("You will gain experience with Spark.", {"Spark": "mentioned"}),
        ("You will maintain reports in SQL as required.", {"SQL": "mentioned"}),
        ("We are looking for an analyst who knows Excel.", {"Excel": "required"}),
        # A bonus is no bonus.
        ("Benefits: an annual bonus, Python courses", {"Python": "mentioned"}),
        # Duties and requirements under one heading.
        ("Responsibilities\nWrite Python\nStrong knowledge of SQL", {"Python": "mentioned", "SQL": "required"}),
        # A heading of another kind ends the scope of the one before.
        ("Requirements\nSQL\nOUR DAILY WORKFLOW\nMeetings and Spark", {"SQL": "required", "Spark": "mentioned"}),
        # A skill that heads a list, or an aside, does not.
        ("Requirements\nPython:\nOO, and SQL", {"Python": "required", "SQL": "required"}),
        (
            "Requirements\nSQL\nNice to have: Spark\nPython",
            {"SQL": "required", "Spark": "preferred", "Python": "required"},
        ),
    ],
)
def test_sentences(nlp: Language, text: str, expected: dict[str, str]) -> None:
    assert said(nlp, text) == expected


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("It's great, but not required, if you have", "preferred"),
        ("The Strongest Candidates Will Also Have", "preferred"),
        ("Exceptional Candidates:", "preferred"),
        ("What we'd love to see!", "preferred"),
        ("Ways to Stand Out From the Crowd", "preferred"),
        ("*Preferred Qualifications**", "preferred"),
        ("Some of the following would be nice to have:", "preferred"),
        ("What you need for this position", "requirements"),
        ("This job is ideal for someone who is:", "requirements"),
        ("What You Will Bring To Acme", "requirements"),
        ("If you have the following experience, Acme would like to talk to you:", "requirements"),
        ("As an analyst at Acme you will be responsible for:", "responsibilities"),
        ("About Acme", "company"),
    ],
)
def test_headings_in_other_words(nlp: Language, heading: str, section: str) -> None:
    (ent,) = nlp(f"{heading}\nSQL").ents
    assert ent._.section == section


@pytest.mark.parametrize(
    ("lines", "requirement"),
    [
        ("Nice to have\nExperience with one of these:", "preferred"),
        ("Responsibilities\nWith years of data before you:", "mentioned"),
        ("Benefits\nYou have the choice between these courses:", "mentioned"),
        ("About us\nWe have over 20 years of experience in building:", "mentioned"),
        ("In your first 2 years you will:", "mentioned"),
        ("Requirements\nExperience with one of these (Python preferred):", "required"),
        ("Requirements\nWe have a nice office and you get to work with:", "required"),
        ("Preferred\nAbility to work as part of a team", "preferred"),
        ("Requirements\nAbility to provide information to our client", "required"),
        ("Requirements\nUS citizenship*", "required"),
        ("Requirements\nDegree not required", "required"),
        ("Benefits\nYou'll also have:", "mentioned"),
        ("Requirements\nWhat Happens Next?", "mentioned"),
    ],
)
def test_lines_that_are_no_headings_and_some_that_are(nlp: Language, lines: str, requirement: str) -> None:
    ent = nlp(f"{lines}\nSQL").ents[-1]
    assert ent._.requirement == requirement


def test_what_heads_a_line_ends_with_it(nlp: Language) -> None:
    doc = nlp("Requirements\nSQL\nCompany: Acme\nSpark\nAbout us: We build things.\nOur platform uses Hadoop.")
    assert [ent._.section for ent in doc.ents] == ["requirements", "requirements", "company"]


def test_a_paragraph_tells_the_role_a_list_its_duties(nlp: Language) -> None:
    doc = nlp(
        "Build reports in Excel. You will maintain models in Python too.\nWrite SQL\n1. Tune Spark.\u00a0\n"
        "- Build dashboards in Tableau. Maintain them with Hadoop."
    )
    duty, role = "responsibilities", "role"
    assert {ent.text: ent._.section for ent in doc.ents} == {
        "Excel": role,
        "Python": role,
        "SQL": duty,
        "Spark": duty,
        "Tableau": duty,
        "Hadoop": duty,
    }


def test_requirements_among_degrees(nlp: Language) -> None:
    doc = nlp("Education\nDegree in anything with SQL\n3 years of experience in Spark")
    assert [ent._.section for ent in doc.ents] == ["education", "requirements"]


@pytest.mark.parametrize("heading", ["", "About the role\n"])
def test_duties_and_requirements_without_a_heading(nlp: Language, heading: str) -> None:
    doc = nlp(heading + "- Build reports in Excel\n- Develops models in Python.\n- Strong SQL\nKnowledge of Spark")
    found = {ent.text: (ent._.requirement, ent._.section) for ent in doc.ents}
    duty, must = ("mentioned", "responsibilities"), ("required", "requirements")
    assert found == {"Excel": duty, "Python": duty, "SQL": must, "Spark": must}


def test_what_the_role_is_about_stays_it(nlp: Language) -> None:
    (ent,) = nlp("About the role\nThe analyst lives and breathes Tableau.").ents
    assert (ent._.requirement, ent._.section) == ("mentioned", "role")


@pytest.mark.parametrize(
    "text",
    [
        # Line breaks that became blanks, or nothing at all.
        "We use Tableau. Responsibilities: Build things in Python. Requirements: SQL. Preferred Qualifications: Spark.",
        "We use Tableau.What You Will DoBuild things in Python.RequirementsSQLPreferred QualificationsSpark"
        + " etc" * 40,
        "Job Description We use Tableau and so on. "
        + "We grow. " * 20
        + "What You Will Do Build things in Python. Minimum "
        "Qualifications SQL. Preferred Qualifications Spark",
    ],
)
def test_lost_line_breaks(text: str) -> None:
    ents = [(text.index(skill), text.index(skill) + len(skill)) for skill in ("Tableau", "Python", "SQL", "Spark")]
    assert [verdict.requirement for verdict in judge(text, ents)] == ["mentioned", "mentioned", "required", "preferred"]


def test_without_anything_to_go_by(nlp: Language) -> None:
    (ent,) = nlp("Python").ents
    assert (ent._.requirement, ent._.section, ent._.evidence) == ("mentioned", None, None)
    assert not nlp("").ents
    assert judge(" \n ", [(0, 3)]) == [("mentioned", None, None)]
    span = nlp("Python and more")[2:3]
    assert (span._.requirement, span._.section, span._.evidence) == (None, None, None)


@pytest.mark.parametrize("text", [POST.upper(), POST.lower(), POST.replace("\n", ""), "İ" * 50 + POST, POST * 3])
def test_evidence_lies_in_the_doc(nlp: Language, text: str) -> None:
    for ent in nlp(text).ents:
        assert ent._.section is None or ent._.section in SECTIONS
        if ent._.evidence is not None:
            assert 0 <= ent._.evidence.start < ent._.evidence.end <= len(ent.doc)
            assert not set(LINE_BREAKS) & set(ent._.evidence.text)


def test_the_law_does_not_hide_what_comes_after_it() -> None:
    text = "We are an equal opportunity employer. " + "Really. " * 20 + "Requirements: SQL"
    (verdict,) = judge(text, [(len(text) - 3, len(text))])
    assert (verdict.requirement, verdict.section) == ("required", "requirements")


@pytest.mark.parametrize(
    "piece",
    [
        "SQL a plus ",
        "-" * 600 + "SQL " * 190 + "a plus.\n",
        "equal opportunity SQL\n",
        "Requirements: SQL ",
        "not SQL ",
        "no SQL, ",
        "Skills SQL (",
        "SQL",
    ],
)
def test_time_is_linear(piece: str) -> None:
    text = piece * (60_000 // len(piece))
    ents = [(place, place + 3) for place in range(text.index("SQL"), len(text) - 2, len(piece))]
    started = time.process_time()
    assert len(judge(text, ents)) == len(ents)
    assert time.process_time() - started < 5


def test_verdicts_survive_other_processes_docbin_and_disk(nlp: Language, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    for docs in (nlp.pipe([POST] * 2, n_process=2, batch_size=1), loaded.pipe([POST] * 2)):
        docbin = DocBin(docs=docs, store_user_data=True).to_bytes()
        for doc in DocBin().from_bytes(docbin).get_docs(spacy.blank("en").vocab):
            found = [(ent.text, ent._.requirement, ent._.section, ent._.evidence.text) for ent in doc.ents]
            assert found == EXPECTED
