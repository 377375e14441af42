"""The loop through a real doccano server, as a user and an annotator go through it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from spacy.language import Language
from spacy.tokens import DocBin
from typer import Typer
from typer.testing import CliRunner

from scripts import convert, doccano_autolabel, doccano_pull, doccano_push, doccano_report, doccano_server
from scripts.doccano_api import Doccano, Example, Project, connect
from scripts.doccano_server import DEFAULT_HOME, live_processes, manage
from scripts.posts import utf16_offsets
from scripts.serve import create_api
from scripts.skill_ner import displacy_colors
from tests.conftest import LABELS, ROOT, free_port, headless_chromium, make_examples, make_pipeline, make_posts, train

pytestmark = pytest.mark.slow

MARKED = [
    "Data Engineer 🚀 at Fernhollow\n\nWe need {{Python|T}} and {{SQL|T}}.\nYou are {{curious|S}} 🎉 and know Airflow.",
    "Role 7 🚀\nWe need {{Python|T}} and {{SQL|T}}, team 7.\nYou are {{curious|S}} 7.",
    "We need {{Python|T}} and {{SQL|T}}.",
    "We need {{Python|T}}.",
    "We need {{SQL|T}}.",
    "We use {{SQL|T}}.",
    "Use {{Python|T}}.",
    "Know {{Tableau|T}}.",
]
POST = make_posts(MARKED)[0].text


def server_command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.doccano_server", *arguments, "--home", str(home)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running server with nothing in it yet. Its environment is the project's own."""
    for name in [name for name in os.environ if name.startswith("DOCCANO_")]:
        del os.environ[name]
    (ROOT / DEFAULT_HOME).mkdir(parents=True, exist_ok=True)
    doccano_server.install(ROOT / DEFAULT_HOME, ROOT / "requirements-doccano.txt")
    home = tmp_path_factory.mktemp("doccano")
    (home / "venv").symlink_to(ROOT / DEFAULT_HOME / "venv")
    started = server_command(home, "start", "--port", str(free_port()))
    assert started.returncode == 0, started.stderr
    yield home
    assert server_command(home, "stop").returncode == 0
    assert not live_processes(home)


@pytest.fixture
def server(home: Path) -> Doccano:
    return connect(home)


@pytest.fixture(scope="module")
def pipeline(tiny_encoder: Path) -> Language:
    """It finds exactly what is marked above."""
    nlp = make_pipeline(tiny_encoder)
    train(nlp, make_examples(nlp, make_posts(MARKED)), steps=80)
    for post in make_posts(MARKED):
        assert [(ent.start_char, ent.end_char) for ent in nlp(post.text).ents] == [(s.start, s.end) for s in post.spans]
    return nlp


