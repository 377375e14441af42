"""Does it pay to annotate first what the model is unsure of? The corpus as annotator, round after round."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy
import srsly
import typer
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.vocab import Vocab
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input, require_built
from scripts.convert import blank_pipeline, to_doc
from scripts.doccano_push import Strategy, choose
from scripts.evaluate import evaluate, judge, read_docbin
from scripts.posts import Post, read_posts
from scripts.train import best_epoch, training_config

app = new_app("Simulate the annotation of posts, round after round.")


@app.command()
@reports_bad_input
def main(
    annotations: Annotated[list[Path], typer.Argument(help="doccano JSONL files of all posts, or folders of them")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
    train: Annotated[Path, typer.Option(help="DocBin of the posts that may be annotated")],
    dev: Annotated[Path, typer.Option(help="DocBin to calibrate on")],
    test: Annotated[Path, typer.Option(help="DocBin to evaluate on, the same in all rounds")],
    encoder: Annotated[Path, typer.Option(help="folder of the pretrained encoder")],
    config: Annotated[list[Path], typer.Option(help="a config, then configs with what differs from it")],
    output: Annotated[Path, typer.Option(help="JSONL file of results; its plot stands beside it as PNG")],
    start: Annotated[int, typer.Option(min=1, help="posts annotated at first, drawn at random")] = 60,
    step: Annotated[int, typer.Option(min=1, help="posts annotated in a round")] = 40,
    rounds: Annotated[int, typer.Option(min=1)] = 4,
    steps: Annotated[int, typer.Option(min=1, help="training steps of each round")] = 150,
    seeds: Annotated[str, typer.Option(help="separated by commas")] = "42,43,44",
    gpu_id: Annotated[int, typer.Option(help="-1 for the CPU")] = -1,
) -> None:
    """Train on few posts, add those that a strategy of doccano-push chooses, and train again."""
    require_built(*config, train, dev, test, encoder)
    names = labels.split(",")
    trainable = {doc.user_data["id"] for doc in DocBin().from_disk(train).get_docs(Vocab())}
    pool = [post for post in read_posts(annotations, names) if post.id in trainable]
    if len(pool) < start + step * rounds:
        raise bad_input(train, f"{len(pool)} posts are too few", f"give {start + step * rounds}, or fewer rounds")

    few = list(DocBin().from_disk(dev).get_docs(Vocab()))[:20]

    def learn(posts: list[Post], seed: int) -> tuple[Language, float]:
        """A pipeline trained on the posts from the encoder, and its strict F1 on the test split."""
        with tempfile.TemporaryDirectory() as folder:
            nlp = blank_pipeline()
            paths = {"train": f"{folder}/train.spacy", "dev": f"{folder}/dev.spacy", "encoder": str(encoder)}
            DocBin(docs=[to_doc(post, nlp)[0] for post in posts], store_user_data=True).to_disk(paths["train"])
            # There is no epoch to choose: a few posts are enough for the evaluations that spaCy insists on.
            DocBin(docs=few, store_user_data=True).to_disk(paths["dev"])
            settings = training_config(config, {"paths": paths, "system": {"seed": seed}}, 1)
            # One evaluation at the end: the same work in each round, however many posts there are.
            settings["training"] |= {"max_steps": steps, "eval_frequency": steps}
            settings["training"]["optimizer"]["learn_rate"]["total_steps"] = steps
            trained = best_epoch(settings, Path(folder) / "checkpoints", gpu_id)
        judged, _ = judge(trained, *read_docbin(test, trained))
        return trained, float(evaluate(judged, set(), 100, seed)["strict"]["f1"])

    rows: list[dict[str, Any]] = []
    for seed in map(int, seeds.split(",")):
        order = numpy.random.default_rng(seed).permutation(len(pool))
        first = [pool[i] for i in order[:start]]
        begun = learn(first, seed)
        for strategy in (Strategy.random, Strategy.uncertainty):
            known, (trained, score) = list(first), begun
            for _ in range(rounds):
                rows.append({"strategy": strategy.value, "seed": seed, "posts": len(known), "f1": round(score, 4)})
                ids = {post.id for post in known}
                left = [post for post in pool if post.id not in ids]
                known += [post for post, _ in choose(left, known, trained, strategy, step, seed + len(known))]
                trained, score = learn(known, seed)
                msg.info(f"{strategy.value}, seed {seed}, {len(known)} posts: strict F1 {score:.4f}")
            rows.append({"strategy": strategy.value, "seed": seed, "posts": len(known), "f1": round(score, 4)})
        with replacing(output) as beside:
            srsly.write_jsonl(beside, rows)
    draw(rows, output.with_suffix(".png"))


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """F1 against posts annotated, a line for each strategy (mean of the seeds) and a dot for each run."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for strategy, colour in (("random", "#7f7f7f"), ("uncertainty", "#1f77b4")):
        mine = [row for row in rows if row["strategy"] == strategy]
        sizes = sorted({row["posts"] for row in mine})
        means = [numpy.mean([row["f1"] for row in mine if row["posts"] == size]) for size in sizes]
        axes.plot(sizes, means, color=colour, label=strategy)
        axes.scatter([row["posts"] for row in mine], [row["f1"] for row in mine], s=12, color=colour)
    axes.set_xlabel("posts annotated")
    axes.set_ylabel("strict F1 on the test split")
    axes.legend(frameon=False)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    app()
