"""Link every skill that was found to its canonical name: "k8s" and "Kubernetes" count as one.

It imports nothing from its siblings: `spacy package` copies it alone.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.vocab import Vocab

COLUMNS = ["skill", "label", "aliases"]
FILE = "skills.csv"

WORD = re.compile(r"[^\W_]+|[+#]+")
BRITISH = [
    (re.compile(pattern), american)
    for pattern, american in [
        (r"is(ation|e|ed|er|ing)$", r"iz\1"),
        (r"ys(e|ed|er|ing)$", r"yz\1"),
        (r"our", "or"),
        (r"(?<=[aeiou])ll(?=(ed|er|ing)$)", "l"),
        (r"ogue$", "og"),
        (r"amme$", "am"),
        (r"tre$", "ter"),
        (r"(?<!l)lment$", "llment"),
        (r"dgement$", "dgment"),
    ]
]
# Heads that say no more than the words before them.
HEADS = frozenset("skill ability method methodology technique concept principle practice".split())
SAME_VENDOR = {"ms": "microsoft", "msft": "microsoft", "aws": "amazon", "gcp": "google"}
# Whose name some write before a product's and some do not. Not others': "Oracle Linux" is not Linux, and "Google
# Workflows" are not workflows.
VENDORS = frozenset(["adobe", "apache", "microsoft"])
SHORTEST_PRODUCT = 4
VERSION = re.compile(r"\s+(?:v(?:ersion)?\.?\s*)?(?:(?:19|20)\d\d|\d+(?:\.\w+)+)$", re.IGNORECASE)
# A word of fewer letters has neighbours that mean something else ("Spark", "Sparc").
SHORTEST_MISSPELT = 8
# Its first letters must be right: in them words differ that mean different things ("macro", "micro").
PREFIX = 3
# How like a known word an unknown one must be: see SkillLinker.
THRESHOLD = 0.88


class Row(NamedTuple):
    """A skill of the table."""

    skill: str
    label: str
    aliases: tuple[str, ...]

    @property
    def spellings(self) -> tuple[str, ...]:
        return (self.skill, *self.aliases)


class Fault(NamedTuple):
    """One thing wrong with a table: where it stands, what it is, and what to do about it."""

    path: str
    line: int | None
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}{f':{self.line}' if self.line else ''}: {self.what} ({self.remedy})"


class BadTable(ValueError):
    """The table cannot be used. Carries every fault that was found."""

    def __init__(self, faults: Iterable[Fault]):
        self.faults = list(faults)
        super().__init__("\n".join(map(str, self.faults)))


def canonical(span: Span) -> str | None:
    return span.kb_id_ or None


Span.set_extension("skill", getter=canonical, force=True)


@Language.factory(
    "skill_linker",
    assigns=["token.ent_kb_id", "span._.skill"],
    requires=["doc.ents", "token.ent_type"],
    default_config={"threshold": THRESHOLD},
)
def create_skill_linker(nlp: Language, name: str, threshold: float) -> "SkillLinker":
    return SkillLinker(nlp.vocab, name, threshold=threshold)


class SkillLinker:
    """Gives each entity the canonical name of its skill as `kb_id_` and `_.skill`: "" and None where the table of
    skills has none. An entity links to skills of its own label alone, and to none rather than to a wrong one.

    threshold (float): How like a word of the table an unknown word must be to count as a misspelling of it: 1 minus
        the edits (optimal string alignment) by the length of the longer word. At 0.88, 98 % of the spellings that find
        a skill when they are left out of the shipped table find their own (`scripts.judgements threshold`).
    """

    # Surfaces that are remembered.
    LIMIT = 100_000

    def __init__(self, vocab: Vocab, name: str = "skill_linker", *, threshold: float = THRESHOLD):
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold ({threshold}) must be above 0 and at most 1")
        self.vocab = vocab
        self.name = name
        self.threshold = threshold
        self.set_table([])

    def load(self, path: str | Path) -> "SkillLinker":
        """Use another table: CSV in UTF-8 with the columns skill, label and aliases, these separated by `|`. It is
        saved with the pipeline. Raises BadTable, a ValueError, and keeps the table it has."""
        self.set_table(read_table(Path(path)))
        return self

    def set_table(self, table: Sequence[Row]) -> None:
        self.table = list(table)
        self.index = Index(self.table)
        self.cache: dict[tuple[str, str], str | None] = {}

    def __call__(self, doc: Doc) -> Doc:
        for ent in doc.ents:
            skill = self.find(ent.text, ent.label_)
            # The doc keeps what its tokens have; a span has a copy.
            kb_id = self.vocab.strings.add(skill) if skill else 0
            for token in ent:
                token.ent_kb_id = kb_id
        return doc

    def find(self, text: str, label: str) -> str | None:
        """The canonical name of a skill as it stands in a text, None if the table has none for it."""
        key = text, label
        if key not in self.cache:
            if len(self.cache) >= self.LIMIT:
                self.cache.clear()
            self.cache[key] = self.index.find(text, label, self.threshold)
        return self.cache[key]

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        return write_table(self.table).encode()

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "SkillLinker":
        self.set_table(parse_table(data.decode(), FILE))
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_bytes(self.to_bytes())

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "SkillLinker":
        return self.load(Path(path) / FILE)


# Table


def read_table(path: Path) -> list[Row]:
    """The skills of a table. Raises BadTable with every fault."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadTable([Fault(str(path), None, f"cannot be read: {error}", "give a CSV file in UTF-8")]) from None
    return parse_table(text, str(path))


