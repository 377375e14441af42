"""A local doccano: brought up by one command, stopped by another, reachable from this machine only."""

import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import requests
import typer
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input

HOST = "127.0.0.1"
HEALTH_SECONDS = 90
STOP_SECONDS = 20

# Sets the password of an admin that is there from an attempt that was interrupted.
CREATE_ADMIN = """
import os
from django.contrib.auth.models import User
admin, _ = User.objects.get_or_create(username=os.environ["DOCCANO_USERNAME"])
admin.is_staff = admin.is_superuser = True
admin.set_password(os.environ["DOCCANO_PASSWORD"])
admin.save()
"""

Home = Annotated[Path, typer.Option(help="git-ignored folder for the server's environment, data and secrets")]
DEFAULT_HOME = Path("training/doccano")

app = new_app("Run doccano on this machine, for this machine.")


@app.command()
@reports_bad_input
def start(
    home: Home = DEFAULT_HOME,
    port: int = 8000,
    requirements: Annotated[Path, typer.Option(help="pinned packages of the server")] = Path(
        "requirements-doccano.txt"
    ),
) -> None:
    """Bring the server up, installing and initialising what is not there yet, and wait until it is healthy.

    The admin is DOCCANO_USERNAME with DOCCANO_PASSWORD from the environment, or generated: then it is printed once and
    kept in HOME/server.json, which only its owner can read."""
    home = home.resolve()
    url = f"http://{HOST}:{port}"
    if is_up(home) and read_settings(home)["url"] == url:
        msg.good(f"doccano is up already: {url}")
        return
    # One of the two alone is of no use.
    stop_processes(home)
    if port_taken(port):
        raise bad_input(url, "another program listens on this port", "choose another: --port 8001")
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    install(home, requirements)
    initialise(home)
    write_settings(home, read_settings(home) | {"url": url})
    launch(home, port)
    try:
        with busy("waiting for doccano ..."):
            wait_until_healthy(home, url)
    except BaseException:
        stop_processes(home)
        raise
    msg.good(f"doccano is up: {url} (user {read_settings(home)['username']})")


@app.command()
@reports_bad_input
def stop(home: Home = DEFAULT_HOME) -> None:
    """Stop the server; what was annotated stays in HOME."""
    stopped = stop_processes(home.resolve())
    if stopped:
        msg.good("doccano is stopped")
    else:
        msg.info("doccano was not running")


@app.command()
@reports_bad_input
def status(home: Home = DEFAULT_HOME) -> None:
    """Say whether the server is up; exit with 1 if it is not."""
    if not is_up(home.resolve()):
        raise bad_input(home, "doccano is not running", "start it: spacy project run doccano-server")
    msg.good(f"doccano is up: {read_settings(home)['url']}")


def install(home: Path, requirements: Path) -> None:
    """Put the pinned packages into a virtual environment of their own, unless they are there already.

    Raises BadInput if pip fails."""
    if not requirements.is_file():
        raise bad_input(requirements, "no such file", "run from the project's folder")
    venv, stamp = home / "venv", home / "venv" / "installed"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    log = home / "install.log"
    with busy("installing doccano, about two minutes ..."), log.open("w") as output:
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(venv)],
            [str(venv / "bin" / "python"), "-m", "pip", "install", "--requirement", str(requirements.resolve())],
        ):
            if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT).returncode:
                raise bad_input(log, f"the installation failed: {last_line(log)}", "read the log, then run this again")
    # Only a complete environment gets the stamp.
    stamp.write_text(wanted)
    msg.good(f"installed doccano -> {venv}")


def initialise(home: Path) -> None:
    """Create the secret key, the database and the admin, unless they are there already.

    Raises BadInput if doccano fails."""
    stamp = home / "data" / "initialised"
    if stamp.is_file():
        return
    (home / "data" / "media").mkdir(parents=True, exist_ok=True)
    if not (home / "secret.key").is_file():
        write_secret(home / "secret.key", secrets.token_urlsafe(50))
    given = os.environ.get("DOCCANO_PASSWORD")
    username = os.environ.get("DOCCANO_USERNAME", "admin")
    password = given or secrets.token_urlsafe(12)
    # Through the environment: an argument would show in the list of processes.
    admin = {"DOCCANO_USERNAME": username, "DOCCANO_PASSWORD": password}
    with busy("creating the database, about 20 seconds ..."):
        manage(home, "wait_for_db")
        manage(home, "migrate")
        manage(home, "create_roles")
        manage(home, "shell", f"--command={CREATE_ADMIN}", environment=admin)
    write_settings(home, {"username": username} | ({} if given else {"password": password}))
    stamp.touch()
    if not given:
        msg.info(f"doccano's admin: {username}, password {password} (kept in {home / 'server.json'})")


