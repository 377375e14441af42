import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import spacy
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language
from typer.testing import CliRunner

from scripts import serve, skill_context, skill_linker  # noqa: F401 (registers the components)
from scripts.posts import Unit
from tests.conftest import ANYTHING, free_port, make_posts, running

TEXT = "Join us 🚀: we need Python and SQL."


@pytest.fixture(scope="module")
def nlp() -> Language:
    nlp = spacy.blank("en")
    patterns = [{"label": "TECHNOLOGY", "pattern": word} for word in ("Python", "SQL")]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)  # type: ignore[attr-defined]
    return nlp


@pytest.fixture(scope="module")
def client(nlp: Language) -> TestClient:
    return TestClient(serve.create_api(nlp))


def found(client: TestClient, **body: Any) -> list[list[dict[str, Any]]]:
    answer = client.post("/extract", json=body)
    assert answer.status_code == 200, answer.text
    return [result["entities"] for result in answer.json()["results"]]


def test_codepoints_index_the_python_string(client: TestClient) -> None:
    (entities,) = found(client, text=TEXT)
    assert [TEXT[entity["start"] : entity["end"]] for entity in entities] == ["Python", "SQL"]
    assert [entity["text"] for entity in entities] == ["Python", "SQL"]
    assert {entity["label"] for entity in entities} == {"TECHNOLOGY"}


def test_utf16_indexes_the_javascript_string(client: TestClient) -> None:
    (entities,) = found(client, text=TEXT, unit="utf16")
    encoded = TEXT.encode("utf-16-le")
    cut = [encoded[2 * entity["start"] : 2 * entity["end"]].decode("utf-16-le") for entity in entities]
    assert cut == ["Python", "SQL"]


def test_many_texts_in_order(client: TestClient) -> None:
    results = found(client, texts=["SQL", "", "nothing", "Python"])
    assert [[entity["text"] for entity in entities] for entities in results] == [["SQL"], [], [], ["Python"]]
    assert found(client, texts=[]) == []


def test_score_of_the_pipeline(trained: Language) -> None:
    (entities,) = found(TestClient(serve.create_api(trained)), text="We need Python, SQL and machine learning.")
    assert entities and all(0 <= entity["score"] <= 1 for entity in entities)


def test_skill_and_requirement(nlp: Language, client: TestClient, tmp_path: Path) -> None:
    (entities,) = found(client, text="Requirements: Python")
    assert [(e["skill"], e["requirement"], e["section"]) for e in entities] == [(None, None, None)]
    table = tmp_path / "skills.csv"
    table.write_text("skill,label,aliases\nCPython,TECHNOLOGY,Python\n", encoding="utf-8")
    full = spacy.blank("en")
    full.add_pipe("entity_ruler", source=nlp)
    full.add_pipe("skill_linker").load(table)  # type: ignore[attr-defined]
    full.add_pipe("skill_context")
    (entities,) = found(TestClient(serve.create_api(full)), text="Requirements: Python. SQL is a plus.")
    assert [(e["skill"], e["requirement"], e["section"]) for e in entities] == [
        ("CPython", "required", "requirements"),
        (None, "preferred", "requirements"),
    ]


def test_health_and_documentation(client: TestClient) -> None:
    health = client.get("/health").json()
    assert health["status"] == "ok" and health["labels"] == ["TECHNOLOGY"]
    assert client.get("/docs").status_code == 200
    assert "/extract" in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "either 'text' or 'texts'"),
        ({"text": "a", "texts": ["b"]}, "either 'text' or 'texts'"),
        ({"text": 3}, "valid string"),
        ({"text": "a", "unit": "bytes"}, "codepoint"),
        ({"text": "a", "txet": "b"}, "Extra inputs"),
        ({"texts": ["a"] * (serve.MOST_TEXTS + 1)}, "at most 64 items"),
        ({"text": "a" * (serve.MOST_CHARACTERS + 1)}, "at most 100000 characters"),
    ],
)
def test_bad_request(client: TestClient, body: dict[str, Any], says: str) -> None:
    answer = client.post("/extract", json=body)
    assert answer.status_code == 422
    assert says in answer.text


def test_broken_characters(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/extract", content=b'{"text": "half \\ud83d"}', headers=headers)
    assert answer.status_code == 422 and "unicode string" in answer.text
    assert client.post("/extract", content=b'{"text": ', headers=headers).status_code == 422


BODY = ANYTHING | st.dictionaries(st.sampled_from(["text", "texts", "unit", "more"]), ANYTHING, max_size=3)


@settings(max_examples=200, deadline=None)
@given(body=BODY.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=60) | st.just(b"[" * 3000))
def test_whatever_is_posted_is_answered(client: TestClient, body: bytes) -> None:
    answer = client.post("/extract", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 422)
    assert "results" in answer.json() if answer.status_code == 200 else "detail" in answer.json()


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.text(max_size=60), max_size=4), unit=st.sampled_from(Unit))
def test_any_text_is_read(client: TestClient, texts: list[str], unit: Unit) -> None:
    results = found(client, texts=[f"SQL {text} Python" for text in texts], unit=unit)
    assert len(results) == len(texts)
    assert all("SQL" in {entity["text"] for entity in entities} for entities in results)


def test_body_limit(client: TestClient) -> None:
    body = json.dumps({"texts": ["a" * 90_000] * 60}).encode()
    assert len(body) > serve.MOST_BYTES
    answer = client.post("/extract", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413 and "Too Large" in answer.text
    # Without a length it is no different.
    chunks = (body[i : i + 65536] for i in range(0, len(body), 65536))
    assert client.post("/extract", content=chunks).status_code == 413


def test_unit_is_echoed(client: TestClient) -> None:
    assert client.post("/extract", json={"text": "a"}).json()["unit"] == Unit.codepoint


def test_no_model(tmp_path: Path) -> None:
    result = CliRunner().invoke(serve.app, [str(tmp_path / "none")])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "train one first" in result.stderr


def memory_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def hammer(address: str, posts: list[str], seconds: float) -> list[float]:
    """Eight clients at once, for some seconds. Returns the seconds of each answer; all must be what one client gets."""
    expected = [requests.post(f"{address}/extract", json={"text": post}).json()["results"] for post in posts]
    end = time.monotonic() + seconds

    def client(number: int) -> list[float]:
        took: list[float] = []
        with requests.Session() as session:
            while time.monotonic() < end:
                place = (number + len(took)) % len(posts)
                began = time.perf_counter()
                answer = session.post(f"{address}/extract", json={"text": posts[place]}, timeout=60)
                took.append(time.perf_counter() - began)
                assert answer.status_code == 200, answer.text
                labels = [[(e["start"], e["end"], e["label"]) for e in r["entities"]] for r in answer.json()["results"]]
                assert labels == [[(e["start"], e["end"], e["label"]) for e in r["entities"]] for r in expected[place]]
        return took

    with ThreadPoolExecutor(8) as pool:
        return [took for part in pool.map(client, range(8)) for took in part]


@pytest.mark.slow
def test_many_clients_at_once(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "model")
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "scripts.serve", str(tmp_path / "model"), "--port", str(port)]
    with running(command, f"{address}/health", tmp_path / "log") as process:
        posts = [post.text for post in make_posts()]
        hammer(address, posts, 3)
        before = memory_mb(process)
        assert len(hammer(address, posts, 10)) > 50
        assert memory_mb(process) < 1.1 * before
