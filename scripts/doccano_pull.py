"""Fetch what annotators have confirmed in doccano, checked, into the corpus. Nothing pulled before is lost unsaid."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from wasabi import msg

from scripts.cli import BadInput, Fault, bad_input, new_app, reports_bad_input
from scripts.doccano_api import Doccano, Project, Row, connect, file_name
from scripts.doccano_push import text_digest
from scripts.doccano_server import DEFAULT_HOME, Home
from scripts.posts import Post, Unit, parse_post, read_rows, to_row, write_jsonl

Rows = dict[str, Row]

app = new_app("Fetch annotated posts from doccano.")


@app.command()
@reports_bad_input
def main(
    project: Annotated[str, typer.Option(help="name of the doccano project")],
    annotations: Annotated[Path, typer.Option(help="folder to write doccano-PROJECT.jsonl to")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
    unit: Annotated[
        Unit, typer.Option(help="what offsets count; codepoint if all spans were made by API")
    ] = Unit.utf16,
    everything: Annotated[bool, typer.Option("--all", help="posts that are not confirmed too")] = False,
    annotator: Annotated[str | None, typer.Option(help="whose spans, where each annotator has their own")] = None,
    prune: Annotated[bool, typer.Option(help="drop posts that are no longer there or no longer confirmed")] = False,
    strict: Annotated[bool, typer.Option(help="fail if a post cannot be used")] = False,
    timeout: Annotated[float, typer.Option(help="seconds to wait for doccano's task process")] = 120,
    home: Home = DEFAULT_HOME,
) -> None:
    """Write the confirmed posts, print what is new, changed or gone, and keep a copy of what is replaced."""
    server = connect(home)
    target = server.get_project(project)
    rows = rows_of(server.export(target, not everything, timeout), target, annotator)
    posts, faults = check(rows, target, labels.split(","), unit)
    report_faults(faults, server, target)
    if faults and strict:
        raise bad_input(project, f"{len(faults)} posts cannot be used", "correct them in doccano, then pull again")
    path = annotations / f"doccano-{file_name(project)}.jsonl"
    before = read_before(path)
    change = compare(before, posts, faults)
    print_change(change, before, posts)
    after = merge(before, posts, change, prune)
    if after != before:
        if path.is_file():
            msg.info(f"the file before this -> {back_up(path, home / 'backups')}")
        write_jsonl(path, [after[id] for id in sorted(after)])
    print_summary(posts, change, path, everything, prune)


def rows_of(exported: Mapping[str, list[Row]], project: Project, annotator: str | None) -> list[Row]:
    """The export of all, or of one annotator. Raises BadInput if it is not clear of whom."""
    if project.shared:
        if annotator:
            raise bad_input(project.name, "its annotators share one set of spans", "leave out --annotator")
        return exported["all"]
    names = ", ".join(sorted(exported))
    if annotator is None and len(exported) > 1:
        raise bad_input(project.name, "each annotator has their own spans", f"choose one: --annotator, of {names}")
    if annotator is not None and annotator not in exported:
        raise bad_input(project.name, f"no annotator {annotator!r}", f"choose one of {names}")
    return exported[annotator or names]


class BadPost(NamedTuple):
    """A post that cannot be used. example: its number on the server.  wrong: (what, remedy)."""

    id: str
    example: int
    wrong: list[tuple[str, str]]


def check(
    rows: Iterable[Row], project: Project, labels: Sequence[str], unit: Unit
) -> tuple[dict[str, Post], list[BadPost]]:
    """The posts of an export by id, with code-point offsets, and those that break a rule of `parse_post`."""
    posts: dict[str, Post] = {}
    bad: list[BadPost] = []
    for row in sorted(rows, key=lambda row: int(row["id"])):
        example = row["id"]
        job = row.get("job")
        if not (isinstance(job, dict) and "id" in job):
            # Somebody put it there by hand: the server's number alone may be another server's too.
            row = row | {"id": f"{file_name(project.name)}-{example}"}
        if not row.get("Comments"):
            row = {key: value for key, value in row.items() if key != "Comments"}
        post, wrong = parse_post(row, labels, unit)
        id = post.id if post else str(row["id"])
        if id in posts:
            wrong.append((f"a second post with the id {id!r}", "delete one of them"))
        if wrong or post is None:
            bad.append(BadPost(id, example, wrong))
        else:
            posts[id] = post
    return posts, bad


def report_faults(bad: Sequence[BadPost], server: Doccano, project: Project) -> None:
    if not bad:
        return
    pages = {example.id: page for page, example in enumerate(server.examples(project), start=1)}
    for post in bad:
        # The page opens the post in the browser.
        where = f"{server.url}/projects/{project.id}/sequence-labeling?page={pages.get(post.example, 1)}"
        for what, remedy in post.wrong:
            typer.echo(f"✘ {Fault(where, None, f'post {post.id}: {what}', remedy)}", err=True)


def read_before(path: Path) -> Rows:
    """What was pulled before, by id. Raises BadInput if it cannot be read: it is not replaced then."""
    if not path.is_file():
        return {}
    faults: list[Fault] = []
    rows = {str(row.get("id")): row for _, row in read_rows(path, faults)}
    if faults:
        raise BadInput(faults)
    return rows


class Change(NamedTuple):
    """Ids of posts. gone: not in the export any more.  unusable: pulled before, and in the export with a fault."""

    new: list[str]
    changed: list[str]
    gone: list[str]
    unusable: list[str]


def compare(before: Rows, posts: Mapping[str, Post], bad: Sequence[BadPost]) -> Change:
    unusable = {post.id for post in bad} - posts.keys()
    return Change(
        new=sorted(posts.keys() - before.keys()),
        changed=sorted(id for id in posts.keys() & before.keys() if to_row(posts[id]) != before[id]),
        gone=sorted(before.keys() - posts.keys() - unusable),
        unusable=sorted(before.keys() & unusable),
    )


def merge(before: Rows, posts: Mapping[str, Post], change: Change, prune: bool) -> Rows:
    kept = {id: row for id, row in before.items() if not (prune and id in change.gone)}
    return kept | {id: to_row(post) for id, post in posts.items()}


def print_change(change: Change, before: Rows, posts: Mapping[str, Post]) -> None:
    for id in change.new:
        print(f"+ {id}: new, {len(posts[id].spans)} spans")
    for id in change.changed:
        print(f"~ {id}: {describe(before[id], to_row(posts[id]))}")
    for id in change.gone:
        print(f"- {id}: no longer there or no longer confirmed")
    for id in change.unusable:
        print(f"! {id}: cannot be used as it is now; stays as it was pulled before")


def describe(old: Row, new: Row) -> str:
    """What changed between two records of a post."""
    if old["text"] != new["text"]:
        return "its text was edited"
    spans_before, spans_after = ({tuple(span) for span in row["label"]} for row in (old, new))
    removed, added = spans_before - spans_after, spans_after - spans_before
    if not removed and not added:
        return "its metadata changed"
    signed = [("-", span) for span in removed] + [("+", span) for span in added]
    parts = [
        f"{sign} {new['text'][start:end]!r} {label}"
        for sign, (start, end, label) in sorted(signed, key=lambda item: (item[1][0], item[0] == "+"))
    ]
    return ", ".join(parts)


def back_up(path: Path, folder: Path) -> Path:
    """Copy a file under a name of its own. Returns the copy."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{path.stem}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}{path.suffix}"
    shutil.copy2(path, copy)
    return copy


