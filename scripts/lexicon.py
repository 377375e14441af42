"""The lexicon of skills: reading and checking `corpus/skills.csv`, and finding its skills in text."""

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from spacy.language import Language
from spacy.matcher import PhraseMatcher
from spacy.tokens import Doc, Span
from spacy.util import filter_spans
from wasabi import msg

from scripts.cli import BadInput, Fault, bad_input, new_app, reports_bad_input

JOINTS = ("&", "'", "’", "-")
HEADER = ["skill", "label", "aliases", "ambiguous"]

app = new_app("Check the lexicon.")


class Entry(NamedTuple):
    """A skill: its canonical name, its label, its other spellings, and those spellings (the name among them) that are
    a skill only in context."""

    skill: str
    label: str
    aliases: tuple[str, ...]
    ambiguous: frozenset[str]

    @property
    def spellings(self) -> tuple[str, ...]:
        return (self.skill, *self.aliases)


@app.command()
@reports_bad_input
def main(
    path: Annotated[Path, typer.Argument(help="CSV with the columns skill, label, aliases, ambiguous")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
) -> None:
    """Check the lexicon and print its size."""
    entries = read_lexicon(path, labels.split(","))
    rows = []
    for label in labels.split(","):
        chosen = [entry for entry in entries if entry.label == label]
        aliases = sum(len(entry.aliases) for entry in chosen)
        ambiguous = sum(len(entry.ambiguous) for entry in chosen)
        rows.append((label, len(chosen), aliases, ambiguous))
    msg.table(rows, header=("label", "skills", "aliases", "ambiguous"), divider=True, aligns=("l", "r", "r", "r"))


def read_lexicon(path: Path, labels: Collection[str]) -> list[Entry]:
    """Read a lexicon: CSV in UTF-8, several aliases or ambiguous spellings separated by `|`, sorted by name.

    Raises BadInput with every fault: a column or label that is not ours, a name that stands twice or out of order, a
    spelling of two skills that is not marked ambiguous in both, an ambiguous spelling that is none of the skill's.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise bad_input(path, f"cannot be read: {error}", "give a CSV file in UTF-8") from None
    try:
        rows = list(csv.reader(io.StringIO(content, newline=""), strict=True))
    except csv.Error as error:
        raise bad_input(path, f"invalid CSV: {error}", "close every quote in the line that opens it") from None
    if rows[:1] != [HEADER]:
        raise bad_input(path, f"the header is not {','.join(HEADER)}", "name the columns in the first line", 1)
    entries: list[Entry] = []
    faults: list[Fault] = []
    owners: dict[str, Entry] = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(HEADER) or not row[0]:
            faults.append(Fault(path, number, f"{len(row)} fields", f"give {len(HEADER)}, the first not empty"))
            continue
        aliases, ambiguous = (tuple(filter(None, field.split("|"))) for field in row[2:])
        entry = Entry(row[0], row[1], aliases, frozenset(ambiguous))
        faults.extend(Fault(path, number, what, remedy) for what, remedy in check_entry(entry, labels, entries, owners))
        entries.append(entry)
    if faults:
        raise BadInput(faults)
    return entries


def check_entry(
    entry: Entry, labels: Collection[str], before: Sequence[Entry], owners: dict[str, Entry]
) -> list[tuple[str, str]]:
    """What is wrong with an entry beside those before it, as (what, remedy). Notes its spellings in `owners`."""
    wrong = []
    if entry.label not in labels:
        wrong.append((f"{entry.skill!r}: unknown label {entry.label!r}", f"use one of {', '.join(labels)}"))
    if before and before[-1].skill.lower() >= entry.skill.lower():
        wrong.append((f"{entry.skill!r} after {before[-1].skill!r}", "sort by name, each name once"))
    stray = sorted(entry.ambiguous - set(entry.spellings))
    if stray:
        wrong.append((f"{entry.skill!r}: ambiguous spelling {stray[0]!r} is none of its own", "add it to the aliases"))
    for spelling in entry.spellings:
        other = owners.setdefault(spelling.lower(), entry)
        if other is not entry and not (spelling in entry.ambiguous and spelling in other.ambiguous):
            remedy = "keep it in one, or mark it ambiguous in both"
            wrong.append((f"{spelling!r} is a spelling of {other.skill!r} and {entry.skill!r}", remedy))
    return wrong


class SkillFinder:
    """Longest-match search. Spellings are found in any case; ambiguous ones only as they are written in the lexicon and
    not as part of something else ("R&D"), and those without a capital letter not at all: every text has them."""

    def __init__(self, entries: Sequence[Entry], nlp: Language):
        self.any_case = PhraseMatcher(nlp.vocab, attr="LOWER")
        self.as_written = PhraseMatcher(nlp.vocab, attr="ORTH")
        for entry in entries:
            plain = [spelling for spelling in entry.spellings if spelling not in entry.ambiguous]
            written = [spelling for spelling in entry.ambiguous if spelling != spelling.lower()]
            self.any_case.add(entry.label, [nlp.make_doc(spelling) for spelling in plain])
            self.as_written.add(entry.label, [nlp.make_doc(spelling) for spelling in written])

    def __call__(self, doc: Doc) -> list[Span]:
        """The skills in a doc, each labelled, none overlapping: the longest first, then the leftmost."""
        alone = [span for span in self.as_written(doc, as_spans=True) if not is_part(span)]
        return filter_spans([*self.any_case(doc, as_spans=True), *alone])


def is_part(span: Span) -> bool:
    """Whether a span is joined to what stands beside it."""
    before, after = span.start_char - 1, span.end_char
    text = span.doc.text
    return text[max(before, 0) : before + 1] in JOINTS or text[after : after + 1] in JOINTS


if __name__ == "__main__":
    app()
