"""The workflow as a user runs it: from a few posts to a wheel that works elsewhere, and nothing done twice."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
from typer.testing import CliRunner

from scripts import benchmark, package
from scripts.install import app as install_app
from scripts.package import performance
from scripts.skill_linker import Index, read_table
from tests.conftest import LABELS, MARKED, ROOT, make_posts, write_annotations

# A name of its own, so that a pipeline the user has installed stays.
NAME = "skillner_e2e"
STEPS = "base convert explore adapt train evaluate report model_card package release_gate install".split()


class Project:
    """A copy of this project with a handful of posts."""

    def __init__(self, folder: Path, encoder: Path):
        self.folder = folder
        for name in ("scripts", "configs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("project.yml", "LICENSE", "NOTICE"):
            shutil.copy(ROOT / name, folder / name)
        write_annotations(folder / "corpus" / "annotations")
        (folder / "corpus" / "posts").mkdir()
        for name in ("corpus/skills.csv", "corpus/README.md", "docs/real_posts.json", "tests/contrast.jsonl"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        settings = {
            "base": encoder,
            "name": NAME,
            "version": "0.0.1",
            "adapt_epochs": 1,
            "epochs": 2,
            "min_contrast": 0,
        }
        self.options = [part for key, value in settings.items() for part in (f"--vars.{key}", str(value))]

    def run(self, command: str = "all", *options: str) -> subprocess.CompletedProcess[str]:
        arguments = ["-m", "spacy", "project", "run", command, ".", *self.options, *options]
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True
        )

    def steps_run(self, *options: str) -> list[str]:
        """The steps that `run all` did not skip."""
        done = self.run("all", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return [name for name in STEPS if f"python -m scripts.{name} " in done.stdout.replace(sys.executable, "python")]

    @property
    def wheel(self) -> Path:
        (wheel,) = (self.folder / "training" / "packages").glob("*/dist/*.whl")
        return wheel


# Two minutes of subprocesses, on two cores.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    project = Project(folder, tiny_encoder)
    assert project.steps_run() == STEPS
    yield project
    subprocess.run([sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet", f"en_{NAME}"], check=True)


def load_elsewhere(code: str, folder: Path) -> Any:
    """Run code in a new process, from another folder, offline, and return what it prints as JSON."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_second_run_skips_every_step(project: Project) -> None:
    started = time.monotonic()
    assert project.steps_run() == ["install"]
    assert time.monotonic() - started < 15


def test_a_change_runs_what_depends_on_it_again(project: Project) -> None:
    config = project.folder / "configs" / "skill_ner.cfg"
    config.write_text(config.read_text().replace("dropout = 0.1", "dropout = 0.2"))
    assert project.steps_run() == STEPS[4:]
    path = project.folder / "corpus" / "annotations" / "sample.jsonl"
    path.write_text(path.read_text().replace("says 0 0 ", "claims 0 0 "))
    assert project.steps_run()[:3] == ["convert", "explore", "adapt"]
    assert project.steps_run() == ["install"]


def test_the_installed_wheel_gives_what_was_trained(project: Project, tmp_path: Path) -> None:
    texts = ["\n".join(post.text for post in make_posts()), "", "Know C++/SQL 😀;Python.", "skillsSQL"]
    code = f"""
import json, spacy
nlp = spacy.load("en_{NAME}")
docs = nlp.pipe({texts!r})
print(json.dumps([[[e.start_char, e.end_char, e.label_, e._.score] for e in doc.ents] for doc in docs]))
"""
    found = load_elsewhere(code, tmp_path)
    nlp = spacy.load(project.folder / "training" / "model-best")
    for spans, doc in zip(found, nlp.pipe(texts), strict=True):
        assert [span[:3] for span in spans] == [[e.start_char, e.end_char, e.label_] for e in doc.ents]
        # The wheel's weights have half precision.
        assert [span[3] for span in spans] == pytest.approx([e._.score for e in doc.ents], abs=0.02)