def print_summary(posts: Mapping[str, Post], change: Change, path: Path, everything: bool, prune: bool) -> None:
    same = len(posts) - len(change.new) - len(change.changed)
    fate = "dropped" if prune else "kept; --prune drops them"
    gone = f", {len(change.gone)} gone ({fate})" if change.gone else ""
    unusable = f", {len(change.unusable)} unusable" if change.unusable else ""
    msg.good(f"{len(change.new)} new, {len(change.changed)} changed, {same} as before{gone}{unusable} -> {path}")
    if not posts:
        msg.info("no confirmed post yet")
    empty = [id for id, post in posts.items() if not post.spans]
    if empty:
        msg.info(f"{len(empty)} posts have no skill, which the model will learn as such: {', '.join(empty[:5])}")
    edited = [id for id, post in posts.items() if was_edited(post)]
    if edited:
        msg.warn(f"the text of {len(edited)} posts was edited in doccano: {', '.join(edited[:5])}")
    if everything:
        msg.warn("--all: among these are posts that nobody has confirmed, with the model's own suggestions as gold")


def was_edited(post: Post) -> bool:
    """Whether the text is no longer the one that was sent."""
    suggested = post.meta.get("suggested", {})
    return "text" in suggested and suggested["text"] != text_digest(post.text)


if __name__ == "__main__":
    app()
