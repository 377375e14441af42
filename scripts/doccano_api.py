"""doccano's REST API, as far as we need it. Every call either gives what it promises or raises BadInput."""

import io
import json
import os
import re
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import requests
from doccano_client import DoccanoClient

from scripts.cli import BadInput, Fault, bad_input
from scripts.doccano_server import read_settings
from scripts.skill_ner import displacy_colors

# Seconds to connect, and to wait for an answer.
TIMEOUT = (5, 60)
PAGE = 500
# doccano reads this many rows at a time; a failed lot is tried again from its start, and its rows multiply.
MOST_ROWS = 1000

Row = dict[str, Any]


class Project(NamedTuple):
    id: int
    name: str
    shared: bool
    """Whether annotators work on one set of spans, or each on their own."""


class Example(NamedTuple):
    """A post on the server. `job` is our own metadata, empty if somebody else imported it."""

    id: int
    text: str
    job: dict[str, Any]
    confirmed: bool
    comments: int


class Refused(BadInput):
    """The server does not know the account, or does not let it do this."""


class Doccano:
    """A session with a server, logged in.

    media: The folder where the server keeps its exports, if it is the one of this project."""

    def __init__(self, url: str, session: requests.Session, media: Path | None = None):
        self.url = url.rstrip("/")
        self.session = session
        self.media = media

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Raises BadInput if the server cannot be reached, refuses, or fails."""
        try:
            answer = self.session.request(method, f"{self.url}/v1/{path}", timeout=TIMEOUT, **kwargs)
        except requests.RequestException as error:
            raise unreachable(self.url, error) from None
        if answer.status_code in (401, 403):
            raise Refused([Fault(self.url, None, f"refused: {method} {path}", "use an admin of the project")])
        if not answer.ok:
            what = f"{method} {path} failed with {answer.status_code}: {answer.text[:300]}"
            raise bad_input(self.url, what, "look at the server's log")
        return answer

    def json(self, method: str, path: str, **kwargs: Any) -> Any:
        """The decoded answer. Raises BadInput as `request` does, and if the answer is not JSON."""
        answer = self.request(method, path, **kwargs)
        try:
            return answer.json()
        except ValueError:
            # An unknown path is answered with the start page and status 200.
            what = f"{method} {path} was answered with a page, not with JSON"
            raise bad_input(self.url, what, "check that DOCCANO_URL is the address of a doccano 1.8 server") from None

    def pages(self, path: str, **parameters: Any) -> Iterator[Row]:
        """The results of a listing, however many pages it has."""
        offset = 0
        while True:
            page = self.json("GET", path, params={"limit": PAGE, "offset": offset, **parameters})
            yield from page["results"]
            offset += PAGE
            if offset >= page["count"]:
                return

    def find_project(self, name: str) -> Project | None:
        """The project of this name, if there is one. Raises BadInput if there are several."""
        found = [project for project in self.pages("projects") if project["name"] == name]
        if len(found) > 1:
            raise bad_input(self.url, f"{len(found)} projects are called {name!r}", "rename all but one")
        return to_project(found[0]) if found else None

    def get_project(self, name: str) -> Project:
        """Raises BadInput if there is not exactly one project of this name."""
        project = self.find_project(name)
        if project is None:
            raise bad_input(self.url, f"no project {name!r}", "check the name, or push posts to it first")
        return project

    def create_project(self, name: str) -> Project:
        """A project in which annotators share one set of spans that may not overlap."""
        settings = {
            "name": name,
            "description": "Skills in job posts",
            "project_type": "SequenceLabeling",
            "resourcetype": "SequenceLabelingProject",
            "collaborative_annotation": True,
            "allow_overlapping": False,
            "grapheme_mode": False,
        }
        return to_project(self.json("POST", "projects", json=settings))

    def labels(self, project: Project) -> dict[int, str]:
        return {label["id"]: label["text"] for label in self.json("GET", f"projects/{project.id}/span-types")}

    def add_labels(self, project: Project, labels: Sequence[str]) -> None:
        """Create those of the labels that the project lacks, in their displaCy colours."""
        there = set(self.labels(project).values())
        colors = displacy_colors()
        for label in labels:
            if label not in there:
                label_type = {"text": label, "background_color": colors.get(label, "#dddddd"), "text_color": "#000000"}
                self.json("POST", f"projects/{project.id}/span-types", json=label_type)

    def examples(self, project: Project) -> Iterator[Example]:
        """The posts of a project in the order they came in."""
        for row in self.pages(f"projects/{project.id}/examples"):
            job = row["meta"].get("job")
            job = job if isinstance(job, dict) else {}
            yield Example(row["id"], row["text"], job, row["is_confirmed"], row["comment_count"])

    def spans(self, project: Project, example: int) -> list[tuple[int, int, str]]:
        """The spans of a post as (start, end, label), as the server has them."""
        labels = self.labels(project)
        rows = self.json("GET", f"projects/{project.id}/examples/{example}/spans")
        return sorted((row["start_offset"], row["end_offset"], labels[row["label"]]) for row in rows)

    def delete_example(self, project: Project, example: int) -> None:
        # One by one: the call that takes a list deletes all posts if the list is empty.
        self.request("DELETE", f"projects/{project.id}/examples/{example}")

    def import_rows(self, project: Project, rows: Sequence[Row], timeout: float) -> None:
        """Import posts and wait until they are there.

        Raises BadInput if the server finds fault with them or is not done after `timeout` seconds."""
        assert len(rows) <= MOST_ROWS
        # ASCII only: the server's detection of the encoding breaks on emoji.
        content = "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
        files = {"filepond": ("posts.jsonl", content.encode("ascii"), "application/json")}
        self.run_import(project, [self.request("POST", "fp/process/", files=files).text], timeout)

    def check_worker(self, project: Project, timeout: float) -> None:
        """Wait until the task process has done all that was queued before, by queuing an import of nothing.

        Raises BadInput if it does not get to it in `timeout` seconds."""
        self.run_import(project, [], timeout)

    def run_import(self, project: Project, uploads: Sequence[str], timeout: float) -> None:
        order = {
            "format": "JSONL",
            "task": "SequenceLabeling",
            "uploadIds": list(uploads),
            "encoding": "utf_8",
            "column_data": "text",
            "column_label": "label",
        }
        task = self.json("POST", f"projects/{project.id}/upload", json=order)["task_id"]
        result = self.wait(task, timeout)
        if result["error"]:
            raise bad_input(self.url, f"the import failed: {json.dumps(result['error'])[:300]}", "read the task log")

    def wait(self, task: str, timeout: float) -> Any:
        """The result of a task. Raises BadInput if it failed or is not ready after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            status = self.json("GET", f"tasks/status/{task}")
            if status["ready"]:
                break
            if time.monotonic() > deadline:
                what = f"doccano's task process has not answered in {timeout:g} s"
                remedy = "see that it runs (spacy project run doccano-server starts it), or raise --timeout"
                raise bad_input(self.url, what, remedy)
            time.sleep(0.2)
        if status["error"]:
            raise bad_input(self.url, f"a task failed: {json.dumps(status['error'])[:300]}", "read the task log")
        return status["result"]

    def export(self, project: Project, confirmed: bool, timeout: float) -> dict[str, list[Row]]:
        """The posts with their spans, by annotator; under "all" where annotators share one set of spans.

        confirmed: Leave out the posts that are not confirmed.
        """
        order = {"format": "JSONL", "exportApproved": confirmed}
        task = self.json("POST", f"projects/{project.id}/download", json=order)["task_id"]
        archive = Path(self.wait(task, timeout))
        answer = self.request("GET", f"projects/{project.id}/download", params={"taskId": task})
        try:
            with zipfile.ZipFile(io.BytesIO(answer.content)) as content:
                return {Path(name).stem: parse_lines(content.read(name)) for name in sorted(content.namelist())}
        except zipfile.BadZipFile:
            raise bad_input(self.url, "the export is not a zip archive", "try again") from None
        finally:
            # It would be served to anyone without a login.
            if archive.parent == self.media:
                archive.unlink(missing_ok=True)


