"""Raw posts from whatever they come in: JSONL, JSON, CSV, Parquet, folders of text. One at a time, however many.

This module, `cli.py` and `extract.py` also travel in the package: they import nothing else of the project.
"""

import csv
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .cli import BadInput, bad_input

TEXT_FILES = (".txt", ".md", ".html", ".htm")
BATCH = 256


class Record(NamedTuple):
    """A raw post: where it stands ("file:line", "file"), its id, its text, and all else that is said of it."""

    place: str
    id: str
    text: str
    fields: dict[str, Any]


class Reject(NamedTuple):
    """Something that is no post: where it stands, and why it cannot be used."""

    place: str
    what: str


def read_source(path: Path, text_column: str = "text", id_column: str = "id") -> Iterator[Record | Reject]:
    """Read the posts of a file (.jsonl, .json with an array, .csv, .parquet, .txt, .md, .html), of all such files in a
    folder and the folders in it, in the order of their names, or of JSONL on the standard input (`-`).

    What is no post comes as a Reject, and reading goes on; so does a file of a folder that cannot be read at all. A
    text may be a list of its lines. A post's id is its `id_column`; without one a text file's is its path in the
    folder, another's a hash of its text.

    Raises BadInput if there is no such file, none of a kind that can be read, or, in a file by itself, no such column.
    """
    if path == Path("-"):
        yield from to_records("-", jsonl_rows(sys.stdin.buffer), text_column, id_column)
        return
    if not path.exists():
        raise bad_input(path, "no such file or folder", "check the path")
    if not path.is_dir():
        yield from read_file(path, path.name, text_column, id_column)
        return
    kinds = (*TEXT_FILES, *READERS)
    inside = (file.relative_to(path) for file in path.rglob("*") if file.is_file() and file.suffix.lower() in kinds)
    files = sorted(file for file in inside if not any(part.startswith(".") for part in file.parts))
    if not files:
        raise bad_input(path, "no file with posts in it", f"put posts there as {', '.join(kinds)}")
    for file in files:
        try:
            yield from read_file(path / file, file.as_posix(), text_column, id_column)
        except BadInput as error:
            yield from (Reject(str(fault.path), f"{fault.what} ({fault.remedy})") for fault in error.faults)
        except OSError as error:
            yield Reject(str(path / file), error.strerror or str(error))


def read_file(path: Path, name: str, text_column: str, id_column: str) -> Iterator[Record | Reject]:
    kind = path.suffix.lower()
    if kind in TEXT_FILES:
        yield from to_records(str(path), [(None, text_row(path, name))], "text", "id")
    elif kind in READERS:
        yield from to_records(str(path), READERS[kind](path, text_column), text_column, id_column)
    else:
        raise bad_input(path, f"cannot read {kind or 'a file without a suffix'}", f"use {', '.join(READERS)} or .txt")


Row = dict[str, Any] | str
"""What stands in a line: its fields, or what is wrong with it."""


def to_records(
    path: str, rows: Iterable[tuple[int | None, Row]], text_column: str, id_column: str
) -> Iterator[Record | Reject]:
    for number, row in rows:
        place = path if number is None else f"{path}:{number}"
        if isinstance(row, str):
            yield Reject(place, row)
            continue
        text, id = row.pop(text_column, None), row.pop(id_column, None)
        if isinstance(text, list) and all(isinstance(line, str) for line in text):
            text = "\n".join(text)
        if not isinstance(text, str):
            yield Reject(place, f"no field {text_column!r} with a string")
        elif not text.strip():
            yield Reject(place, "the text is blank")
        elif any(is_broken(value) for value in (text, id, *row, *row.values())):
            yield Reject(place, "not UTF-8, or half of a surrogate pair")
        else:
            yield Record(place, str(id) if id not in (None, "") else content_id(text), text, row)


