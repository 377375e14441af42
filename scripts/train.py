"""Train the pipeline, keep the best of its epochs, and calibrate its scores on the dev split."""

import math
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy
import spacy
import srsly
import torch
import typer
from spacy.cli._util import parse_config_overrides, setup_gpu
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.schemas import ConfigSchemaTraining
from spacy.tokens import DocBin
from spacy.training import Corpus, Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import create_evaluation_callback, subdivide_batch
from spacy.util import load_config, load_config_from_str, registry, resolve_dot_names
from thinc.api import Config, Optimizer, fix_random_seed
from tqdm import tqdm
from wasabi import msg

from scripts import skill_ner
from scripts.cli import bad_input, discard_others, new_app, replacing, reports_bad_input, require_built, sha256

COLUMNS = ["epoch", "step", "training loss", "validation loss", "P", "R", "F1", "token accuracy", "seconds"]

app = new_app("Train the pipeline.")


@app.command()
@reports_bad_input
def main(
    config: Annotated[list[Path], typer.Argument(help="a config, then configs with what differs from it")],
    output: Annotated[Path, typer.Option(help="folder of the trained pipeline")],
    train_path: Annotated[Path, typer.Option("--train", help="DocBin to learn from")],
    dev_path: Annotated[Path, typer.Option("--dev", help="DocBin to choose the best epoch and calibrate on")],
    encoder: Annotated[Path, typer.Option(help="folder of the pretrained encoder")],
    log: Annotated[Path, typer.Option(help="JSONL file for the table of epochs")],
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    seed: int = 42,
    precision: Annotated[str, typer.Option(help=f"of predictions: {', '.join(skill_ner.PRECISIONS)}")] = "auto",
    gpu_id: Annotated[int, typer.Option(help="-1 for the CPU")] = -1,
) -> None:
    """Train for a number of epochs and write the best pipeline to OUTPUT. A run that was killed goes on after the last
    epoch that it finished."""
    require_built(*config, train_path, dev_path, encoder)
    paths = {"train": str(train_path), "dev": str(dev_path), "encoder": str(encoder)}
    if precision not in skill_ner.PRECISIONS:
        raise bad_input("--precision", f"{precision!r} is none", f"use one of {', '.join(skill_ner.PRECISIONS)}")
    if precision == "int8" and not (find_spec("onnx") and find_spec("onnxruntime")):
        raise bad_input("--precision", "int8 needs two more packages", "run: pip install onnx onnxruntime")
    if precision == "int8" and gpu_id >= 0:
        raise bad_input("--precision", "int8 is for the CPU", "use bfloat16 on a GPU")
    encoder_settings = {"transformer": {"model": {"precision": precision}}}
    overrides = {"paths": paths, "system": {"seed": seed}, "components": encoder_settings}
    settings = training_config(config, overrides, epochs)
    checkpoints = output.parent / f".{output.name}-checkpoints"
    best = best_epoch(settings, checkpoints, gpu_id, log)
    with replacing(output) as beside:
        best.to_disk(beside)
    shutil.rmtree(checkpoints)
    msg.good(f"best epoch -> {output}")


