"""Train the pipeline, keep the best of its epochs, and calibrate its scores on the dev split."""

import math
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from spacy.cli._util import parse_config_overrides, setup_gpu
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Corpus
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config, load_config_from_str
from thinc.api import Config, fix_random_seed
from wasabi import msg

from scripts import skill_ner
from scripts.cli import bad_input, new_app, replacing, reports_bad_input, require_built

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
    """Train for a number of epochs and write the best pipeline to OUTPUT."""
    require_built(*config, train_path, dev_path, encoder)
    paths = {"train": str(train_path), "dev": str(dev_path), "encoder": str(encoder), "log": str(log)}
    if precision not in skill_ner.PRECISIONS:
        raise bad_input("--precision", f"{precision!r} is none", f"use one of {', '.join(skill_ner.PRECISIONS)}")
    encoder_settings = {"transformer": {"model": {"precision": precision}}}
    overrides = {"paths": paths, "system": {"seed": seed}, "components": encoder_settings}
    settings = training_config(config, overrides, epochs)
    best = best_epoch(settings, output.parent, gpu_id)
    with replacing(output) as beside:
        best.to_disk(beside)
    msg.good(f"best epoch -> {output}")


def best_epoch(settings: Config, folder: Path, gpu_id: int) -> Language:
    """Train by the settings, with the epochs in a temporary place of the folder, and calibrate the best of them."""
    setup_gpu(gpu_id)
    fix_random_seed(settings["system"]["seed"])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".epochs-") as epochs:
        train(init_nlp(settings, use_gpu=gpu_id), Path(epochs), use_gpu=gpu_id, stdout=sys.stdout, stderr=sys.stderr)
        best = spacy.load(Path(epochs) / "model-best")
    calibrate(best, Path(settings["paths"]["dev"]))
    return best


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
