"""The adapter against a server that misbehaves. What a good one does is shown in test_doccano_loop."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.cli import BadInput
from scripts.doccano_api import Doccano, Project, connect, file_name, parse_lines
from scripts.doccano_server import write_settings

PROJECT = Project(1, "p", shared=True)


@pytest.fixture
def fake() -> Iterator[Callable[[dict[str, Any]], str]]:
    """A server that answers each path with (status, body); text is sent as it is, the rest as JSON."""
    servers = []

    def serve(answers: dict[str, Any]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                status, body = answers.get(self.path.split("?")[0], (404, {"detail": "Not found."}))
                content = body if isinstance(body, str) else json.dumps(body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(content.encode())

            do_GET = do_POST = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"DOCCANO_{name}", raising=False)


def session(url: str) -> Doccano:
    return Doccano(url, requests.Session())


def test_no_server_known(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no doccano server is known"):
        connect(tmp_path)


def test_local_password_goes_to_no_other_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_settings(tmp_path, {"url": "http://127.0.0.1:1", "username": "admin", "password": "secret"})
    monkeypatch.setenv("DOCCANO_URL", "http://127.0.0.1:2")
    with pytest.raises(BadInput, match="no username and password"):
        connect(tmp_path)


def test_silent_failure_of_the_login_is_heard(
    fake: Callable[[dict[str, Any]], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = (400, {"non_field_errors": ["Unable to log in with provided credentials."]})
    url = fake({"/v1/auth/login/": refusal, "/v1/me": (403, {"detail": "no credentials"})})
    write_settings(tmp_path, {"url": url, "username": "admin", "password": "secret"})
    with pytest.raises(BadInput, match="user 'admin' is refused") as error:
        connect(tmp_path)
    assert "secret" not in str(error.value)


def test_not_doccano(fake: Callable[[dict[str, Any]], str], tmp_path: Path) -> None:
    url = fake({"/v1/auth/login/": (200, "<html>"), "/v1/me": (200, "<html>")})
    write_settings(tmp_path, {"url": url, "username": "a", "password": "b"})
    with pytest.raises(BadInput, match="not doccano"):
        connect(tmp_path)
    with pytest.raises(BadInput, match="answered with a page"):
        session(url).json("GET", "me")


def test_failed_calls_say_what_failed(fake: Callable[[dict[str, Any]], str]) -> None:
    server = session(fake({"/v1/projects": (500, "database is locked")}))
    with pytest.raises(BadInput, match="GET projects failed with 500: database is locked"):
        server.find_project("p")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"ready": True, "result": None, "error": {"text": "boom"}}, "a task failed"),
        ({"ready": True, "result": {"error": [{"message": "line 3"}]}, "error": None}, "the import failed.*line 3"),
        ({"ready": False, "result": None, "error": None}, "has not answered in 0.3 s"),
    ],
)
def test_both_places_of_an_import_error(
    fake: Callable[[dict[str, Any]], str], status: dict[str, Any], says: str
) -> None:
    answers = {"/v1/projects/1/upload": (200, {"task_id": "t"}), "/v1/tasks/status/t": (200, status)}
    with pytest.raises(BadInput, match=says):
        session(fake(answers)).check_worker(PROJECT, timeout=0.3)


def test_export_that_is_a_page(fake: Callable[[dict[str, Any]], str]) -> None:
    done = {"ready": True, "result": "/somewhere/x.zip", "error": None}
    answers = {"/v1/projects/1/download": (200, {"task_id": "t"}), "/v1/tasks/status/t": (200, done)}
    with pytest.raises(BadInput, match="not a zip"):
        session(fake(answers)).export(PROJECT, True, timeout=1)


def test_two_projects_of_one_name(fake: Callable[[dict[str, Any]], str]) -> None:
    rows = [{"id": i, "name": "p", "collaborative_annotation": True} for i in (1, 2)]
    with pytest.raises(BadInput, match="2 projects are called 'p'"):
        session(fake({"/v1/projects": (200, {"count": 2, "results": rows})})).find_project("p")


def test_lines_end_at_newlines_only() -> None:
    assert parse_lines('{"text": "a\u2028b\u0085c"}\n'.encode()) == [{"text": "a\u2028b\u0085c"}]


def test_file_name() -> None:
    assert file_name("Job posts / 2026") == "Job-posts-2026"
    with pytest.raises(BadInput):
        file_name("///")