def content_id(text: str) -> str:
    """The id of a post that has none: the first 12 digits of its text's sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def is_broken(value: Any) -> bool:
    """Whether it is a string that cannot be written as UTF-8: what stood in the file was none."""
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeEncodeError:
        return True
    return False


def text_row(path: Path, name: str) -> Row:
    try:
        return {"id": name, "text": path.read_text(encoding="utf-8-sig")}
    except UnicodeDecodeError:
        return "not UTF-8"


def jsonl_rows(file: BinaryIO) -> Iterator[tuple[int, Row]]:
    # Only \n ends a line: U+2028, U+2029 and U+0085 may stand raw inside a JSON string.
    for number, line in enumerate(file, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        try:
            # NaN and Infinity are Python's and no JSON.
            row = json.loads(line, parse_constant=lambda name: None)
        except (ValueError, RecursionError) as error:
            row = f"invalid JSON: {error}"
        else:
            row = row if isinstance(row, dict) else f"a {type(row).__name__}, not an object"
        yield number, row


def read_jsonl(path: Path, text_column: str) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        yield from jsonl_rows(file)


def read_json(path: Path, text_column: str) -> Iterator[tuple[int, Row]]:
    """Numbers count the items of the array from 1."""
    try:
        import ijson
    except ImportError:
        raise bad_input(path, "a JSON array needs the package ijson", "pip install ijson, or give JSONL") from None
    number = 0
    with path.open("rb") as file:
        try:
            for number, row in enumerate(ijson.items(file, "item", use_float=True), start=1):
                yield number, row if isinstance(row, dict) else f"a {type(row).__name__}, not an object"
        except (ijson.JSONError, UnicodeDecodeError, RecursionError) as error:
            yield number + 1, f"invalid JSON, nothing after it can be read: {one_line(error)}"
            return
    if not number:
        raise bad_input(path, "no array of posts in it", 'write [{"text": …}, …], or JSONL into a file *.jsonl')


def read_csv(path: Path, text_column: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise bad_input(path, f"invalid CSV: {error}", "mend its first line", 1) from None
        if text_column not in header:
            what = f"no column {text_column!r} among {', '.join(map(repr, header)) or 'none at all'}"
            raise bad_input(path, what, "say which one has the text: --text-column")
        begin = reader.line_num + 1
        while True:
            try:
                values = next(reader, None)
            except csv.Error as error:
                yield begin, f"invalid CSV: {error}"
                values = []
            if values is None:
                return
            if len(values) == len(header):
                yield begin, dict(zip(header, values, strict=True))
            elif values:
                yield begin, f"{len(values)} fields, {len(header)} columns"
            begin = reader.line_num + 1


def read_parquet(path: Path, text_column: str) -> Iterator[tuple[int, Row]]:
    """Numbers count the rows from 1."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise bad_input(path, "Parquet needs the package pyarrow", "pip install pyarrow") from None
    # Of a damaged file any of these may come, at any time.
    damage = (ArrowException, OSError, UnicodeDecodeError)
    try:
        file = parquet.ParquetFile(path)
    except damage as error:
        raise bad_input(path, f"no Parquet file: {one_line(error)}", "check the file") from None
    with file:
        if text_column not in file.schema_arrow.names:
            what = f"no column {text_column!r} among {', '.join(map(repr, file.schema_arrow.names))}"
            raise bad_input(path, what, "say which one has the text: --text-column")
        begin = 1
        for group in range(file.num_row_groups):
            numbers = count(begin)
            try:
                for batch in file.iter_batches(BATCH, row_groups=[group]):
                    for row in batch.to_pylist():
                        yield next(numbers), plain(row)
            except damage as error:
                yield next(numbers), f"damaged, nothing after it in its row group can be read: {one_line(error)}"
            begin += file.metadata.row_group(group).num_rows


def one_line(error: Exception) -> str:
    """What an error says, in one line that is not too long."""
    return " ".join(str(error).split())[:200]


def plain(value: Any) -> Any:
    """The value as JSON can hold it: dates and numbers of other kinds as strings, what is not a number as None."""
    match value:
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case str() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
    return str(value)


READERS = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