def manage(home: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    """Run one of doccano's management commands. Raises BadInput with the last line it printed if it fails."""
    command = [str(home / "venv" / "bin" / "python"), "manage.py", *arguments]
    log = home / "init.log"
    with log.open("a") as output:
        code = subprocess.run(
            command,
            cwd=backend(home),
            env=server_environment(home) | dict(environment or {}),
            stdout=output,
            stderr=subprocess.STDOUT,
        ).returncode
    if code:
        raise bad_input(log, f"{arguments[0]} failed: {last_line(log)}", "read the log, then run this again")


def backend(home: Path) -> Path:
    """The folder of doccano's code in the environment."""
    return next((home / "venv" / "lib").glob("python3*/site-packages/backend"))


def server_environment(home: Path) -> dict[str, str]:
    """Environment variables of the server's processes; of our own only those that a program needs to run."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR") if name in os.environ}
    return kept | {
        "DATABASE_URL": f"sqlite:///{home / 'data' / 'db.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "config.settings.production",
        "DOCCANO_HOME": str(home / "data"),
        "MEDIA_ROOT": str(home / "data" / "media"),
        "PYTHONPATH": str(backend(home)),
        "SECRET_KEY": (home / "secret.key").read_text(),
        "STANDALONE": "True",
    }


def launch(home: Path, port: int) -> None:
    """Start the web server and the task process, which imports and exports, and note who they are."""
    programs = home / "venv" / "bin"
    web = [str(programs / "python"), "-m", "gunicorn", "--bind", f"{HOST}:{port}", "--workers", "2", "config.wsgi"]
    task = [str(programs / "python"), "-m", "celery", "--app", "config", "worker", "--concurrency", "1"]
    task += ["--loglevel", "info"]
    processes = {}
    for name, command in {"web": web, "task": task}.items():
        with (home / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=backend(home),
                env=server_environment(home),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        processes[name] = process.pid
        with replacing(home / "processes.json") as beside:
            beside.write_text(json.dumps(processes))


def is_up(home: Path) -> bool:
    """Whether both processes run and the web server answers: with anything, since a task process that is busy with
    an import makes it report bad health."""
    if live_processes(home).keys() != {"web", "task"}:
        return False
    try:
        requests.get(f"{read_settings(home)['url']}/v1/health/", timeout=30)
    except requests.RequestException:
        return False
    return True


def live_processes(home: Path) -> dict[str, int]:
    """Those of the server's processes that run: their names and process ids."""
    path = home / "processes.json"
    noted: dict[str, int] = json.loads(path.read_text()) if path.is_file() else {}
    return {name: pid for name, pid in noted.items() if is_ours(pid, home)}


def is_ours(pid: int, home: Path) -> bool:
    """Whether the process runs from our environment: an id may have gone to another program since it was noted."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "stat=", "-o", "args=", "-p", str(pid)], capture_output=True, text=True
    ).stdout
    return not listed.startswith("Z") and str(home / "venv") in listed


def stop_processes(home: Path) -> bool:
    """Ask the processes to stop and kill those that do not. Returns whether any was running."""
    running = live_processes(home)
    for pid in running.values():
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while (left := live_processes(home)) and time.monotonic() < deadline:
        reap(left.values())
        time.sleep(0.2)
    for pid in left.values():
        # They lead their own sessions: their workers go with them.
        os.killpg(pid, signal.SIGKILL)
    (home / "processes.json").unlink(missing_ok=True)
    # Exports stay behind as archives that are served without a login.
    for archive in (home / "data" / "media").glob("*.zip"):
        archive.unlink()
    return bool(running)


def reap(pids: Iterable[int]) -> None:
    """Let go of children of this very process that have ended."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def wait_until_healthy(home: Path, url: str) -> None:
    """Raises BadInput if a process ends, or if the server is not healthy in time."""
    deadline = time.monotonic() + HEALTH_SECONDS
    while not (healthy(url) and "ready." in (home / "task.log").read_text(errors="replace")):
        reap(live_processes(home).values())
        for name in {"web", "task"} - live_processes(home).keys():
            log = home / f"{name}.log"
            raise bad_input(log, f"doccano's {name} process ended: {last_line(log)}", "read the log")
        if time.monotonic() > deadline:
            raise bad_input(url, f"doccano is not healthy after {HEALTH_SECONDS} s", f"read {home}/web.log")
        time.sleep(0.3)


def healthy(url: str) -> bool:
    try:
        answer = requests.get(f"{url}/v1/health/", headers={"Accept": "application/json"}, timeout=10)
    except requests.RequestException:
        return False
    return answer.ok


def port_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def read_settings(home: Path) -> dict[str, str]:
    """What is known of the local server: url, username and, if it was generated, password."""
    path = home / "server.json"
    settings: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    return settings


def write_settings(home: Path, settings: Mapping[str, str]) -> None:
    write_secret(home / "server.json", json.dumps(settings, indent=2) + "\n")


def write_secret(path: Path, content: str) -> None:
    """Write a file that only its owner can read, and that nobody could read before it was complete."""
    with replacing(path) as beside:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)


def busy(what: str) -> AbstractContextManager[Any]:
    """A spinner, or a plain line where the output is not a terminal."""
    if sys.stdout.isatty():
        return msg.loading(what)
    msg.info(what)
    return nullcontext()


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing was printed"


if __name__ == "__main__":
    app()
