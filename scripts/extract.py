"""Skills out of many posts: a folder or a table of posts in, a table of skills out.

Posts are worked on in parts of 128. The result of each is written whole, by rename, into a folder beside the output
(`.OUTPUT.parts`), under a hash of its posts and of the pipeline's files; what is there is not computed again. So the
same command resumes a run that was killed at any point. At the end the results, in the order of the input, become the
output, which takes the place of an older one at once, and the folder goes. A result holds all that was found: what is
shown of it, and how (--per, --labels, --min-score, the format), is settled at the end and may differ between the runs.

It travels in the package, where it is `python -m en_skillner`, and imports only what travels too.
"""

import functools
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import spacy
import torch
import typer
from spacy.language import Language
from spacy.tokens import Span
from spacy.util import minibatch
from tqdm import tqdm
from wasabi import msg

from .cli import bad_input, new_app, replacing, reports_bad_input, sha256
from .sources import Record, Reject, read_source
from .tables import Kind, Row, check_table, common_kind, free_names, kind_of, to_json, write_table

# Few enough that little is lost and progress shows, enough that starting one costs nothing.
PART = 128
# By default: each takes half a gigabyte.
MOST_PROCESSES = 8
# A text beyond it is no post, and its vectors would take the memory of a thousand posts.
MOST_CHARACTERS = 100_000
MOST_NESTED = 100
SKILL = dict(
    start="int", end="int", text="str", label="str", score="float", skill="str", requirement="str", section="str"
)
"""What is said of a skill, and the kind of each value."""


class Per(StrEnum):
    """What a row of the output is."""

    skill = "skill"
    post = "post"


class Job(NamedTuple):
    """What a worker must know: the pipeline and a hash of its files, where posts come from, where results go."""

    model: str
    fingerprint: str
    source: Path
    text_column: str
    id_column: str
    folder: Path
    batch_size: int | None


class Part(NamedTuple):
    """Posts (id, text, fields) that follow each other, what stood between them that is none (place, what), and the
    name of the result: a hash of both and of the pipeline."""

    name: str
    posts: list[Row]
    rejects: list[Row]


class View(NamedTuple):
    """What the output shows of the results."""

    per: Per
    labels: Collection[str]
    min_score: float


app = new_app("Extract the skills of many posts.")


@app.command()
@reports_bad_input
def main(
    model: Annotated[str, typer.Argument(help="name of an installed pipeline, or folder of a trained one")],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help=".jsonl, .json, .csv, .parquet, .txt, .md or .html, a folder of such files, or - for JSONL on stdin",
        ),
    ],
    output: Annotated[Path, typer.Option(help="file to write: .csv, .parquet or .jsonl")],
    per: Annotated[Per | None, typer.Option(help="what a row is; by default a post in .jsonl, else a skill")] = None,
    labels: Annotated[str, typer.Option(help="the ones to keep, separated by commas; by default all")] = "",
    min_score: Annotated[float, typer.Option(min=0, max=1, help="leave out skills below it")] = 0.0,
    text_column: Annotated[str, typer.Option(help="field with the text")] = "text",
    id_column: Annotated[str, typer.Option(help="field with the id")] = "id",
    n_process: Annotated[
        int | None, typer.Option(min=1, help=f"processes; by default one for each core, {MOST_PROCESSES} at most")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="posts in a batch, as in nlp.pipe")] = None,
    keep_parts: Annotated[bool, typer.Option(help="a later run with more posts computes only those")] = False,
    spreadsheet: Annotated[
        bool, typer.Option(help="CSV for Excel: a byte order mark, and ' before text that it would take for a formula")
    ] = False,
    ray: Annotated[bool, typer.Option(help="let workers of Ray Data do it")] = False,
    address: Annotated[str | None, typer.Option(help="of a Ray cluster; by default Ray starts on this machine")] = None,
) -> None:
    """Write the skills of all posts of INPUT; what is no post goes to OUTPUT.rejects.jsonl. A run that was killed goes
    on where it stopped when it is given again."""
    check_table(output, spreadsheet)
    if output.resolve().is_relative_to(source.resolve()):
        raise bad_input(output, f"stands in the input, {source}", "write it elsewhere: it would be read as posts")
    nlp = load_pipeline(model)
    view = View(per or (Per.post if output.suffix == ".jsonl" else Per.skill), labels_of(nlp, labels), min_score)
    folder = output.absolute().with_name(f".{output.name}.parts")
    job = Job(model, fingerprint(nlp), source, text_column, id_column, folder, batch_size)
    try:
        total = count_posts(job)
        if ray:
            from .extract_ray import in_ray

            done = in_ray(job, n_process, address)
        elif (count := n_process or most_processes(total)) > 1:
            done = in_processes(job, count)
        else:
            done = map(Extractor(job, nlp), read_parts(job))
        results = []
        with tqdm(total=total, desc="extract", unit="post") as bar:
            for result in done:
                results.append(result)
                bar.update(next(read_result(result))["posts"])
        rejected = write_rejects(results, rejects := output.with_name(f"{output.name}.rejects.jsonl"))
        if not bar.n:
            raise bad_input(source, "no post in it", f"see {rejects}" if rejected else "put posts in it")
        skills = write_output(results, output, view, spreadsheet)
        for path in set(folder.iterdir()).difference(results if keep_parts else ()):
            path.unlink()
        if not keep_parts:
            folder.rmdir()
        msg.good(f"{output}: {bar.n:,} posts, {skills:,} skills")
        if rejected:
            msg.warn(f"{rejects}: {rejected:,} that are no posts")
    except OSError as error:
        remedy = "mend that and give the same command again: it goes on where it stopped"
        raise bad_input(error.filename or output, error.strerror or str(error), remedy) from None


