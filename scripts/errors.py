"""Show every error of a pipeline in its sentence, grouped by kind, on one HTML page with plots of its scores."""

from collections import Counter
from collections.abc import Container, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import spacy
import typer
from markupsafe import Markup
from wasabi import msg

from scripts import skill_ner  # noqa: F401 (registers the component)
from scripts.cli import new_app, replacing, reports_bad_input, require_built
from scripts.evaluate import Judged, Key, judge, mentions_in, read_docbin, read_gold, surface
from scripts.html_page import page, table
from scripts.plots import scores_plots
from scripts.posts import Unit

CONTEXT = 90

app = new_app("Show the errors of a pipeline.")


class Kind(StrEnum):
    """What is wrong: a gold span that nothing overlaps; a span found where none is; both edges right and the label
    wrong; an edge wrong."""

    missed = "missed"
    invented = "invented"
    label = "label"
    boundary = "boundary"


class Error(NamedTuple):
    """A wrong span: a found one with the gold ones that it overlaps, or a gold one that was missed."""

    kind: Kind
    post: int
    span: Key
    instead: tuple[Key, ...]
    score: float | None
    seen: bool


@app.command()
@reports_bad_input
def main(
    model: Annotated[Path, typer.Argument(help="folder of a trained pipeline")],
    output: Annotated[Path, typer.Option(help="HTML page to write")],
    test: Annotated[Path, typer.Option(help="DocBin of gold posts")],
    train: Annotated[Path, typer.Option(help="DocBin of the posts it learned from, to tell seen mentions from unseen")],
    gold: Annotated[Path | None, typer.Option(help="doccano JSONL to show instead")] = None,
    unit: Annotated[Unit, typer.Option(help="what offsets of --gold count")] = Unit.codepoint,
    gpu_id: Annotated[int, typer.Option(help="-1 for the CPU")] = -1,
) -> None:
    """Write a page of the errors of MODEL on the test split, or on --gold."""
    if gold == Path():
        # The variable of project.yml is empty.
        gold = None
    require_built(model, train, *([] if gold else [test]))
    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    nlp = spacy.load(model)
    judged, _ = judge(nlp, *(read_gold(gold, unit, nlp) if gold else read_docbin(test, nlp)))
    errors = find_errors(judged, mentions_in(train, nlp))
    with replacing(output) as beside:
        beside.write_text(errors_page(errors, judged, str(gold or test)), encoding="utf-8")
    labels = labels_of(errors)
    counts = Counter((error.kind, error.span.label) for error in errors)
    rows = [(kind, *(counts[kind, label] for label in labels)) for kind in Kind]
    msg.table(rows, header=("", *labels), divider=True, aligns=("l", *("r" for _ in labels)))
    msg.good(f"{len(errors)} errors -> {output}")


def find_errors(judged: Sequence[Judged], seen: Container[str]) -> list[Error]:
    """All errors. A gold span that a wrong one overlaps is part of that error, not another one."""
    errors = []
    for number, post in enumerate(judged):
        right = post.gold & post.found.keys()
        wrong = sorted(post.found.keys() - right)
        for span in wrong:
            over = tuple(sorted(key for key in post.gold if overlap(span, key)))
            kind = Kind.invented if not over else Kind.label if span[:2] in {key[:2] for key in over} else Kind.boundary
            errors.append(Error(kind, number, span, over, post.found[span], surface(post, span) in seen))
        for span in sorted(post.gold - right):
            if not any(overlap(span, found) for found in post.found):
                errors.append(Error(Kind.missed, number, span, (), None, surface(post, span) in seen))
    return errors


def overlap(one: Key, other: Key) -> bool:
    return one.start < other.end and other.start < one.end


def labels_of(errors: Sequence[Error]) -> list[str]:
    return sorted({error.span.label for error in errors})


def errors_page(errors: Sequence[Error], judged: Sequence[Judged], data: str) -> str:
    lead = (
        f"{len(judged)} posts, {sum(len(post.gold) for post in judged)} gold spans, {len(errors)} errors. "
        "The marked words are what was found, or missed; behind the arrow stands what is annotated there."
    )
    sections = [("How many", [counts_table(errors)])]
    if any(score is not None for post in judged for score in post.found.values()):
        sections.append(("Scores", [scores_plots(judged)]))
    for kind in Kind:
        groups = []
        for label in labels_of(errors):
            group = [error for error in errors if error.kind is kind and error.span.label == label]
            items = Markup("").join(Markup("<li>{}</li>").format(sentence(e, judged[e.post])) for e in group)
            summary = Markup("<details><summary>{} ({})</summary><ul>{}</ul></details>")
            if group:
                groups.append(summary.format(label, len(group), items))
        sections.append((kind.capitalize(), groups))
    return page(f"Errors on {data}", lead, sections)


def counts_table(errors: Sequence[Error]) -> Markup:
    labels = labels_of(errors)
    counts = Counter((error.kind, error.span.label, error.seen) for error in errors)
    rows = []
    for kind in Kind:
        for is_seen in (True, False):
            row = [counts[kind, label, is_seen] for label in labels]
            rows.append((f"{kind}, {'seen' if is_seen else 'not seen'} in training", *row, sum(row)))
    return table(("", *labels, "all"), rows)


class Stretch(NamedTuple):
    """Where what is shown of a line begins and ends, and a mark for each side on which it was cut."""

    start: int
    end: int
    before: str
    after: str


def stretch(text: str, span: Key) -> Stretch:
    """The line with a span, or what is near it if the line is long."""
    first, last = text.rfind("\n", 0, span.start) + 1, text.find("\n", span.end)
    last = len(text) if last < 0 else last
    start, end = max(first, span.start - CONTEXT), min(last, span.end + CONTEXT)
    return Stretch(start, end, "…" if start > first else "", "…" if end < last else "")


def sentence(error: Error, post: Judged) -> Markup:
    """The span in its line, as HTML."""
    start, end, _ = error.span
    shown = stretch(post.text, error.span)
    before, after = shown.before + post.text[shown.start : start], post.text[end : shown.end] + shown.after
    gold = ", ".join(f"{post.text[key.start : key.end]} ({key.label})" for key in error.instead)
    notes = ["" if error.score is None else f"score {error.score:.2f}", "seen in training" if error.seen else ""]
    return Markup("{}<mark>{}</mark>{}{} <small>post {} {}</small>").format(
        before, post.text[start:end], after, f" → {gold}" if gold else "", error.post + 1, " ".join(filter(None, notes))
    )


if __name__ == "__main__":
    app()
