"""Measure speed and memory of the installed pipeline beside other ways to run the same weights."""

import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import spacy
import typer
from tqdm import tqdm
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input
from scripts.posts import read_posts

app = new_app("Measure speed and memory.")


class Task(NamedTuple):
    """What a row is measured on."""

    package: str
    stock: Path
    texts: list[str]
    gpu_id: int


class Measured(NamedTuple):
    """Words per second, peak memory of the process in MB, seconds to load beyond the imports."""

    words_per_second: float
    peak_mb: float
    load_seconds: float


@app.command()
@reports_bad_input
def main(
    package: Annotated[str, typer.Argument(help="name of the installed pipeline")],
    posts: Annotated[list[Path], typer.Option(help="JSONL files, or folders of them, to run over")],
    output: Annotated[Path, typer.Option(help="JSON file for the figures")],
    stock: Annotated[Path, typer.Option(help="folder of a pipeline with spaCy's own ner; left out if missing")],
    limit: Annotated[int, typer.Option(min=1, help="posts to run over")] = 100,
    repeats: Annotated[int, typer.Option(min=1, help="runs of each row; the median counts")] = 3,
    gpu_id: Annotated[int, typer.Option(help="-1 for the CPU")] = -1,
) -> None:
    """Print a table with words per second, peak memory and load time."""
    if not spacy.util.is_package(package):
        raise bad_input(package, "no such package is installed", "run: spacy project run all")
    texts = [post.text for post in read_posts(posts, (), annotated=False)]
    if not texts:
        raise bad_input(posts[0], "no post", "give JSONL files with posts")
    # Fewer posts than asked for are run over again.
    texts = (texts * (limit // len(texts) + 1))[:limit]
    task = Task(package, stock, texts, gpu_id)
    rows = [row for row in ROWS if row != "stock_ner" or stock.exists()]
    runs: dict[str, list[Measured]] = {row: [] for row in rows}
    # Rows take turns, each in a fresh process, so that a noisy minute hits all of them and memory is theirs alone.
    spawn = multiprocessing.get_context("spawn")
    for row in tqdm(rows * repeats, desc="benchmark", unit="run", leave=False):
        with spawn.Pool(1) as pool:
            runs[row].append(pool.apply(measure, (row, task)))
    medians = {row: Measured(*map(statistics.median, zip(*runs[row], strict=True))) for row in rows}
    with replacing(output) as beside:
        figures = {row: measured._asdict() for row, measured in medians.items()}
        beside.write_text(json.dumps({"posts": limit, "rows": figures}, indent=2) + "\n", encoding="utf-8")
    ours = medians["en_skillner"].words_per_second
    table = [
        (
            row,
            f"{m.words_per_second:,.0f}",
            f"{ours / m.words_per_second:.2f}",
            f"{m.peak_mb:,.0f}",
            f"{m.load_seconds:.2f}",
        )
        for row, m in medians.items()
    ]
    msg.table(
        table,
        header=("", "words/s", "en_skillner is × as fast", "peak MB", "load s"),
        divider=True,
        aligns=("l", "r", "r", "r", "r"),
    )


def measure(row: str, task: Task) -> Measured:
    """Load a row's pipeline, warm it up, and time it once. Words are what blanks separate."""
    import spacy_transformers  # noqa: F401 (its import is no part of the load time)

    if task.gpu_id >= 0:
        spacy.require_gpu(task.gpu_id)
    started = time.perf_counter()
    run = ROWS[row](task)
    loaded = time.perf_counter()
    run(task.texts[:4])
    began = time.perf_counter()
    run(task.texts)
    seconds = time.perf_counter() - began
    words = sum(len(text.split()) for text in task.texts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(words / seconds, peak, loaded - started)


Runner = Callable[[list[str]], None]


def load_package(precision: str, task: Task) -> Runner:
    return run_spacy(spacy.load(task.package, config={"components.transformer.model.precision": precision}))


def load_stock(task: Task) -> Runner:
    from scripts import skill_ner  # noqa: F401 (registers the encoder)

    return run_spacy(spacy.load(task.stock))


def run_spacy(nlp: Any) -> Runner:
    def run(texts: list[str]) -> None:
        for _ in nlp.pipe(texts):
            pass

    return run


def load_raw_encoder(precision: str, task: Task) -> Runner:
    """The encoder alone, on the same wordpieces in full batches of 16 × 128: what no pipeline can beat."""
    import torch

    transformer: Any = spacy.load(task.package).get_pipe("transformer")
    shim = transformer.model.layers[0].shims[0]
    tokenizer, encoder = shim._hfmodel.tokenizer, shim._model.eval().to(getattr(torch, precision))

    def run(texts: list[str]) -> None:
        ids = [id for text in texts for id in tokenizer(text, verbose=False)["input_ids"]]
        ids += [0] * (-len(ids) % 128)
        with torch.inference_mode():
            for batch in torch.tensor(ids).view(-1, 128).split(16):
                encoder(input_ids=batch.to(encoder.device))

    return run


def load_hugging_face(task: Task) -> Runner:
    """The same weights in Hugging Face's own pipeline, as its documentation has it for long texts."""
    from transformers import DistilBertForTokenClassification, pipeline

    nlp = spacy.load(task.package)
    transformer: Any = nlp.get_pipe("transformer")
    head: Any = nlp.get_pipe("skill_ner")
    shim = transformer.model.layers[0].shims[0]
    layer = head.model.get_ref("output_layer")
    config = shim._model.config
    config.num_labels = layer.get_dim("nO")
    model = DistilBertForTokenClassification(config)
    model.distilbert.load_state_dict(shim._model.state_dict())
    model.classifier.weight.data = model.classifier.weight.new_tensor(layer.get_param("W").tolist())
    model.classifier.bias.data = model.classifier.bias.new_tensor(layer.get_param("b").tolist())
    tokenizer = shim._hfmodel.tokenizer
    tokenizer.model_max_length = config.max_position_embeddings
    classify = pipeline(
        "token-classification",
        model=model,
        tokenizer=tokenizer,
        aggregation_strategy="simple",
        stride=64,
        batch_size=16,
        device=task.gpu_id if task.gpu_id >= 0 else "cpu",
    )

    def run(texts: list[str]) -> None:
        classify(texts)

    return run


ROWS: dict[str, Callable[[Task], Runner]] = {
    "en_skillner": partial(load_package, "auto"),
    "en_skillner, float32": partial(load_package, "float32"),
    "raw encoder, float32": partial(load_raw_encoder, "float32"),
    "raw encoder, bfloat16": partial(load_raw_encoder, "bfloat16"),
    "Hugging Face pipeline": load_hugging_face,
    "stock_ner": load_stock,
}


if __name__ == "__main__":
    app()
