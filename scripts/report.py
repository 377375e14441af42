"""Show how good the pipeline is on one HTML page: figures, training, confusions, scores, and its worst errors."""

import html
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import numpy
import spacy
import typer
from markupsafe import Markup
from numpy.typing import NDArray
from spacy import displacy
from spacy.tokens import Doc, Span
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input, require_built
from scripts.errors import Error, Kind, find_errors, overlap, stretch
from scripts.evaluate import (
    Judged,
    Key,
    compare,
    counts,
    entity_component,
    mentions_in,
    predict,
    read_docbin,
    surface,
    total,
)
from scripts.figures import (
    Figures,
    beside_table,
    decimals,
    epochs_table,
    fairness_table,
    read_figures,
    read_real,
    robustness_table,
    scores_table,
    speed_table,
)
from scripts.html_page import grid, page, plot, png, table
from scripts.plots import draw_confusion, draw_epochs, draw_groups, scores_plots
from scripts.skill_ner import SkillNER, displacy_colors, lines_of

# Of each kind: spans found where none is right, and spans missed.
WORST = 15
NONE = "none"
WRONG = {
    Kind.missed: "missed, probability of no skill {:.4f}",
    Kind.invented: "score {:.3f}, nothing is annotated there",
    Kind.label: "score {:.3f}, the label is wrong",
    Kind.boundary: "score {:.3f}, an edge is wrong",
}
# Where groups of mentions begin: by how often they stand in the training posts, and by their tokens.
FREQUENCIES = (0, 1, 2, 5, 20)
LENGTHS = (1, 2, 3, 4, 5)

app = new_app("Show how good the pipeline is.")


@app.command()
@reports_bad_input
def main(
    model: Annotated[Path, typer.Argument(help="folder of a trained pipeline")],
    test: Annotated[Path, typer.Option(help="DocBin of gold posts")],
    train: Annotated[Path, typer.Option(help="DocBin of the posts it learned from, to count mentions in")],
    figures: Annotated[Path, typer.Option(help="folder with metrics.json and what else was measured")],
    real: Annotated[Path, typer.Option(help="JSON file with the figures on real posts")],
    output: Annotated[Path, typer.Option(help="HTML page to write")],
    gpu_id: Annotated[int, typer.Option(help="-1 for the CPU")] = -1,
) -> None:
    """Write a page that shows how good MODEL is on the test split."""
    require_built(model, test, train, real)
    measured, on_real = read_figures(figures), read_real(real)
    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    nlp = spacy.load(model)
    component = nlp.get_pipe(entity_component(nlp))
    if not isinstance(component, SkillNER):
        raise bad_input(model, "its entities are not found by skill_ner", "give a pipeline as `train` writes it")
    references, annotated = read_docbin(test, nlp)
    docs = predict(nlp, references)
    judged = compare(docs, annotated)
    ids = [str(doc.user_data.get("id", "")) for doc in references]
    wrong, missed = (
        [side_by_side(error, score, judged[error.post], ids[error.post]) for error, score in group]
        for group in worst_errors(judged, sure_of_nothing(component, docs))
    )
    sections: list[tuple[str, Sequence[str]]] = [
        ("Figures", figures_parts(measured, on_real)),
        ("Beside others", comparison_parts(measured)),
        ("Training", training_parts(measured)),
        ("Where it errs", [grid(where_parts(judged, docs, mentions_in(train, nlp)))]),
        ("What scores are worth", [scores_plots(judged)]),
        ("Surely found and wrong", wrong),
        ("Surely nothing and missed", missed),
    ]
    content = page("Skills in job posts: how good is the pipeline?", headline(measured.metrics), sections)
    with replacing(output) as beside:
        beside.write_text(content, encoding="utf-8")
    msg.good(f"-> {output}")


# What is computed


def confusion(judged: Sequence[Judged], labels: Sequence[str]) -> NDArray[numpy.int64]:
    """Spans by label, (annotated labels and none, found labels and none). Overlapping spans are matched one to one,
    those that share most characters first; what is left has none to match."""
    number = {label: i for i, label in enumerate(labels)}
    table = numpy.zeros((len(labels) + 1, len(labels) + 1), dtype="int64")
    for post in judged:
        gold, found = set(post.gold), set(post.found)
        pairs = ((one, other) for one in gold for other in found if overlap(one, other))
        for one, other in sorted(pairs, key=lambda pair: (-shared(*pair), pair)):
            if one in gold and other in found:
                table[number[one.label], number[other.label]] += 1
                gold.remove(one)
                found.remove(other)
        for key in gold:
            table[number[key.label], -1] += 1
        for key in found:
            table[-1, number[key.label]] += 1
    return table


