"""Every skill gets the name of the table, however it is written, and none rather than a wrong one."""

import random
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin

from scripts.skill_linker import Index, SkillLinker, read_table
from tests.conftest import ROOT

TABLE = """skill,label,aliases
Angular,TECHNOLOGY,
Apache Kafka,TECHNOLOGY,
C,TECHNOLOGY,
C#,TECHNOLOGY,C Sharp
C++,TECHNOLOGY,
D3.js,TECHNOLOGY,D3
Go,TECHNOLOGY,
"ISO, the standards",BUS,
Java,TECHNOLOGY,
JavaScript,TECHNOLOGY,JS
Kubernetes,TECHNOLOGY,k8s
Microsoft Excel,TECHNOLOGY,
PostgreSQL,TECHNOLOGY,
Python,TECHNOLOGY,Python 3
Python 2,TECHNOLOGY,
R,TECHNOLOGY,
RStudio,TECHNOLOGY,
S3,TECHNOLOGY,
SQL Server,TECHNOLOGY,
SSRS,TECHNOLOGY,
communication,SOFT,communicate
data modeling,TECHNICAL,
databases,TECHNICAL,
macroeconomics,TECHNICAL,
microeconomics,TECHNICAL,
natural language processing,TECHNICAL,NLP
research and development,TECHNICAL,R&D
structured data,TECHNICAL,
team management,BUS,
unstructured data,TECHNICAL,
"""

RULER = [
    {"label": "TECHNOLOGY", "pattern": [{"LOWER": "ms"}, {"LOWER": "excel"}]},
    {"label": "TECHNOLOGY", "pattern": [{"ORTH": "k8s"}]},
    {"label": "TECHNICAL", "pattern": [{"ORTH": "NLP"}]},
    {"label": "SOFT", "pattern": [{"ORTH": "Excel"}]},
    {"label": "TECHNOLOGY", "pattern": [{"ORTH": "Frobnicator"}]},
]
TEXT = "Know MS Excel, k8s and NLP; Excel as a trait, Frobnicator."


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "skills.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


@pytest.fixture
def nlp(path: Path) -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns(RULER)  # type: ignore[attr-defined]
    nlp.add_pipe("skill_linker").load(path)  # type: ignore[attr-defined]
    return nlp


def linker(nlp: Language) -> SkillLinker:
    found = nlp.get_pipe("skill_linker")
    assert isinstance(found, SkillLinker)
    return found


def links(nlp: Language, text: str = TEXT) -> list[tuple[str, str | None]]:
    return [(ent.text, ent._.skill) for ent in nlp(text).ents]


LINKED = [
    ("MS Excel", "Microsoft Excel"),
    ("k8s", "Kubernetes"),
    ("NLP", "natural language processing"),
    # A SOFT entity is no product.
    ("Excel", None),
    ("Frobnicator", None),
]


@pytest.mark.parametrize(
    ("surface", "label", "skill"),
    [
        ("EXCEL", "TECHNOLOGY", "Microsoft Excel"),
        ("Microsoft  excel", "TECHNOLOGY", "Microsoft Excel"),
        ("Kafka", "TECHNOLOGY", None),
        ("APACHE KAFKA", "TECHNOLOGY", "Apache Kafka"),
        ("Microsoft SQL Server 2016", "TECHNOLOGY", "SQL Server"),
        ("K8S", "TECHNOLOGY", "Kubernetes"),
        ("Natural-Language Processing", "TECHNICAL", "natural language processing"),
        ("data modelling", "TECHNICAL", "data modeling"),
        ("Data-Modelling", "TECHNICAL", "data modeling"),
        ("database", "TECHNICAL", "databases"),
        ("R & D", "TECHNICAL", "research and development"),
        ("Communication skills", "SOFT", "communication"),
        # Misspelt, but recognisable.
        ("comunication", "SOFT", "communication"),
        ("PostgresSQL", "TECHNOLOGY", "PostgreSQL"),
        ("Javscript", "TECHNOLOGY", "JavaScript"),
        # Neighbours are not to be mixed.
        ("Java", "TECHNOLOGY", "Java"),
        ("JavaScript", "TECHNOLOGY", "JavaScript"),
        ("C", "TECHNOLOGY", "C"),
        ("c ++", "TECHNOLOGY", "C++"),
        ("C#", "TECHNOLOGY", "C#"),
        ("R", "TECHNOLOGY", "R"),
        ("RStudio", "TECHNOLOGY", "RStudio"),
        ("D3", "TECHNOLOGY", "D3.js"),
        ("S3", "TECHNOLOGY", "S3"),
        ("S4", "TECHNOLOGY", None),
        ("SSR", "TECHNOLOGY", None),
        ("Python 2", "TECHNOLOGY", "Python 2"),
        ("Python 3", "TECHNOLOGY", "Python"),
        ("Python 3.11", "TECHNOLOGY", "Python"),
        ("Python 4", "TECHNOLOGY", None),
        ("AngularJS", "TECHNOLOGY", None),
        ("time management", "BUS", None),
        ("semi-structured data", "TECHNICAL", None),
        ("destructured data", "TECHNICAL", None),
        ("micreconomics", "TECHNICAL", "microeconomics"),
        ("macreconomics", "TECHNICAL", "macroeconomics"),
        ("matroeconomics", "TECHNICAL", None),
        ("", "TECHNICAL", None),
        ("•", "TECHNICAL", None),
        (" 2016", "TECHNICAL", None),
        ("Python", "BUS", None),
        ("Python", "NO_SUCH_LABEL", None),
    ],
)
def test_a_surface_finds_its_skill_or_none(path: Path, surface: str, label: str, skill: str | None) -> None:
    assert Index(read_table(path)).find(surface, label, 0.88) == skill


