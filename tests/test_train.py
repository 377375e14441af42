"""Training writes the best epoch whole or not at all, and its table says what happened."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import DocBin
from typer.testing import CliRunner

from scripts import train
from tests.conftest import LABELS, ROOT, make_examples, make_posts

CONFIG = ROOT / "configs" / "skill_ner.cfg"
STOCK = ROOT / "configs" / "stock_ner.cfg"


def run(corpus: Path, encoder: Path, output: Path, *configs: Path, epochs: int = 2, precision: str = "float32") -> Any:
    options = {
        "--output": output,
        "--train": corpus / "train.spacy",
        "--dev": corpus / "dev.spacy",
        "--encoder": encoder,
        "--log": output.parent / "log.jsonl",
        "--epochs": epochs,
        "--precision": precision,
    }
    return CliRunner().invoke(train.app, [*map(str, configs), *(str(x) for pair in options.items() for x in pair)])


def test_the_table_has_a_row_for_each_epoch(corpus: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    result = run(corpus, tiny_encoder, tmp_path / "model", CONFIG)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        assert row["training loss"] > 0 and row["validation loss"] > 0 and 0 <= row["token accuracy"] <= 1
        assert all(0 <= row[key] <= 1 for key in ("P", "R", "F1"))
    assert rows[1]["training loss"] < rows[0]["training loss"]
    assert "validation loss" in result.output and "token accuracy" in result.output
    nlp = spacy.load(tmp_path / "model")
    assert nlp.pipe_names == ["transformer", "skill_ner"] and set(nlp.pipe_labels["skill_ner"]) == set(LABELS)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert nlp.config["components"]["transformer"]["model"]["precision"] == "float32"


def test_the_comparison_differs_in_the_component_alone(corpus: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    result = run(corpus, tiny_encoder, tmp_path / "stock", CONFIG, STOCK, epochs=1)
    assert result.exit_code == 0, result.output
    nlp = spacy.load(tmp_path / "stock")
    assert nlp.pipe_names == ["transformer", "ner"]
    assert nlp.config["components"]["transformer"]["model"]["@architectures"] == "skill_ner.Encoder.v1"
    assert nlp("Know SQL").has_annotation("ENT_IOB")


def test_settings_are_in_epochs_and_the_environment_may_override(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = {"paths": {"train": str(corpus / "train.spacy")}}
    config = train.training_config([CONFIG], overrides, epochs=3)["training"]
    assert config["max_steps"] == config["optimizer"]["learn_rate"]["total_steps"] == 3 * config["eval_frequency"]
    monkeypatch.setenv("SPACY_CONFIG_OVERRIDES", "--training.max_steps=2")
    assert train.training_config([CONFIG], overrides, epochs=3)["training"]["max_steps"] == 2
    monkeypatch.setenv("SPACY_CONFIG_OVERRIDES", "--training.batcher.size=1")
    posts = len(DocBin().from_disk(corpus / "train.spacy"))
    assert train.training_config([CONFIG], overrides, epochs=2)["training"]["max_steps"] == 2 * posts


def test_an_attack_moves_the_embeddings_to_where_the_loss_is_higher_and_back(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    examples = make_examples(nlp, make_posts())
    (encoder,) = train.encoder_shims(nlp)
    encoder.adversarial_step = 2.0
    with pytest.raises(ValueError, match="no gradient"), encoder.attacked():
        pass
    before = encoder.embeddings.detach().clone()
    losses: list[dict[str, float]] = [{}, {}]
    nlp.update(examples, sgd=False, losses=losses[0], drop=0.0)
    with encoder.attacked():
        assert float((encoder.embeddings.detach() - before).norm()) == pytest.approx(2.0, rel=1e-3)
        nlp.update(examples, sgd=False, losses=losses[1], drop=0.0)
    assert losses[1]["skill_ner"] > losses[0]["skill_ner"]
    assert torch.equal(encoder.embeddings, before)
    with pytest.raises(KeyboardInterrupt), encoder.attacked():
        raise KeyboardInterrupt
    assert torch.equal(encoder.embeddings, before)


@pytest.mark.parametrize(
    ("step", "frozen", "parts", "passes"),
    [(1.0, [], 1, 2), (1.0, [], 2, 4), (0.0, [], 1, 1), (1.0, ["transformer"], 1, 1)],
)
def test_each_batch_is_learned_again_under_attack(
    trained: Language,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: float,
    frozen: list[str],
    parts: int,
    passes: int,
) -> None:
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    (encoder,) = train.encoder_shims(nlp)
    encoder.adversarial_step = step
    settings = {
        "frozen_components": frozen,
        "annotating_components": frozen,
        "accumulate_gradient": parts,
        "dropout": 0.0,
    }
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.003
    learn = Mock(wraps=nlp.update)
    monkeypatch.setattr(nlp, "update", learn)
    before = encoder.embeddings.detach().clone()
    train.update(nlp, make_examples(nlp, make_posts()), settings | {"optimizer": optimizer}, {})
    assert learn.call_count == passes
    assert torch.equal(encoder.embeddings, before) == bool(frozen)


def test_a_failed_run_keeps_the_old_pipeline(
    corpus: Path, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "meta.json").write_text("old")

    def fail(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "calibrate", fail)
    assert run(corpus, tiny_encoder, model, CONFIG, epochs=1).exit_code != 0
    assert (model / "meta.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [".model-checkpoints"]


def test_bad_input_is_one_clear_line(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(corpus, tmp_path / "none", tmp_path / "model", CONFIG)
    assert result.exit_code == 1 and f"{tmp_path / 'none'}: no such file or folder" in result.output
    result = run(corpus, corpus, tmp_path / "model", CONFIG, precision="int3")
    assert result.exit_code == 1 and "--precision: 'int3' is none" in result.output
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    result = run(corpus, corpus, tmp_path / "model", CONFIG, precision="int8")
    assert result.exit_code == 1 and "int8 needs two more packages" in result.output


def test_a_killed_run_goes_on_and_ends_as_it_would_have(
    corpus: Path, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = tmp_path / "whole" / "model", tmp_path / "killed" / "model"
    assert run(corpus, tiny_encoder, whole, CONFIG, epochs=3).exit_code == 0
    save = train.save

    def save_and_die(*args: Any) -> None:
        save(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save", save_and_die)
        assert run(corpus, tiny_encoder, killed, CONFIG, epochs=3).exit_code != 0
    assert not killed.exists()
    result = run(corpus, tiny_encoder, killed, CONFIG, epochs=3)
    assert result.exit_code == 0 and "going on after step" in result.output
    tables = [[json.loads(line) for line in (path.parent / "log.jsonl").open()] for path in (whole, killed)]
    for whole_row, row in zip(*tables, strict=True):
        assert row["seconds"] >= 0
        # PyTorch's sums may differ in the last digit from process to process.
        assert row | {"seconds": 0} == pytest.approx(whole_row | {"seconds": 0}, rel=1e-5)
    heads: list[Any] = [spacy.load(path).get_pipe("skill_ner") for path in (whole, killed)]
    weights = [head.model.get_ref("output_layer").get_param("W") for head in heads]
    assert weights[0] == pytest.approx(weights[1], rel=1e-3, abs=1e-5)
    assert [path.name for path in killed.parent.iterdir() if path.name.startswith(".")] == []


def test_another_run_does_not_go_on_from_a_killed_one(
    corpus: Path, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(train, "calibrate", lambda *args: 1 / 0)
        assert run(corpus, tiny_encoder, tmp_path / "model", CONFIG, epochs=2).exit_code != 0
    result = run(corpus, tiny_encoder, tmp_path / "model", CONFIG, epochs=1)
    assert result.exit_code == 0 and "going on" not in result.output
