"""Install the wheel into the running Python, unless the very same wheel is there already."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated

import typer

from scripts.cli import bad_input, new_app, reports_bad_input, sha256

app = new_app("Install the packaged pipeline.")


@app.command()
@reports_bad_input
def main(wheel: Annotated[Path, typer.Argument(help="the wheel that package built")]) -> None:
    """Install WHEEL with pip."""
    if not wheel.is_file():
        raise bad_input(wheel, "no such file", "run: spacy project run package")
    name, version, *_ = wheel.name.split("-")
    if installed_sha256(name) == sha256(wheel):
        typer.echo(f"{name} {version} is installed already")
        return
    # What it requires is what it was trained with: the running environment has it.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "--force-reinstall", "--no-deps", "--root-user-action=ignore", str(wheel)])
    if done.returncode:
        raise bad_input(wheel, "pip could not install it", "see its output above")
    typer.echo(f'{name} {version} is installed: spacy.load("{name}")')


def installed_sha256(name: str) -> str | None:
    """The sha256 of the wheel that a package was installed from, as pip noted it (PEP 610); None if there is none."""
    try:
        noted = distribution(name).read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    info = json.loads(noted) if noted else {}
    noted_sha256 = info.get("archive_info", {}).get("hashes", {}).get("sha256")
    return noted_sha256 if isinstance(noted_sha256, str) else None


if __name__ == "__main__":
    app()
