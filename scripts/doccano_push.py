"""Send new posts to doccano, pre-annotated by the model, the most useful ones first."""

import csv
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy
import typer
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import minibatch
from tqdm import tqdm
from wasabi import msg

from scripts.cli import BadInput, Fault, bad_input, new_app, reports_bad_input
from scripts.doccano_api import Doccano, Example, Project, Row, connect, file_name
from scripts.doccano_server import DEFAULT_HOME, Home
from scripts.extract import load_pipeline, value_of
from scripts.near_duplicates import cluster
from scripts.posts import Post, Unit, parse_post, read_posts, read_rows, utf16_offsets, write_jsonl
from scripts.serve import model_name
from scripts.skill_ner import lines_of

# Posts in one upload: few enough that an interruption leaves little to settle.
LOT = 250
# Posts that go through the model at once.
BATCH = 64


class Strategy(StrEnum):
    uncertainty = "uncertainty"
    random = "random"
    newest = "newest"


class Suggestion(NamedTuple):
    """What the model makes of a post. spans: (start, end, label, score) in code points."""

    spans: list[tuple[int, int, str, float | None]]
    uncertainty: float | None


app = new_app("Send new posts to doccano.")


@app.command()
@reports_bad_input
def main(
    posts: Annotated[list[Path], typer.Argument(help="JSONL or CSV files, or folders of JSONL, CSV or text files")],
    project: Annotated[str, typer.Option(help="name of the doccano project; created if there is none")],
    model: Annotated[Path, typer.Option(help="folder of the trained pipeline that pre-annotates")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
    annotations: Annotated[Path, typer.Option(help="folder of posts annotated already: they are not sent")],
    limit: Annotated[int, typer.Option(min=1, help="how many posts to send")] = 100,
    strategy: Annotated[Strategy, typer.Option(help="which posts come first")] = Strategy.uncertainty,
    seed: Annotated[int, typer.Option(help="for --strategy random")] = 42,
    timeout: Annotated[float, typer.Option(help="seconds to wait for doccano's task process")] = 60,
    home: Home = DEFAULT_HOME,
) -> None:
    """Send posts that are neither on the server nor annotated yet. May be run again at any time."""
    names = labels.split(",")
    new = read_new_posts(posts, names)
    annotated = read_posts([annotations], names) if annotations.exists() else []
    server = connect(home)
    target = server.find_project(project) or server.create_project(project)
    if not target.shared:
        msg.warn(f"project {project!r} is not collaborative: its annotators will not see the suggestions")
    server.add_labels(target, names)
    # Nothing is uploaded that would wait for a task process to come, and then be there twice.
    server.check_worker(target, timeout)
    receipt = Receipt(home / "receipts" / f"{file_name(project)}.jsonl")
    there = settle(server, target, receipt)
    candidates = not_yet_known(new, annotated, there)
    if not candidates:
        msg.info(f"0 of {len(new)} posts are new: nothing to send")
        return
    nlp = load_pipeline(str(model))
    version = f"{model_name(nlp)} {digest(model)}"
    chosen = choose(candidates, [*annotated, *there.values()], nlp, strategy, limit, seed)
    rows = [to_import(post, suggestion, version, names) for post, suggestion in chosen]
    for start in tqdm(range(0, len(rows), LOT), desc="sending", unit="lot", leave=False):
        lot = rows[start : start + LOT]
        receipt.note(lot, "sending")
        server.import_rows(target, lot, timeout)
        receipt.note(lot, "sent")
    arrived = settle(server, target, receipt)
    missing = [row["job"]["id"] for row in rows if row["job"]["id"] not in arrived]
    if missing:
        raise bad_input(server.url, f"{len(missing)} of {len(rows)} posts did not arrive", "run this again")
    left = len(candidates) - len(rows)
    msg.good(
        f"{len(rows)} posts sent to {server.url}/projects/{target.id}, {left} more are new; receipt: {receipt.path}"
    )


# Posts


def read_new_posts(paths: Sequence[Path], labels: Sequence[str]) -> list[Post]:
    """The posts of JSONL files (see `read_posts`), CSV files (column `text`, maybe `id`; the others are metadata) and
    text files (a post each, its id the name of the file), with the line ends that doccano can show.

    Raises BadInput with every fault, and if two posts have the same id."""
    posts: list[Post] = []
    faults: list[Fault] = []
    for path in post_files(paths):
        try:
            if path.suffix == ".jsonl":
                posts.extend(read_posts([path], labels, annotated=False))
            else:
                rows = csv_rows(path) if path.suffix == ".csv" else [(None, text_row(path))]
                for number, row in rows:
                    post, wrong = parse_post(row, labels, annotated=False)
                    faults.extend(Fault(path, number, what, remedy) for what, remedy in wrong)
                    if post is not None:
                        posts.append(post)
        except BadInput as error:
            faults.extend(error.faults)
    for id, count in Counter(post.id for post in posts).items():
        if count > 1:
            faults.append(Fault(id, None, f"{count} posts have this id", "give each post its own id"))
    if faults:
        raise BadInput(faults)
    return [post.model_copy(update={"text": clean(post.text), "spans": []}) for post in posts]


def post_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and those of folders. Raises BadInput if one is missing or of another kind."""
    kinds = (".jsonl", ".csv", ".txt")
    for path in paths:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [file for file in files if file.suffix in kinds]
        if not path.exists():
            raise bad_input(path, "no such file or folder", "check the path")
        if not found:
            raise bad_input(path, "no posts", f"give a file, or a folder of files, that ends in {', '.join(kinds)}")
        yield from found


def csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Raises BadInput if the file is not UTF-8 or not CSV with a column `text`."""
    text = read_text(path)
    reader = csv.DictReader(text.splitlines(keepends=True), restkey="more", strict=True)
    if "text" not in (reader.fieldnames or []):
        raise bad_input(path, "no column 'text'", "name the columns in the first line", 1)
    try:
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if value not in ("", None)}
    except csv.Error as error:
        raise bad_input(path, f"invalid CSV: {error}", "save the file as CSV again", reader.line_num) from None


