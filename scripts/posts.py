"""Reading and writing posts: doccano JSONL in, checked records out, and back."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from scripts.cli import BadInput, Fault, bad_input, replacing


class Unit(StrEnum):
    """What an offset counts: Python's code points, or the UTF-16 code units of a browser's JavaScript."""

    codepoint = "codepoint"
    utf16 = "utf16"


class Span(BaseModel):
    """A skill: `text[start:end]` in code points, and its label."""

    model_config = ConfigDict(frozen=True, strict=True)
    start: int
    end: int
    label: str


class Post(BaseModel):
    """A job post. `spans` are sorted and do not overlap; `meta` holds whatever else the record says of it
    (title, role, ...); `source` is the place it was read from, "file:line"."""

    id: str
    text: str
    spans: list[Span] = []
    meta: dict[str, Any] = {}
    source: str = ""


def read_posts(
    paths: Iterable[Path], labels: Collection[str], unit: Unit = Unit.codepoint, annotated: bool = True
) -> list[Post]:
    """Read posts from doccano JSONL files, or from all `*.jsonl` of folders, in the order of their names.

    Each line is an object with `text` and either `label` ([[start, end, label], ...]) or doccano's `entities`
    ([{start_offset, end_offset, label}, ...]); with `annotated=False` spans are neither needed nor read. A post's id is
    `job.id` (where our own metadata goes through doccano), else `id`, else a hash of its text.

    Raises BadInput with every fault of every file.
    """
    posts: list[Post] = []
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    for path in jsonl_files(paths):
        count = len(posts) + len(faults)
        try:
            for number, row in read_rows(path, faults):
                post, wrong = parse_post(row, labels, unit, annotated)
                if post is not None:
                    post.source = f"{path}:{number}"
                    if post.id in seen:
                        wrong.append((f"id {post.id!r} already stands in {seen[post.id]}", "give each post its own id"))
                    seen.setdefault(post.id, post.source)
                    posts.append(post)
                faults.extend(Fault(path, number, what, remedy) for what, remedy in wrong)
        except BadInput as error:
            faults.extend(error.faults)
        if len(posts) + len(faults) == count:
            faults.append(Fault(path, None, "the file is empty", "remove it or put posts in it"))
    if faults:
        raise BadInput(faults)
    return posts


def jsonl_files(paths: Iterable[Path]) -> list[Path]:
    """The files themselves, and the `*.jsonl` of folders. Raises BadInput if one is missing."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files.extend(sorted(path.glob("*.jsonl")))
        elif path.is_file():
            files.append(path)
        else:
            raise bad_input(path, "no such file or folder", "check the path")
    return files


