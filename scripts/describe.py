"""Describe the corpus in figures for its datasheet, beside other posts if there are some to compare with."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy
import typer
from wasabi import msg

from scripts.check_corpus import STOCK
from scripts.cli import bad_input, new_app, replacing, reports_bad_input
from scripts.posts import Post, read_posts

BEGIN, END = "<!-- statistics: begin -->", "<!-- statistics: end -->"
BULLET = re.compile(r"\s*(?:[-•·*–—▪●◦]|\d+[.)])\s*\S")
# Words whose blank was lost: "skillsSQL", "the team.You", "Python,R". Names are written so too: "PyTorch" has a short
# first part, "PowerPoint" does not, so a little is counted too much, on both sides.
GLUED = re.compile(r"[a-z]{4,}[A-Z][a-z]{2,}|[a-z]{2}[.;:,)][A-Z]?[a-z]{2,}")
HEADING_WORDS = 6
FOLDS = 5

app = new_app("Describe the corpus in figures.")


@app.command()
@reports_bad_input
def main(
    annotations: Annotated[list[Path], typer.Argument(help="doccano JSONL files, or folders of them")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
    datasheet: Annotated[Path | None, typer.Option(help="Markdown file whose marked block gets the table")] = None,
    against: Annotated[Path | None, typer.Option(help="JSONL of posts to compare the form with")] = None,
    gold: Annotated[Path | None, typer.Option(help="JSONL of annotated posts to compare the skills with")] = None,
    seed: int = 42,
) -> None:
    """Print figures of the posts, and write them to --datasheet."""
    names = labels.split(",")
    posts = read_posts(annotations, names)
    columns = {"corpus": form(posts) | skills(posts, names)}
    if gold is not None:
        annotated = read_posts([gold], names)
        columns[gold.stem] = form(annotated) | skills(annotated, names)
    if against is not None:
        others = read_posts([against], (), annotated=False)
        columns[against.stem] = form(others)
    rows = list(columns["corpus"])
    table = [(row, *(columns[name].get(row, "") for name in columns)) for row in rows]
    msg.table(table, header=("", *columns), divider=True, aligns=("l", *"r" * len(columns)))
    if against is not None:
        accuracy, ours, theirs = tell_apart([post.text for post in posts], [post.text for post in others], seed)
        print(f"a classifier tells them apart in {100 * accuracy:.1f} % of the posts (chance: 50 %)")
        print("what says corpus: " + "  ".join(map(repr, ours)))
        print("what says the others: " + "  ".join(map(repr, theirs)))
    if datasheet is not None:
        write_block(
            datasheet, "\n".join(["| | |", "| --- | --- |", *(f"| {row} | {columns['corpus'][row]} |" for row in rows)])
        )


def lines_of(post: Post) -> Iterator[tuple[int, str]]:
    """The lines of a post that are not blank, each with its offset."""
    for match in re.finditer(r"[^\n]+", post.text):
        if match[0].strip():
            yield match.start(), match[0]


def form(posts: Sequence[Post]) -> dict[str, str]:
    """Figures of the texts alone."""
    lengths = numpy.array([len(post.text.split()) for post in posts])
    lines = [line for post in posts for _, line in lines_of(post)]
    words = [len(line.split()) for line in lines]

    def of_lines(count: int) -> str:
        return f"{100 * count / len(lines):.1f} %"

    return {
        "posts": f"{len(posts):,}",
        "words": f"{lengths.sum():,}",
        "words in a post (10 %, 50 %, 90 %)": quantiles(lengths),
        "words in a line (10 %, 50 %, 90 %)": quantiles(numpy.array(words)),
        "posts of fewer than four lines": f"{100 * numpy.mean([len(list(lines_of(p))) < 4 for p in posts]):.1f} %",
        "lines that are headings": of_lines(sum(map(is_heading, lines))),
        "lines with a bullet or number": of_lines(sum(bool(BULLET.match(line)) for line in lines)),
        "lines of legal boilerplate": of_lines(sum(bool(STOCK.search(line.lower())) for line in lines)),
        "glued words in 1,000": f"{1000 * sum(len(GLUED.findall(p.text)) for p in posts) / lengths.sum():.1f}",
    }


def skills(posts: Sequence[Post], labels: Sequence[str]) -> dict[str, str]:
    """Figures of what is annotated."""
    counts = Counter(span.label for post in posts for span in post.spans)
    surfaces = Counter(post.text[span.start : span.end].lower() for post in posts for span in post.spans)
    words = sum(len(post.text.split()) for post in posts)
    has_skill = [
        any(start <= span.start < start + len(line) for span in post.spans)
        for post in posts
        for start, line in lines_of(post)
    ]
    return {
        "spans": f"{counts.total():,}",
        "spans in 100 words": f"{100 * counts.total() / words:.1f}",
        "lines with a skill": f"{100 * numpy.mean(has_skill):.1f} %",
        **{label: f"{100 * counts[label] / counts.total():.1f} %" for label in labels},
        "distinct spellings": f"{len(surfaces):,}",
        "of these, once": f"{100 * sum(count == 1 for count in surfaces.values()) / len(surfaces):.1f} %",
    }


def is_heading(line: str) -> bool:
    words = line.split()
    return len(words) <= HEADING_WORDS and not BULLET.match(line) and (line.rstrip().endswith(":") or line.isupper())


def quantiles(values: numpy.ndarray) -> str:
    return ", ".join(f"{point:.0f}" for point in numpy.quantile(values, [0.1, 0.5, 0.9]))


def tell_apart(ours: Sequence[str], theirs: Sequence[str], seed: int) -> tuple[float, list[str], list[str]]:
    """How well a logistic regression on character n-grams tells posts apart: its accuracy, cross-validated, on as many
    posts of each kind; and the n-grams that speak most for each."""
    # Only this comparison needs it, and it takes a second to import.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline

    size = min(len(ours), len(theirs))
    if size < FOLDS:
        raise bad_input("--against", f"{size} posts are too few", f"give {FOLDS} or more")
    rng = numpy.random.default_rng(seed)
    texts = [side[i] for side in (ours, theirs) for i in rng.permutation(len(side))[:size]]
    kind = numpy.repeat([0, 1], size)
    ngrams = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=5, max_features=50_000, sublinear_tf=True)
    model = make_pipeline(ngrams, LogisticRegression(max_iter=200))
    accuracy = float(cross_val_score(model, texts, kind, cv=FOLDS).mean())
    model.fit(texts, kind)
    order = model[-1].coef_[0].argsort()
    known = ngrams.get_feature_names_out()
    return accuracy, known[order[:25]].tolist(), known[order[::-1][:25]].tolist()


def write_block(path: Path, table: str) -> None:
    """Put the table into the marked block of a Markdown file. Raises BadInput if it has none."""
    before, _, after = split_at_block(path)
    with replacing(path) as beside:
        beside.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def split_at_block(path: Path) -> tuple[str, str, str]:
    """The text before the marked block, in it, and after it. Raises BadInput if there is none."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    block, end, after = rest.partition(END)
    if not (begin and end):
        raise bad_input(path, "no block for the statistics", f"add the lines {BEGIN} and {END}")
    return before, block.strip(), after


if __name__ == "__main__":
    app()
