"""Try the pipeline in a browser: start the page `demo_page.py`."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from spacy.util import is_package

from scripts.cli import bad_input, new_app, reports_bad_input

PAGE = Path(__file__).with_name("demo_page.py")

app = new_app("Try the pipeline in a browser.")


@app.command()
@reports_bad_input
def main(
    model: Annotated[str, typer.Argument(help="folder of a trained pipeline, or the name of an installed one")],
    examples: Annotated[Path, typer.Option(help="JSONL of posts to choose from, or a folder")],
    port: int = 8501,
) -> None:
    """Serve the page at http://127.0.0.1:PORT until it is stopped."""
    if find_spec("spacy_streamlit") is None:
        raise bad_input("demo", "needs Streamlit", "pip install -r requirements-apps.txt")
    if not Path(model).is_dir() and not is_package(model):
        raise bad_input(model, "no such folder, and no such package is installed", "run: spacy project run all")
    if not examples.exists():
        raise bad_input(examples, "no such file or folder", "give posts to choose from: --examples")
    options = {
        "server.address": "127.0.0.1",
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(PAGE), *flags, "--", model, str(examples)])


if __name__ == "__main__":
    app()