def parse_table(text: str, path: str) -> list[Row]:
    """The skills of a table; columns that it has besides are not read. Raises BadTable with every fault: a missing
    column, a row with too few or too many fields, a quote left open, a spelling of two skills of the same label."""
    numbered = numbered_rows(text, path)
    _, header = next(numbered, (1, []))
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        what = f"no column {', '.join(missing)}"
        raise BadTable([Fault(path, 1, what, f"name the columns in the first line: {','.join(COLUMNS)}")])
    places = [header.index(column) for column in COLUMNS]
    rows: list[Row] = []
    faults: list[Fault] = []
    owners: dict[tuple[str, str], str] = {}
    for number, fields in numbered:
        if len(fields) != len(header):
            what = f"{len(fields)} fields instead of {len(header)}"
            faults.append(Fault(path, number, what, "put a field that has a comma in quotes"))
            continue
        skill, label, aliases = (fields[place].strip() for place in places)
        if not skill or not label:
            faults.append(Fault(path, number, "no skill or no label", "give both"))
            continue
        row = Row(skill, label, tuple(filter(None, map(str.strip, aliases.split("|")))))
        for spelling in row.spellings:
            other = owners.setdefault((folded(spelling), label), skill)
            if other != skill:
                what = f"{spelling!r} is a spelling of {other!r} and {skill!r}, both {label}"
                faults.append(Fault(path, number, what, "keep it in one"))
        rows.append(row)
    if faults:
        raise BadTable(faults)
    return rows