def shared(one: Key, other: Key) -> int:
    return min(one.end, other.end) - max(one.start, other.start)


def scores_by(
    judged: Sequence[Judged], numbers: Sequence[Mapping[Key, int]], starts: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Strict scores of groups of mentions, by the number that each span of a post has. A group begins at its start."""
    names = [
        str(start) if start == end else f"{start}-{end}"
        for start, end in zip(starts, [start - 1 for start in starts[1:]], strict=False)
    ]
    groups: dict[str, dict[str, float]] = {}
    for group, name in enumerate([*names, f"{starts[-1]}+"]):
        groups[name] = total(
            counts(
                {key for key in post.gold if bisect_right(starts, number[key]) - 1 == group},
                {key for key in post.found if bisect_right(starts, number[key]) - 1 == group},
            )
            for post, number in zip(judged, numbers, strict=True)
        )
    return groups


def sure_of_nothing(component: SkillNER, docs: Sequence[Doc]) -> list[dict[int, float]]:
    """For each doc, by the offset of a token: how probable it is that it belongs to no skill. Blanks have none."""
    lines = lines_of(docs)
    outside = numpy.exp(component.log_probs(docs, lines)[:, 0])
    probabilities: list[dict[int, float]] = [{} for _ in docs]
    for doc, token, probability in zip(lines.doc, lines.token, outside.tolist(), strict=True):
        probabilities[doc][docs[doc][int(token)].idx] = probability
    return probabilities


def worst_errors(
    judged: Sequence[Judged], nothing: Sequence[Mapping[int, float]]
) -> tuple[list[tuple[Error, float]], list[tuple[Error, float]]]:
    """The wrong spans with the highest scores, and the missed ones that were surest to be nothing: as sure as their
    least sure token, like the score of an entity before calibration."""
    errors = find_errors(judged, seen=())
    wrong = [(error, error.score) for error in errors if error.score is not None]
    missed = [
        (error, min(p for at, p in nothing[error.post].items() if error.span.start <= at < error.span.end))
        for error in errors
        if error.kind is Kind.missed
    ]
    first, second = (sorted(group, key=lambda pair: -pair[1])[:WORST] for group in (wrong, missed))
    return first, second


# What is shown


def headline(metrics: Mapping[str, Any]) -> str:
    strict = metrics["strict"]
    low, high = strict["f1_interval_95"]
    return (
        f"On {metrics['posts']:,} posts that it has not seen, with {metrics['gold_spans']:,} skills, it finds "
        f"{100 * strict['recall']:.1f} % of them with the right label and both edges right, and "
        f"{100 * strict['precision']:.1f} % of what it marks is right: strict F1 {strict['f1']:.3f}. On other posts of "
        f"this kind F1 may lie between {low:.3f} and {high:.3f} (95 % interval, bootstrap over posts)."
    )


def figures_parts(measured: Figures, real: dict[str, Any]) -> list[str]:
    low, high = real["strict"]["f1_interval_95"]
    note = (
        f"The corpus is written, and posts as they are found are harder. On {real['data']}, measured with the pipeline "
        f"of commit {real['commit']}, F1 was {real['strict']['f1']:.3f} ({low:.3f} to {high:.3f})."
    )
    return [
        grid(table(*scores_table(*pair)) for pair in (("test split", measured.metrics), ("real posts", real))),
        note,
        table(*beside_table("test split", measured.metrics)),
    ]


def comparison_parts(measured: Figures) -> list[str]:
    parts: list[str] = []
    if measured.stock_ner:
        both = {"this pipeline": measured.metrics, "spaCy’s own ner on the same encoder": measured.stock_ner}
        rows = [(name, *decimals(metrics["strict"])) for name, metrics in both.items()]
        parts.append(table(("strict", "P", "R", "F1"), rows))
    if measured.gate and "difference" in measured.gate:
        low, high = measured.gate["difference_interval_95"]
        change = f"{measured.gate['difference']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
        parts.append(f"Strict F1 beside the release before, on the same posts: {change}.")
    if measured.robustness:
        parts.append(table(*robustness_table(measured.robustness)))
    if measured.fairness:
        note = "Swapped: names for others. By chance: neutral words put in the same places."
        parts += [table(*fairness_table(measured.fairness)), note]
    if measured.benchmark:
        parts.append(table(*speed_table(measured.benchmark)))
    optional = ("stock_ner", "robustness", "fairness", "benchmark")
    missing = [name.replace("_", "-") for name in optional if getattr(measured, name) is None]
    if missing:
        how = "; ".join(f"spacy project run {name}" for name in missing)
        parts.append(f"Not measured yet: {how}. Then: spacy project run report . --force")
    return parts


def training_parts(measured: Figures) -> list[str]:
    before, after = measured.adapt["before"], measured.adapt["after"]
    note = "The grey line marks the epoch that was kept."
    plots = {"Loss": ("training loss", "validation loss"), "Scores on the dev split": ("P", "R", "F1")}
    return [
        table(*epochs_table(measured.epochs)),
        grid(plot(title, png(draw_epochs(measured.epochs, names)), note) for title, names in plots.items()),
        f"Adaptation of the encoder to {measured.adapt['posts']:,} posts took the perplexity of masked wordpieces "
        f"from {before['overall']:,.0f} to {after['overall']:,.0f}, and of those in skills from "
        f"{before['skills']:,.0f} to {after['skills']:,.0f}.",
    ]


def where_parts(judged: Sequence[Judged], docs: Sequence[Doc], frequency: Mapping[str, int]) -> list[str]:
    labels = sorted({key.label for post in judged for key in (*post.gold, *post.found)})
    spans = [(*post.gold, *post.found) for post in judged]
    frequencies = [
        {key: frequency.get(surface(post, key), 0) for key in keys} for post, keys in zip(judged, spans, strict=True)
    ]
    lengths = [
        {key: len(cast(Span, doc.char_span(key.start, key.end, alignment_mode="expand"))) for key in keys}
        for doc, keys in zip(docs, spans, strict=True)
    ]
    return [
        plot(
            "Labels confused",
            png(draw_confusion(confusion(judged, labels), [*labels, NONE])),
            "Spans, by label. What overlaps is matched one to one, those that share most characters first, whether or "
            "not the edges are right. None: nothing found there, or nothing annotated. Colour: share of the row.",
        ),
        plot(
            "F1 by frequency",
            png(draw_groups(scores_by(judged, frequencies, FREQUENCIES), "times in the training posts")),
            "How often the mention, in any case, stands in the posts it learned from. In brackets: annotated spans.",
        ),
        plot(
            "F1 by length",
            png(draw_groups(scores_by(judged, lengths, LENGTHS), "tokens")),
            "Tokens of the mention. In brackets: annotated spans.",
        ),
    ]


def side_by_side(error: Error, score: float, post: Judged, id: str) -> Markup:
    """An error in its line: what is wrong, what was found there, and what is annotated."""
    mention, what = post.text[error.span.start : error.span.end], WRONG[error.kind].format(score)
    lines = (("found", post.found), ("annotated", post.gold))
    return grid(
        [
            Markup("<div><h3>{}</h3>{} <small>post {}</small></div>").format(mention, what, id),
            *(
                Markup("<div><small>{}</small>{}</div>").format(name, drawn(post.text, keys, error.span))
                for name, keys in lines
            ),
        ]
    )


def drawn(text: str, keys: Iterable[Key], around: Key) -> Markup:
    """The line with a span, and all spans in it, as displaCy draws them. It escapes text, but no labels."""
    shown = stretch(text, around)
    shift = len(shown.before) - shown.start
    ents = [
        {"start": key.start + shift, "end": key.end + shift, "label": html.escape(key.label)}
        for key in sorted(keys)
        if shown.start <= key.start and key.end <= shown.end
    ]
    line = f"{shown.before}{text[shown.start : shown.end]}{shown.after}"
    options = {"colors": displacy_colors()}
    return Markup(
        displacy.render({"text": line, "ents": ents}, style="ent", manual=True, jupyter=False, options=options)
    )


if __name__ == "__main__":
    app()
