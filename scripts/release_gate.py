"""Between a new wheel and its installation: is it worse than the one before? That one is kept, to go back to."""

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy
import spacy
import typer
from spacy.tokens import DocBin
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input, require_built, sha256
from scripts.evaluate import Counts, counts, f1, keys_of

# Loads a pipeline as its user does: from its wheel alone, in a process where nothing of this project is.
EXTRACT = """
import importlib, json, pathlib, sys
folder, package, texts, output = sys.argv[1:]
sys.path.insert(0, folder)
nlp = importlib.import_module(package).load()
docs = nlp.pipe(json.loads(pathlib.Path(texts).read_text()))
found = [[(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents] for doc in docs]
pathlib.Path(output).write_text(json.dumps(found))
"""

UNUSABLE = "not released; mend what it says and package again"

Found = list[set[tuple[int, int, str]]]

app = new_app("Compare a new release with the one before.")


@app.command()
@reports_bad_input
def main(
    wheel: Annotated[Path, typer.Argument(help="the wheel that package built")],
    released: Annotated[Path, typer.Option(help="folder that keeps the wheels: current/ and previous/")],
    test: Annotated[Path, typer.Option(help="DocBin of gold posts")],
    report: Annotated[Path, typer.Option(help="JSON file for the figures")],
    metrics: Annotated[Path, typer.Option(help="JSON file of evaluate, with the contrast set")],
    min_contrast: Annotated[float, typer.Option(min=0, max=1, help="least accuracy on the contrast set")],
    accept: Annotated[bool, typer.Option("--accept/--refuse", help="what to do if it is worse")] = False,
    samples: Annotated[int, typer.Option(min=100, help="bootstrap samples")] = 1000,
    seed: int = 42,
) -> None:
    """Compare WHEEL with released/current on the same test posts; fail if strict F1 fell beyond doubt, or if it takes
    too many words of the contrast set for what they are not. Else keep it as the current one, and the one before as
    the previous one."""
    require_built(wheel, test, metrics)
    before = current_wheel(released)
    if before is not None and sha256(before) == sha256(wheel):
        write_figures(report, {"wheel": wheel.name, "before": before.name, "same": True})
        msg.info("this wheel is the current release already")
        return
    contrast = json.loads(metrics.read_text(encoding="utf-8"))["contrast"]["accuracy"]
    if contrast < min_contrast:
        what = f"{contrast:.4f} of the contrast set right, less than {min_contrast}"
        if not accept:
            remedy = f"{metrics} lists the sentences it got wrong; add posts with such words"
            raise bad_input(wheel, f"{what}: not released", remedy)
        msg.warn(f"{what}: released all the same")
    figures: dict[str, Any] = {"wheel": wheel.name, "before": before and before.name}
    if before is None:
        extract(wheel, ["Know SQL."], UNUSABLE)
        msg.info("no release before this one: nothing to compare with")
    elif pipeline_identity(before) == pipeline_identity(wheel):
        msg.info("the pipeline is the current release's, only what is said of it has changed")
    else:
        figures |= compare(before, wheel, test, samples, seed)
        judge(figures, wheel, accept)
        keep(before, released / "previous")
        msg.info(f"to go back: python -m scripts.install {released / 'previous' / before.name}")
    keep(wheel, released / "current")
    write_figures(report, figures)


def current_wheel(released: Path) -> Path | None:
    return next((released / "current").glob("*.whl"), None)


def pipeline_identity(wheel: Path) -> set[tuple[str, int]]:
    """Names and checksums of the files of the pipeline: all but the model card and the wheel's own records."""
    with zipfile.ZipFile(wheel) as archive:
        files = archive.infolist()
    described = ("README.md", "METADATA", "RECORD")
    return {(file.filename, file.CRC) for file in files if not file.filename.endswith(described)}


def write_figures(report: Path, figures: dict[str, Any]) -> None:
    with replacing(report) as beside:
        beside.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def keep(wheel: Path, folder: Path) -> None:
    """Make the folder hold this wheel and nothing else."""
    with replacing(folder) as beside:
        beside.mkdir()
        shutil.copy2(wheel, beside)


def compare(before: Path, after: Path, test: Path, samples: int, seed: int) -> dict[str, Any]:
    """Strict F1 of both wheels on the test posts, and the difference with its 95 % interval."""
    docs = list(DocBin().from_disk(test).get_docs(spacy.blank("en").vocab))
    texts = [doc.text for doc in docs]
    old, new = (
        [counts(keys_of(doc), found) for doc, found in zip(docs, extract(wheel, texts, remedy), strict=True)]
        for wheel, remedy in ((before, "remove it to release without a comparison"), (after, UNUSABLE))
    )
    old_f1, new_f1 = (f1(*(int(column) for column in numpy.array(parts).sum(axis=0))) for parts in (old, new))
    return {
        "posts": len(docs),
        "f1_before": old_f1,
        "f1": new_f1,
        "difference": new_f1 - old_f1,
        "difference_interval_95": difference_interval(old, new, samples, seed),
    }


def extract(wheel: Path, texts: Sequence[str], remedy: str) -> Found:
    """The entities that the pipeline in the wheel finds. Raises BadInput, with this remedy, if it cannot be run."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place / "package")
        (place / "texts.json").write_text(json.dumps(texts))
        arguments = [str(place / "package"), wheel.name.split("-")[0], "texts.json", "found.json"]
        done = subprocess.run([sys.executable, "-c", EXTRACT, *arguments], cwd=place, capture_output=True, text=True)
        if done.returncode:
            what = f"the pipeline cannot be run: {(done.stderr.strip().splitlines() or ['killed'])[-1]}"
            raise bad_input(wheel, what, remedy)
        found = json.loads((place / "found.json").read_text())
    return [{(start, end, label) for start, end, label in ents} for ents in found]


def difference_interval(old: Sequence[Counts], new: Sequence[Counts], samples: int, seed: int) -> list[float]:
    """The 2.5 % and 97.5 % points of the difference in micro F1, over posts drawn with replacement: the same ones for
    both, since what makes a post hard is hard for both (paired bootstrap)."""
    tables = numpy.array(old), numpy.array(new)
    draws = numpy.random.default_rng(seed).integers(len(old), size=(samples, len(old)))
    old_f1, new_f1 = ([f1(*row) for row in table[draws].sum(axis=1)] for table in tables)
    return [float(point) for point in numpy.quantile(numpy.subtract(new_f1, old_f1), [0.025, 0.975])]


def judge(figures: dict[str, Any], wheel: Path, accept: bool) -> None:
    """Print the comparison. Raises BadInput if the new pipeline is worse beyond doubt and that is not accepted."""
    low, high = figures["difference_interval_95"]
    summary = (
        f"strict F1 {figures['f1_before']:.4f} -> {figures['f1']:.4f} on {figures['posts']} test posts "
        f"(difference {figures['difference']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f})"
    )
    if high >= 0:
        msg.good(summary)
        return
    msg.divider("THE NEW PIPELINE IS WORSE THAN THE ONE BEFORE", char="!")
    if not accept:
        what = f"{summary}: not released, the one before stays installed"
        remedy = "look at what was annotated last; to release it all the same: --vars.if_worse accept"
        raise bad_input(wheel, what, remedy)
    msg.warn(f"{summary}: released all the same")


if __name__ == "__main__":
    app()
