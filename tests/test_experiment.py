"""Experiments note what they gave, and a comparison is paired by post."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from scripts import annotation_loop
from scripts.experiment import app, summarise
from tests.conftest import LABELS, ROOT

CONFIG = str(ROOT / "configs" / "skill_ner.cfg")


def options(corpus: Path, encoder: Path) -> list[str]:
    parts = {name: corpus / f"{name}.spacy" for name in ("train", "dev", "test")} | {"encoder": encoder}
    return [str(part) for name, path in parts.items() for part in (f"--{name}", path)]


def row(variant: str, seed: int, *counts: list[int]) -> dict[str, Any]:
    return {"variant": variant, "seed": seed, "test": {"counts": list(counts)}}


def test_a_row_for_each_seed_and_a_comparison(corpus: Path, tiny_encoder: Path, annotations: Path) -> None:
    table = corpus / "table.jsonl"
    gold = annotations / "sample.jsonl"
    more = ["--table", str(table), "--epochs", "1", "--seeds", "1,2"]
    for name, share in (("all", "1"), ("half", "0.5")):
        arguments = ["run", name, CONFIG, *options(corpus, tiny_encoder), *more, "--share", share]
        result = CliRunner().invoke(app, [*arguments, *(["--gold", str(gold)] if name == "half" else [])])
        assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    assert [(r["variant"], r["seed"]) for r in rows] == [("all", 1), ("all", 2), ("half", 1), ("half", 2)]
    assert rows[0]["posts"] >= 2 * rows[2]["posts"] - 1 and all(r["commit"] for r in rows)
    assert "gold" not in rows[0] and len(rows[2]["gold"]["counts"]) == 24
    result = CliRunner().invoke(app, ["compare", str(table), "--plot", str(corpus / "plot.png")])
    assert result.exit_code == 0 and "opened 2 times" in result.output, result.output
    assert (corpus / "plot.png").read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(app, ["compare", str(table), "--variant", "half", "--variant", "all"])
    assert result.exit_code == 0 and result.output.index("half") < result.output.index("all ")
    result = CliRunner().invoke(app, ["compare", str(table), "--variant", "third"])
    assert result.exit_code == 1 and "no variant 'third'" in result.output
    result = CliRunner().invoke(app, ["compare", str(corpus / "none.jsonl")])
    assert result.exit_code == 1 and "no such file or folder" in result.output


def test_the_difference_is_paired_by_post() -> None:
    # The posts differ much, the variants little: one more found in each post is beyond doubt.
    posts = [[i % 7, 10, 10] for i in range(40)]
    better = [[right + 1, found, gold] for right, found, gold in posts]
    first, second = summarise([row("a", 1, *posts), row("a", 2, *posts), row("b", 1, *better)], "test")
    assert (first.seeds, first.gain) == (2, 0.0)
    assert abs(second.gain - 0.1) < 1e-9 and abs(second.low - 0.1) < 1e-9 and abs(second.high - 0.1) < 1e-9
    (_, other) = summarise([row("a", 1, *posts), row("c", 1, [1, 2, 3])], "test")
    assert other.gain != other.gain, "figures on other posts have no difference"


def test_the_annotation_loop(corpus: Path, tiny_encoder: Path, annotations: Path) -> None:
    output = corpus / "loop.jsonl"
    arguments = [str(annotations), "--labels", ",".join(LABELS), *options(corpus, tiny_encoder), "--config", CONFIG]
    few = ["--start", "4", "--step", "2", "--rounds", "2", "--steps", "2", "--seeds", "1"]
    result = CliRunner().invoke(annotation_loop.app, [*arguments, "--output", str(output), *few])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(r["strategy"], r["posts"]) for r in rows] == [(s, n) for s in ("random", "uncertainty") for n in (4, 6, 8)]
    assert rows[0]["f1"] == rows[3]["f1"], "both begin with the same posts"
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(annotation_loop.app, [*arguments, "--output", str(output), "--start", "1000"])
    assert result.exit_code == 1 and "posts are too few" in result.output