@pytest.fixture(scope="module")
def model(pipeline: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model-best"
    pipeline.to_disk(folder)
    return folder


class Loop:
    """The commands of the loop for one project."""

    def __init__(self, home: Path, model: Path, folder: Path, project: str):
        self.home = home
        self.folder = folder
        self.project = project
        self.model = model
        self.annotations = folder / "annotations"
        self.annotations.mkdir()
        self.pulled = self.annotations / f"doccano-{project}.jsonl"

    def run(self, app: Typer, *arguments: str) -> Any:
        common = ["--project", self.project, "--home", str(self.home)]
        return CliRunner().invoke(app, [*arguments, *common], catch_exceptions=False)

    def push(self, rows: list[dict[str, Any]], *options: str) -> Any:
        path = self.folder / "new.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        options = ("--model", str(self.model), "--annotations", str(self.annotations), *options)
        return self.run(doccano_push.app, str(path), "--labels", ",".join(LABELS), *options)

    def pull(self, *options: str) -> Any:
        options = ("--annotations", str(self.annotations), "--labels", ",".join(LABELS), *options)
        return self.run(doccano_pull.app, *options)

    def read(self) -> dict[str, dict[str, Any]]:
        lines = self.pulled.read_text(encoding="ascii").splitlines()
        return {row["id"]: row for row in map(json.loads, lines)}


@pytest.fixture
def loop(home: Path, model: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Loop:
    return Loop(home, model, tmp_path, request.node.name.removeprefix("test_").replace("_", "-")[:40])


def by_id(server: Doccano, project: Project) -> dict[str, Example]:
    return {example.job["id"]: example for example in server.examples(project)}


class Annotator:
    """What a person does in the browser, by the calls the browser makes: offsets in UTF-16 code units."""

    def __init__(self, server: Doccano, project: Project):
        self.server = server
        self.base = f"projects/{project.id}"
        self.label_ids = {text: id for id, text in server.labels(project).items()}

    def add(self, example: Example, surface: str, label: str) -> None:
        offsets = utf16_offsets(example.text)
        start = example.text.index(surface)
        span = {"start_offset": offsets[start], "end_offset": offsets[start + len(surface)]}
        path = f"{self.base}/examples/{example.id}/spans"
        self.server.json("POST", path, json=span | {"label": self.label_ids[label]})

    def delete(self, example: Example, surface: str) -> None:
        start = utf16_offsets(example.text)[example.text.index(surface)]
        path = f"{self.base}/examples/{example.id}/spans"
        for span in self.server.json("GET", path):
            if span["start_offset"] == start:
                self.server.request("DELETE", f"{path}/{span['id']}")

    def confirm(self, example: Example) -> None:
        """As a tick: a second one takes it away."""
        self.server.json("POST", f"{self.base}/examples/{example.id}/states", json={})


def surfaces(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["text"][start:end], label) for start, end, label in row["label"]]


def many_posts(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"p{i:04}", "text": f"Role {i} 🚀\nWe need Python and SQL, team {i}.\nYou are curious {i}."}
        for i in range(count)
    ]


def test_correction_comes_back_exactly(loop: Loop, server: Doccano, tmp_path: Path) -> None:
    assert (
        loop.push([{"id": "one", "text": POST, "title": "Engineer"}, {"id": "two", "text": "We use SQL."}]).exit_code
        == 0
    )
    project = server.get_project(loop.project)
    posts = by_id(server, project)
    annotator = Annotator(server, project)
    annotator.delete(posts["one"], "SQL")
    annotator.add(posts["one"], "Airflow", "TECHNICAL")
    annotator.confirm(posts["one"])

    result = loop.pull()

    assert result.exit_code == 0, result.output
    row = loop.read()["one"]
    assert loop.read().keys() == {"one"}, "a post that is not confirmed stays on the server"
    assert surfaces(row) == [("Python", "TECHNOLOGY"), ("curious", "SOFT"), ("Airflow", "TECHNICAL")]
    assert row["title"] == "Engineer"
    assert row["suggested"]["model"].startswith("en_")
    suggested = [(POST[start:end], label) for start, end, label, _ in row["suggested"]["spans"]]
    assert suggested == [("Python", "TECHNOLOGY"), ("SQL", "TECHNOLOGY"), ("curious", "SOFT")]
    arguments = [str(loop.annotations), "--output", str(tmp_path), "--labels", ",".join(LABELS), "--split", "1,0,0"]
    assert CliRunner().invoke(convert.app, [*arguments, "--strict"]).exit_code == 0
    (doc,) = DocBin().from_disk(tmp_path / "train.spacy").get_docs(Language().vocab)
    assert [(ent.text, ent.label_) for ent in doc.ents] == surfaces(row)
    before = loop.pulled.read_bytes()
    assert "0 new, 0 changed, 1 as before" in loop.pull().output
    assert loop.pulled.read_bytes() == before
    again = loop.push([{"id": "one", "text": POST}, {"id": "three", "text": "Know Tableau."}])
    assert "1 posts sent" in again.output, "what is annotated is not sent again"

    report = loop.run(doccano_report.app, "--labels", ",".join(LABELS))
    assert report.exit_code == 0, report.output
    figures = json.loads((loop.home / "reports" / f"{loop.project}.json").read_text())
    assert figures["labels"]["SOFT"]["accepted"] == figures["labels"]["TECHNOLOGY"]["accepted"] == 1
    assert figures["labels"]["TECHNOLOGY"]["deleted"] == 1
    assert figures["labels"]["TECHNICAL"]["added"] == 1


