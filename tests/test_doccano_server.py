"""What does not need a server. The rest is shown in test_doccano_loop."""

import json
import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts import doccano_server
from scripts.doccano_server import is_ours, live_processes, write_secret, write_settings


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(doccano_server.app, list(arguments))
    return result.exit_code, result.output


def test_port_of_another_program(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, output = invoke("start", "--home", str(tmp_path), "--port", str(other.getsockname()[1]))
    assert code == 1 and "another program listens on this port" in output
    assert not list(tmp_path.iterdir())


def test_stop_and_status_without_a_server(tmp_path: Path) -> None:
    code, output = invoke("stop", "--home", str(tmp_path))
    assert code == 0 and "was not running" in output
    code, output = invoke("status", "--home", str(tmp_path))
    assert code == 1 and "not running" in output


def test_a_process_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """After a restart of the machine the noted ids belong to other programs."""
    (tmp_path / "processes.json").write_text(json.dumps({"web": os.getpid()}))
    assert not is_ours(os.getpid(), tmp_path)
    assert live_processes(tmp_path) == {}
    assert invoke("stop", "--home", str(tmp_path))[0] == 0


def test_failed_installation(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("this is not a requirement\n")
    code, output = invoke(
        "start", "--home", str(tmp_path / "home"), "--port", "18999", "--requirements", str(requirements)
    )
    assert code == 1 and "the installation failed" in output
    assert not (tmp_path / "home" / "venv" / "installed").exists()


def test_secrets_are_for_their_owner(tmp_path: Path) -> None:
    write_secret(tmp_path / "secret.key", "x")
    write_settings(tmp_path, {"password": "y"})
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_own_environment_does_not_reach_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / "backend").mkdir(parents=True)
    write_secret(tmp_path / "secret.key", "key")
    monkeypatch.setenv("DOCCANO_PASSWORD", "p")
    monkeypatch.setenv("DATABASE_URL", "postgres://production")
    environment = doccano_server.server_environment(tmp_path)
    assert environment["DATABASE_URL"].startswith("sqlite:///")
    assert "DOCCANO_PASSWORD" not in environment
