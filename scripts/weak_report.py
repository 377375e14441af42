"""Print what training on the lexicon's labels gave, beside the published figures of such an experiment."""

import json
from pathlib import Path
from typing import Annotated

import srsly
import typer
from spacy.tokens import DocBin
from spacy.vocab import Vocab
from wasabi import msg

from scripts.cli import new_app, reports_bad_input, require_built

# 15,301 LinkedIn posts with labels from 6,672 skills, distilbert-base-uncased, 46,599 chunks split at random.
PUBLISHED = ("published", "46599", "2187", "-", "0.9119", "0.9312", "0.9214", "0.9912", "0.0307")

app = new_app("Print what weak labels gave.")


@app.command()
@reports_bad_input
def main(folder: Annotated[Path, typer.Argument(help="folder of the workflow `weak`")]) -> None:
    """Print a table of FOLDER's figures beside the published ones."""
    files = [folder / name for name in ("posts.spacy", "train.spacy", "log.jsonl", "metrics.json", "metrics_gold.json")]
    require_built(*files)
    posts, train, log, own, gold = files
    docs = list(DocBin().from_disk(posts).get_docs(Vocab()))
    words = sum(len(doc.text.split()) for doc in docs)
    spans = sum(len(doc.ents) for doc in docs)
    chunks = sum(len(DocBin().from_disk(folder / f"{name}.spacy")) for name in ("train", "dev", "test"))
    steps = max(int(row["step"]) for row in srsly.read_jsonl(log))
    size = (str(chunks), str(steps), f"{100 * spans / words:.1f}")
    rows = [
        PUBLISHED,
        ("this lexicon's labels", *size, *figures(own)),
        ("the same, on gold posts", *size, *figures(gold)),
    ]
    header = ("", "chunks", "steps", "spans/100 words", "P", "R", "F1", "accuracy", "loss")
    print(f"{len(docs)} posts, {words} words, {len(DocBin().from_disk(train))} chunks to learn from")
    msg.table(rows, header=header, divider=True, aligns=("l", *"r" * (len(header) - 1)))


def figures(path: Path) -> tuple[str, ...]:
    report = json.loads(path.read_text(encoding="utf-8"))
    strict = report["strict"]
    values = (strict["precision"], strict["recall"], strict["f1"], report["token_accuracy"], report["loss"])
    return tuple(f"{value:.4f}" for value in values)


if __name__ == "__main__":
    app()