def test_skills_have_a_canonical_name_and_a_requirement(project: Project, tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    table.write_text("skill,label,aliases\nthe query language,TECHNOLOGY,SQL\n", encoding="utf-8")
    texts = [post.text for post in make_posts()]
    code = f"""
import json, spacy
from spacy.tokens import DocBin
nlp = spacy.load("en_{NAME}")
def told(doc):
    return [[e.text, e.label_, e.kb_id_, e._.skill, e._.requirement, str(e._.evidence)] for e in doc.ents]
def saved(docs):
    docbin = DocBin(docs=docs, store_user_data=True).to_bytes()
    return [told(doc) for doc in DocBin().from_bytes(docbin).get_docs(spacy.blank("en").vocab)]
docs = list(nlp.pipe({texts!r}))
forked = list(nlp.pipe({texts!r}, n_process=2, batch_size=2))
first = [told(doc) for doc in docs]
same = first == saved(docs) == saved(forked)
again = nlp.from_bytes(nlp.to_bytes())
same = same and first == [told(doc) for doc in again.pipe({texts!r})]
nlp.get_pipe("skill_linker").load({str(table)!r})
print(json.dumps([first, same, [told(doc) for doc in nlp.pipe({texts!r})]]))
"""
    first, same, own = load_elsewhere(code, tmp_path)
    assert same
    # A tiny pipeline finds what it likes: what it says of that must be what its table and the text say.
    index = Index(read_table(project.folder / "corpus" / "skills.csv"))
    links = [(index.find(text, label, 0.88), kb_id, skill) for doc in first for text, label, kb_id, skill, _, _ in doc]
    assert all(expected == skill and kb_id == (skill or "") for expected, kb_id, skill in links)
    assert sum(skill is not None for *_, skill in links) > 3
    # The second post is a list of requirements.
    assert ("required", "Requirements:") in {(requirement, words) for *_, requirement, words in first[1]}
    assert {skill for doc in own for _, _, _, skill, _, _ in doc} <= {None, "the query language"}


def test_several_processes_neither_hang_nor_differ(project: Project, tmp_path: Path) -> None:
    code = f"""
import json, spacy
nlp = spacy.load("en_{NAME}", config={{"components.transformer.model.precision": "float32"}})
texts = {[post.text for post in make_posts()]!r} * 20
def spans(docs):
    return [[(e.start_char, e.end_char, e.label_) for e in doc.ents] for doc in docs]
alone = spans(nlp.pipe(texts))
print(json.dumps([spans(nlp.pipe(texts, n_process=2, batch_size=10)) == alone, sum(map(len, alone))]))
"""
    same, found = load_elsewhere(code, tmp_path)
    assert same and found > 100


def test_the_wheel_is_honest_about_itself(project: Project) -> None:
    with zipfile.ZipFile(project.wheel) as wheel:
        names = wheel.namelist()
        (metadata,) = (wheel.read(name).decode() for name in names if name.endswith("METADATA"))
        (meta,) = (json.loads(wheel.read(name)) for name in names if name == f"en_{NAME}/meta.json")
    for code in ("skill_ner.py", "skill_linker.py", "skill_context.py", "skill_linker/skills.csv"):
        assert any(name.endswith(code) for name in names), code
    assert any("LICENSES_SOURCES" in name for name in names)
    assert "Requires-Dist: torch>=2.6" in metadata and "Requires-Dist: spacy-transformers" in metadata
    assert "Requires-Dist: rapidfuzz" in metadata
    assert meta["spacy_version"] == package.SPACY_RANGE
    assert set(meta["labels"]["skill_ner"]) == {"TECHNOLOGY", "TECHNICAL", "BUS", "SOFT"}
    assert meta["performance"]["ents_f"] is not None and meta["sources"]
    assert str(project.folder) not in json.dumps(meta)


def test_the_card_is_the_readme_of_the_wheel(project: Project) -> None:
    card = (project.folder / "training" / "report" / "README.md").read_text(encoding="utf-8")
    body = card.partition("\n---\n")[2].strip()
    assert body.startswith(f"# en_{NAME} 0.0.1")
    with zipfile.ZipFile(project.wheel) as wheel:
        names = wheel.namelist()
        (metadata,) = (wheel.read(name).decode() for name in names if name.endswith("METADATA"))
        (readme,) = (wheel.read(name).decode() for name in names if name.endswith("README.md"))
    assert "Description-Content-Type: text/markdown" in metadata
    assert readme.strip() == body and metadata.partition("\n\n")[2].strip() == body


def test_weights_load_without_unpickling_what_a_stranger_wrote(project: Project, tmp_path: Path) -> None:
    code = f"""
import json, torch
load = torch.load
def safe(*args, **kwargs):
    assert kwargs.get("weights_only") is not False
    return load(*args, **kwargs | {{"weights_only": True}})
torch.load = safe
import spacy
print(json.dumps(spacy.load("en_{NAME}").pipe_names))
"""
    assert load_elsewhere(code, tmp_path) == [
        "transformer",
        "skill_ner",
        "skill_linker",
        "skill_context",
        "doc_cleaner",
    ]


def test_without_its_encoder_it_says_so(project: Project, tmp_path: Path) -> None:
    code = f"""
import json, spacy
try:
    spacy.load("en_{NAME}", exclude=["transformer"])("Know SQL")
except ValueError as error:
    print(json.dumps(str(error)))
"""
    assert "needs the component 'transformer'" in load_elsewhere(code, tmp_path)


def test_docs_of_the_package_are_light(project: Project, tmp_path: Path) -> None:
    code = f"""
import json, spacy
print(json.dumps(spacy.load("en_{NAME}")({MARKED[0]!r})._.trf_data))
"""
    assert load_elsewhere(code, tmp_path) is None


def test_the_package_is_a_command(project: Project, tmp_path: Path) -> None:
    """It extracts from another folder, without the project."""
    posts = [post.model_dump(include={"id", "text"}) for post in make_posts()]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts), encoding="utf-8")
    command = [sys.executable, "-m", f"en_{NAME}", "posts.jsonl", "--output", "skills.csv"]
    found = []
    for options in ([], ["--n-process", "2"]):
        done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with (tmp_path / "skills.csv").open(encoding="utf-8", newline="") as file:
            found.append(
                [[row["id"], int(row["start"]), int(row["end"]), row["label"]] for row in csv.DictReader(file)]
            )
    code = f"""
import json, spacy
nlp = spacy.load("en_{NAME}")
pairs = nlp.pipe([(post["text"], post["id"]) for post in {posts!r}], as_tuples=True)
print(json.dumps([[id, e.start_char, e.end_char, e.label_] for doc, id in pairs for e in doc.ents]))
"""
    expected = load_elsewhere(code, tmp_path)
    assert len(expected) > 10 and found == [expected, expected]


