"""project.yml is what a stranger reads first: what it names must exist, and the README must say the same."""

import re
from pathlib import Path
from typing import Any

import pytest
import srsly

from tests.conftest import ROOT

PROJECT: dict[str, Any] = srsly.read_yaml(ROOT / "project.yml")
COMMANDS: list[dict[str, Any]] = PROJECT["commands"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def filled(text: str) -> str:
    return re.sub(r"\$\{vars\.(\w+)\}", lambda match: str(PROJECT["vars"][match[1]]), text)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command["name"])
def test_every_command_is_what_it_says(command: dict[str, Any]) -> None:
    assert command["help"]
    for line in command["script"]:
        (module,) = re.findall(r"python -m (scripts\.\w+)", filled(line))
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()
    built = {output for other in COMMANDS for output in other.get("outputs", [])}
    for dependency in command.get("deps", []):
        assert dependency in built or (ROOT / filled(dependency)).exists(), dependency


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.get("outputs")], ids=lambda command: command["name"])
def test_a_cached_command_depends_on_every_script_it_runs(command: dict[str, Any]) -> None:
    """Else an edit of the script, or of one it imports, would not run the step again."""
    todo = {f"{m}.py" for line in command["script"] for m in re.findall(r"python -m scripts\.(\w+)", line)}
    needed: set[str] = set()
    while todo:
        name = todo.pop()
        needed.add(f"scripts/{name}")
        source = (ROOT / "scripts" / name).read_text(encoding="utf-8")
        imported = {f"{m}.py" for m in re.findall(r"^from (?:scripts)?\.(\w+) import", source, re.MULTILINE)}
        for names in re.findall(r"^from scripts import ([\w, ]+)", source, re.MULTILINE):
            imported |= {f"{part.strip()}.py" for part in names.split(",")}
        todo |= {name for name in imported if f"scripts/{name}" not in needed}
    assert needed <= set(command["deps"]), needed - set(command["deps"])


def test_workflows_name_commands() -> None:
    names = [command["name"] for command in COMMANDS]
    assert len(names) == len(set(names))
    for steps in PROJECT["workflows"].values():
        assert set(steps) <= set(names)


def test_every_script_has_a_use() -> None:
    """Run by a command, imported by another, or told of in the README."""
    text = (ROOT / "project.yml").read_text(encoding="utf-8") + README
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.py")}
    for path in sources:
        ways = (f"from scripts.{path.stem} import", f"from .{path.stem} import", f"import {path.stem}")
        used = any(way in source for way in ways for source in sources.values())
        assert path.stem == "__init__" or used or f"scripts.{path.stem} " in " ".join(text.split()), path


def test_the_readme_knows_every_command() -> None:
    for command in COMMANDS:
        assert f"| `{command['name']}` |" in README, command["name"]


def test_files_the_readme_links_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or Path(ROOT / target).exists(), target
