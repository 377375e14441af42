"""Measure speed and memory of the installed pipeline beside other ways to run the same weights."""

import json
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import spacy
import typer
from tqdm import tqdm
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input, require_built
from scripts.posts import read_posts

app = new_app("Measure speed and memory.")

# `scripts.skill_ner` is imported where it is needed alone: a process that loads the package has its copy.

OURS = "en_skillner"
INT8 = f"{OURS}, int8"
# Posts that each process runs over before it is timed: first calls build what later ones use.
WARM_UP = 64


class Task(NamedTuple):
    """What a row is measured on."""

    package: str
    stock: Path
    lexicon: Path
    labels: list[str]
    warm_up: list[str]
    texts: list[str]
    gpu_id: int


class Measured(NamedTuple):
    """Words per second, peak memory of the process in MB, seconds to load beyond the imports."""

    words_per_second: float
    peak_mb: float
    load_seconds: float


Runner = Callable[[list[str]], None]


class Row(NamedTuple):
    """A way to find skills: what loads it, its precision (None if it is none of PyTorch's), and threads, 0 for all."""

    load: Callable[[Task], Runner]
    precision: str | None = "float32"
    threads: int = 0


@app.command()
@reports_bad_input
def main(
    package: Annotated[str, typer.Argument(help="name of the installed pipeline")],
    posts: Annotated[list[Path], typer.Option(help="JSONL files, or folders of them, to run over")],
    output: Annotated[Path, typer.Option(help="JSON file for the figures; the plot stands beside it as PNG")],
    stock: Annotated[Path, typer.Option(help="folder of a pipeline with spaCy's own ner; left out if missing")],
    lexicon: Annotated[Path, typer.Option(help="CSV of skills, for the matcher")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
    limit: Annotated[int, typer.Option(min=1, help="posts to run over")] = 100,
    repeats: Annotated[int, typer.Option(min=1, help="runs of each row; the median counts")] = 5,
    scale: Annotated[
        str, typer.Option(help="numbers of posts, separated by commas, for the time per post")
    ] = "100,1000",
    gpu_id: Annotated[int, typer.Option(help="-1 for the CPU")] = -1,
) -> None:
    """Print a table with words per second, peak memory and load time, and one with the time per post."""
    if not spacy.util.is_package(package):
        raise bad_input(package, "no such package is installed", "run: spacy project run all")
    require_built(lexicon)
    texts = [post.text for post in read_posts(posts, (), annotated=False)]
    if not texts:
        raise bad_input(posts[0], "no post", "give JSONL files with posts")
    # Fewer posts than asked for are run over again.
    stream = cycle(texts)
    warm_up, timed = list(islice(stream, WARM_UP)), list(islice(stream, limit))
    task = Task(package, stock, lexicon, labels.split(","), warm_up, timed, gpu_id)
    missing = {"stock_ner"} if not stock.exists() else set()
    if find_spec("onnxruntime") is None:
        missing.add(INT8)
    rows = [name for name in ROWS if name not in missing]
    runs: dict[str, list[Measured]] = {name: [] for name in rows}
    peaks: dict[tuple[str, int], list[float]] = {(r.precision, r.threads): [] for r in ROWS.values() if r.precision}
    # Rows take turns, each in a fresh process, so that a noisy minute hits all of them and memory is theirs alone.
    for name in tqdm(rows * repeats, desc="benchmark", unit="run", leave=False):
        runs[name].append(alone(measure, name, task))
    for precision, threads in tqdm(list(peaks) * repeats, desc="matrix products", leave=False):
        peaks[precision, threads].append(alone(matrix_product_peak, precision, threads, gpu_id))
    flops = alone(flops_per_word, task)
    medians = {name: Measured(*map(statistics.median, zip(*runs[name], strict=True))) for name in rows}
    peak = {key: statistics.median(values) for key, values in peaks.items()}
    share = {
        name: flops * medians[name].words_per_second / peak[row.precision, row.threads]
        for name, row in ROWS.items()
        if name in medians and row.precision
    }
    growth = [alone(measure_stream, int(size), texts, task) for size in scale.split(",")]
    figures = {
        "posts": limit,
        "rows": {name: m._asdict() | {"share_of_peak": share.get(name)} for name, m in medians.items()},
        "matrix_product_tflops": {f"{p}, {t or 'all'} threads": value / 1e12 for (p, t), value in peak.items()},
        "scale": growth,
    }
    with replacing(output) as beside:
        beside.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    report(medians, share, growth)
    draw(medians, output.with_suffix(".png"))


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of the function, called in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def report(medians: dict[str, Measured], share: dict[str, float], growth: list[dict[str, float]]) -> None:
    ours = medians[OURS].words_per_second
    table = [
        (
            name,
            f"{m.words_per_second:,.0f}",
            f"{ours / m.words_per_second:.2f}",
            f"{100 * share[name]:.0f} %" if name in share else "-",
            f"{m.peak_mb:,.0f}",
            f"{m.load_seconds:.2f}",
        )
        for name, m in medians.items()
    ]
    header = ("", "words/s", f"{OURS} is × as fast", "of matrix peak", "peak MB", "load s")
    msg.table(table, header=header, divider=True, aligns=("l", "r", "r", "r", "r", "r"), max_col=60)
    streams = [(f"{g['posts']:,}", f"{1000 * g['seconds_per_post']:.1f}", f"{g['peak_mb']:,.0f}") for g in growth]
    msg.table(streams, header=("posts", "ms a post", "peak MB"), divider=True, aligns=("r", "r", "r"))


def draw(medians: dict[str, Measured], path: Path) -> None:
    from matplotlib import pyplot

    # The lexicon, which has no encoder, is off the scale of the others.
    names = sorted(medians.keys() - {"lexicon"}, key=lambda name: medians[name].words_per_second)
    figure, axes = pyplot.subplots(figsize=(7, 0.32 * len(names) + 0.8), layout="constrained")
    colours = ["#1f77b4" if name.startswith(OURS) else "#b0b0b0" for name in names]
    bars = axes.barh(names, [medians[name].words_per_second for name in names], color=colours)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.set_xlabel("words per second")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=130)
    pyplot.close(figure)


