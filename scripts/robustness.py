"""Evaluate a pipeline on the same posts as scrapers and writers spoil them."""

import bisect
import json
import random
import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import spacy
import typer
from spacy.language import Language
from tqdm import tqdm
from wasabi import msg

from scripts import skill_ner  # noqa: F401 (registers the component)
from scripts.cli import new_app, replacing, reports_bad_input, require_built
from scripts.evaluate import Key, counts, keys_of, read_docbin, total

app = new_app("Evaluate on spoilt posts.")


class Edit(NamedTuple):
    """Text from start to end, which may be empty, that becomes `new`."""

    start: int
    end: int
    new: str


Spoil = Callable[[str, random.Random], list[Edit]]


@app.command()
@reports_bad_input
def main(
    model: Annotated[Path, typer.Argument(help="folder of a trained pipeline")],
    test: Annotated[Path, typer.Option(help="DocBin of gold posts")],
    metrics: Annotated[Path, typer.Option(help="JSON file for the figures")],
    seed: int = 42,
    gpu_id: Annotated[int, typer.Option(help="-1 for the CPU")] = -1,
) -> None:
    """Print strict F1 of MODEL on the test split as it is and spoilt in several ways."""
    require_built(model, test)
    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    nlp = spacy.load(model)
    docs, _ = read_docbin(test, nlp)
    posts = [(doc.text, sorted(keys_of(doc))) for doc in docs]
    figures: dict[str, dict[str, Any]] = {}
    for name, spoil in tqdm(SPOILT.items(), desc="spoilt posts", unit="way", leave=False):
        generator = random.Random(seed)
        figures[name] = strict(nlp, [apply(spoil(text, generator), text, spans) for text, spans in posts])
    with replacing(metrics) as beside:
        beside.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    base = figures["as they are"]["f1"]
    rows = [
        (name, *(f"{scores[key]:.4f}" for key in ("precision", "recall", "f1")), f"{scores['f1'] - base:+.4f}")
        for name, scores in figures.items()
    ]
    msg.table(rows, header=("posts", "P", "R", "F1", "difference"), divider=True, aligns=("l", "r", "r", "r", "r"))


def strict(nlp: Language, posts: Sequence[tuple[str, list[Key]]]) -> dict[str, float]:
    """Strict scores over texts with their gold spans."""
    docs = nlp.pipe(text for text, _ in posts)
    return total(counts(gold, keys_of(doc)) for (_, gold), doc in zip(posts, docs, strict=True))


def apply(edits: Sequence[Edit], text: str, spans: Sequence[Key]) -> tuple[str, list[Key]]:
    """The text after the edits, in order and not overlapping, and its spans where they are then: what is inserted at
    the edge of a span stays outside of it."""
    pieces, last = [], 0
    for edit in edits:
        pieces += [text[last : edit.start], edit.new]
        last = edit.end
    shifts = [0, *accumulate(len(edit.new) - (edit.end - edit.start) for edit in edits)]
    starts, ends = [edit.start for edit in edits], [edit.end for edit in edits]
    return "".join([*pieces, text[last:]]), [
        Key(
            start + shifts[bisect.bisect_right(ends, start)],
            end + shifts[bisect.bisect_left(starts, end)],
            label,
        )
        for start, end, label in spans
    ]


def change_case(change: Callable[[str], str]) -> Spoil:
    def spoil(text: str, generator: random.Random) -> list[Edit]:
        # Characters that become two, as the German sharp s, stay.
        return [Edit(i, i + 1, change(c)) for i, c in enumerate(text) if change(c) != c and len(change(c)) == 1]

    return spoil


def lose_line_breaks(text: str, generator: random.Random) -> list[Edit]:
    return [Edit(*match.span(), " ") for match in re.finditer(r"\s*\n\s*", text)]


def glue_bullets(text: str, generator: random.Random) -> list[Edit]:
    return [Edit(match.start(), match.start(), "•") for match in re.finditer(r"(?<=\n)(?=\w)", text)]


def leave_html(text: str, generator: random.Random) -> list[Edit]:
    """What is left when tags are cut off badly: <br>, &amp;, &nbsp; for a blank in twenty."""
    found = re.finditer(r"\n|&| ", text)
    new = {"\n": "<br>\n", "&": "&amp;", " ": "&nbsp;"}
    return [Edit(*m.span(), new[m[0]]) for m in found if m[0] != " " or generator.random() < 0.05]


def mistype(text: str, generator: random.Random) -> list[Edit]:
    """Two neighbouring letters change places in every fiftieth word of five letters or more."""
    edits = []
    for match in re.finditer(r"[a-z]{5,}", text):
        if generator.random() < 0.02:
            i = generator.randrange(match.start() + 1, match.end() - 1)
            edits.append(Edit(i, i + 2, text[i + 1] + text[i]))
    return edits


SPOILT: dict[str, Spoil] = {
    "as they are": lambda text, generator: [],
    "lower case": change_case(str.lower),
    "upper case": change_case(str.upper),
    "without line breaks": lose_line_breaks,
    "bullets glued to lines": glue_bullets,
    "HTML remnants": leave_html,
    "typos": mistype,
}


if __name__ == "__main__":
    app()