def test_the_readme_shows_code_that_runs(project: Project, tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("### In Python")[2].partition("\n### ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 3
    code = "\n".join(blocks).replace("en_skillner", f"en_{NAME}")
    assert load_elsewhere(f"{code}\nimport json; print(json.dumps(nlp.pipe_names))", tmp_path)[-1] == "doc_cleaner"


def test_installing_the_same_wheel_again_does_nothing(project: Project) -> None:
    result = CliRunner().invoke(install_app, [str(project.wheel)])
    assert result.exit_code == 0 and "is installed already" in result.output


def test_the_benchmark_measures_every_row(project: Project) -> None:
    output = project.folder / "training" / "benchmark.json"
    options = ["--posts", "corpus/annotations", "--output", str(output), "--stock", "training/none"]
    options += ["--lexicon", "corpus/skills.csv", "--labels", ",".join(LABELS), "--scale", "2,8"]
    command = [sys.executable, "-m", "scripts.benchmark", f"en_{NAME}", *options, "--limit", "4", "--repeats", "1"]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text())
    rows = figures["rows"]
    assert list(rows) == [name for name in benchmark.ROWS if name != "stock_ner"]
    for name, row in rows.items():
        assert name in done.stdout and row["words_per_second"] > 0 and row["peak_mb"] > 100
        assert row["share_of_peak"] is None or 0 < row["share_of_peak"] < 1
    assert [stream["posts"] for stream in figures["scale"]] == [2, 8]
    assert output.with_suffix(".png").stat().st_size > 1000


def test_bad_annotations_stop_the_workflow_with_one_line(project: Project) -> None:
    good = (project.folder / "corpus" / "train.spacy").read_bytes()
    bad = project.folder / "corpus" / "annotations" / "bad.jsonl"
    bad.write_text('{"text": "Know SQL", "label": [[5, 99, "TECHNOLOGY"]]}\n')
    try:
        done = project.run()
        assert done.returncode != 0
        assert "corpus/annotations/bad.jsonl:1: span [5, 99, TECHNOLOGY]" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert (project.folder / "corpus" / "train.spacy").read_bytes() == good
    finally:
        bad.unlink()


def test_performance_has_spacys_names() -> None:
    scores = {"precision": 0.1, "recall": 0.2, "f1": 0.3}
    metrics = {
        "strict": scores | {"f1_interval_95": [0.2, 0.4]},
        "per_label": {"SOFT": scores},
        "token_accuracy": 0.9,
        "calibration_error": 0.01,
    }
    found = performance(metrics)
    assert (found["ents_p"], found["ents_r"], found["ents_f"]) == (0.1, 0.2, 0.3)
    assert found["ents_per_type"] == {"SOFT": {"p": 0.1, "r": 0.2, "f": 0.3}}


def test_missing_input_is_one_clear_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(install_app, [str(tmp_path / "none.whl")])
    assert result.exit_code == 1 and "no such file" in result.output
    options = ["--name", "x", "--version", "0", "--metrics", str(tmp_path / "none.json"), "--base", "x"]
    options += ["--card", str(tmp_path / "none.md"), "--skills", str(tmp_path / "skills.csv")]
    result = CliRunner().invoke(package.app, [str(tmp_path / "none"), str(tmp_path / "out"), *options])
    assert result.exit_code == 1 and "no such file or folder" in result.output
    (tmp_path / "none").mkdir()
    (tmp_path / "none.json").write_text("{}")
    (tmp_path / "none.md").write_text("")
    (tmp_path / "skills.csv").write_text("skill,label,aliases\nJava\n")
    result = CliRunner().invoke(package.app, [str(tmp_path / "none"), str(tmp_path / "out"), *options])
    assert result.exit_code == 1 and "skills.csv:2: 1 fields instead of 3" in result.output
    assert not (tmp_path / "out").exists()
