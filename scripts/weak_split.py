"""Cut labelled posts into chunks and split those at random: the protocol of published dictionary-label experiments.

Chunks of one post, and its near-duplicates, land in several splits, so what is measured on them is how well a model
repeats the labels. It is for comparison with such figures only; `convert` splits by post.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy
import typer
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input, require_built
from scripts.convert import SPLITS, parse_split

app = new_app("Cut labelled posts into chunks and split those at random.")


@app.command()
@reports_bad_input
def main(
    labelled: Annotated[Path, typer.Argument(help="DocBin of labelled posts")],
    output: Annotated[Path, typer.Argument(help="folder for train.spacy, dev.spacy and test.spacy")],
    words: Annotated[int, typer.Option(min=1, help="words in a chunk at most")] = 150,
    split: Annotated[str, typer.Option(help="shares of train, dev and test")] = "0.7,0.15,0.15",
    seed: int = 42,
) -> None:
    """Write the chunks of LABELLED, in three parts, to OUTPUT."""
    require_built(labelled)
    shares = parse_split(split)
    chunks = [chunk for doc in DocBin().from_disk(labelled).get_docs(Vocab()) for chunk in cut(doc, words)]
    order = numpy.random.default_rng(seed).permutation(len(chunks))
    edges = numpy.rint(numpy.cumsum(shares) * len(chunks)).astype(int)
    parts = numpy.split(order, edges[:-1])
    if not all(map(len, parts)):
        raise bad_input(labelled, f"{len(chunks)} chunks do not fill three splits", "label more posts")
    for name, part in zip(SPLITS, parts, strict=True):
        with replacing(output / f"{name}.spacy") as beside:
            beside.write_bytes(DocBin(docs=[chunks[i] for i in sorted(part)], store_user_data=True).to_bytes())
    sizes = ", ".join(f"{name} {len(part)}" for name, part in zip(SPLITS, parts, strict=True))
    msg.good(f"{len(chunks)} chunks of {words} words at most: {sizes}")


def cut(doc: Doc, words: int) -> Iterator[Doc]:
    """The doc in pieces of `words` words, none left out; a piece that would end inside an entity takes it in whole."""
    start = count = 0
    for token in doc:
        if token.is_space or token.is_punct:
            continue
        if count >= words and token.ent_iob_ != "I":
            yield doc[start : token.i].as_doc(copy_user_data=True)
            start, count = token.i, 0
        count += 1
    if start < len(doc):
        yield doc[start:].as_doc(copy_user_data=True)


if __name__ == "__main__":
    app()
