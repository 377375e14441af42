"""Tables of rows whose fields nobody knows beforehand: as JSONL, CSV or Parquet.

This module travels in the package: it imports nothing else of the project but `cli.py`.
"""

import csv
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from .cli import bad_input

Row = dict[str, Any]
# What a column holds: "str", "int", "float", "bool", or lists of rows with these columns.
Kind = str | dict[str, str]


def check_table(path: Path, spreadsheet: bool) -> None:
    """Raises BadInput if no table can be written to such a file."""
    if path.suffix not in WRITERS:
        raise bad_input(path, f"cannot write {path.suffix or 'without a suffix'}", f"use {', '.join(WRITERS)}")
    if spreadsheet and path.suffix != ".csv":
        raise bad_input(path, "only CSV can be made for spreadsheets", "write a file *.csv")
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise bad_input(path, "Parquet needs the package pyarrow", "pip install pyarrow") from None


def write_table(
    path: Path, rows: Iterable[Row], columns: dict[str, Kind], suffix: str, spreadsheet: bool = False
) -> None:
    """Write rows in the format of a suffix. JSONL has of each row what is there, the others have all columns.

    spreadsheet (bool): Make a CSV safe to open in a spreadsheet: with a byte order mark, without which Excel takes it
        for another encoding, and with ' before text that it would compute as a formula."""
    WRITERS[suffix](path, rows, columns, spreadsheet)


def write_jsonl(path: Path, rows: Iterable[Row], columns: dict[str, Kind], spreadsheet: bool) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(to_json(row) + "\n" for row in rows)


def write_csv(path: Path, rows: Iterable[Row], columns: dict[str, Kind], spreadsheet: bool) -> None:
    """Text as it is, null as an empty cell, all else as JSON. As in RFC 4180, lines end with CR LF."""

    def cell(value: Any) -> str:
        if spreadsheet and isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
            return f"'{value}"
        return as_kind(value, "str") or ""

    with path.open("w", encoding="utf-8-sig" if spreadsheet else "utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(map(cell, columns))
        writer.writerows([cell(row.get(name)) for name in columns] for row in rows)


def write_parquet(path: Path, rows: Iterable[Row], columns: dict[str, Kind], spreadsheet: bool) -> None:
    import pyarrow
    from pyarrow.parquet import ParquetWriter
    from spacy.util import minibatch

    def type_of(kind: Kind) -> Any:
        if isinstance(kind, dict):
            return pyarrow.list_(pyarrow.struct([(name, type_of(inner)) for name, inner in kind.items()]))
        return {"str": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(), "bool": pyarrow.bool_()}[
            kind
        ]

    schema = pyarrow.schema([(name, type_of(kind)) for name, kind in columns.items()])
    with ParquetWriter(path, schema) as writer:
        for batch in minibatch(rows, 10_000):
            filled = [{name: as_kind(row.get(name), kind) for name, kind in columns.items()} for row in batch]
            writer.write_table(pyarrow.Table.from_pylist(filled, schema))


WRITERS = {".csv": write_csv, ".parquet": write_parquet, ".jsonl": write_jsonl}


to_json = json.JSONEncoder(ensure_ascii=False, default=str).encode


def kind_of(value: Any) -> str | None:
    """The kind of column that can hold a value; None if any can."""
    match value:
        case None:
            return None
        case bool():
            return "bool"
        case int() if abs(value) < 2**63:
            return "int"
        case float():
            return "float"
        case _:
            return "str"


def common_kind(kinds: Collection[str]) -> str:
    """The kind of column that can hold values of all these kinds."""
    return "float" if set(kinds) == {"int", "float"} else next(iter(kinds)) if len(kinds) == 1 else "str"


def as_kind(value: Any, kind: Kind) -> Any:
    """The value as it stands in a column of this kind: among text, what is none becomes JSON."""
    if value is None or kind not in ("str", "float"):
        return value
    if kind == "float":
        return float(value)
    return value if isinstance(value, str) else to_json(value)


def free_names(fields: Collection[str], taken: Collection[str], prefix: str) -> dict[str, str]:
    """A name for each field: its own, or with the prefix as often as it takes to be free."""
    names = {}
    for field in fields:
        name = field
        while name in taken or (name != field and name in fields):
            name = prefix + name
        names[field] = name
    return names
