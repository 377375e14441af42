import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from scripts import release_gate
from scripts.evaluate import Counts
from scripts.release_gate import difference_interval
from tests.conftest import ROOT, make_posts


def build(folder: Path, words: list[str]) -> Path:
    """A wheel of a pipeline that knows these words."""
    nlp = spacy.blank("en")
    nlp.meta |= {"name": "gated", "version": "1.0"}
    patterns = [{"label": "TECHNOLOGY", "pattern": word} for word in words]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)  # type: ignore[attr-defined]
    nlp.to_disk(folder / "model")
    (folder / "packages").mkdir()
    command = [sys.executable, "-m", "spacy", "package", str(folder / "model"), str(folder / "packages")]
    subprocess.run([*command, "--build", "wheel"], check=True, capture_output=True, cwd=ROOT)
    (wheel,) = folder.rglob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    good, bad = ["Python", "SQL", "Snowflake", "Tableau"], ["lunch", "platform"]
    return build(tmp_path_factory.mktemp("good"), good), build(tmp_path_factory.mktemp("bad"), bad)


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.json"
    path.write_text('{"contrast": {"accuracy": 0.95}}')
    return path


@pytest.fixture
def gold_posts(tmp_path: Path) -> Path:
    nlp = spacy.blank("en")
    bin = DocBin()
    for post in make_posts() * 5:
        doc = nlp(post.text)
        spans = [doc.char_span(s.start, s.end, label=s.label) for s in post.spans if s.label == "TECHNOLOGY"]
        doc.set_ents([span for span in spans if span is not None])
        bin.add(doc)
    bin.to_disk(tmp_path / "test.spacy")
    return tmp_path / "test.spacy"


def test_gate(wheels: tuple[Path, Path], gold_posts: Path, metrics: Path, tmp_path: Path) -> None:
    good, bad = wheels
    released, report = tmp_path / "released", tmp_path / "report.json"

    def gate(wheel: Path, *options: str) -> tuple[int, str]:
        arguments = [str(wheel), "--released", str(released), "--test", str(gold_posts), "--report", str(report)]
        arguments += ["--metrics", str(metrics), "--min-contrast", "0.92"]
        result = CliRunner().invoke(release_gate.app, [*arguments, *options])
        return result.exit_code, result.output

    def kept(name: str) -> bytes:
        (wheel,) = (released / name).iterdir()
        return wheel.read_bytes()

    metrics.write_text('{"contrast": {"accuracy": 0.5}}')
    code, output = gate(good)
    assert code == 1 and "0.5000 of the contrast set" in output and not released.exists()
    metrics.write_text('{"contrast": {"accuracy": 0.95}}')
    code, output = gate(good)
    assert code == 0 and "nothing to compare with" in output
    assert kept("current") == good.read_bytes()
    code, output = gate(good)
    assert code == 0 and not (released / "previous").exists()

    code, output = gate(bad)
    assert code == 1 and "WORSE" in output and "not released" in output
    assert kept("current") == good.read_bytes(), "what is worse takes nobody's place"

    code, output = gate(bad, "--accept")
    assert code == 0 and "WORSE" in output
    assert (kept("current"), kept("previous")) == (bad.read_bytes(), good.read_bytes())

    code, output = gate(good)
    assert code == 0 and "+" in output
    figures = json.loads(report.read_text())
    assert figures["f1"] > figures["f1_before"] and figures["difference_interval_95"][0] > 0
    assert kept("previous") == bad.read_bytes()

    described = tmp_path / good.name
    described.write_bytes(good.read_bytes())
    with zipfile.ZipFile(described, "a") as archive:
        archive.writestr("en_gated/README.md", "now with figures")
    code, output = gate(described)
    assert code == 0 and "only what is said of it" in output
    assert kept("current") == described.read_bytes()
    assert kept("previous") == bad.read_bytes(), "another card does not take away the pipeline to go back to"

    metrics.write_text('{"contrast": {"accuracy": 0.5}}')
    code, output = gate(described)
    assert code == 0, "what is released already is not refused"


def test_broken_wheel(gold_posts: Path, wheels: tuple[Path, Path], metrics: Path, tmp_path: Path) -> None:
    broken = tmp_path / wheels[0].name
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("en_gated/__init__.py", "raise RuntimeError('no')")
    options = [
        "--released",
        str(tmp_path / "released"),
        "--test",
        str(gold_posts),
        "--report",
        str(tmp_path / "r.json"),
    ]
    options += ["--metrics", str(metrics), "--min-contrast", "0.92"]
    result = CliRunner().invoke(release_gate.app, [str(broken), *options])
    assert result.exit_code == 1 and "RuntimeError: no (not released" in result.stderr
    assert not (tmp_path / "released").exists()


def test_broken_wheel_before(wheels: tuple[Path, Path], gold_posts: Path, metrics: Path, tmp_path: Path) -> None:
    (tmp_path / "released" / "current").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "released" / "current" / wheels[0].name, "w") as archive:
        archive.writestr("en_gated/__init__.py", "raise RuntimeError('no')")
    options = ["--released", str(tmp_path / "released"), "--test", str(gold_posts), "--report", "r.json"]
    options += ["--metrics", str(metrics), "--min-contrast", "0.92"]
    result = CliRunner().invoke(release_gate.app, [str(wheels[0]), *options])
    assert result.exit_code == 1 and "cannot be run: RuntimeError: no" in result.stderr


def test_noise_is_no_fall() -> None:
    """A post better, a post worse: zero lies inside."""
    old = [Counts(8, 10, 10), Counts(7, 10, 10)] * 20
    new = [Counts(7, 10, 10), Counts(8, 10, 10)] * 20
    low, high = difference_interval(old, new, 500, 42)
    assert low < 0 < high
    worse = [Counts(part.right - 2, part.found, part.gold) for part in old]
    assert difference_interval(old, worse, 500, 42)[1] < 0