def text_row(path: Path) -> Row:
    date = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return {"id": path.stem, "text": read_text(path), "date": date.isoformat(timespec="seconds")}


def read_text(path: Path) -> str:
    """Raises BadInput if the file is not UTF-8."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_input(path, f"byte {data[error.start]:#04x} is not UTF-8", "save the file as UTF-8") from None


def clean(text: str) -> str:
    """doccano shows a carriage return as a box, and takes away blanks at the ends when a post is edited: that would
    shift every span."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def not_yet_known(new: Sequence[Post], annotated: Sequence[Post], there: Mapping[str, Example]) -> list[Post]:
    """The posts that are new by id and by text."""
    ids = {post.id for post in annotated} | there.keys()
    texts = {clean(post.text) for post in annotated} | {example.text for example in there.values()}
    changed = [post.id for post in new if post.id in there and post.text != there[post.id].text]
    if changed:
        some = ", ".join(changed[:5])
        msg.warn(f"{len(changed)} posts are on the server with another text and are not sent again: {some}")
    return [post for post in new if post.id not in ids and post.text not in texts]


# Choice


def choose(
    candidates: Sequence[Post],
    known: Sequence[Post | Example],
    nlp: Language,
    strategy: Strategy,
    limit: int,
    seed: int = 42,
) -> list[tuple[Post, Suggestion]]:
    """The first `limit` posts by the strategy, with their suggestions.

    known: Posts that have been annotated or sent; what is nearly the same as one of them is of little use.

    Raises BadInput if the strategy needs an uncertainty that the pipeline does not give."""
    match strategy:
        case Strategy.random:
            chosen = random.Random(seed).sample(candidates, min(limit, len(candidates)))
        case Strategy.newest:
            # Where there is no date, what was added last is the newest.
            chosen = sorted(reversed(candidates), key=lambda post: str(post.meta.get("date", "")), reverse=True)
        case Strategy.uncertainty:
            if "skill_ner" not in nlp.pipe_names:
                raise bad_input(
                    str(nlp.path), "has no component 'skill_ner', which says how sure it is", "--strategy random"
                )
            suggestions = list(suggest(nlp, candidates))
            clusters = cluster([post.text for post in (*known, *candidates)])
            order = rank(
                [suggestion.uncertainty or 0.0 for suggestion in suggestions],
                clusters[len(known) :],
                Counter(clusters[: len(known)]),
            )
            return [(candidates[i], suggestions[i]) for i in order[:limit]]
    chosen = chosen[:limit]
    return list(zip(chosen, suggest(nlp, chosen), strict=True))


def rank(uncertainties: Sequence[float], clusters: Sequence[int], seen: Mapping[int, int]) -> list[int]:
    """Indices of posts, most useful first: by uncertainty, but a second post of a cluster of near-duplicates only after
    the first ones of all others, a third after all second ones, and so on.

    seen: How many posts of each cluster are known already.
    """
    turns: dict[int, int] = defaultdict(int, seen)
    order: list[tuple[int, int, int]] = []
    for i in sorted(range(len(clusters)), key=lambda i: -uncertainties[i]):
        order.append((turns[clusters[i]], len(order), i))
        turns[clusters[i]] += 1
    return [i for _, _, i in sorted(order)]


def suggest(nlp: Language, posts: Sequence[Post]) -> Iterator[Suggestion]:
    """What the model makes of each post."""
    with tqdm(total=len(posts), desc="annotating", unit="post", leave=False, delay=2) as bar:
        for batch in minibatch(posts, BATCH):
            with nlp.memory_zone():
                # A packaged pipeline drops the vectors that `uncertainty` needs.
                docs = list(nlp.pipe([post.text for post in batch], disable=["doc_cleaner"]))
                suggestions = [
                    Suggestion(
                        [(ent.start_char, ent.end_char, ent.label_, value_of(ent, "score")) for ent in doc.ents], value
                    )
                    for doc, value in zip(docs, uncertainty(nlp, docs), strict=True)
                ]
            yield from suggestions
            bar.update(len(docs))


