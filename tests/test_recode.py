"""What a browser counted in UTF-16 arrives in code points, and nothing else changes."""

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from scripts.recode import app


def test_offsets_become_code_points(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    path = write_rows({"id": 1, "title": "DBA", "text": "😀 know SQL", "label": [[8, 11, "TECHNOLOGY"]]})
    result = CliRunner().invoke(app, [str(path), str(tmp_path / "out.jsonl")])
    assert result.exit_code == 0, result.output
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row == {"id": "1", "title": "DBA", "text": "😀 know SQL", "label": [[7, 10, "TECHNOLOGY"]]}


def test_bad_offsets_write_nothing(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    path = write_rows({"text": "😀 SQL", "label": [[1, 3, "TECHNOLOGY"]]})
    result = CliRunner().invoke(app, [str(path), str(tmp_path / "out.jsonl")])
    assert result.exit_code == 1 and f"{path}:1: " in result.output
    assert not (tmp_path / "out.jsonl").exists()