def best_epoch(settings: Config, checkpoints: Path, gpu_id: int, log: Path | None = None) -> Language:
    """Train by the settings with an evaluation after each epoch, and return the best pipeline, its scores calibrated.

    After each evaluation all that training needs is written to the folder `checkpoints`. If a killed run with the same
    settings and data left something there, training goes on from it and ends as it would have. `log` gets the table of
    epochs as JSONL.
    """
    setup_gpu(gpu_id)
    seed = settings["system"]["seed"]
    fix_random_seed(seed)
    nlp = init_nlp(settings, use_gpu=gpu_id)
    fix_random_seed(seed)
    config = nlp.config.interpolate()
    training = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    train_corpus, dev_corpus = resolve_dot_names(config, [training["train_corpus"], training["dev_corpus"]])
    evaluate = create_evaluation_callback(nlp, dev_corpus, training["score_weights"])
    optimizer = training["optimizer"]
    discard_others(checkpoints, run_identity(settings))
    rows, best_score = restore(checkpoints / "last", nlp, optimizer)
    total, every = training["max_steps"], training["eval_frequency"]
    begun = rows[-1]["step"] if rows else 0
    started = time.monotonic() - (rows[-1]["seconds"] if rows else 0)
    print("  ".join(f"{column:>14}" for column in COLUMNS))
    for row in rows:
        print(table_line(row))
    losses: dict[str, float] = {}
    with tqdm(total=total, initial=begun, desc="train", unit="batch", leave=False) as bar:
        stream = islice(batches(list(train_corpus(nlp)), training["batcher"], seed), begun, total)
        for step, batch in enumerate(stream, start=begun + 1):
            update(nlp, batch, training, losses)
            bar.update()
            if step % every and step < total:
                continue
            score, scores = evaluate()
            rows.append(table_row(step, step / every, rows, losses, scores, time.monotonic() - started))
            losses.clear()
            tqdm.write(table_line(rows[-1]))
            if log is not None:
                with replacing(log) as beside:
                    srsly.write_jsonl(beside, rows)
            if score > best_score:
                best_score = score
                with replacing(checkpoints / "best") as beside:
                    nlp.to_disk(beside)
            save(checkpoints / "last", nlp, optimizer, rows, best_score)
    best = spacy.load(checkpoints / "best")
    calibrate(best, Path(settings["paths"]["dev"]))
    return best


def update(nlp: Language, batch: list[Example], training: dict[str, Any], losses: dict[str, float]) -> None:
    """One step of the optimizer, by the settings under [training] that say how; adds to `losses`. Where an encoder asks
    for adversarial training, the gradient is the sum of the one of the batch and the one under attack."""
    frozen, annotating = training["frozen_components"], training["annotating_components"]

    def add_gradients(losses: dict[str, float]) -> None:
        for part in subdivide_batch(batch, training["accumulate_gradient"]):
            nlp.update(part, drop=training["dropout"], losses=losses, sgd=False, exclude=frozen, annotates=annotating)

    add_gradients(losses)
    with ExitStack() as attacks:
        # A frozen encoder has no gradient.
        encoders = [shim for shim in encoder_shims(nlp) if shim.adversarial_step and shim.embeddings.grad is not None]
        for encoder in encoders:
            attacks.enter_context(encoder.attacked())
        if encoders:
            add_gradients({})
    for name, component in nlp.pipeline:
        if name not in frozen and isinstance(component, TrainablePipe):
            component.finish_update(training["optimizer"])
    training["optimizer"].step_schedules()