def measure(name: str, task: Task) -> Measured:
    """Load a row's pipeline, warm it up, and time it once. Words are what blanks separate."""
    prepare(ROWS[name].threads, task.gpu_id)
    started = time.perf_counter()
    run = ROWS[name].load(task)
    loaded = time.perf_counter()
    run(task.warm_up)
    began = time.perf_counter()
    run(task.texts)
    seconds = time.perf_counter() - began
    return Measured(words_in(task.texts) / seconds, peak_mb(), loaded - started)


def prepare(threads: int, gpu_id: int) -> None:
    import spacy_transformers  # noqa: F401 (its import is no part of the load time)
    import torch

    # This process was spawned, but what it starts itself is started as in anyone's script.
    multiprocessing.set_start_method(None, force=True)
    torch.set_num_threads(threads or os.cpu_count() or 1)
    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)


def words_in(texts: list[str]) -> int:
    return sum(len(text.split()) for text in texts)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_stream(size: int, texts: list[str], task: Task) -> dict[str, float]:
    """Stream so many posts through the pipeline, the texts again and again."""
    prepare(0, task.gpu_id)
    nlp = spacy.load(task.package)
    list(nlp.pipe(task.warm_up))
    began = time.perf_counter()
    stream = nlp.pipe(islice(cycle(texts), size))
    for _ in tqdm(stream, desc="stream", total=size, unit="post", leave=False, delay=5):
        pass
    return {"posts": size, "seconds_per_post": (time.perf_counter() - began) / size, "peak_mb": peak_mb()}


def matrix_product_peak(precision: str, threads: int, gpu_id: int) -> float:
    """The most floating-point operations in a second that PyTorch reaches in a product of large matrices."""
    import torch

    from scripts.skill_ner import fastest_precision

    prepare(threads, gpu_id)
    size = 2048
    device = "cpu" if gpu_id < 0 else "cuda"
    dtype = getattr(torch, fastest_precision(device) if precision == "auto" else precision)
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        seconds.append(time.perf_counter() - began)
    return float(2 * size**3 / min(seconds))


def flops_per_word(task: Task) -> float:
    """Floating-point operations of the encoder's matrix products for a word: two for each weight of its linear layers
    and each wordpiece, and those of attention in full windows; padding does not count."""
    transformer: Any = spacy.load(task.package).get_pipe("transformer")
    tokenizer, encoder = encoder_of(transformer)
    config, window = encoder.config, transformer.model.attrs["window"]
    weights = sum(parameter.numel() for parameter in encoder.transformer.parameters() if parameter.dim() == 2)
    piece = 2 * weights + 4 * config.n_layers * config.dim * window
    pieces = sum(len(ids) for ids in tokenizer(task.texts, add_special_tokens=False, verbose=False)["input_ids"])
    return float(piece * pieces / words_in(task.texts))


def load_package(task: Task, precision: str = "auto", batch_size: int | None = None, n_process: int = 1) -> Runner:
    nlp = spacy.load(task.package, config={"components.transformer.model.precision": precision})
    return partial(consume, lambda texts: nlp.pipe(texts, batch_size=batch_size, n_process=n_process))


def consume(stream: Callable[[list[str]], Iterator[Any]], texts: list[str]) -> None:
    for _ in stream(texts):
        pass


def load_stock(task: Task) -> Runner:
    from scripts import skill_ner  # noqa: F401 (registers the encoder)

    return partial(consume, spacy.load(task.stock).pipe)


def load_lexicon(task: Task) -> Runner:
    from scripts.convert import blank_pipeline
    from scripts.lexicon import SkillFinder, read_lexicon

    nlp = blank_pipeline()
    find = SkillFinder(read_lexicon(task.lexicon, task.labels), nlp)
    return partial(consume, lambda texts: (find(doc) for doc in nlp.pipe(texts)))


def encoder_of(transformer: Any) -> tuple[Any, Any]:
    """Hugging Face's tokenizer and model in a component."""
    shim = transformer.model.layers[0].shims[0]
    return shim._hfmodel.tokenizer, shim._model.eval()