def test_entities_carry_the_canonical_name(nlp: Language) -> None:
    assert links(nlp) == LINKED
    assert [ent.kb_id_ for ent in nlp(TEXT).ents] == [skill or "" for _, skill in LINKED]


def test_the_table_travels_with_the_pipeline(nlp: Language, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert links(loaded) == LINKED
    assert linker(loaded).table == linker(nlp).table
    assert links(spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())) == LINKED
    without = spacy.load(tmp_path / "pipeline", exclude=["skill_linker"])
    assert [ent._.skill for ent in without(TEXT).ents] == [None] * len(LINKED)


def test_links_survive_other_processes_docbin_and_memory_zones(nlp: Language) -> None:
    docs = list(nlp.pipe([TEXT] * 4, n_process=2, batch_size=1))
    assert [[(ent.text, ent._.skill) for ent in doc.ents] for doc in docs] == [LINKED] * 4
    (doc,) = DocBin().from_bytes(DocBin(docs=docs[:1]).to_bytes()).get_docs(spacy.blank("en").vocab)
    assert [(ent.text, ent._.skill) for ent in doc.ents] == LINKED
    for _ in range(2):
        with nlp.memory_zone():
            assert links(nlp) == LINKED


def test_a_table_of_ones_own(nlp: Language, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("label,note,skill,aliases\nTECHNOLOGY,x,spreadsheet,MS Excel|Calc\n\n", encoding="utf-8-sig")
    linker(nlp).load(own)
    assert links(nlp)[:2] == [("MS Excel", "spreadsheet"), ("k8s", None)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("skill;label;aliases\n", ":1: no column skill, label, aliases (name the columns"),
        ("skill,label,aliases\nJava,TECHNOLOGY\n", ":2: 2 fields instead of 3"),
        ("skill,label,aliases\nJava,,\n", ":2: no skill or no label"),
        ("skill,label,aliases\nJava,T,\nGo,T,JAVA\n", ":3: 'JAVA' is a spelling of 'Java' and 'Go', both T (keep it"),
        ('skill,label,aliases\nR,T,\nJava,T,"JVM\nGo,T,\nC,T,\n', ":3: invalid CSV"),
        ("", ":1: no column"),
        (b"skill,label,aliases\n\xff\xff,T,\n", "cannot be read: 'utf-8'"),
        (None, "No such file"),
    ],
)
def test_a_bad_table_is_one_clear_line_and_the_old_one_stays(
    nlp: Language, tmp_path: Path, content: str | bytes | None, says: str
) -> None:
    own = tmp_path / "own.csv"
    if content is not None:
        own.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error:
        linker(nlp).load(own)
    assert str(error.value).startswith(str(own)) and says in str(error.value) and "\n" not in str(error.value)
    assert links(nlp) == LINKED


def test_every_fault_of_a_table_is_told(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("skill,label,aliases\nJava\nGo\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r":2: .*\n.*:3: "):
        read_table(own)


def test_threshold_is_checked() -> None:
    with pytest.raises(ValueError, match="threshold"):
        spacy.blank("en").add_pipe("skill_linker", config={"threshold": 88})


def test_what_is_remembered_is_bounded(nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SkillLinker, "LIMIT", 10)
    found = linker(nlp)
    for number in range(100):
        found.find(f"Python {number}", "TECHNOLOGY")
        assert len(found.cache) <= 10
    assert found.find("Java", "TECHNOLOGY") == "Java"


def test_in_the_shipped_table_every_spelling_finds_its_skill() -> None:
    table = read_table(ROOT / "corpus" / "skills.csv")
    index = Index(table)
    chosen = random.Random(0).sample(table, 500)
    for row in chosen:
        for spelling in row.spellings:
            for surface in (spelling, spelling.upper(), spelling.replace(" ", "  ")):
                assert index.find(surface, row.label, 0.88) == row.skill
    for surface, skill in [
        ("MS Excel", "Excel"),
        ("Javascript", "JavaScript"),
        ("R Studio", "RStudio"),
        ("C", "C"),
        ("AWS S3", "Amazon S3"),
    ]:
        assert index.find(surface, "TECHNOLOGY", 0.88) == skill
