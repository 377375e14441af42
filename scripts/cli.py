"""What every step shares: one clear line for bad input, and files that are replaced whole or not at all."""

import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import typer

P = ParamSpec("P")
R = TypeVar("R")


class Fault(NamedTuple):
    """One thing wrong with the input: where it stands, what it is, and what to do about it."""

    path: Path | str
    line: int | None
    what: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else f"{self.path}"
        return f"{place}: {self.what} ({self.remedy})"


class BadInput(Exception):
    """The input cannot be used. Carries every fault that was found, not only the first."""

    def __init__(self, faults: Iterable[Fault]):
        self.faults = list(faults)
        super().__init__("\n".join(map(str, self.faults)))


def bad_input(path: Path | str, what: str, remedy: str, line: int | None = None) -> BadInput:
    return BadInput([Fault(path, line, what, remedy)])


def require_built(*paths: Path) -> None:
    """Raises BadInput if a file or folder that an earlier step writes is missing."""
    for path in paths:
        if not path.exists():
            raise bad_input(path, "no such file or folder", "run the steps before this one: spacy project run all")


def sha256(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def discard_others(checkpoints: Path, identity: str) -> None:
    """Leave in a folder of checkpoints only those of a run with this identity, and mark the folder with it."""
    mark, digest = checkpoints / "identity", hashlib.sha256(identity.encode()).hexdigest()
    if checkpoints.exists() and (not mark.exists() or mark.read_text() != digest):
        shutil.rmtree(checkpoints)
    checkpoints.mkdir(parents=True, exist_ok=True)
    mark.write_text(digest)


def new_app(help: str) -> typer.Typer:
    """A typer app whose errors in our own code keep their plain traceback."""
    return typer.Typer(help=help, add_completion=False, pretty_exceptions_enable=False)


def reports_bad_input(command: Callable[P, R]) -> Callable[P, R]:
    """Print the faults of a BadInput, one line each, and exit with 1 instead of a traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except BadInput as error:
            for fault in error.faults:
                typer.echo(f"✘ {fault}", err=True)
            raise typer.Exit(1) from None

    return wrapper


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or folder to. It takes the place of `path` if the block
    succeeds and is removed if it does not, so that nothing half-written replaces something good."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        if path.is_dir():
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(old)
            beside.rename(path)
            shutil.rmtree(old)
        else:
            beside.replace(path)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)