def read_rows(path: Path, faults: list[Fault]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for each line that is not blank; what is no JSON object goes to `faults`.

    Raises BadInput if the file is not UTF-8.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"byte {data[error.start]:#04x} is not UTF-8"
        raise bad_input(path, what, "save the file as UTF-8", data.count(b"\n", 0, error.start) + 1) from None
    # Only \n ends a line: U+2028, U+2029 and U+0085 may stand raw inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.append(Fault(path, number, f"invalid JSON: {error}", "one JSON object a line"))
            continue
        if not isinstance(row, dict):
            faults.append(Fault(path, number, f"a {type(row).__name__}, not an object", "one JSON object a line"))
            continue
        yield number, row


Wrong = list[tuple[str, str]]


def parse_post(
    row: dict[str, Any], labels: Collection[str], unit: Unit = Unit.codepoint, annotated: bool = True
) -> tuple[Post | None, Wrong]:
    """Turn one doccano record into a post. Returns it with all that is wrong with it as (what, remedy);
    the post is None if it has no usable text."""
    meta = {key: value for key, value in row.items() if key not in ("text", "label", "entities", "id", "relations")}
    if isinstance(meta.get("job"), dict):
        # Our own metadata, which went through doccano under one key.
        meta |= meta.pop("job")
    text = row.get("text")
    if not isinstance(text, str):
        return None, [("no field 'text' with a string", "give the post's text")]
    id = meta.pop("id", row.get("id"))
    if id is None:
        id = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    spans, wrong = parse_spans(row, text, labels, unit, annotated)
    if not text.strip():
        wrong.append(("the text is blank", "remove the post"))
    if any("\ud800" <= char <= "\udfff" for char in text):
        wrong.append(("the text has half of a surrogate pair", "write the character as a whole"))
    return Post(id=str(id), text=text, spans=spans, meta=meta), wrong


def parse_spans(
    row: dict[str, Any], text: str, labels: Collection[str], unit: Unit, annotated: bool
) -> tuple[list[Span], Wrong]:
    """The spans of a record in code points, sorted, and all that is wrong with them."""
    if not annotated:
        return [], []
    raw = row.get("label", row.get("entities"))
    if not isinstance(raw, list):
        return [], [("no field 'label' with a list of spans", "give [[start, end, label], ...]; [] if there is none")]
    to_codepoint = codepoint_offsets(text) if unit is Unit.utf16 else None
    length = len(text) if to_codepoint is None else max(to_codepoint)
    spans: list[Span] = []
    wrong: Wrong = []
    for item in raw:
        if isinstance(item, dict):
            item = [item.get("start_offset"), item.get("end_offset"), item.get("label")]
        match item:
            case [int(start), int(end), str(label)] if not isinstance(start, bool) and not isinstance(end, bool):
                pass
            case _:
                wrong.append((f"span {json.dumps(item)} is not [start, end, label]", "two whole numbers and a label"))
                continue
        name = f"span [{start}, {end}, {label}]"
        if label not in labels:
            wrong.append((f"{name}: unknown label", f"use one of {', '.join(labels)}"))
        if not 0 <= start < end <= length:
            what = "start is not before its end" if start >= end else f"offset outside the text (0 to {length})"
            wrong.append((f"{name}: {what}", "check the offsets and --unit"))
            continue
        if to_codepoint is not None:
            if start not in to_codepoint or end not in to_codepoint:
                wrong.append((f"{name}: offset inside a surrogate pair", "check the offsets and --unit"))
                continue
            start, end = to_codepoint[start], to_codepoint[end]
        surface = text[start:end]
        if surface != surface.strip():
            left = start + len(surface) - len(surface.lstrip())
            right = end - len(surface) + len(surface.rstrip())
            remedy = f"shorten it to [{left}, {right}]" if left < right else "remove it"
            wrong.append((f"{name} {surface!r}: blank at an edge", remedy))
        spans.append(Span(start=start, end=end, label=label))
    spans.sort(key=lambda span: (span.start, span.end))
    # The span that reaches furthest so far is the one a later span can overlap.
    furthest: Span | None = None
    for span in spans:
        if furthest is not None and span.start < furthest.end:
            one, other = (f"{text[s.start : s.end]!r} [{s.start}, {s.end}, {s.label}]" for s in (furthest, span))
            wrong.append((f"spans overlap: {one} and {other}", "keep one of them"))
        if furthest is None or span.end > furthest.end:
            furthest = span
    return spans, wrong


def codepoint_offsets(text: str) -> dict[int, int]:
    """Map every UTF-16 offset that is the edge of a character to its code-point offset."""
    widths = (2 if char > "\uffff" else 1 for char in text)
    return {utf16: point for point, utf16 in enumerate(accumulate(widths, initial=0))}


def utf16_offsets(text: str) -> list[int]:
    """The UTF-16 offset of each code-point offset from 0 to len(text)."""
    return list(accumulate((2 if char > "\uffff" else 1 for char in text), initial=0))


def to_row(post: Post) -> dict[str, Any]:
    """The record of a post as it stands in `corpus/annotations/`: id, metadata, text, label."""
    label = [[span.start, span.end, span.label] for span in post.spans]
    return {"id": post.id, **post.meta, "text": post.text, "label": label}


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one object a line, ASCII only (doccano's encoding detection breaks on emoji), whole or not at all."""
    with replacing(path) as beside, beside.open("w", encoding="ascii", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=True) + "\n")
