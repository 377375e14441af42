"""Label posts with the lexicon alone, for those who have a list of skills and no annotation."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from spacy.tokens import Doc, DocBin
from tqdm import tqdm
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input, require_built
from scripts.convert import blank_pipeline
from scripts.lexicon import SkillFinder, read_lexicon
from scripts.near_duplicates import unlike
from scripts.posts import Span, read_posts, to_row, write_jsonl

app = new_app("Label posts with the lexicon.")


@app.command()
@reports_bad_input
def main(
    posts: Annotated[list[Path], typer.Argument(help="JSONL files with posts, or folders of them")],
    lexicon: Annotated[Path, typer.Option(help="CSV of skills")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
    output: Annotated[Path, typer.Option(help="DocBin to write")],
    jsonl: Annotated[Path | None, typer.Option(help="doccano JSONL to write as well")] = None,
    exclude: Annotated[Path | None, typer.Option(help="DocBin whose near-duplicates are left out")] = None,
) -> None:
    """Mark every skill of the lexicon in the posts, whatever marks they have, and write them as DocBin."""
    require_built(*([exclude] if exclude else []))
    entries = read_lexicon(lexicon, labels.split(","))
    read = read_posts(posts, labels.split(","), annotated=False)
    nlp = blank_pipeline()
    if exclude is not None:
        kept_out = [doc.text for doc in DocBin().from_disk(exclude).get_docs(nlp.vocab)]
        fresh = unlike([post.text for post in read], kept_out)
        read = [post for post, is_fresh in zip(read, fresh, strict=True) if is_fresh]
    if not read:
        raise bad_input(", ".join(map(str, posts)), "no post", "give JSONL files with posts")
    find = SkillFinder(entries, nlp)
    docs: list[Doc] = []
    for post in tqdm(read, desc="labelling", unit="post", leave=False, delay=2):
        doc = nlp.make_doc(post.text)
        doc.user_data |= {"id": post.id, "source": post.source}
        doc.ents = find(doc)
        post.spans = [Span(start=ent.start_char, end=ent.end_char, label=ent.label_) for ent in doc.ents]
        docs.append(doc)
    with replacing(output) as beside:
        beside.write_bytes(DocBin(docs=docs, store_user_data=True).to_bytes())
    if jsonl is not None:
        write_jsonl(jsonl, map(to_row, read))
    counts = Counter(ent.label_ for doc in docs for ent in doc.ents)
    words = sum(len(post.text.split()) for post in read)
    per_label = ", ".join(f"{label} {counts[label]}" for label in labels.split(","))
    msg.good(
        f"{len(docs)} posts, {counts.total()} skills ({100 * counts.total() / words:.1f} in 100 words): {per_label}"
    )


if __name__ == "__main__":
    app()
