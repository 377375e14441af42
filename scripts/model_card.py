"""Write the model card: what the pipeline is for, what not, and its figures, with the metadata that the hub reads."""

import platform
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any

import typer
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from spacy.util import load_config
from wasabi import MarkdownRenderer, msg

from scripts.cli import new_app, replacing, reports_bad_input, require_built
from scripts.describe import split_at_block
from scripts.figures import (
    Figures,
    Table,
    beside_table,
    epochs_table,
    fairness_table,
    read_figures,
    read_real,
    robustness_table,
    scores_table,
    speed_table,
)
from scripts.package import DESCRIPTION, source_of

TEMPLATE = Path(__file__).with_suffix(".md.jinja")
TAGS = ["spacy", "token-classification", "named-entity-recognition", "skills", "job-posts"]
LIBRARIES = ["spacy", "spacy-transformers", "torch", "transformers", "tokenizers"]
# As they are called in spaCy's cards on the hub: our name, type, name.
METRICS = [
    ("precision", "precision", "NER Precision"),
    ("recall", "recall", "NER Recall"),
    ("f1", "f_score", "NER F Score"),
]

app = new_app("Write the model card.")


@app.command()
@reports_bad_input
def main(
    model: Annotated[Path, typer.Argument(help="folder of the trained pipeline")],
    name: Annotated[str, typer.Option(help="name of the package")],
    version: Annotated[str, typer.Option()],
    base: Annotated[str, typer.Option(help="source of the pretrained encoder")],
    figures: Annotated[Path, typer.Option(help="folder with metrics.json and what else was measured")],
    real: Annotated[Path, typer.Option(help="JSON file with the figures on real posts")],
    datasheet: Annotated[Path, typer.Option(help="Markdown file with the corpus in figures")],
    output: Annotated[Path, typer.Option(help="Markdown file to write")],
) -> None:
    """Write the card of MODEL from what was measured on it."""
    require_built(model / "config.cfg", real, datasheet)
    config = load_config(model / "config.cfg", interpolate=True)
    _, statistics, _ = split_at_block(datasheet)
    card = render(name, version, base, config, read_figures(figures), read_real(real), statistics)
    with replacing(output) as beside:
        beside.write_text(card, encoding="utf-8")
    msg.good(f"-> {output}")


def render(
    name: str,
    version: str,
    base: str,
    config: Mapping[str, Any],
    figures: Figures,
    real: dict[str, Any],
    statistics: str,
) -> str:
    """The card. `config`: that of the trained pipeline; `statistics`: the corpus in figures, as Markdown."""
    results = eval_results("job-posts", "corpus of en_skillner", figures.metrics)
    results += eval_results("real-job-posts", real["data"], real)
    metadata = ModelCardData(
        language="en", license="mit", library_name="spacy", tags=TAGS, model_name=name, eval_results=results
    )
    tables = {
        "hyperparameters": hyperparameters(config, figures),
        "epochs": epochs_table(figures.epochs),
        "test": scores_table("test split", figures.metrics),
        "beside": beside_table("test split", figures.metrics),
        "real": scores_table("real posts", real),
        "robustness": robustness_table(figures.robustness) if figures.robustness else None,
        "fairness": fairness_table(figures.fairness) if figures.fairness else None,
        "speed": speed_table(figures.benchmark) if figures.benchmark else None,
    }
    base_model = source_of(base)
    per_label = figures.metrics["per_label"]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE.name).render(
        name=name,
        version=version,
        description=DESCRIPTION,
        metadata=metadata.to_yaml(),
        base=f"{base_model['name']} ({base_model['license']})",
        window=config["components"]["transformer"]["model"]["window"],
        weakest=min(per_label, key=lambda label: per_label[label]["f1"]),
        metrics=figures.metrics,
        adapt=figures.adapt,
        real=real,
        statistics=statistics,
        tables={title: markdown(table) if table else None for title, table in tables.items()},
        versions={"Python": platform.python_version(), **{library: installed(library) for library in LIBRARIES}},
    )


def eval_results(dataset: str, data: str, metrics: Mapping[str, Any]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="token-classification",
            task_name="NER",
            dataset_type=dataset,
            dataset_name=data,
            dataset_split="test",
            metric_type=type,
            metric_name=name,
            metric_value=round(metrics["strict"][key], 4),
        )
        for key, type, name in METRICS
    ]


def hyperparameters(config: Mapping[str, Any], figures: Figures) -> Table:
    training, adapt = config["training"], figures.adapt["settings"]
    optimizer, encoder = training["optimizer"], config["components"]["transformer"]["model"]
    rate = optimizer["learn_rate"]
    values = {
        "optimizer": optimizer["@optimizers"],
        "β₁, β₂, ε": f"{optimizer['beta1']}, {optimizer['beta2']}, {optimizer['eps']:g}",
        "learning rate": f"{rate['initial_rate']:g}, {rate['@schedules']}, {rate['warmup_steps']} steps of warm-up",
        "weight decay": optimizer["L2"],
        "gradient clipping": optimizer["grad_clip"],
        "dropout": training["dropout"],
        "posts in a batch": training["batcher"]["size"],
        "epochs": f"{len(figures.epochs)} ({training['max_steps']:,} steps)",
        "mixed precision": "yes" if encoder["mixed_precision"] else "no",
        "adversarial step": encoder.get("adversarial_step", 0.0),
        "seed": training["seed"],
        "adaptation: learning rate": f"{adapt['learn_rate']:g}",
        "adaptation: windows in a batch": adapt["batch_size"],
        "adaptation: masked of skills": f"{adapt['skill_probability']:g}",
        "adaptation: masked of other words": f"{adapt['word_probability']:g}",
    }
    return Table(("hyperparameter", "value"), [(name, str(value)) for name, value in values.items()])


def markdown(table: Table) -> str:
    numbers = "r" * (len(table.header) - 1)
    return MarkdownRenderer().table(table.rows, table.header, aligns=("l", *numbers))


if __name__ == "__main__":
    app()
