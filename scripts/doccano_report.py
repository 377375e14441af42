"""What annotators made of the model's suggestions, and how far they agree with each other."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Annotated, Any, NamedTuple

import typer
from spacy.language import Language
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input
from scripts.convert import blank_pipeline
from scripts.doccano_api import connect, file_name
from scripts.doccano_pull import check, was_edited
from scripts.doccano_server import DEFAULT_HOME, Home
from scripts.posts import Post, Span, Unit

OUTCOMES = ("accepted", "boundary", "label", "boundary and label", "deleted", "added")

app = new_app("Report what annotators changed.")


@app.command()
@reports_bad_input
def main(
    project: Annotated[str, typer.Option(help="name of the doccano project")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
    unit: Annotated[
        Unit, typer.Option(help="what offsets count; codepoint if all spans were made by API")
    ] = Unit.utf16,
    top: Annotated[int, typer.Option(help="how many of the phrases corrected most to show")] = 15,
    timeout: Annotated[float, typer.Option(help="seconds to wait for doccano's task process")] = 120,
    home: Home = DEFAULT_HOME,
) -> None:
    """Compare confirmed posts with what the model suggested, and annotators with each other."""
    server = connect(home)
    target = server.get_project(project)
    names = labels.split(",")
    by_annotator: dict[str, dict[str, Post]] = {}
    for annotator, rows in server.export(target, confirmed=True, timeout=timeout).items():
        by_annotator[annotator], bad = check(rows, target, names, unit)
        if bad:
            msg.warn(f"{len(bad)} posts cannot be used and are left out: pull says why")
    posts = [post for own in by_annotator.values() for post in own.values() if has_suggestions(post)]
    if not any(by_annotator.values()):
        raise bad_input(project, "no confirmed post", "confirm some in doccano first")
    changes = [change for post in posts for change in compare(post)]
    report = {
        "posts": len(posts),
        "labels": count_outcomes(changes, names),
        "corrected most": corrected_most(changes, top),
        "agreement": agreements(by_annotator, blank_pipeline()),
    }
    path = home / "reports" / f"{file_name(project)}.json"
    with replacing(path) as beside:
        beside.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print_report(report)
    msg.good(f"report -> {path}")


def has_suggestions(post: Post) -> bool:
    """Whether it was pre-annotated, and its text is still the one the suggestions were made for."""
    return "suggested" in post.meta and not was_edited(post)


class Change(NamedTuple):
    """What became of a suggestion. `before` is None for a span that was added, `after` for one that was deleted."""

    outcome: str
    before: Span | None
    after: Span | None
    phrase: str


def compare(post: Post) -> list[Change]:
    """Pair the spans that were suggested for a post with those it has now, each at most once: equal ones first, then
    those with the same edges, then those that overlap most."""
    before = [Span(start=start, end=end, label=label) for start, end, label, _ in post.meta["suggested"]["spans"]]
    left = dict.fromkeys(post.spans)
    pairs: dict[Span, Span] = {}
    candidates = sorted(
        ((old, new) for old in before for new in left if overlap(old, new)),
        key=lambda pair: closeness(*pair),
        reverse=True,
    )
    for old, new in candidates:
        if old not in pairs and new in left:
            pairs[old] = new
            del left[new]
    changes = [Change(outcome(old, pairs.get(old)), old, pairs.get(old), surface(post, old)) for old in before]
    return changes + [Change("added", None, new, surface(post, new)) for new in left]


def overlap(a: Span, b: Span) -> int:
    return max(0, min(a.end, b.end) - max(a.start, b.start))


def closeness(a: Span, b: Span) -> tuple[bool, bool, int, bool]:
    same_edges = (a.start, a.end) == (b.start, b.end)
    return a == b, same_edges, overlap(a, b), a.label == b.label


def outcome(before: Span, after: Span | None) -> str:
    if after is None:
        return "deleted"
    same_edges = (before.start, before.end) == (after.start, after.end)
    if before.label == after.label:
        return "accepted" if same_edges else "boundary"
    return "label" if same_edges else "boundary and label"


def surface(post: Post, span: Span) -> str:
    return post.text[span.start : span.end]


def count_outcomes(changes: Iterable[Change], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Outcomes by label: by the one suggested, and for a span that was added by its own."""
    counts: Counter[tuple[str, str]] = Counter()
    for change in changes:
        span = change.before or change.after
        assert span is not None
        counts[span.label, change.outcome] += 1
    return {label: {outcome: counts[label, outcome] for outcome in OUTCOMES} for label in labels}