def table_row(
    step: int,
    epoch: float,
    before: Sequence[dict[str, Any]],
    losses: dict[str, float],
    scores: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """The row of an evaluation: the training loss is the mean over the steps since the row before."""
    # The one that is trained on the encoder: `skill_ner`, whatever its name, or another one for comparison.
    name = next((name for name in losses if name != "transformer"), "")
    loss = float(losses.get(name, 0.0)) / (step - (before[-1]["step"] if before else 0))
    figures = (scores.get(key) for key in (f"{name}_loss", "ents_p", "ents_r", "ents_f", "ents_token_acc"))
    return dict(zip(COLUMNS, [epoch, step, loss, *figures, round(seconds)], strict=True))


def batches(
    examples: list[Example], batcher: Callable[[Iterable[Example]], Iterable[list[Example]]], seed: int
) -> Iterator[list[Example]]:
    """Batches without end, the examples shuffled for each pass over them, the same for the same seed."""
    generator = random.Random(seed)
    while True:
        generator.shuffle(examples)
        yield from batcher(examples)


def run_identity(settings: Config) -> str:
    """What makes two runs the same: settings, posts and the weights they start from."""
    paths = settings["paths"]
    files = [Path(paths["train"]), Path(paths["dev"]), Path(paths["encoder"]) / "model.safetensors"]
    return "\n".join([settings.to_str(), *map(sha256, files)])


def save(folder: Path, nlp: Language, optimizer: Optimizer, rows: list[dict[str, Any]], best_score: float) -> None:
    """Write all that training needs to go on."""
    places = parameter_places(nlp)
    state = {
        "rows": rows,
        "best_score": best_score,
        "moments": {
            places[key]: (optimizer.mom1[key], optimizer.mom2[key], optimizer.nr_update[key]) for key in optimizer.mom1
        },
        "adam": [shim.adam.state_dict() if shim.adam else None for shim in encoder_shims(nlp)],
        "numpy": numpy.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with replacing(folder) as beside:
        beside.mkdir()
        nlp.to_disk(beside / "pipeline")
        torch.save(state, beside / "state.pt")


def restore(folder: Path, nlp: Language, optimizer: Optimizer) -> tuple[list[dict[str, Any]], float]:
    """Take up what `save` wrote, if anything: the table so far and the best score, (empty, below any score) if not."""
    if not folder.exists():
        return [], -1.0
    nlp.from_disk(folder / "pipeline")
    # The file is this program's own, written a while ago.
    state = torch.load(folder / "state.pt", weights_only=False)
    keys = {place: key for key, place in parameter_places(nlp).items()}
    for place, (first, second, updates) in state["moments"].items():
        optimizer.mom1[keys[place]], optimizer.mom2[keys[place]] = first, second
        optimizer.nr_update[keys[place]] = updates
    for shim, adam in zip(encoder_shims(nlp), state["adam"], strict=True):
        if adam is not None:
            shim.load_optimizer(adam)
    for _ in range(state["rows"][-1]["step"]):
        optimizer.step_schedules()
    numpy.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    msg.info(f"going on after step {state['rows'][-1]['step']}")
    return state["rows"], state["best_score"]


def parameter_places(nlp: Language) -> dict[tuple[int, str], str]:
    """Where each parameter stands: the optimizer's own keys, numbers of layers, are others in each process."""
    return {
        (node.id, name): f"{pipe}.{number}.{name}"
        for pipe, component in nlp.pipeline
        if isinstance(component, TrainablePipe)
        for number, node in enumerate(component.model.walk())
        for name in node.param_names
    }


def encoder_shims(nlp: Language) -> list[skill_ner.EncoderShim]:
    nodes = [
        node for _, component in nlp.pipeline if isinstance(component, TrainablePipe) for node in component.model.walk()
    ]
    return [shim for node in nodes for shim in node.shims if isinstance(shim, skill_ner.EncoderShim)]


def table_line(row: dict[str, Any]) -> str:
    return "  ".join(f"{format_value(row[column]):>14}" for column in COLUMNS)


def format_value(value: float | None) -> str:
    if value is None:
        return "-"
    return str(int(value)) if float(value).is_integer() and abs(value) > 1 else f"{value:.4f}"


def training_config(paths: list[Path], overrides: dict[str, Any], epochs: int) -> Config:
    """The configs merged, with the schedule in epochs turned into steps: an evaluation ends each epoch."""
    config = Config()
    for path in paths:
        config = config.merge(load_config(path, interpolate=False))
    config = config.merge(overrides)
    posts = len(DocBin().from_disk(config["paths"]["train"]))
    if not posts:
        raise bad_input(config["paths"]["train"], "no post in it", "add annotated posts")
    # `spacy train` reads overrides from the environment too: so does this step.
    environment = parse_config_overrides([])
    size = environment.get("training.batcher.size", config["training"]["batcher"]["size"])
    steps = math.ceil(posts / size)
    # The total stands twice, not by reference: nlp.resume_training() resolves the optimizer by itself.
    learn_rate = config["training"]["optimizer"]["learn_rate"] | {"total_steps": steps * epochs}
    schedule = {"eval_frequency": steps, "max_steps": steps * epochs, "optimizer": {"learn_rate": learn_rate}}
    merged = config.merge({"training": schedule})
    return load_config_from_str(merged.to_str(), overrides=environment, interpolate=False)


def calibrate(nlp: Language, dev_path: Path) -> None:
    """Fit the scores of `skill_ner`, if the pipeline has it, to how often it is right on the dev split."""
    if "skill_ner" not in nlp.pipe_names:
        return
    examples = list(Corpus(dev_path)(nlp))
    for example, doc in zip(examples, nlp.pipe([example.x for example in examples]), strict=True):
        example.predicted = doc
    component: Any = nlp.get_pipe("skill_ner")
    component.calibrate(examples)


if __name__ == "__main__":
    app()
