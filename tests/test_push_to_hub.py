"""The hub gets the wheel, and then our card in place of the one that was made from meta.json."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from scripts import push_to_hub

WHEEL = "en_skillner-0.1.0-py3-none-any.whl"


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / WHEEL).write_bytes(b"")
    (tmp_path / "README.md").write_text("card")
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    return [str(tmp_path / WHEEL), "--card", str(tmp_path / "README.md")]


def test_the_card_is_pushed_last(arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pushed: list[Any] = []

    def push(wheel: Path, organization: str | None) -> dict[str, str]:
        pushed.append((wheel.name, organization))
        return {"url": "https://huggingface.co/acme/en_skillner"}

    monkeypatch.setitem(sys.modules, "spacy_huggingface_hub", SimpleNamespace(push=push))
    monkeypatch.setattr(push_to_hub, "upload_file", lambda **options: pushed.append(options))
    result = CliRunner().invoke(push_to_hub.app, [*arguments, "--org=acme"])
    assert result.exit_code == 0, result.output
    card = {"path_or_fileobj": tmp_path / "README.md", "path_in_repo": "README.md", "repo_id": "acme/en_skillner"}
    assert pushed == [(WHEEL, "acme"), card]


def test_what_is_missing_is_one_clear_line(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy_huggingface_hub", None)
    result = CliRunner().invoke(push_to_hub.app, arguments)
    assert result.exit_code == 1 and "not installed (pip install --no-deps" in result.output

    def push(wheel: Path, organization: str | None) -> dict[str, str]:
        raise ConnectionError("no route to the hub\nand more")

    monkeypatch.setitem(sys.modules, "spacy_huggingface_hub", SimpleNamespace(push=push))
    result = CliRunner().invoke(push_to_hub.app, arguments)
    assert result.exit_code == 1 and "no route to the hub (check the network" in result.output
    monkeypatch.setattr(push_to_hub, "get_token", lambda: None)
    result = CliRunner().invoke(push_to_hub.app, arguments)
    assert result.exit_code == 1 and "no token" in result.output