def test_many_posts_once(loop: Loop, server: Doccano, capsys: pytest.CaptureFixture[str]) -> None:
    posts = many_posts(1500)
    options = ("--limit", "1500", "--strategy", "random")
    # What the model does is not doccano's time.
    start = time.monotonic()
    assert loop.push(posts, *options).exit_code == 0
    pushed = time.monotonic() - start
    again = loop.push(posts, *options)
    assert "nothing to send" in again.output
    project = server.get_project(loop.project)
    found = list(server.examples(project))
    assert Counter(example.job["id"] for example in found) == Counter(post["id"] for post in posts)
    start = time.monotonic()
    assert loop.pull("--all").exit_code == 0
    pulled = time.monotonic() - start
    assert len(loop.read()) == 1500
    with capsys.disabled():
        print(f"\n1,500 posts: pushed in {pushed:.1f} s with the model's time, pulled in {pulled:.1f} s")
    assert pushed < 90
    assert pulled < 45


def test_wrong_password(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCCANO_PASSWORD", "wrong")
    result = loop.push(many_posts(1))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "user 'admin' is refused" in result.stderr


def test_token(loop: Loop, server: Doccano, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = doccano_server.read_settings(loop.home)
    answer = requests.post(f"{server.url}/v1/auth/login/", json={k: settings[k] for k in ("username", "password")})
    monkeypatch.setenv("DOCCANO_TOKEN", answer.json()["key"])
    monkeypatch.setenv("DOCCANO_URL", server.url)
    assert loop.push(many_posts(2)).exit_code == 0
    monkeypatch.setenv("DOCCANO_TOKEN", "wrong")
    assert "DOCCANO_TOKEN is refused" in loop.push(many_posts(2)).stderr


def test_server_down(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCCANO_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("DOCCANO_USERNAME", "admin")
    monkeypatch.setenv("DOCCANO_PASSWORD", "any")
    result = loop.pull()
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "no doccano answers" in result.stderr


def kill(home: Path, *names: str) -> None:
    for name, pid in live_processes(home).items():
        if name in names:
            os.killpg(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while live_processes(home).keys() & set(names) and time.monotonic() < deadline:
        time.sleep(0.1)


def restart(home: Path, server: Doccano) -> None:
    started = server_command(home, "start", "--port", server.url.rpartition(":")[2])
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize("names", [("web", "task"), ("web",)], ids=["both", "web"])
def test_killed_in_mid_push(
    loop: Loop, server: Doccano, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when the second lot was just handed over: its task may be lost, done by half, or done unseen."""
    monkeypatch.setattr(doccano_push, "LOT", 100)
    wait, calls = Doccano.wait, Counter[str]()

    def wait_and_kill(self: Doccano, task: str, timeout: float) -> Any:
        calls["wait"] += 1
        if calls["wait"] == 3:
            kill(loop.home, *names)
        return wait(self, task, timeout)

    posts = many_posts(300)
    options = ("--limit", "300", "--strategy", "random")
    monkeypatch.setattr(Doccano, "wait", wait_and_kill)
    result = loop.push(posts, *options)
    assert result.exit_code == 1 and "no doccano answers" in result.stderr
    monkeypatch.setattr(Doccano, "wait", wait)
    restart(loop.home, server)

    result = loop.push(posts, *options)

    assert result.exit_code == 0, result.output
    project = server.get_project(loop.project)
    found = list(server.examples(project))
    assert Counter(example.job["id"] for example in found) == Counter(post["id"] for post in posts)
    for example in found[::25]:
        assert server.spans(project, example.id) == doccano_push.suggested_spans(example) != []


def test_leftovers_are_settled(loop: Loop, server: Doccano) -> None:
    """Copies and posts without their suggestions are what an import leaves that was tried twice or broken off."""
    posts = [{"id": id, "text": f"We need Python and SQL.\nTeam {id}."} for id in ("bare", "twice", "worked")]
    assert loop.push(posts).exit_code == 0
    project = server.get_project(loop.project)
    annotator = Annotator(server, project)
    there = by_id(server, project)
    copies = [{"text": there[id].text, "label": [], "job": there[id].job} for id in ("twice", "worked")]
    server.import_rows(project, copies, timeout=30)
    annotator.delete(there["worked"], "SQL")
    server.request("DELETE", f"projects/{project.id}/examples/{there['bare'].id}/spans")
    receipt = doccano_push.Receipt(loop.home / "receipts" / f"{loop.project}.jsonl")
    receipt.rows["bare"]["state"] = "sending"
    receipt.note([], "sending")

    assert loop.push(posts).exit_code == 0

    found = list(server.examples(project))
    assert sorted(example.job["id"] for example in found) == ["bare", "twice", "worked"]
    there = by_id(server, project)
    for id in ("bare", "twice"):
        assert server.spans(project, there[id].id) == doccano_push.suggested_spans(there[id]) != []
    assert len(server.spans(project, there["worked"].id)) == len(doccano_push.suggested_spans(there["worked"])) - 1


def test_task_process_missing(loop: Loop, server: Doccano) -> None:
    kill(loop.home, "task")
    try:
        start = time.monotonic()
        result = loop.push(many_posts(5), "--timeout", "3")
        assert result.exit_code == 1 and "task process has not answered in 3 s" in result.stderr
        assert time.monotonic() - start < 20
        assert not list(server.examples(server.get_project(loop.project)))
    finally:
        restart(loop.home, server)
    assert loop.push(many_posts(5)).exit_code == 0
    assert len(list(server.examples(server.get_project(loop.project)))) == 5


def test_faults_of_annotators(loop: Loop, server: Doccano) -> None:
    """Overlapping spans, a label that is not ours: said, left out, and in nobody's way. An empty post is a post."""
    texts = {"fine": "We need Python.", "overlap": "We need SQL.", "foreign": "Know Tableau.", "empty": "Use Python."}
    assert loop.push([{"id": id, "text": text} for id, text in texts.items()]).exit_code == 0
    project = server.get_project(loop.project)
    server.request(
        "PATCH", f"projects/{project.id}", json={"allow_overlapping": True, "resourcetype": "SequenceLabelingProject"}
    )
    color = {"background_color": "#ffffff", "text_color": "#000000"}
    server.json("POST", f"projects/{project.id}/span-types", json={"text": "SALARY", **color})
    annotator = Annotator(server, project)
    posts = by_id(server, project)
    annotator.add(posts["overlap"], "need SQL", "TECHNICAL")
    annotator.add(posts["foreign"], "Know", "SALARY")
    annotator.delete(posts["empty"], "Python")
    for post in posts.values():
        annotator.confirm(post)

    result = loop.pull()

    assert result.exit_code == 0
    assert "overlap: spans overlap: 'need SQL'" in result.stderr
    assert "foreign: span [0, 4, SALARY]: unknown label (use one of TECHNOLOGY" in result.stderr
    assert "page=" in result.stderr
    assert surfaces(loop.read()["fine"]) == [("Python", "TECHNOLOGY")]
    assert loop.read()["empty"]["label"] == [] and "1 posts have no skill" in result.output
    assert loop.read().keys() == {"fine", "empty"}
    assert loop.pull("--strict").exit_code == 1


def test_nothing_pulled_vanishes_unsaid(loop: Loop, server: Doccano) -> None:
    assert loop.push([{"id": "a", "text": "We need Python."}, {"id": "b", "text": "We need SQL."}]).exit_code == 0
    project = server.get_project(loop.project)
    annotator = Annotator(server, project)
    posts = by_id(server, project)
    for post in posts.values():
        annotator.confirm(post)
    assert loop.pull().exit_code == 0
    first = loop.pulled.read_bytes()
    annotator.confirm(posts["b"])
    annotator.delete(posts["a"], "Python")

    result = loop.pull()

    assert "~ a: - 'Python' TECHNOLOGY" in result.output
    assert "- b: no longer there" in result.output
    assert loop.read()["b"]["label"], "what vanished is kept"
    assert loop.read()["a"]["label"] == []
    backups = loop.home / "backups"
    assert [path.read_bytes() for path in backups.glob(f"doccano-{loop.project}.*")] == [first]
    assert "dropped" in loop.pull("--prune").output
    assert loop.read().keys() == {"a"}


def test_agreement_of_annotators(loop: Loop, server: Doccano) -> None:
    """In a project that is not collaborative each annotator has their own spans."""
    assert loop.push([{"id": "a", "text": "We need Python and SQL."}]).exit_code == 0
    project = server.get_project(loop.project)
    server.request(
        "PATCH",
        f"projects/{project.id}",
        json={"collaborative_annotation": False, "resourcetype": "SequenceLabelingProject"},
    )
    code = "from django.contrib.auth.models import User; User.objects.create_user('second', password='pass-of-second')"
    manage(loop.home, "shell", f"--command={code}")
    users = {user["username"]: user["id"] for user in server.json("GET", "users")}
    roles = {role["name"]: role["id"] for role in server.json("GET", "roles")}
    member = {"user": users["second"], "role": roles["annotator"]}
    server.json("POST", f"projects/{project.id}/members", json=member)
    session = requests.Session()
    login = session.post(f"{server.url}/v1/auth/login/", json={"username": "second", "password": "pass-of-second"})
    session.cookies.clear()
    session.headers["Authorization"] = f"Token {login.json()['key']}"
    other = Annotator(server, project)
    other.server = Doccano(server.url, session)
    (post,) = server.examples(project)
    other.add(post, "Python", "TECHNOLOGY")
    other.confirm(post)
    Annotator(server, project).confirm(post)

    assert "choose one: --annotator, of admin, second" in loop.pull().stderr
    assert loop.pull("--annotator", "second").exit_code == 0
    assert surfaces(loop.read()["a"]) == [("Python", "TECHNOLOGY")]
    result = loop.run(doccano_report.app, "--labels", ",".join(LABELS))
    assert "admin and second: 1 posts, span F1 0.667" in result.output


@pytest.fixture
def service(pipeline: Language) -> Iterator[str]:
    """The extraction service on a port of its own."""
    port = free_port()
    web = uvicorn.Server(uvicorn.Config(create_api(pipeline), host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=web.run)
    thread.start()
    while not web.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    web.should_exit = True
    thread.join()


def test_live_suggestions(loop: Loop, server: Doccano, service: str) -> None:
    project = server.create_project(loop.project)
    server.import_rows(project, [{"text": POST, "label": []}], timeout=30)
    (post,) = server.examples(project)
    for _ in range(2):
        result = loop.run(doccano_autolabel.app, "--service", service)
        assert result.exit_code == 0, result.output
    assert len(server.json("GET", f"projects/{project.id}/auto-labeling/configs")) == 1
    # The call the browser makes when a post is opened with auto-labelling on.
    server.json("POST", f"projects/{project.id}/auto-labeling?example={post.id}", json={})
    offsets = utf16_offsets(POST)
    python, curious = POST.index("Python"), POST.index("curious")
    spans = server.spans(project, post.id)
    assert (offsets[python], offsets[python + 6], "TECHNOLOGY") in spans
    assert (offsets[curious], offsets[curious + 7], "SOFT") in spans
    result = loop.run(doccano_autolabel.app, "--service", f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 1 and "no extraction service answers" in result.stderr


def test_started_twice_is_one_server(home: Path, server: Doccano) -> None:
    before = live_processes(home)
    again = server_command(home, "start", "--port", server.url.rpartition(":")[2])
    assert again.returncode == 0 and "up already" in again.stdout
    assert live_processes(home) == before
    for name in ("server.json", "secret.key"):
        assert (home / name).stat().st_mode & 0o077 == 0
    assert home.stat().st_mode & 0o077 == 0
    listed = subprocess.run(["ps", "-eo", "args="], capture_output=True, text=True).stdout
    settings = doccano_server.read_settings(home)
    assert settings["password"] not in listed and (home / "secret.key").read_text() not in listed


# The browser


@pytest.fixture
def browser(server: Doccano) -> Iterator[Any]:
    """A headless Chromium, logged in."""
    with headless_chromium() as driver:
        driver.get(f"{server.url}/auth")
        for cookie in server.session.cookies:
            driver.add_cookie({"name": cookie.name, "value": cookie.value or "", "path": "/"})
        yield driver


WORD_BOX = """
for (const line of document.querySelectorAll('svg text')) {
    const start = line.textContent.indexOf(arguments[0]);
    if (start < 0) continue;
    const range = document.createRange();
    range.setStart(line.firstChild, start);
    range.setEnd(line.firstChild, start + arguments[0].length);
    const box = range.getBoundingClientRect();
    return [box.left, box.right, (box.top + box.bottom) / 2];
}
return null;
"""
COLORS = "return [...document.querySelectorAll('svg line, svg circle')].map(e => getComputedStyle(e).stroke)"


def until(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never seen: {what}"
        time.sleep(0.2)
    return value


def test_browser(loop: Loop, server: Doccano, browser: Any) -> None:
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    assert loop.push([{"id": "one", "text": POST, "title": "Data Engineer"}]).exit_code == 0
    project = server.get_project(loop.project)
    browser.get(f"{server.url}/projects/{project.id}/sequence-labeling?page=1")
    left, right, middle = until(lambda: browser.execute_script(WORD_BOX, "Airflow"), "the post")
    drawn = until(lambda: browser.execute_script(COLORS), "the suggestions")
    for label in ("TECHNOLOGY", "SOFT"):
        red, green, blue = bytes.fromhex(displacy_colors()[label].removeprefix("#"))
        assert f"rgb({red}, {green}, {blue})" in drawn
    # Drag over the word, then choose a label from the menu that opens.
    actions = ActionBuilder(browser)
    mouse = actions.pointer_action
    mouse.move_to_location(round(left) + 1, round(middle))
    mouse.pointer_down()
    mouse.move_to_location(round((left + right) / 2), round(middle))
    mouse.move_to_location(round(right), round(middle))
    mouse.pointer_up()
    actions.perform()

    def menu_item() -> Any:
        items = browser.find_elements("css selector", ".v-menu__content .v-list-item")
        return next((item for item in items if item.is_displayed() and item.text == "TECHNICAL"), None)

    until(menu_item, "the menu of labels").click()
    (post,) = server.examples(project)
    until(lambda: len(server.spans(project, post.id)) == 4, "the new span")
    browser.find_element("css selector", ".v-main button").click()
    until(lambda: next(server.examples(project)).confirmed, "the tick")
    assert loop.pull().exit_code == 0
    assert surfaces(loop.read()["one"]) == [
        ("Python", "TECHNOLOGY"),
        ("SQL", "TECHNOLOGY"),
        ("curious", "SOFT"),
        ("Airflow", "TECHNICAL"),
    ]


def test_browser_gets_live_suggestions(loop: Loop, server: Doccano, browser: Any, service: str) -> None:
    """A post that nobody pre-annotated has its spans when it is opened with auto-labelling on."""
    project = server.create_project(loop.project)
    server.import_rows(project, [{"text": POST, "label": []} for _ in range(2)], timeout=30)
    assert loop.run(doccano_autolabel.app, "--service", service).exit_code == 0
    first, second = server.examples(project)
    browser.get(f"{server.url}/projects/{project.id}/sequence-labeling?page=1")
    until(lambda: browser.execute_script(WORD_BOX, "Airflow"), "the post")
    # The wand in the toolbar opens a dialog with a switch.
    browser.find_elements("css selector", ".v-main .v-btn-toggle button, .v-main .v-toolbar button")[5].click()
    until(lambda: browser.find_elements("css selector", ".v-dialog--active [role=switch]"), "the dialog")
    # By script: the dialog is still growing.
    browser.execute_script("document.querySelector('.v-dialog--active [role=switch]').click()")
    until(lambda: len(server.spans(project, first.id)) == 3, "suggestions for the open post")
    assert not server.spans(project, second.id)
    browser.find_elements("css selector", ".v-dialog--active button")[-1].click()
    until(lambda: not browser.find_elements("css selector", ".v-overlay--active"), "the dialog closed")
    # First, previous, next, last.
    browser.find_elements("css selector", ".v-main .v-btn--fab.v-size--small")[2].click()
    until(lambda: len(server.spans(project, second.id)) == 3, "suggestions for the post opened then")