def numbered_rows(text: str, path: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of CSV that are not blank, each with the line that it begins in. Raises BadTable if it is none."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    number = 1
    try:
        for fields in reader:
            if fields:
                yield number, fields
            number = reader.line_num + 1
    except csv.Error as error:
        fault = Fault(path, number, f"invalid CSV: {error}", "close every quote in the line that opens it")
        raise BadTable([fault]) from None


def write_table(table: Iterable[Row]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((row.skill, row.label, "|".join(row.aliases)) for row in table)
    return file.getvalue()


# Matching


class Index:
    """Finds the skill that a surface names: as it is spelled in the table in any case; else by its key (see
    `words_of`), with and without what may stand around a name; else after misspelt words were corrected.

    Only a word that no spelling in the table has counts as misspelt, so that no skill is taken for one that merely
    looks like it ("time management", "team management")."""

    def __init__(self, table: Iterable[Row]):
        self.spellings: dict[tuple[str, str], str] = {}
        # None where two skills share a key: then it names neither.
        self.keys: dict[tuple[str, str], str | None] = {}
        self.vocabulary: dict[str, list[str]] = {}
        self.known: set[str] = set()
        short: dict[tuple[str, str], str | None] = {}
        for row in table:
            skill, label = row.skill, row.label
            for spelling in row.spellings:
                self.spellings[folded(spelling), label] = skill
                words = words_of(spelling)
                if not words:
                    continue
                self.known.update(words)
                claim(self.keys, ("".join(words), label), skill)
                if spelling is skill and len(words) == 2 and words[0] == "microsoft" and is_product(words):
                    claim(short, (words[1], label), skill)
        for key, owner in short.items():
            self.keys.setdefault(key, owner)
        for word in sorted(self.known):
            self.vocabulary.setdefault(word[:PREFIX], []).append(word)

    def find(self, text: str, label: str, threshold: float) -> str | None:
        exact = self.spellings.get((folded(text), label))
        if exact is not None:
            return exact
        words = words_of(text)
        return self.by_key(text, words, label) or self.by_key(text, self.corrected(words, threshold), label)

    def by_key(self, text: str, words: Sequence[str], label: str) -> str | None:
        found = (self.keys.get(("".join(names), label)) for names in variants(text, words))
        return next(filter(None, found), None)

    def corrected(self, words: Sequence[str], threshold: float) -> list[str]:
        """The words with those that are misspelt put right; none at all if that cannot be done for one of them."""
        right = []
        for word in words:
            if word not in self.known:
                nearest = None
                if word.isalpha() and len(word) >= SHORTEST_MISSPELT:
                    choices = self.vocabulary.get(word[:PREFIX], ())
                    scorer = OSA.normalized_similarity
                    nearest = process.extractOne(word, choices, scorer=scorer, score_cutoff=threshold)
                if nearest is None:
                    return []
                word = nearest[0]
            right.append(word)
        return right


def claim(owners: dict[tuple[str, str], str | None], key: tuple[str, str], skill: str) -> None:
    if owners.setdefault(key, skill) != skill:
        owners[key] = None


def variants(text: str, words: Sequence[str]) -> Iterator[Sequence[str]]:
    """The words of a surface, then without a version, a head that adds nothing, a vendor."""
    yield words
    plain = VERSION.sub("", text)
    if plain != text:
        words = words_of(plain)
        yield words
    if len(words) > 1 and words[-1] in HEADS:
        yield words[:-1]
    if is_product(words):
        yield words[1:]


def is_product(words: Sequence[str]) -> bool:
    """Whether the words are a vendor's name and that of a product, which is long enough to be no language ("SQL")."""
    return len(words) > 1 and words[0] in VENDORS and len("".join(words[1:])) >= SHORTEST_PRODUCT


def folded(text: str) -> str:
    return " ".join(text.casefold().split())


def words_of(text: str) -> list[str]:
    """The words of a surface without what spelling varies in: case, punctuation, plural, British or American. What is
    joined to a name stays (C, C++, C#), and so do digits. Joined, they are the surface's key."""
    text = unicodedata.normalize("NFKC", text).replace("&", " and ")
    words = [regular(word) for word in WORD.findall(text)]
    if len(words) > 1:
        words[0] = SAME_VENDOR.get(words[0], words[0])
    return words


@lru_cache(maxsize=100_000)
def regular(word: str) -> str:
    # In "SSRS" the last letter is no plural; in "APIs" and "DATABASES" it is.
    may_be_plural = len(word) > (5 if word.isupper() else 3)
    word = word.casefold()
    if may_be_plural:
        word = singular(word)
    for pattern, american in BRITISH:
        word = pattern.sub(american, word)
    return word


def singular(word: str) -> str:
    if word.endswith("yses"):
        return word[:-2] + "is"
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