def load_raw_encoder(task: Task, precision: str) -> Runner:
    """The encoder alone, on the same wordpieces in full batches of 16 × 128: what no pipeline can beat."""
    import torch

    tokenizer, encoder = encoder_of(spacy.load(task.package).get_pipe("transformer"))
    encoder = encoder.to(getattr(torch, precision))

    def run(texts: list[str]) -> None:
        ids = [id for text in texts for id in tokenizer(text, verbose=False)["input_ids"]]
        ids += [0] * (-len(ids) % 128)
        with torch.inference_mode():
            for batch in torch.tensor(ids).view(-1, 128).split(16):
                encoder(input_ids=batch.to(encoder.device))

    return run


def token_classifier(task: Task) -> tuple[Any, Any]:
    """The package's weights as Hugging Face's own model, and its tokenizer."""
    from transformers import DistilBertForTokenClassification

    nlp = spacy.load(task.package)
    tokenizer, encoder = encoder_of(nlp.get_pipe("transformer"))
    head: Any = nlp.get_pipe("skill_ner")
    layer = head.model.get_ref("output_layer")
    config = encoder.config
    config.num_labels = layer.get_dim("nO")
    model = DistilBertForTokenClassification(config).eval()
    model.distilbert.load_state_dict(encoder.state_dict())
    model.classifier.weight.data = model.classifier.weight.new_tensor(layer.get_param("W").tolist())
    model.classifier.bias.data = model.classifier.bias.new_tensor(layer.get_param("b").tolist())
    return model, tokenizer


def load_hugging_face(task: Task) -> Runner:
    """Hugging Face's own pipeline, as its documentation has it for long texts."""
    return hugging_face_pipeline(task, "float32", window=512, stride=64, batch_size=16)


def load_tuned_pipeline(task: Task, precision: str) -> Runner:
    """Hugging Face's own pipeline with all that it can be told to be fast: a precision, short windows that overlap
    little, larger batches, and texts in the order of their length."""
    classify = hugging_face_pipeline(task, precision, window=128, stride=16, batch_size=32)
    return lambda texts: classify(sorted(texts, key=len))


def hugging_face_pipeline(task: Task, precision: str, window: int, stride: int, batch_size: int) -> Runner:
    import torch
    from transformers import pipeline

    model, tokenizer = token_classifier(task)
    tokenizer.model_max_length = min(window, model.config.max_position_embeddings)
    classify = pipeline(
        "token-classification",
        model=model.to(getattr(torch, precision)),
        tokenizer=tokenizer,
        aggregation_strategy="simple",
        stride=stride,
        batch_size=batch_size,
        device=task.gpu_id if task.gpu_id >= 0 else "cpu",
    )
    return lambda texts: consume(classify, texts)


def load_own_loop(task: Task, precision: str) -> Runner:
    """The same model as one who knows would run it: short windows of all posts, sorted by length, in batches without
    gradients, and spans read off the best tags alone."""
    import torch

    model, tokenizer = token_classifier(task)
    model = model.to(getattr(torch, precision)).to("cuda" if task.gpu_id >= 0 else "cpu")
    outside = 0

    def run(texts: list[str]) -> None:
        windows = tokenizer(
            texts,
            truncation=True,
            max_length=128,
            stride=16,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        ids, offsets = windows["input_ids"], windows["offset_mapping"]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            batch = tokenizer.pad({"input_ids": [ids[i] for i in chosen]}, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                tags = model(**batch).logits.argmax(-1).tolist()
            for i, row in zip(chosen, tags, strict=True):
                [offset for offset, tag in zip(offsets[i], row, strict=False) if tag != outside]

    return run


ROWS: dict[str, Row] = {
    OURS: Row(load_package, "auto"),
    f"{OURS}, float32": Row(partial(load_package, precision="float32")),
    INT8: Row(partial(load_package, precision="int8"), None),
    f"{OURS}, one thread": Row(load_package, "auto", threads=1),
    f"{OURS}, two processes": Row(partial(load_package, n_process=2), "auto"),
    f"{OURS}, 64 posts at a time": Row(partial(load_package, batch_size=64), "auto"),
    f"{OURS}, 256 posts at a time": Row(partial(load_package, batch_size=256), "auto"),
    "raw encoder, bfloat16": Row(partial(load_raw_encoder, precision="bfloat16"), "bfloat16"),
    "raw encoder, float32": Row(partial(load_raw_encoder, precision="float32")),
    "Hugging Face pipeline": Row(load_hugging_face),
    "Hugging Face pipeline, tuned, bfloat16": Row(partial(load_tuned_pipeline, precision="bfloat16"), "bfloat16"),
    "Hugging Face pipeline, tuned, float32": Row(partial(load_tuned_pipeline, precision="float32")),
    "Hugging Face model, own loop, bfloat16": Row(partial(load_own_loop, precision="bfloat16"), "bfloat16"),
    "Hugging Face model, own loop, float32": Row(partial(load_own_loop, precision="float32")),
    "stock_ner": Row(load_stock, "auto"),
    "lexicon": Row(load_lexicon, None),
}


if __name__ == "__main__":
    app()
