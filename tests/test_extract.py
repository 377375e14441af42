import csv
import io
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.tokens.underscore import Underscore
from tqdm import tqdm
from typer.testing import CliRunner, Result

from scripts import extract, skill_context
from scripts.extract import SKILL, Extractor, Job, Part, Row, app, find_skills, fingerprint, load_pipeline, read_parts
from scripts.sources import content_id
from tests.conftest import ROOT

TEXTS = ["Know SQL and Python.", "You are curious 😀, and know Excel.", "We have a cat."]
POSTS: list[dict[str, Any]] = [{"id": f"p{i}", "title": "Analyst", "text": text} for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that finds four words."""
    nlp = spacy.blank("en")
    skills = {"SQL": "TECHNOLOGY", "Python": "TECHNOLOGY", "Excel": "TECHNOLOGY", "curious": "SOFT"}
    ruler: Any = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": word} for word, label in skills.items()])
    folder = tmp_path_factory.mktemp("stub") / "model"
    nlp.to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(stub: Path) -> Iterator[Language]:
    """The same, and no time lost to load it again and again."""
    nlp = load_pipeline(str(stub))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract, "load_pipeline", lambda model: nlp)
        yield nlp


def write_posts(path: Path, posts: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(post) + "\n" for post in posts), encoding="utf-8")
    return path


def many_posts(count: int) -> list[dict[str, Any]]:
    return [{"id": i, "title": f"no {i}", "text": f"{TEXTS[i % 3]} It is word{i}."} for i in range(count)]


def run(model: Path, source: Path | str, output: Path, *options: str, **settings: Any) -> Result:
    arguments = [str(model), str(source), "--output", str(output), *options]
    return CliRunner().invoke(app, arguments, **settings)


def done(*arguments: Any, **settings: Any) -> Path:
    """Run, and see it succeed. Returns the output."""
    result = run(*arguments, **settings)
    assert result.exit_code == 0, result.output
    output: Path = arguments[2]
    return output


def read_rows(path: Path) -> list[dict[str, Any]]:
    match path.suffix:
        case ".jsonl":
            return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
        case ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file, strict=True))
        case _:
            rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
            return rows


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_the_same_skills_in_each_format(loaded: Language, tmp_path: Path, suffix: str) -> None:
    source = write_posts(tmp_path / "posts.jsonl", POSTS)
    rows = read_rows(done("stub", source, tmp_path / f"skills{suffix}", "--per", "skill"))
    assert [(row["id"], row["title"], int(row["start"]), int(row["end"]), row["text"]) for row in rows] == [
        ("p0", "Analyst", 5, 8, "SQL"),
        ("p0", "Analyst", 13, 19, "Python"),
        ("p1", "Analyst", 8, 15, "curious"),
        ("p1", "Analyst", 28, 33, "Excel"),
    ]
    assert list(rows[0]) == ["title", "id", *SKILL]
    posts = read_rows(done("stub", source, tmp_path / f"by_post{suffix}", "--per", "post"))
    assert [post["id"] for post in posts] == ["p0", "p1", "p2"]
    skills = [json.loads(post["skills"]) if suffix == ".csv" else post["skills"] for post in posts]
    assert [[skill["text"] for skill in found] for found in skills] == [["SQL", "Python"], ["curious", "Excel"], []]


def test_a_row_is_a_skill_in_tables_and_a_post_in_jsonl(loaded: Language, tmp_path: Path) -> None:
    source = write_posts(tmp_path / "posts.jsonl", POSTS)
    outputs = [tmp_path / f"x{suffix}" for suffix in (".csv", ".parquet", ".jsonl")]
    assert [len(read_rows(done("stub", source, output))) for output in outputs] == [4, 4, 3]


def test_labels_and_scores_choose(loaded: Language, tmp_path: Path) -> None:
    source = write_posts(tmp_path / "posts.jsonl", POSTS)
    rows = read_rows(done("stub", source, tmp_path / "soft.csv", "--labels", "SOFT"))
    assert [row["text"] for row in rows] == ["curious"]
    # The stub gives no scores.
    assert not read_rows(done("stub", source, tmp_path / "sure.csv", "--min-score", "0.5"))
    result = run(Path("stub"), source, tmp_path / "none.csv", "--labels", "SOFT,HARD")
    assert result.exit_code == 1 and "no label 'HARD'" in result.output


def test_what_components_say_of_a_skill_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    # Extensions are global: others' are put aside, and ours go again.
    monkeypatch.setattr(Underscore, "span_extensions", {})
    for name in ("score", "skill", "requirement"):
        Span.set_extension(name, default=None)

    @Language.component("test_extract_says")
    def says(doc: Doc) -> Doc:
        for ent in doc.ents:
            ent._.score, ent._.skill, ent._.requirement = 0.123456, "Microsoft Excel", "preferred"
        return doc

    nlp = spacy.blank("en")
    ruler: Any = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "TECHNOLOGY", "pattern": "Excel"}])
    nlp.add_pipe("test_extract_says")
    ((skill,),) = find_skills(nlp, ["Know Excel."])
    assert list(skill) == list(SKILL)
    assert list(skill.values()) == [5, 10, "Excel", "TECHNOLOGY", 0.1235, "Microsoft Excel", "preferred", None]


def test_fields_of_posts_make_way_and_keep_their_kind(loaded: Language, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"score": 3, "sure": True, "x": 1, "y": [1]},
        {"score": 4, "sure": None, "x": 0.5, "y": "é", "new": 2**70},
    ]
    posts = [{"job": 7, "id": "theirs", "body": "Know SQL.", "text": "short"} | row for row in rows]
    source = write_posts(tmp_path / "posts.jsonl", posts)
    options = ["--text-column", "body", "--id-column", "job"]
    found = read_rows(done("stub", source, tmp_path / "skills.parquet", *options))
    renamed = [found[0][name] for name in ("id", "post_id", "text", "post_text", "post_score", "score")]
    assert renamed == ["7", "theirs", "SQL", "short", 3, None]
    kept = [[row[name] for name in ("sure", "x", "y", "new")] for row in found]
    assert kept == [[True, 1.0, "[1]", None], [None, 0.5, "é", str(2**70)]]
    assert read_rows(done("stub", source, tmp_path / "skills.jsonl", *options))[0]["y"] == [1]


def test_order_and_equal_ids_stay(loaded: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "PART", 2)
    source = write_posts(tmp_path / "posts.jsonl", [POSTS[2], POSTS[0], POSTS[2], POSTS[0], POSTS[1]])
    ids = [row["id"] for row in read_rows(done("stub", source, tmp_path / "x.jsonl"))]
    assert ids == ["p2", "p0", "p2", "p0", "p1"]


def test_standard_input(loaded: Language, tmp_path: Path) -> None:
    output = done("stub", "-", tmp_path / "x.jsonl", input=json.dumps({"text": "Know SQL."}) + "\n")
    (row,) = read_rows(output)
    assert row["id"] == content_id("Know SQL.") and row["skills"][0]["text"] == "SQL"


def test_what_is_no_post_is_listed(loaded: Language, tmp_path: Path) -> None:
    source = tmp_path / "posts.jsonl"
    deep = '{"text": "SQL", "x": ' + "[" * 500 + "]" * 500 + "}"
    lines = ['{"text": "SQL"}', "{", deep, json.dumps({"text": "SQL " * 30_000}), '{"text": "SQL", "x": NaN}']
    source.write_text("\n".join(lines), encoding="utf-8")
    output = done("stub", source, tmp_path / "x.jsonl")
    assert [row.get("x", 0) for row in read_rows(output)] == [0, None]
    rejects = output.with_name("x.jsonl.rejects.jsonl")
    assert [row["place"] for row in read_rows(rejects)] == [f"{source}:{line}" for line in (2, 3, 4)]
    source.write_text(lines[0], encoding="utf-8")
    done("stub", source, output)
    assert not rejects.exists()


def test_without_a_post_the_old_output_stays(loaded: Language, tmp_path: Path) -> None:
    source = tmp_path / "posts.jsonl"
    source.write_text("{\n", encoding="utf-8")
    output = tmp_path / "x.csv"
    output.write_text("old", encoding="utf-8")
    result = run(Path("stub"), source, output)
    assert result.exit_code == 1 and f"{source}: no post in it (see {output}.rejects.jsonl)" in result.output
    assert output.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    ("source", "output", "options", "what"),
    [
        ("posts.jsonl", "x.xlsx", [], "cannot write .xlsx"),
        ("posts.jsonl", "x.jsonl", ["--spreadsheet"], "only CSV"),
        (".", "x.csv", [], "stands in the input"),
        ("posts.jsonl", "posts.jsonl", [], "stands in the input"),
        ("none.jsonl", "x.csv", [], "no such file"),
        ("posts.jsonl", "posts.jsonl/x.csv", [], "posts.jsonl"),
        ("posts.jsonl", "x.csv", ["--id-column"], "--id-column"),
    ],
)
def test_bad_input_is_one_line(
    loaded: Language, tmp_path: Path, source: str, output: str, options: list[str], what: str
) -> None:
    posts = write_posts(tmp_path / "posts.jsonl", POSTS).read_bytes()
    result = run(Path("stub"), tmp_path / source, tmp_path / output, *options)
    assert result.exit_code and what in result.output and "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert (tmp_path / "posts.jsonl").read_bytes() == posts


@pytest.mark.parametrize(("package", "options"), [("pyarrow", ["x.parquet"]), ("ray", ["x.csv", "--ray"])])
def test_a_missing_package_is_named(
    loaded: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, options: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    source = write_posts(tmp_path / "posts.jsonl", POSTS)
    result = run(Path("stub"), source, tmp_path / options[0], *options[1:])
    assert result.exit_code == 1 and f"the package {package}" in result.output and "pip install" in result.output


def test_a_spreadsheet_computes_nothing(loaded: Language, tmp_path: Path) -> None:
    posts = [{"id": "-a", "title": '=HYPERLINK("x")', "n": -5, "text": "Know SQL."}]
    source = write_posts(tmp_path / "posts.jsonl", posts)
    (plain,) = read_rows(done("stub", source, tmp_path / "plain.csv"))
    assert (plain["id"], plain["title"], plain["n"]) == ("-a", '=HYPERLINK("x")', "-5")
    text = done("stub", source, tmp_path / "safe.csv", "--spreadsheet").read_text(encoding="utf-8")
    (safe,) = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    assert text[0] == "\ufeff" and (safe["id"], safe["title"], safe["n"]) == ("'-a", '\'=HYPERLINK("x")', "-5")


def test_only_what_is_new_is_computed(loaded: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "PART", 10)
    computed = []
    result_of = Extractor.result

    def watched(self: Extractor, part: Part) -> Iterator[Row]:
        computed.append(part)
        return result_of(self, part)

    monkeypatch.setattr(Extractor, "result", watched)
    source, output = tmp_path / "posts.jsonl", tmp_path / "x.jsonl"
    for count, new in ((25, 3), (25, 0), (45, 3)):
        computed.clear()
        done("stub", write_posts(source, many_posts(count)), output, "--keep-parts", "--n-process", "1")
        assert len(computed) == new and len(read_rows(output)) == count
        assert len(list((tmp_path / ".x.jsonl.parts").iterdir())) == -(-count // 10)
    computed.clear()
    monkeypatch.setattr(extract, "fingerprint", lambda nlp: "of another pipeline")
    done("stub", source, output, "--n-process", "1")
    assert len(computed) == 5 and not (tmp_path / ".x.jsonl.parts").exists()


def test_another_training_has_another_fingerprint(stub: Path, tmp_path: Path) -> None:
    nlp = load_pipeline(str(stub))
    nlp.to_disk(tmp_path / "same")
    assert fingerprint(load_pipeline(str(tmp_path / "same"))) == fingerprint(nlp)
    ruler: Any = nlp.get_pipe("entity_ruler")
    ruler.add_patterns([{"label": "SOFT", "pattern": "kind"}])
    nlp.to_disk(tmp_path / "other")
    assert fingerprint(load_pipeline(str(tmp_path / "other"))) != fingerprint(nlp)


def test_other_rules_have_another_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("skill_context")
    nlp.to_disk(tmp_path / "model")
    nlp = load_pipeline(str(tmp_path / "model"))
    before = fingerprint(nlp)
    edited = tmp_path / "skill_context.py"
    edited.write_text((ROOT / "scripts" / "skill_context.py").read_text(encoding="utf-8") + "# another rule\n")
    monkeypatch.setattr(skill_context, "__file__", str(edited))
    assert fingerprint(nlp) != before


def test_killed_anywhere_it_goes_on(loaded: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "PART", 10)
    source = write_posts(tmp_path / "posts.jsonl", many_posts(150))
    whole = done("stub", source, tmp_path / "whole.csv", "--n-process", "1").read_bytes()
    output = tmp_path / "out" / "skills.csv"
    output.parent.mkdir()
    fork = multiprocessing.get_context("fork")
    command = ["stub", str(source), "--n-process", "1", "--output", str(output)]

    def run() -> None:
        # The lock that tqdm has shares all forks: killed with it, one would hold up all others, and the tests.
        tqdm.set_lock(threading.RLock())
        app(command)

    def run_for(seconds: float | None) -> bool:
        """Run so long, then kill it. Returns whether it was through."""
        process = fork.Process(target=run)
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        return process.exitcode == 0

    began = time.monotonic()
    assert run_for(None)
    longest = time.monotonic() - began
    generator = random.Random(0)
    killed = 0
    while killed < 20:
        output.write_bytes(b"old")
        for _ in range(4):
            killed += not run_for(generator.uniform(0, longest))
            assert output.read_bytes() in (b"old", whole)
        assert run_for(None)
        assert output.read_bytes() == whole and os.listdir(output.parent) == [output.name]


def test_the_vocabulary_does_not_grow(stub: Path, tmp_path: Path) -> None:
    nlp = load_pipeline(str(stub))
    source = write_posts(tmp_path / "posts.jsonl", many_posts(600))
    job = Job(str(stub), fingerprint(nlp), source, "text", "id", tmp_path / "parts", None)
    size = len(nlp.vocab.strings)
    assert len(list(map(Extractor(job, nlp), read_parts(job)))) == 5
    assert len(nlp.vocab.strings) == size


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=4), min_size=1, max_size=4), st.data())
def test_whatever_fields_a_post_has_it_is_not_lost(
    loaded: Language, tmp_path_factory: pytest.TempPathFactory, fields: list[dict[str, Any]], data: Any
) -> None:
    folder = tmp_path_factory.mktemp("fields")
    good = [row for row in fields if not any(is_broken(value) for value in (*row, *row.values()))]
    posts = [{**row, "text": "Know SQL.", "id": str(i)} for i, row in enumerate([{}, *good])]
    output = folder / f"x{data.draw(st.sampled_from(['.csv', '.parquet', '.jsonl']))}"
    per = data.draw(st.sampled_from(["post", "skill"]))
    rows = read_rows(done("stub", write_posts(folder / "posts.jsonl", posts), output, "--per", per))
    assert [row["id"] for row in rows] == [post["id"] for post in posts]


def is_broken(value: Any) -> bool:
    return isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_bytes_lose_no_good_post(loaded: Language, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.mktemp("junk")
    (folder / "posts").mkdir()
    write_posts(folder / "posts" / "good.jsonl", [POSTS[0] | {"id": "mine"}])
    suffix = data.draw(st.sampled_from([".jsonl", ".json", ".csv", ".parquet", ".txt", ".html"]))
    junk = data.draw(st.binary(max_size=200) | st.just(sample(suffix)))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4)):
        junk = junk[:place] + bytes([value]) + junk[place + 1 :]
    (folder / "posts" / f"junk{suffix}").write_bytes(junk)
    rows = read_rows(done("stub", folder / "posts", folder / "x.jsonl"))
    assert "mine" in [row["id"] for row in rows]


def sample(suffix: str) -> bytes:
    if suffix == ".csv":
        return b'id,text\n1,"Know SQL, please"\n2,Excel\n'
    if suffix == ".json":
        return json.dumps(POSTS).encode()
    if suffix == ".parquet":
        buffer = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(POSTS), buffer)
        return buffer.getvalue()
    return b"".join(json.dumps(post).encode() + b"\n" for post in POSTS)


def test_the_function_for_spark_does_what_the_docs_say(loaded: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    (code,) = re.findall(r"```python\n(.*?)spark\.conf", (ROOT / "docs" / "many_machines.md").read_text(), re.DOTALL)
    monkeypatch.setitem(sys.modules, "en_skillner.extract", extract)
    monkeypatch.setattr(spacy, "load", lambda name: loaded)
    names: dict[str, Any] = {}
    exec(code, names)
    frames = [pandas.DataFrame(POSTS[:2]), pandas.DataFrame(POSTS[2:])]
    first, second = names["skills_of"](frames)
    assert [part.split()[0] for part in names["COLUMNS"].split(", ")] == list(first.columns) == list(second.columns)
    assert first["id"].tolist() == ["p0", "p0", "p1", "p1"] and second.empty
    assert first["text"].tolist() == ["SQL", "Python", "curious", "Excel"]


def workers_of(process: psutil.Process, name: str = "") -> list[psutil.Process]:
    found = []
    for child in process.children(recursive=True):
        # It may be gone by now.
        with suppress(psutil.Error):
            if name in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow
def test_processes_give_the_same_and_do_not_outlive_their_parent(stub: Path, tmp_path: Path) -> None:
    source = write_posts(tmp_path / "posts.jsonl", many_posts(6000))
    whole = done(stub, source, tmp_path / "whole.csv").read_bytes()
    command = [sys.executable, "-m", "scripts.extract", str(stub), str(source), "--n-process", "2", "--output"]
    output = tmp_path / "skills.csv"

    def start() -> tuple[psutil.Popen, list[psutil.Process]]:
        """Start, and wait until it works."""
        parts = len(list(tmp_path.glob(".skills.csv.parts/*.jsonl")))
        parent = psutil.Popen([*command, str(output)], stderr=subprocess.PIPE, text=True)
        while parent.poll() is None and len(list(tmp_path.glob(".skills.csv.parts/*.jsonl"))) == parts:
            time.sleep(0.02)
        return parent, workers_of(parent)

    parent, workers = start()
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    assert not psutil.wait_procs(workers, timeout=10)[1]
    parent, workers = start()
    workers[0].kill()
    assert "a process died" in parent.communicate()[1] and parent.returncode == 1
    assert not psutil.wait_procs(workers, timeout=10)[1]
    subprocess.run([*command, str(output)], check=True)
    assert output.read_bytes() == whole


@pytest.mark.slow
def test_ray_gives_the_same_and_loses_nothing_with_a_worker(
    stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    source = write_posts(tmp_path / "posts.jsonl", many_posts(6000))
    whole = done(stub, source, tmp_path / "whole.csv").read_bytes()
    output = tmp_path / "skills.csv"
    command = [sys.executable, "-m", "scripts.extract", str(stub), str(source), "--output", str(output)]
    parent = psutil.Popen([*command, "--ray", "--n-process", "2"], stderr=subprocess.PIPE, text=True)
    killed = 0
    while parent.poll() is None:
        workers = workers_of(parent, "ray::MapWorker(MapBatches(Worker))")
        if workers and not killed and list(tmp_path.glob(".skills.csv.parts/*.jsonl")):
            workers[0].kill()
            killed += 1
        time.sleep(0.02)
    assert parent.returncode == 0, parent.stderr.read()
    assert killed and output.read_bytes() == whole
