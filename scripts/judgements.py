"""Measure the linker and the context of skills against judgements, made one by one, of posts that are not distributed,
and the linker's threshold on its table."""

import hashlib
from bisect import insort
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from tqdm import tqdm
from wasabi import msg

from scripts import skill_ner  # noqa: F401 (registers the component)
from scripts.cli import BadInput, Fault, bad_input, new_app, reports_bad_input, require_built
from scripts.package import read_skills
from scripts.posts import read_posts, read_rows
from scripts.skill_context import judge
from scripts.skill_linker import PREFIX, THRESHOLD, Index, Row, words_of

app = new_app("Measure links, requirements and the linker's threshold.")

Judgements = Annotated[Path, typer.Argument(help="JSONL of judgements: post, start, end and what was judged")]
Posts = Annotated[Path, typer.Option(help="JSONL of the posts that were judged")]
Skills = Annotated[Path, typer.Option(help="CSV of skills: skill, label, aliases")]


@app.command()
@reports_bad_input
def links(judgements: Judgements, posts: Posts, skills: Skills) -> None:
    """Precision and coverage of the links of gold entities, as they were judged."""
    require_posts(posts)
    table = read_skills(skills)
    index = Index(table)
    by_id = {post.id: post for post in read_posts([posts], {row.label for row in table})}
    verdicts: Counter[str] = Counter()
    rows = read_judgements(judgements, by_id)
    for row in rows:
        post = by_id[row["post"]]
        labels = [span.label for span in post.spans if (span.start, span.end) == (row["start"], row["end"])]
        if not labels:
            raise bad_input(posts, f"no entity [{row['start']}, {row['end']}] in post {post.id}", "give the same posts")
        found = index.find(post.text[row["start"] : row["end"]], labels[0], THRESHOLD)
        verdicts[row["verdict"] if digest(found) == row["answer"] else "changed"] += 1
    linked = verdicts["right"] + verdicts["wrong"]
    msg.good(
        f"precision {verdicts['right'] / max(linked, 1):.3f}, coverage {linked / max(verdicts.total(), 1):.3f} of "
        f"{verdicts.total()} entities ({', '.join(f'{verdict} {count}' for verdict, count in verdicts.most_common())})"
    )
    print_agreement(rows, "verdict")
    if verdicts["changed"]:
        msg.warn("links that changed since must be judged again")
    spans = [(post.text[span.start : span.end], span.label) for post in by_id.values() for span in post.spans]
    covered = sum(index.find(*span, THRESHOLD) is not None for span in spans)
    msg.info(f"coverage {covered / max(len(spans), 1):.3f} of all {len(spans)} entities of these posts")


@app.command()
@reports_bad_input
def context(
    judgements: Judgements,
    posts: Posts,
    model: Annotated[Path, typer.Option(help="folder of a trained pipeline: headings are told from lines with skills")],
) -> None:
    """Accuracy of requirement and section, as they were judged."""
    require_posts(posts)
    require_built(model)
    by_id = {post.id: post for post in read_posts([posts], (), annotated=False)}
    rows = read_judgements(judgements, by_id)
    judged = sorted({row["post"] for row in rows})
    nlp = spacy.load(model)
    docs = nlp.pipe(by_id[id].text for id in judged)
    found = {}
    for id, doc in zip(judged, tqdm(docs, total=len(judged), desc="posts", leave=False), strict=True):
        # The judged ones are among them whatever the model finds.
        here = {(row["start"], row["end"]) for row in rows if row["post"] == id}
        ents = sorted(here | {(ent.start_char, ent.end_char) for ent in doc.ents})
        found[id] = dict(zip(ents, judge(doc.text, ents), strict=True))
    pairs = [(row, found[row["post"]][row["start"], row["end"]]) for row in rows]
    for name in ("requirement", "section"):
        right = sum(row[name] == getattr(verdict, name) for row, verdict in pairs)
        msg.good(f"{name}: {right / max(len(pairs), 1):.3f} of {len(pairs)} right")
        print_agreement(rows, name)
    kinds = sorted({row["requirement"] for row in rows})
    counts = Counter((row["requirement"], verdict.requirement) for row, verdict in pairs)
    table = [(kind, *(counts[kind, other] for other in kinds)) for kind in kinds]
    msg.table(table, header=("judged \\ found", *kinds), divider=True, aligns=("l", *"r" * len(kinds)))


@app.command()
@reports_bad_input
def threshold(skills: Skills) -> None:
    """What the linker would make of each spelling that has a word of its own if the table lacked that spelling."""
    table = read_skills(skills)
    rows = []
    for least in (0.80, 0.84, 0.86, 0.88, 0.90, 0.92):
        right, linked = leave_one_out(table, least)
        rows.append((least, linked, right, f"{right / max(linked, 1):.3f}"))
    msg.table(rows, header=("threshold", "linked", "right", "precision"), divider=True, aligns=("r",) * 4)


def leave_one_out(table: Sequence[Row], least: float) -> tuple[int, int]:
    """How many spellings still find their skill, and how many find any, with their own words out of the index."""
    index = Index(table)
    spellings = [(row, spelling, words_of(spelling)) for row in table for spelling in row.spellings]
    uses = Counter(word for _, _, words in spellings for word in set(words))
    right = linked = 0
    for row, spelling, words in spellings:
        own = {word for word in words if uses[word] == 1}
        if own:
            with without(index, own):
                found = index.by_key(spelling, index.corrected(words, least), row.label)
            linked += found is not None
            right += found == row.skill
    return right, linked


@contextmanager
def without(index: Index, words: Collection[str]) -> Iterator[None]:
    for word in words:
        index.known.remove(word)
        index.vocabulary[word[:PREFIX]].remove(word)
    yield
    for word in words:
        index.known.add(word)
        insort(index.vocabulary[word[:PREFIX]], word)


def print_agreement(rows: Sequence[dict[str, Any]], name: str) -> None:
    """Say how far a second judge, who did not see the first one's judgements, agrees."""
    seconds = Counter((row[name], row["second"][name]) for row in rows if "second" in row)
    if seconds:
        same = sum(count for (first, second), count in seconds.items() if first == second)
        others = ", ".join(
            f"{first} / {second} {count}" for (first, second), count in seconds.most_common() if first != second
        )
        msg.info(f"{name}: a second judge agrees on {same / seconds.total():.3f} ({others or 'all'})")


def digest(answer: str | None) -> str | None:
    """Tells answers apart without repeating the post."""
    return hashlib.sha256(answer.encode()).hexdigest()[:8] if answer else None


def require_posts(path: Path) -> None:
    if not path.is_file():
        raise bad_input(path, "no such file", "give the posts that were judged: --vars.gold FILE")


def read_judgements(path: Path, posts: Collection[str]) -> list[dict[str, Any]]:
    """The judgements of a file. Raises BadInput if it is none, or if the posts are not those that were judged."""
    require_built(path)
    faults: list[Fault] = []
    rows = []
    for number, row in read_rows(path, faults):
        if row.get("post") not in posts:
            faults.append(Fault(path, number, f"no post {row.get('post')!r}", "give the posts that were judged"))
        rows.append(row)
    if faults:
        raise BadInput(faults)
    return rows


if __name__ == "__main__":
    app()