def parse_lines(content: bytes) -> list[Row]:
    # Only \n ends a line: U+2028, U+2029 and U+0085 stand raw in the export.
    return [json.loads(line) for line in content.decode("utf-8").split("\n") if line.strip()]


def file_name(project: str) -> str:
    """The name of a project as part of a file's name. Raises BadInput if nothing of it can be."""
    name = re.sub(r"[^\w.-]+", "-", project).strip("-.")
    if not name:
        raise bad_input(project, "no name for a project", "give it a letter or a digit")
    return name


def to_project(row: Mapping[str, Any]) -> Project:
    return Project(row["id"], row["name"], row["collaborative_annotation"])


def connect(home: Path) -> Doccano:
    """Log in to the server that the environment names (DOCCANO_URL with DOCCANO_TOKEN, or with DOCCANO_USERNAME and
    DOCCANO_PASSWORD), else to the local one of `home`.

    Raises BadInput if none is known, none answers, or it refuses."""
    local = read_settings(home)
    url = os.environ.get("DOCCANO_URL") or local.get("url")
    if not url:
        remedy = "start one: spacy project run doccano-server; or set DOCCANO_URL, DOCCANO_USERNAME, DOCCANO_PASSWORD"
        raise bad_input(home, "no doccano server is known", remedy)
    # What was generated for the local server goes to no other.
    known = local if url == local.get("url") else {}
    token = os.environ.get("DOCCANO_TOKEN")
    if token:
        session = requests.Session()
        session.headers["Authorization"] = f"Token {token}"
        who = "DOCCANO_TOKEN"
    else:
        username = os.environ.get("DOCCANO_USERNAME") or known.get("username")
        password = os.environ.get("DOCCANO_PASSWORD") or known.get("password")
        if not username or not password:
            raise bad_input(url, "no username and password", "set DOCCANO_USERNAME and DOCCANO_PASSWORD")
        try:
            session = DoccanoClient(url, username, password).session
        except requests.JSONDecodeError:
            raise bad_input(url, "what answers there is not doccano", "check DOCCANO_URL") from None
        except requests.RequestException as error:
            raise unreachable(url, error) from None
        who = f"user {username!r}"
    server = Doccano(url, session, media=home.resolve() / "data" / "media" if known else None)
    try:
        # A failed login is silent; this is not.
        server.json("GET", "me")
    except Refused:
        raise bad_input(url, f"{who} is refused", "check the username and the password") from None
    return server


def unreachable(url: str, error: Exception) -> BadInput:
    remedy = "start it: spacy project run doccano-server; or check DOCCANO_URL"
    return bad_input(url, f"no doccano answers ({type(error).__name__})", remedy)
