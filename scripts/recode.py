"""Turn an export whose offsets count UTF-16 code units, as a browser's do, into one that counts code points."""

from pathlib import Path
from typing import Annotated

import typer

from scripts.cli import new_app, reports_bad_input
from scripts.posts import Unit, read_posts, to_row, write_jsonl

app = new_app("Recode the offsets of an export.")


@app.command()
@reports_bad_input
def main(
    path: Annotated[Path, typer.Argument(help="doccano JSONL with UTF-16 offsets")],
    output: Annotated[Path, typer.Argument(help="doccano JSONL with code points")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")] = "TECHNOLOGY,TECHNICAL,BUS,SOFT",
) -> None:
    """Write the posts of PATH to OUTPUT with their offsets in code points."""
    posts = read_posts([path], labels.split(","), Unit.utf16)
    write_jsonl(output, map(to_row, posts))
    typer.echo(f"{len(posts)} posts -> {output}")


if __name__ == "__main__":
    app()
