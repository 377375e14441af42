"""Masking hides what it should, and adaptation learns from the right posts and goes on where it was killed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from spacy.tokens import DocBin
from transformers import DistilBertForMaskedLM, DistilBertTokenizerFast
from typer.testing import CliRunner

from scripts import adapt
from scripts.adapt import IGNORE, Collator, Masking, Window, mark_mentions, text_to_learn, windows_of
from scripts.convert import app as convert_app
from scripts.convert import blank_pipeline, to_doc
from tests.conftest import LABELS, make_posts


@pytest.fixture
def corpus(annotations: Path, tmp_path: Path) -> Path:
    arguments = [str(annotations), "--output", str(tmp_path / "corpus"), "--labels", ",".join(LABELS)]
    assert CliRunner().invoke(convert_app, arguments).exit_code == 0
    return tmp_path / "corpus"


@pytest.fixture
def tokenizer(tiny_encoder: Path) -> Any:
    return DistilBertTokenizerFast.from_pretrained(tiny_encoder)


def run(base: Path, corpus: Path, output: Path, *options: str) -> Any:
    arguments = [str(base), str(output), "--train", str(corpus / "train.spacy")]
    arguments += ["--exclude", str(corpus / "dev.spacy"), "--exclude", str(corpus / "test.spacy")]
    arguments += ["--posts", str(corpus / "posts"), "--metrics", str(output.parent / "adapt.json"), "--batch-size", "2"]
    return CliRunner().invoke(adapt.app, [*arguments, *options])


def windows(tokenizer: Any) -> list[Window]:
    nlp = blank_pipeline()
    return [window for post in make_posts() for window in windows_of(to_doc(post, nlp)[0], tokenizer, 128)]


def test_windows_know_words_and_mentions(tokenizer: Any) -> None:
    window = windows(tokenizer)[0]
    assert window.ids[0] == tokenizer.cls_token_id and window.ids[-1] == tokenizer.sep_token_id
    assert window.words[0] == window.words[-1] == -1
    skills: dict[int, list[int]] = {}
    for id, mention in zip(window.ids, window.mentions, strict=True):
        skills.setdefault(mention, []).append(id)
    del skills[-1]
    decoded = [tokenizer.decode(ids).replace(" ", "") for ids in skills.values()]
    assert decoded == ["python", "sql", "machinelearning", "curious", "budgeting"]


@pytest.mark.parametrize("masking", list(Masking))
def test_what_is_hidden_is_hidden_as_one(tokenizer: Any, masking: Masking) -> None:
    torch.manual_seed(0)
    collate = Collator(tokenizer, masking, 0.3, 0.5)
    batch = windows(tokenizer)
    halves = 0
    for _ in range(20):
        chosen = collate(batch)["labels"] != IGNORE
        for row, window in enumerate(batch):
            picked = chosen[row, : len(window.ids)]
            assert not picked[torch.tensor(window.words) < 0].any() and not chosen[row, len(window.ids) :].any()
            units = [window.words] + ([window.mentions] if masking is Masking.skill_aware else [])
            for unit in units:
                for number in set(unit) - {-1}:
                    of_unit = picked[torch.tensor(unit) == number]
                    halves += int(of_unit.any() and not of_unit.all())
    assert (halves > 0) == (masking is Masking.random)


def test_skills_are_masked_with_their_own_probability(tokenizer: Any) -> None:
    torch.manual_seed(0)
    collate = Collator(tokenizer, Masking.skill_aware, 0.0, 1.0)
    batch = windows(tokenizer)
    chosen = collate(batch)["labels"] != IGNORE
    for row, window in enumerate(batch):
        assert chosen[row, : len(window.ids)].tolist() == [mention >= 0 for mention in window.mentions]


def test_masked_pieces_become_mask_random_or_stay(tokenizer: Any) -> None:
    torch.manual_seed(0)
    batch = windows(tokenizer) * 50
    made = Collator(tokenizer, Masking.whole_word, 1.0, 0.0)(batch)
    chosen = made["labels"] != IGNORE
    share = (made["input_ids"][chosen] == tokenizer.mask_token_id).float().mean()
    assert 0.77 < share < 0.83
    kept = (made["input_ids"][chosen] == made["labels"][chosen]).float().mean()
    assert 0.08 < kept < 0.13
    assert (made["attention_mask"].sum(dim=1) == torch.tensor([len(w.ids) for w in batch])).all()


def test_phrases_known_as_skills_are_marked_in_raw_posts() -> None:
    nlp = blank_pipeline()
    annotated = [to_doc(post, nlp)[0] for post in make_posts()]
    raw = [nlp.make_doc("MACHINE LEARNING and python, not machines")]
    mark_mentions(raw, annotated, nlp)
    assert [ent.text for ent in raw[0].ents] == ["MACHINE LEARNING", "python"]


def test_nothing_of_dev_and_test_is_learned(corpus: Path, write_rows: Callable[..., Path]) -> None:
    vocab = blank_pipeline().vocab
    excluded = [corpus / "dev.spacy", corpus / "test.spacy"]
    hidden = [doc.text for path in excluded for doc in DocBin().from_disk(path).get_docs(vocab)]
    fresh = " ".join(f"unseen{i}" for i in range(40))
    write_rows({"text": hidden[0] + " Apply!"}, {"text": fresh}, name="corpus/posts/raw.jsonl")
    learned, held_out = text_to_learn(corpus / "train.spacy", excluded, corpus / "posts", seed=42)
    texts = [doc.text for doc in learned]
    assert fresh in texts and hidden[0] + " Apply!" not in texts
    assert not set(texts) & {*hidden, *(doc.text for doc in held_out)} and held_out


def test_adaptation_lowers_perplexity_and_reports_it(tiny_encoder: Path, corpus: Path, tmp_path: Path) -> None:
    result = run(tiny_encoder, corpus, tmp_path / "encoder", "--epochs", "8", "--learn-rate", "0.005")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "adapt.json").read_text())
    assert report["after"]["overall"] < report["before"]["overall"] / 2
    assert report["after"]["skills"] < report["before"]["skills"]
    DistilBertForMaskedLM.from_pretrained(tmp_path / "encoder")
    assert not (tmp_path / ".encoder-checkpoints").exists()


def test_no_epochs_leave_the_encoder_as_it_is(tiny_encoder: Path, corpus: Path, tmp_path: Path) -> None:
    assert run(tiny_encoder, corpus, tmp_path / "encoder", "--epochs", "0").exit_code == 0
    one, other = (
        DistilBertForMaskedLM.from_pretrained(path).state_dict() for path in (tiny_encoder, tmp_path / "encoder")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_head_learns_first(
    tiny_encoder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt, "HEAD_FIRST", 1.0)
    assert run(tiny_encoder, corpus, tmp_path / "encoder", "--epochs", "1").exit_code == 0
    one, other = (
        DistilBertForMaskedLM.from_pretrained(path).state_dict() for path in (tiny_encoder, tmp_path / "encoder")
    )
    changed = {key for key in one if not torch.equal(one[key], other[key])}
    assert changed and all(key.startswith(adapt.HEAD) for key in changed)


def test_a_killed_run_goes_on_from_its_checkpoint(
    tiny_encoder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--epochs", "3", "--learn-rate", "0.005")
    assert run(tiny_encoder, corpus, tmp_path / "whole" / "encoder", *options).exit_code == 0
    steps = 0
    training_step = adapt.MaskedTrainer.training_step

    def killed(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 30:
            raise KeyboardInterrupt
        return training_step(self, *args, **kwargs)

    monkeypatch.setattr(adapt.MaskedTrainer, "training_step", killed)
    output = tmp_path / "part" / "encoder"
    assert run(tiny_encoder, corpus, output, *options).exit_code != 0
    assert not output.exists() and (output.parent / ".encoder-checkpoints").exists()
    total, steps = steps, -10_000
    result = run(tiny_encoder, corpus, output, *options)
    assert result.exit_code == 0 and "going on from" in result.output
    whole, part = (
        DistilBertForMaskedLM.from_pretrained(tmp_path / name / "encoder").state_dict() for name in ("whole", "part")
    )
    for key in whole:
        torch.testing.assert_close(whole[key], part[key], atol=1e-4, rtol=1e-3)
    assert total == 30 and steps + 10_000 < 60


def test_a_checkpoint_of_other_text_is_not_continued(tiny_encoder: Path, corpus: Path, tmp_path: Path) -> None:
    stale = tmp_path / ".encoder-checkpoints" / "checkpoint-1"
    stale.mkdir(parents=True)
    (stale.parent / "identity").write_text("of another run")
    result = run(tiny_encoder, corpus, tmp_path / "encoder", "--epochs", "1")
    assert result.exit_code == 0 and "going on from" not in result.output


def test_missing_input_is_one_clear_line(tiny_encoder: Path, tmp_path: Path) -> None:
    result = run(tiny_encoder, tmp_path / "none", tmp_path / "encoder")
    assert result.exit_code == 1 and "no such file or folder" in result.output
