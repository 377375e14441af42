"""Train a variant of the pipeline on several seeds, note what it gives in a table, and compare variants."""

import json
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy
import srsly
import typer
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.vocab import Vocab
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input, require_built
from scripts.evaluate import Counts, counts, evaluate, f1, judge, mentions_in, read_docbin, read_gold
from scripts.posts import Unit
from scripts.train import best_epoch, training_config

SAMPLES = 1000

app = new_app("Train variants and compare them.")


@app.command()
@reports_bad_input
def run(
    variant: Annotated[str, typer.Argument(help="its name in the table")],
    config: Annotated[list[Path], typer.Argument(help="a config, then configs with what differs from it")],
    train: Annotated[Path, typer.Option(help="DocBin to learn from")],
    dev: Annotated[Path, typer.Option(help="DocBin to choose the best epoch and calibrate on")],
    test: Annotated[Path, typer.Option(help="DocBin to evaluate on")],
    encoder: Annotated[Path, typer.Option(help="folder of the pretrained encoder")],
    table: Annotated[Path, typer.Option(help="JSONL file that gets a row for each seed")],
    gold: Annotated[Path | None, typer.Option(help="doccano JSONL of real posts to evaluate on as well")] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="share of the train posts to learn from")] = 1,
    epochs: Annotated[int, typer.Option(min=1)] = 6,
    seeds: Annotated[str, typer.Option(help="separated by commas")] = "42,43,44",
    gpu_id: Annotated[int, typer.Option(help="-1 for the CPU")] = -1,
) -> None:
    """Train VARIANT once for each seed and append a row for each to the table."""
    require_built(*config, train, dev, test, encoder)
    for seed in map(int, seeds.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "train.spacy"
            posts = write_share(train, share, seed, part)
            paths = {"train": str(part), "dev": str(dev), "encoder": str(encoder)}
            settings = training_config(config, {"paths": paths, "system": {"seed": seed}}, epochs)
            started = time.monotonic()
            log = Path(folder) / "log.jsonl"
            nlp = best_epoch(settings, Path(folder) / "checkpoints", gpu_id, log)
            row = {
                "variant": variant,
                "seed": seed,
                "commit": commit(),
                "posts": posts,
                "epochs": epochs,
                "seconds": round(time.monotonic() - started),
                "dev": max(epoch["F1"] for epoch in srsly.read_jsonl(log)),
                "test": figures(nlp, part, test, None, seed),
            }
            if gold is not None:
                row["gold"] = figures(nlp, part, None, gold, seed)
        append(table, row)
        real = f", on {gold} {row['gold']['f1']:.4f}" if gold else ""
        msg.good(f"{variant}, seed {seed}: strict F1 on dev {row['dev']:.4f}, on test {row['test']['f1']:.4f}{real}")


@app.command()
@reports_bad_input
def compare(
    table: Annotated[Path, typer.Argument(help="JSONL file of `run`")],
    plot: Annotated[Path | None, typer.Option(help="image file to draw the comparison to")] = None,
    data: Annotated[str, typer.Option(help="test or gold")] = "test",
    variant: Annotated[
        list[str] | None,
        typer.Option(help="name of one to compare, by default all; may be repeated, and the first is the yardstick"),
    ] = None,
) -> None:
    """Print the variants side by side: mean F1 over the seeds, and the difference from the first of them with its 95 %
    interval, by a paired bootstrap over posts."""
    require_built(table)
    found = [row for row in srsly.read_jsonl(table) if data in row]
    known = dict.fromkeys(row["variant"] for row in found)
    for name in variant or ():
        if name not in known:
            raise bad_input(table, f"no variant {name!r} with {data!r}", f"use {'; '.join(known) or 'another table'}")
    results = summarise([row for name in variant or known for row in found if row["variant"] == name], data)
    if not results:
        raise bad_input(table, f"no row with {data!r}", "run experiments first")
    rows = [
        (
            r.variant,
            r.seeds,
            f"{r.f1:.4f}",
            *(("-", "-") if not i or r.gain != r.gain else (f"{r.gain:+.4f}", interval(r))),
        )
        for i, r in enumerate(results)
    ]
    header = ("variant", "seeds", f"F1 on {data}", "gain", "95 % interval")
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r", "r"), max_col=60)
    print(f"real posts were opened {sum('gold' in row for row in srsly.read_jsonl(table))} times in all")
    if plot is not None:
        draw(results, data, plot)


def write_share(train: Path, share: float, seed: int, output: Path) -> int:
    """Write a random share of the posts of a DocBin to another, and return how many."""
    docs = list(DocBin().from_disk(train).get_docs(Vocab()))
    size = max(1, round(share * len(docs)))
    chosen = sorted(numpy.random.default_rng(seed).permutation(len(docs))[:size])
    DocBin(docs=[docs[i] for i in chosen], store_user_data=True).to_disk(output)
    return size


def figures(nlp: Language, train: Path, test: Path | None, gold: Path | None, seed: int) -> dict[str, Any]:
    """The figures of a row, and the strict counts of each post, which comparisons need."""
    references, spans = read_docbin(test, nlp) if test else read_gold(gold or Path(), Unit.codepoint, nlp)
    judged, scores = judge(nlp, references, spans)
    report = evaluate(judged, mentions_in(train, nlp), SAMPLES, seed)
    return {
        "f1": round(report["strict"]["f1"], 4),
        "precision": round(report["strict"]["precision"], 4),
        "recall": round(report["strict"]["recall"], 4),
        "per_label": {label: round(part["f1"], 4) for label, part in report["per_label"].items()},
        "unseen": round(report["unseen_mentions"]["f1"], 4),
        "calibration_error": round(report["calibration_error"] or 0.0, 4),
        "token_accuracy": round(scores["token_accuracy"] or 0.0, 4),
        "counts": [list(counts(post.gold, post.found)) for post in judged],
    }


def commit() -> str:
    """The commit that was checked out, with a plus if the working tree differed from it."""
    git = ["git", "describe", "--always", "--dirty=+", "--abbrev=7", "--exclude=*"]
    done = subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def append(table: Path, row: dict[str, Any]) -> None:
    before = table.read_text(encoding="utf-8") if table.exists() else ""
    with replacing(table) as beside:
        beside.write_text(before + json.dumps(row) + "\n", encoding="utf-8")


class Result(NamedTuple):
    """A variant: mean F1 over its seeds, and its difference from the first variant with the ends of its interval."""

    variant: str
    seeds: int
    f1: float
    gain: float
    low: float
    high: float


def summarise(rows: Sequence[dict[str, Any]], data: str) -> list[Result]:
    """The variants in the order of their first rows. The posts of all seeds of a variant are drawn together, the same
    posts for each variant (paired bootstrap, Efron and Tibshirani 1993). Those whose posts are others than the first
    variant's have no interval: they were run on another corpus."""
    tables: dict[str, list[list[list[int]]]] = defaultdict(list)
    for row in rows:
        tables[row["variant"]].append(row[data]["counts"])
    results: list[Result] = []
    first: numpy.ndarray | None = None
    for variant, runs in tables.items():
        table = numpy.array([run for run in runs if len(run) == len(runs[-1])]).sum(axis=0)
        first = table if first is None else first
        mean = float(numpy.mean([total_f1(numpy.array(run)) for run in runs]))
        gain = low = high = float("nan")
        if len(table) == len(first) and (table[:, 2] * first[:, 2].sum() == first[:, 2] * table[:, 2].sum()).all():
            gain = total_f1(table) - total_f1(first)
            draws = numpy.random.default_rng(0).integers(len(table), size=(SAMPLES, len(table)))
            gains = [total_f1(table[draw]) - total_f1(first[draw]) for draw in draws]
            low, high = (float(point) for point in numpy.quantile(gains, [0.025, 0.975]))
        results.append(Result(variant, len(runs), mean, gain, low, high))
    return results


def total_f1(table: numpy.ndarray) -> float:
    """F1 of the counts of several posts: (posts, 3) -> F1."""
    return f1(*Counts(*table.sum(axis=0)))


def interval(result: Result) -> str:
    return f"{result.low:+.4f} to {result.high:+.4f}"


def draw(results: Sequence[Result], data: str, path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.4 * len(results)), layout="constrained")
    for place, result in enumerate(reversed(results)):
        error = [[result.gain - result.low], [result.high - result.gain]]
        axes.errorbar(result.gain, place, xerr=error, fmt="o", capsize=3, color="#1f77b4")
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(results)), [f"{r.variant} ({r.f1:.3f})" for r in reversed(results)])
    axes.locator_params(axis="x", nbins=5)
    axes.margins(y=0.3 / len(results))
    axes.set_xlabel(f"strict F1 on {data}: difference from the first\n(95 % interval, paired bootstrap over posts)")
    with replacing(path) as beside:
        figure.savefig(beside, format=path.suffix[1:], dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    app()
