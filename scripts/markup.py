"""Posts as plain text with inline marks, to write and to fix them in an editor.

    %%% acme-001
    title: Data Engineer
    country: US

    We need {{Python|T}} and {{data modelling|M}}.

A post begins with `%%%` and its id, then come its metadata, a blank line, and the text.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from scripts.cli import BadInput, Fault, bad_input, new_app, replacing, reports_bad_input
from scripts.posts import Post, Span, parse_post, read_posts, to_row, write_jsonl

# A label may be written by its letter or in full.
LETTERS = {"T": "TECHNOLOGY", "M": "TECHNICAL", "B": "BUS", "S": "SOFT"}
MARK = re.compile(r"\{\{(?P<surface>[^{}\n]+)\|(?P<label>\w+)\}\}")
HEADER = re.compile(r"%%% (?P<id>\S+)")

app = new_app("Convert posts between doccano JSONL and text with inline marks.")


def parse_text(marked: str) -> tuple[str, list[Span]]:
    """Split marked text into plain text and its spans, in code points. Raises ValueError on a broken mark."""
    parts: list[str] = []
    spans: list[Span] = []
    length = end = 0
    for match in MARK.finditer(marked):
        before, surface = marked[end : match.start()], match["surface"]
        start = length + len(before)
        length = start + len(surface)
        spans.append(Span(start=start, end=length, label=LETTERS.get(match["label"], match["label"])))
        parts += [before, surface]
        end = match.end()
    text = "".join([*parts, marked[end:]])
    broken = re.search(r".{0,30}(\{\{|\}\}).{0,30}", text)
    if broken:
        raise ValueError(f"broken mark near {broken[0]!r}")
    return text, spans


def render_text(post: Post) -> str:
    """Marked text of a post: the inverse of `parse_text`. Raises ValueError if the text itself has double braces."""
    letters = {label: letter for letter, label in LETTERS.items()}
    marked = post.text
    for span in reversed(post.spans):
        surface = post.text[span.start : span.end]
        mark = f"{{{{{surface}|{letters.get(span.label, span.label)}}}}}"
        marked = marked[: span.start] + mark + marked[span.end :]
    if parse_text(marked) != (post.text, post.spans):
        raise ValueError(f"post {post.id!r} cannot be written as markup")
    return marked


def parse_file(path: Path, labels: list[str]) -> list[Post]:
    """Read the posts of a markup file. Raises BadInput with every fault."""
    posts: list[Post] = []
    faults: list[Fault] = []
    for number, id, lines in split_posts(path):
        blank = lines.index("") if "" in lines else len(lines)
        header = [line.partition(": ") for line in lines[:blank]]
        faults.extend(
            Fault(path, number, f"{key!r} is not 'key: value'", "metadata, a blank line, the text")
            for key, colon, _ in header
            if not colon
        )
        try:
            text, spans = parse_text("\n".join(lines[blank:]).strip("\n"))
        except ValueError as error:
            faults.append(Fault(path, number, f"post {id}: {error}", "write {{surface|label}} on one line"))
            continue
        row = to_row(Post(id=id, text=text, spans=spans, meta={key: value for key, _, value in header}))
        post, wrong = parse_post(row, labels)
        faults.extend(Fault(path, number, f"post {id}: {what}", remedy) for what, remedy in wrong)
        if post is not None:
            posts.append(post)
    if not posts and not faults:
        faults.append(Fault(path, None, "no post in the file", "begin each post with '%%% id'"))
    if faults:
        raise BadInput(faults)
    return posts


def split_posts(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Yield (line number, id, lines) of each post of a markup file. Raises BadInput if it is no such file."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise bad_input(path, f"cannot be read: {error}", "give a markup file in UTF-8") from None
    starts = [(i, match["id"]) for i, line in enumerate(lines) if (match := HEADER.fullmatch(line.rstrip()))]
    for (start, id), (end, _) in zip(starts, [*starts[1:], (len(lines), "")], strict=False):
        yield start + 1, id, [line.rstrip("\r") for line in lines[start + 1 : end]]


def render_file(posts: Iterable[Post]) -> str:
    """The markup of several posts. Metadata that is no plain string is written as Python prints it."""
    blocks = []
    for post in posts:
        header = "".join(f"{key}: {value}\n" for key, value in post.meta.items())
        blocks.append(f"%%% {post.id}\n{header}\n{render_text(post)}\n")
    return "\n".join(blocks)


Labels = Annotated[str, typer.Option(help="labels, separated by commas")]
ALL_LABELS = ",".join(LETTERS.values())


@app.command()
@reports_bad_input
def to_jsonl(path: Path, output: Annotated[Path, typer.Argument()], labels: Labels = ALL_LABELS) -> None:
    """Turn a markup file into doccano JSONL."""
    posts = parse_file(path, labels.split(","))
    write_jsonl(output, map(to_row, posts))
    typer.echo(f"{len(posts)} posts, {sum(len(post.spans) for post in posts)} spans -> {output}")


@app.command()
@reports_bad_input
def to_markup(path: Path, output: Annotated[Path, typer.Argument()], labels: Labels = ALL_LABELS) -> None:
    """Turn doccano JSONL into a markup file."""
    posts = read_posts([path], labels.split(","))
    try:
        marked = render_file(posts)
    except ValueError as error:
        raise bad_input(path, str(error), "fix this post in doccano") from None
    with replacing(output) as beside:
        beside.write_text(marked, encoding="utf-8", newline="\n")
        again = {post.id: to_row(post) for post in parse_file(beside, labels.split(","))}
        lost = [post.id for post in posts if again.get(post.id) != to_row(post)]
        if lost:
            what = f"{len(lost)} posts cannot be written as markup and read again, {lost[0]!r} first"
            raise bad_input(path, what, "fix them in doccano: markup has no room for such ids, metadata or line ends")
    typer.echo(f"{len(posts)} posts -> {output}")


if __name__ == "__main__":
    app()