def app_for(model: str) -> typer.Typer:
    """The same command for one pipeline: what `python -m en_skillner` is."""
    command = functools.update_wrapper(functools.partial(main, model), main)
    # Typer is to see the signature of what is left of main, not main's.
    del command.__wrapped__
    alone = new_app("Extract the skills of many posts.")
    alone.command()(command)
    return alone


def load_pipeline(model: str) -> Language:
    """A pipeline from a folder or an installed package. Raises BadInput if there is none."""
    if Path(model).is_dir():
        # Only a folder needs them: a package brings its own.
        from . import skill_context, skill_linker, skill_ner  # noqa: F401
    try:
        return spacy.load(model)
    except OSError as error:
        what = f"no pipeline can be loaded ({str(error).splitlines()[0]})"
        raise bad_input(model, what, "train one first: spacy project run all") from None


def labels_of(nlp: Language, names: str) -> Collection[str]:
    """The labels with these names, or all. Raises BadInput if the pipeline does not have one."""
    known = sorted({label for labels in nlp.pipe_labels.values() for label in labels})
    chosen = [name.strip() for name in names.split(",") if name.strip()] or known
    for name in chosen:
        if name not in known:
            raise bad_input("--labels", f"the pipeline has no label {name!r}", f"use {', '.join(known)}")
    return set(chosen)


