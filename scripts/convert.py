"""Convert annotated posts (doccano JSONL) to the train, dev and test DocBin."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import spacy
import typer
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from tqdm import tqdm
from wasabi import msg

from scripts.cli import BadInput, Fault, bad_input, new_app, replacing, reports_bad_input
from scripts.near_duplicates import cluster
from scripts.posts import Post, Unit, read_posts, write_jsonl
from scripts.skill_ner import ends_line

SPLITS = ("train", "dev", "test")

app = new_app("Convert annotated posts to DocBin.")


@app.command()
@reports_bad_input
def main(
    annotations: Annotated[list[Path], typer.Argument(help="doccano JSONL files, or folders of them")],
    output: Annotated[Path, typer.Option(help="folder for train.spacy, dev.spacy, test.spacy, rejects.jsonl")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
    split: Annotated[str, typer.Option(help="shares of train, dev and test")] = "0.7,0.15,0.15",
    seed: int = 42,
    unit: Annotated[Unit, typer.Option(help="what offsets count: utf16 for exports annotated in a browser")] = (
        Unit.codepoint
    ),
    strict: Annotated[bool, typer.Option(help="fail if a span cannot be aligned with tokens")] = False,
) -> None:
    """Check the posts, split them by near-duplicate cluster, and write them as DocBin."""
    shares = parse_split(split)
    posts = read_posts(annotations, labels.split(","), unit)
    if not posts:
        raise bad_input(", ".join(map(str, annotations)), "no post", "put doccano JSONL files there")
    nlp = blank_pipeline()
    converted = [to_doc(post, nlp) for post in tqdm(posts, desc="aligning", unit="post", leave=False, delay=2)]
    rejects = [reject for _, doc_rejects in converted for reject in doc_rejects]
    if strict and rejects:
        raise BadInput(rejects)
    parts = assign_splits(posts, shares, seed)
    for name in SPLITS:
        if name not in parts and shares[SPLITS.index(name)]:
            raise bad_input(output, f"no post falls into the {name} split", "add posts, or change the split or seed")
    bins = {name: DocBin(store_user_data=True) for name in SPLITS}
    for (doc, _), part in zip(converted, parts, strict=True):
        bins[part].add(doc)
    for name, doc_bin in bins.items():
        with replacing(output / f"{name}.spacy") as beside:
            beside.write_bytes(doc_bin.to_bytes())
    write_jsonl(output / "rejects.jsonl", map(reject_row, rejects))
    print_summary(posts, parts, labels.split(","), len(rejects), output)


def parse_split(split: str) -> tuple[float, ...]:
    """Shares of train, dev and test. Raises BadInput if they are not three that add up to 1."""
    try:
        shares = tuple(float(share) for share in split.split(","))
    except ValueError:
        shares = ()
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise bad_input("--split", f"{split!r} is no split", "three shares that add up to 1, as in 0.7,0.15,0.15")
    return shares


def blank_pipeline() -> Language:
    """A pipeline with nothing but the tokenizer of configs/skill_ner.cfg."""
    return spacy.blank("en", config={"nlp": {"tokenizer": {"@tokenizers": "skill_ner.Tokenizer.v1"}}})


def to_doc(post: Post, nlp: Language) -> tuple[Doc, list[Fault]]:
    """The post as a Doc with its entities, and a fault for each span that cannot be one.

    The tokens of such a span count as not annotated, so that nothing is learned from them."""
    doc = nlp.make_doc(post.text)
    doc.user_data |= {"id": post.id, "source": post.source}
    ents: list[Span] = []
    missing: list[int] = []
    rejects: list[Fault] = []
    for span in post.spans:
        surface = post.text[span.start : span.end]
        ent = doc.char_span(span.start, span.end, label=span.label)
        if ent is not None and not ends_line(surface):
            ents.append(ent)
            continue
        around = cast(Span, doc.char_span(span.start, span.end, alignment_mode="expand"))
        missing.extend(range(around.start, around.end))
        if ent is not None:
            what, remedy = "crosses a line break", "mark each line by itself"
        else:
            what, remedy = "ends inside a token", f"mark all of {around.text!r} or separate the words in the text"
        file, _, line = post.source.rpartition(":")
        place = f"span [{span.start}, {span.end}, {span.label}] {surface!r} {what}"
        rejects.append(Fault(file, int(line), place, remedy))
    unknown = set(missing).difference(*(range(ent.start, ent.end) for ent in ents))
    doc.set_ents(ents, missing=[doc[i : i + 1] for i in sorted(unknown)])
    return doc, rejects


def assign_splits(posts: Sequence[Post], shares: Sequence[float], seed: int) -> list[str]:
    """The split of each post. Near-duplicates share the place of their smallest id, and that is a hash of the id
    alone, so that a post keeps its place as the corpus grows."""
    clusters = cluster([post.text for post in posts])
    smallest: dict[int, str] = {}
    for number, post in zip(clusters, posts, strict=True):
        smallest[number] = min(smallest.get(number, post.id), post.id)
    return [place(smallest[number], shares, seed) for number in clusters]


def place(id: str, shares: Sequence[float], seed: int) -> str:
    digest = hashlib.sha256(f"{seed}:{id}".encode("utf-8", "surrogatepass")).digest()
    draw = int.from_bytes(digest[:8], "big") / 2**64
    train, dev, _ = shares
    return "train" if draw < train else "dev" if draw < train + dev else "test"


def reject_row(reject: Fault) -> dict[str, str | int | None]:
    return {"file": str(reject.path), "line": reject.line, "what": reject.what, "remedy": reject.remedy}


def print_summary(
    posts: Sequence[Post], parts: Sequence[str], labels: Sequence[str], rejects: int, output: Path
) -> None:
    rows = []
    for name in SPLITS:
        chosen = [post for post, part in zip(posts, parts, strict=True) if part == name]
        counts = Counter(span.label for post in chosen for span in post.spans)
        words = sum(len(post.text.split()) for post in chosen)
        rows.append((name, len(chosen), words, counts.total(), *(counts[label] for label in labels)))
    msg.table(
        rows, header=("split", "posts", "words", "spans", *labels), divider=True, aligns=("l", *"r" * (3 + len(labels)))
    )
    if rejects:
        msg.warn(f"{rejects} spans cannot be aligned and are left out: see {output / 'rejects.jsonl'}")


if __name__ == "__main__":
    app()