def corrected_most(changes: Iterable[Change], top: int) -> list[dict[str, Any]]:
    """The phrases, in lower case, that were most often not accepted, with what became of them."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for change in changes:
        if change.outcome != "accepted":
            label = change.before.label if change.before else "-"
            counts[change.phrase.lower(), label, describe(change)] += 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"phrase": phrase, "suggested": label, "became": became, "count": count}
        for (phrase, label, became), count in ranked[:top]
    ]


def describe(change: Change) -> str:
    if change.before is None or change.after is None or change.outcome == "boundary":
        return change.outcome
    return f"{change.outcome}: {change.after.label}"


# Agreement


def agreements(by_annotator: Mapping[str, Mapping[str, Post]], nlp: Language) -> list[dict[str, Any]]:
    """For each two annotators, over the posts that both have confirmed: strict F1 of spans, Cohen's kappa of tokens."""
    rows = []
    for one, other in combinations(sorted(by_annotator), 2):
        shared = sorted(by_annotator[one].keys() & by_annotator[other].keys())
        pairs = [(by_annotator[one][id], by_annotator[other][id]) for id in shared]
        if pairs:
            f1, kappa = span_f1(pairs), token_kappa(pairs, nlp)
            rows.append({"annotators": [one, other], "posts": len(pairs), "span F1": f1, "token kappa": kappa})
    return rows


def span_f1(pairs: Sequence[tuple[Post, Post]]) -> float | None:
    """None if neither has a span."""
    common = sum(len(set(one.spans) & set(other.spans)) for one, other in pairs)
    total = sum(len(one.spans) + len(other.spans) for one, other in pairs)
    return 2 * common / total if total else None


def token_kappa(pairs: Sequence[tuple[Post, Post]], nlp: Language) -> float | None:
    """Cohen's kappa (Cohen 1960) of the labels of tokens, "O" where there is none.
    None if all tokens of both have the same label: there is no chance to correct for then."""
    both: Counter[tuple[str, str]] = Counter()
    for one, other in pairs:
        both.update(zip(token_labels(one, nlp), token_labels(other, nlp), strict=True))
    total = both.total()
    first, second = (Counter[str]() for _ in range(2))
    for (a, b), count in both.items():
        first[a] += count
        second[b] += count
    observed = sum(count for (a, b), count in both.items() if a == b) / total
    expected = sum(first[label] * second[label] for label in first) / total**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def token_labels(post: Post, nlp: Language) -> list[str]:
    """The label of each token: of the span that has its first character."""
    labels = {i: span.label for span in post.spans for i in range(span.start, span.end)}
    return [labels.get(token.idx, "O") for token in nlp.make_doc(post.text) if not token.is_space]


def print_report(report: Mapping[str, Any]) -> None:
    rows = []
    for label, counts in report["labels"].items():
        suggested = sum(counts[outcome] for outcome in OUTCOMES if outcome != "added")
        share = f"{counts['accepted'] / suggested:.0%}" if suggested else "-"
        rows.append((label, suggested, *(counts[outcome] for outcome in OUTCOMES), share))
    header = ("label", "suggested", *OUTCOMES, "accepted %")
    print(f"{report['posts']} posts that were pre-annotated and confirmed")
    msg.table(rows, header=header, divider=True, aligns=("l", *"r" * (len(header) - 1)))
    if report["corrected most"]:
        phrases = [tuple(row.values()) for row in report["corrected most"]]
        msg.table(phrases, header=("phrase", "suggested", "became", "times"), divider=True, aligns=("l", "l", "l", "r"))
    for row in report["agreement"]:
        one, other = row["annotators"]
        f1, kappa = (f"{row[key]:.3f}" if row[key] is not None else "-" for key in ("span F1", "token kappa"))
        print(f"{one} and {other}: {row['posts']} posts, span F1 {f1}, token kappa {kappa}")


if __name__ == "__main__":
    app()
