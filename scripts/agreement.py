"""How far a second, independent annotation of the same posts agrees with the first."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from scripts.cli import bad_input, new_app, reports_bad_input
from scripts.convert import blank_pipeline
from scripts.doccano_report import token_kappa
from scripts.evaluate import counts, total
from scripts.posts import Post, read_posts

app = new_app("Measure the agreement of two annotations.")


@app.command()
@reports_bad_input
def main(
    first: Annotated[
        Path, typer.Argument(help="JSONL, or a folder of it, that holds at least the posts of the second")
    ],
    second: Annotated[Path, typer.Argument(help="JSONL, or a folder of it: the same posts annotated again")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
    show: Annotated[int, typer.Option(min=0, help="how many phrases that were marked differently to list")] = 0,
) -> None:
    """Print strict span F1 per label, and Cohen's kappa of tokens."""
    pairs = pair_up(first, second, labels.split(","))
    rows = [(label, strict_f1(pairs, {label})) for label in labels.split(",")]
    rows.append(("all", strict_f1(pairs, set(labels.split(",")))))
    print(f"{len(pairs)} posts, kappa of tokens {token_kappa(pairs, blank_pipeline()):.4f}")
    msg.table([(name, f"{f1:.4f}") for name, f1 in rows], header=("label", "F1"), divider=True, aligns=("l", "r"))
    for (phrase, label, side), count in differences(pairs).most_common(show):
        print(f"{count} × {phrase!r} {label}: {side} only")


def pair_up(first: Path, second: Path, labels: list[str]) -> list[tuple[Post, Post]]:
    """The posts that both have. Raises BadInput if one of the second is not in the first, or its text is another."""
    known = {post.id: post for post in read_posts([first], labels)}
    again = read_posts([second], labels)
    for post in again:
        if post.id not in known or known[post.id].text != post.text:
            raise bad_input(post.source, f"post {post.id!r} is not in {first} with this text", "remove it")
    return [(known[post.id], post) for post in again]


def strict_f1(pairs: list[tuple[Post, Post]], labels: set[str]) -> float:
    """Label and both edges alike; the same whichever annotation counts as the first."""
    return total(counts(*({span for span in post.spans if span.label in labels} for post in pair)) for pair in pairs)[
        "f1"
    ]


def differences(pairs: list[tuple[Post, Post]]) -> Counter[tuple[str, str, str]]:
    """Spans that one annotation has and the other has not: (phrase, label, which one)."""
    found: Counter[tuple[str, str, str]] = Counter()
    for one, other in pairs:
        for side, post, rest in (("first", one, other), ("second", other, one)):
            for span in set(post.spans) - set(rest.spans):
                found[post.text[span.start : span.end].lower(), span.label, side] += 1
    return found


if __name__ == "__main__":
    app()