def uncertainty(nlp: Language, docs: list[Doc]) -> list[float | None]:
    """The share of a post's tokens whose tag the model expects to get wrong (least confidence, by token so that long
    posts have no advantage). Unlike the scores of entities it sees what the model nearly found.
    None for a pipeline without `skill_ner`."""
    if "skill_ner" not in nlp.pipe_names:
        return [None] * len(docs)
    component: Any = nlp.get_pipe("skill_ner")
    lines = lines_of(docs)
    if not len(lines.token):
        return [0.0] * len(docs)
    doubt = 1 - numpy.exp(component.log_probs(docs, lines).max(axis=1))
    tokens = numpy.bincount(lines.doc, minlength=len(docs))
    sums = numpy.bincount(lines.doc, weights=doubt, minlength=len(docs))
    return [float(value) for value in sums / numpy.maximum(tokens, 1)]


def digest(folder: Path) -> str:
    """Tells two trainings of the same pipeline apart, whose version is the same."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(path.read_bytes())
    return total.hexdigest()[:8]


def to_import(post: Post, suggestion: Suggestion, model: str, labels: Sequence[str]) -> Row:
    """The line doccano imports: offsets as the browser counts them, and under the one key `job` what is ours.

    Raises BadInput if a suggestion is none that could come back."""
    offsets = utf16_offsets(post.text)
    suggested = {
        "model": model,
        "uncertainty": rounded(suggestion.uncertainty),
        # The spans are in code points, and good as long as nobody edits the text.
        "text": text_digest(post.text),
        "spans": [[start, end, label, rounded(score)] for start, end, label, score in suggestion.spans],
    }
    row = {
        "text": post.text,
        "label": [[offsets[start], offsets[end], label] for start, end, label, _ in suggestion.spans],
        "job": post.meta | {"id": post.id, "suggested": suggested},
    }
    _, wrong = parse_post(row, labels, Unit.utf16)
    if wrong:
        raise BadInput([Fault(f"the model's suggestions for {post.id}", None, *fault) for fault in wrong])
    return row


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


# What went, and what came of it


class Receipt:
    """A file that says of every post whether its upload was begun ("sending") or done ("sent")."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[str, Row] = {}
        if path.is_file():
            self.rows = {row["id"]: row for _, row in read_rows(path, faults=[])}

    def note(self, lot: Sequence[Row], state: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for row in lot:
            suggested = row["job"]["suggested"]
            self.rows[row["job"]["id"]] = {
                "id": row["job"]["id"],
                "state": state,
                "at": now,
                "model": suggested["model"],
                "uncertainty": suggested["uncertainty"],
                "spans": len(suggested["spans"]),
            }
        write_jsonl(self.path, self.rows.values())

    def interrupted(self, id: str) -> bool:
        return id in self.rows and self.rows[id]["state"] == "sending"


def settle(server: Doccano, project: Project, receipt: Receipt) -> dict[str, Example]:
    """The posts of ours that are on the server, by our id, after taking back what an interrupted upload or a repeated
    import left there: copies, and posts without their suggestions. Nothing a person has worked on is taken back."""
    copies: dict[str, list[Example]] = defaultdict(list)
    for example in server.examples(project):
        if "id" in example.job:
            copies[str(example.job["id"])].append(example)
    there: dict[str, Example] = {}
    for id, examples in copies.items():
        if len(examples) == 1 and not receipt.interrupted(id):
            there[id] = examples[0]
            continue
        spans = {example.id: server.spans(project, example.id) for example in examples}
        kept, dropped = sift(examples, spans)
        for example in dropped:
            server.delete_example(project, example.id)
        if len(kept) > 1:
            msg.warn(f"post {id!r} is on the server {len(kept)} times, each worked on: delete all but one in doccano")
        if kept:
            there[id] = kept[0]
    return there


def sift(
    examples: Sequence[Example], spans: Mapping[int, Sequence[tuple[int, int, str]]]
) -> tuple[list[Example], list[Example]]:
    """Which copies of a post to keep, and which to take back: those that somebody worked on, else one that is whole.

    spans: By example, as the server has them.
    """
    worked_on, whole, bare = [], [], []
    for example in examples:
        found = list(spans[example.id])
        untouched = found == suggested_spans(example)
        if example.confirmed or example.comments or (found and not untouched):
            worked_on.append(example)
        elif untouched:
            whole.append(example)
        else:
            bare.append(example)
    if worked_on:
        return worked_on, whole + bare
    return whole[:1], whole[1:] + bare


def suggested_spans(example: Example) -> list[tuple[int, int, str]]:
    """What was suggested for a post, as the server has it if nobody changed it."""
    offsets = utf16_offsets(example.text)
    spans = example.job.get("suggested", {}).get("spans", [])
    return sorted((offsets[start], offsets[end], label) for start, end, label, _ in spans)


if __name__ == "__main__":
    app()
