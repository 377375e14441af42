"""Push the wheel and its model card to Hugging Face's hub."""

from pathlib import Path
from typing import Annotated

import typer
from huggingface_hub import RepoUrl, get_token, upload_file
from wasabi import msg

from scripts.cli import bad_input, new_app, reports_bad_input, require_built

# Without its dependencies: it asks for an older typer than the project has, but works with this one.
INSTALL = "pip install --no-deps spacy-huggingface-hub==0.0.10"

app = new_app("Push to Hugging Face's hub.")


@app.command()
@reports_bad_input
def main(
    wheel: Annotated[Path, typer.Argument(help="the wheel that package built")],
    card: Annotated[Path, typer.Option(help="the model card")],
    org: Annotated[str, typer.Option(help="organization to push to; empty for your own account")] = "",
) -> None:
    """Push WHEEL with `spacy huggingface-hub push`, then the card: that command puts metadata of its own, made from
    meta.json, before the README of the wheel, and they know neither skill_ner nor the real posts."""
    require_built(wheel, card)
    try:
        from spacy_huggingface_hub import push
    except ImportError:
        raise bad_input("spacy-huggingface-hub", "not installed", INSTALL) from None
    if get_token() is None:
        raise bad_input("Hugging Face's hub", "no token", "run huggingface-cli login, or set HF_TOKEN")
    try:
        repository = RepoUrl(push(wheel, org or None)["url"])
        upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repository.repo_id)
    except OSError as error:
        # No network, or the hub refused.
        what = str(error).partition("\n")[0]
        raise bad_input("Hugging Face's hub", what, "check the network, the token and its rights") from None
    msg.good(f"{wheel.name} and its card -> {repository}")


if __name__ == "__main__":
    app()