def fingerprint(nlp: Language) -> str:
    """A hash of the pipeline's files and code: a name and a version do not tell one training from the next, nor do
    weights what the components make of them."""
    assert nlp.path is not None
    modules = {type(component).__module__ for _, component in nlp.pipeline if is_ours(component)} | {__name__}
    files = {path.relative_to(nlp.path).as_posix(): path for path in nlp.path.rglob("*") if path.is_file()}
    files |= {path.name: path for path in (Path(sys.modules[name].__file__ or "") for name in modules)}
    lines = (f"{name} {sha256(path)}\n" for name, path in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def is_ours(component: Any) -> bool:
    return not type(component).__module__.startswith(("spacy", "builtins"))


# Reading


def count_posts(job: Job) -> int | None:
    """How many posts there are, None on the standard input. Raises BadInput if the source cannot be read."""
    if job.source == Path("-"):
        return None
    items = read_source(job.source, job.text_column, job.id_column)
    return sum(isinstance(item, Record) for item in tqdm(items, desc="count", unit="post", leave=False, delay=2))


def read_parts(job: Job) -> Iterator[Part]:
    for items in minibatch(read_source(job.source, job.text_column, job.id_column), PART):
        posts, rejects = [], []
        for item in map(check, items):
            if isinstance(item, Reject):
                rejects.append(item._asdict())
            else:
                posts.append({"id": item.id, "text": item.text, "fields": item.fields})
        content = to_json([job.fingerprint, posts, rejects])
        yield Part(hashlib.sha256(content.encode()).hexdigest()[:32] + ".jsonl", posts, rejects)


def check(item: Record | Reject) -> Record | Reject:
    """The record with its fields as JSON has them, dates as text and NaN as null; or why it cannot be used."""
    if isinstance(item, Reject):
        return item
    if len(item.text) > MOST_CHARACTERS:
        return Reject(item.place, f"the text has more than {MOST_CHARACTERS:,} characters")
    try:
        text = to_json(item.fields).encode(errors="replace")
        fields = json.loads(text, parse_constant=lambda name: None)
        if depth(fields) <= MOST_NESTED:
            return item._replace(fields=fields)
    except RecursionError:
        pass
    return Reject(item.place, "its fields are nested too deeply")


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


# Extracting


def find_skills(nlp: Language, texts: Iterable[str], batch_size: int | None = None) -> Iterator[list[Row]]:
    """The skills of each text as SKILL has them: offsets in code points, None for what the pipeline does not set.

    Call it within `nlp.memory_zone()`, and for many texts again and again, for some hundred at a time."""
    for doc in nlp.pipe(texts, batch_size=batch_size):
        yield [
            {
                "start": ent.start_char,
                "end": ent.end_char,
                "text": ent.text,
                "label": ent.label_,
                "score": None if (score := value_of(ent, "score")) is None else round(score, 4),
                **{name: value_of(ent, name) for name in ("skill", "requirement", "section")},
            }
            for ent in doc.ents
        ]


def value_of(ent: Span, extension: str) -> Any:
    return ent._.get(extension) if ent.has_extension(extension) else None


class Extractor:
    """Writes the results of parts, with a pipeline that is loaded once."""

    def __init__(self, job: Job, nlp: Language | None = None):
        self.job = job
        self.nlp = nlp or load_pipeline(job.model)

    def __call__(self, part: Part) -> Path:
        """Write the result of a part, unless it is there, and return where."""
        path = self.job.folder / part.name
        if not path.exists():
            with replacing(path) as beside:
                write_table(beside, self.result(part), {}, ".jsonl")
        return path

    def result(self, part: Part) -> Iterator[Row]:
        """The number of posts, the kinds of value in each field and the rejects; then each post with its skills."""
        kinds: dict[str, set[str | None]] = {}
        for post in part.posts:
            for name, value in post["fields"].items():
                kinds.setdefault(name, set()).add(kind_of(value))
        found = {name: sorted(filter(None, values)) for name, values in kinds.items()}
        yield {"posts": len(part.posts), "kinds": found, "rejects": part.rejects}
        # What the vocabulary learns of a part is forgotten after it: memory stays flat however many posts there are.
        with one_thread(), self.nlp.memory_zone():
            texts = (post["text"] for post in part.posts)
            for post, skills in zip(part.posts, find_skills(self.nlp, texts, self.job.batch_size), strict=True):
                yield {"id": post["id"], "fields": post["fields"], "skills": skills}


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute in one thread: with several, sums in bfloat16 come out otherwise in the last digits, and what
    is written would depend on how many processes share the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def most_processes(posts: int | None) -> int:
    """How many processes there is a core and a part for."""
    count = min(torch.get_num_threads(), MOST_PROCESSES)
    return count if posts is None else min(count, -(-posts // PART))


def in_processes(job: Job, count: int) -> Iterator[Path]:
    """The results in order, by so many processes. Raises BadInput if one of them dies.

    Not by `nlp.pipe(n_process=...)`: it waits for ever if a process dies, leaves them all behind if it is killed, and
    sends each Doc back whole."""
    pool = ProcessPoolExecutor(count, initializer=start_worker, initargs=(job,))
    waiting: deque[Future[Path]] = deque()
    try:
        for part in read_parts(job):
            waiting.append(pool.submit(extract_part, part))
            if len(waiting) > 2 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        remedy = "give the same command again, with a smaller --n-process"
        raise bad_input("--n-process", "a process died, perhaps for want of memory", remedy) from None
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker(job: Job) -> None:
    """Make this process one that works for another, and is gone when the other is."""
    global extractor
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=die_with_parent, daemon=True).start()
    extractor = Extractor(job)


def die_with_parent() -> None:
    # The processes of a pool wait for work for ever if the one that started them was killed.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


extractor: Extractor


def extract_part(part: Part) -> Path:
    return extractor(part)


# Writing


def read_result(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)


def write_rejects(results: list[Path], path: Path) -> int:
    """Write what is no post, or no file if there is nothing. Returns how many there are."""
    rejects = [to_json(reject) + "\n" for result in results for reject in next(read_result(result))["rejects"]]
    if not rejects:
        path.unlink(missing_ok=True)
        return 0
    # First into the folder of the parts: what a killed run leaves goes with it.
    whole = results[0].with_name(path.name)
    with replacing(whole) as beside:
        beside.write_text("".join(rejects), encoding="utf-8", newline="\n")
    whole.replace(path)
    return len(rejects)


def write_output(results: list[Path], output: Path, view: View, spreadsheet: bool) -> int:
    """Write what the view shows of the results, in their order. Returns the number of skills."""
    kinds: dict[str, set[str]] = {}
    for result in results:
        for name, found in next(read_result(result))["kinds"].items():
            kinds.setdefault(name, set()).update(found)
    own: dict[str, Kind] = {"id": "str", **SKILL} if view.per is Per.skill else {"id": "str", "skills": SKILL}
    names = free_names(kinds, own, "post_")
    columns = {names[name]: common_kind(found) for name, found in kinds.items()} | own
    count = 0

    def rows() -> Iterator[Row]:
        nonlocal count
        for result in tqdm(results, desc="write", unit="part", leave=False, delay=2):
            for post in islice(read_result(result), 1, None):
                fields = {names[name]: value for name, value in post["fields"].items()}
                skills = [skill for skill in post["skills"] if is_shown(skill, view)]
                count += len(skills)
                if view.per is Per.post:
                    yield {"id": post["id"], **fields, "skills": skills}
                else:
                    yield from ({**fields, "id": post["id"], **skill} for skill in skills)

    whole = results[0].with_name(output.name)
    with replacing(whole) as beside:
        write_table(beside, rows(), columns, output.suffix, spreadsheet)
    whole.replace(output)
    return count


def is_shown(skill: Row, view: View) -> bool:
    return skill["label"] in view.labels and (not view.min_score or (skill["score"] or 0) >= view.min_score)


if __name__ == "__main__":
    app()
