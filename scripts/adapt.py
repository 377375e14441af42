"""Adapt the encoder to job posts by masked language modelling with skill-aware whole-word masking."""

import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy
import torch
import typer
from spacy.language import Language
from spacy.matcher import PhraseMatcher
from spacy.tokens import Doc, DocBin, Span
from spacy.util import filter_spans
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import (
    DistilBertForMaskedLM,
    DistilBertTokenizerFast,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging
from wasabi import msg

from scripts.cli import bad_input, discard_others, new_app, replacing, reports_bad_input, require_built, sha256
from scripts.convert import blank_pipeline, place
from scripts.near_duplicates import unlike
from scripts.posts import read_posts
from scripts.skill_ner import Pieces, cut_priority, fastest_precision, padded, window_edges

WINDOW = 128
HELD_OUT = 0.1
HEAD = ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias")
HEAD_LEARN_RATE = 1e-3
# Share of the steps that train the head alone.
HEAD_FIRST = 0.5
IGNORE = -100

app = new_app("Adapt the encoder to job posts.")


class Masking(StrEnum):
    """What is hidden from the model as one: a wordpiece, a word, or a word or whole skill mention."""

    random = "random"
    whole_word = "whole-word"
    skill_aware = "skill-aware"


@app.command()
@reports_bad_input
def main(
    base: Annotated[Path, typer.Argument(help="folder of the pretrained encoder")],
    output: Annotated[Path, typer.Argument(help="folder of the adapted encoder")],
    train: Annotated[Path, typer.Option(help="DocBin of annotated posts")],
    exclude: Annotated[list[Path], typer.Option(help="DocBin whose near-duplicates are left out (dev, test)")],
    posts: Annotated[Path, typer.Option(help="folder of posts that are not annotated, JSONL")],
    metrics: Annotated[Path, typer.Option(help="JSON file for perplexity before and after")],
    masking: Masking = Masking.skill_aware,
    word_probability: Annotated[float, typer.Option(min=0, max=1, help="share of words that are masked")] = 0.15,
    skill_probability: Annotated[float, typer.Option(min=0, max=1, help="share of skill mentions")] = 0.25,
    epochs: Annotated[float, typer.Option(min=0, help="passes over the text; 0 leaves the encoder as it is")] = 3,
    learn_rate: float = 1e-4,
    batch_size: Annotated[int, typer.Option(min=1, help="windows in a batch")] = 16,
    seed: int = 42,
    gpu_id: Annotated[int, typer.Option(help="-1 for the CPU")] = -1,
) -> None:
    """Train BASE on the posts and write it to OUTPUT. A run that was killed goes on from its last checkpoint."""
    require_built(base, train, *exclude)
    if gpu_id >= 0:
        # Trainer takes all GPUs it sees.
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu_id)
    logging.set_verbosity_error()
    started = time.monotonic()
    set_seed(seed)
    # In windows this short, attention by plain matrix products trains faster on a CPU than PyTorch's fused one.
    model = DistilBertForMaskedLM.from_pretrained(base, attention_dropout=0.0, attn_implementation="eager")
    tokenizer = DistilBertTokenizerFast.from_pretrained(base)
    learned, held_out = text_to_learn(train, exclude, posts, seed)
    collate = Collator(tokenizer, masking, word_probability, skill_probability)
    size = min(WINDOW, model.config.max_position_embeddings)
    windows = [window for doc in learned for window in windows_of(doc, tokenizer, size)]
    unseen = [window for doc in held_out for window in windows_of(doc, tokenizer, size)]
    device = torch.device("cpu" if gpu_id < 0 else "cuda")
    before = perplexity(model.to(device), tokenizer, unseen, seed)
    checkpoints = output.parent / f".{output.name}-checkpoints"
    settings = {
        "masking": masking.value,
        "word_probability": word_probability,
        "skill_probability": skill_probability,
        "epochs": epochs,
        "learn_rate": learn_rate,
        "batch_size": batch_size,
        "seed": seed,
    }
    if epochs:
        fit(model, windows, collate, checkpoints, settings, sha256(base / "model.safetensors"), gpu_id)
    after = perplexity(model, tokenizer, unseen, seed)
    with replacing(output) as beside:
        model.save_pretrained(beside, safe_serialization=True)
        tokenizer.save_pretrained(beside)
    shutil.rmtree(checkpoints, ignore_errors=True)
    report = {
        "before": before,
        "after": after,
        "posts": len(learned),
        "wordpieces": sum(len(window.ids) for window in windows),
        "held_out_posts": len(held_out),
        "settings": settings,
        "seconds": round(time.monotonic() - started, 1),
    }
    with replacing(metrics) as beside:
        beside.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    rows = [(name, *("-" if x[name] is None else f"{x[name]:.1f}" for x in (before, after))) for name in before]
    msg.table(rows, header=("perplexity", "before", "after"), divider=True, aligns=("l", "r", "r"))


def text_to_learn(train: Path, exclude: Sequence[Path], posts: Path, seed: int) -> tuple[list[Doc], list[Doc]]:
    """The docs to learn from and those to measure on, skill mentions marked as entities.

    Learned: the train split and the posts that are not annotated, less near-duplicates of the excluded docs.
    Measured: a tenth of the train split, by a hash of the id."""
    nlp = blank_pipeline()
    annotated = list(DocBin().from_disk(train).get_docs(nlp.vocab))
    held = [place(f"adapt:{doc.user_data['id']}", (1 - HELD_OUT, HELD_OUT, 0), seed) == "dev" for doc in annotated]
    if not any(held):
        held[-1] = True
    held_out = [doc for doc, is_held in zip(annotated, held, strict=True) if is_held]
    excluded = [doc for path in exclude for doc in DocBin().from_disk(path).get_docs(nlp.vocab)] + held_out
    raw = [nlp.make_doc(post.text) for post in read_posts([posts], (), annotated=False)] if posts.exists() else []
    mark_mentions(raw, annotated, nlp)
    candidates = [doc for doc, is_held in zip(annotated, held, strict=True) if not is_held] + raw
    fresh = unlike([doc.text for doc in candidates], [doc.text for doc in excluded])
    learned = [doc for doc, is_fresh in zip(candidates, fresh, strict=True) if is_fresh]
    if not learned:
        raise bad_input(train, "no post is left to learn from", "add annotated posts, or posts in corpus/posts")
    return learned, held_out


def mark_mentions(docs: Sequence[Doc], annotated: Iterable[Doc], nlp: Language) -> None:
    """Mark in docs, whatever the case, the phrases that are annotated as skills in others."""
    matcher = PhraseMatcher(nlp.vocab, attr="LOWER")
    matcher.add("skill", [nlp.make_doc(text) for text in sorted({ent.text for doc in annotated for ent in doc.ents})])
    for doc in docs:
        matches: list[Span] = matcher(doc, as_spans=True)
        doc.ents = filter_spans(matches)


class Window(NamedTuple):
    """Wordpieces of a stretch of text, special ones included. ids, words, mentions, each (pieces,): vocabulary id;
    number of the word, -1 for special pieces; number of the skill mention, -1 outside of one."""

    ids: list[int]
    words: list[int]
    mentions: list[int]


def windows_of(doc: Doc, tokenizer: PreTrainedTokenizerFast, size: int) -> list[Window]:
    """Windows of `size` wordpieces at most, cut as the pipeline's encoder cuts them, only that skills are known."""
    if not len(doc):
        return []
    pieces = Pieces()([doc], tokenizer)[0]
    counts = numpy.array([len(ids) for ids in pieces])
    mention = numpy.full(len(doc), -1)
    for number, ent in enumerate(doc.ents):
        mention[ent.start : ent.end] = number
    ids = [id for token_ids in pieces for id in token_ids]
    words = numpy.repeat(numpy.arange(len(doc)), counts).tolist()
    mentions = numpy.repeat(mention, counts).tolist()
    return [
        Window(
            [tokenizer.cls_token_id, *ids[start:end], tokenizer.sep_token_id],
            [-1, *words[start:end], -1],
            [-1, *mentions[start:end], -1],
        )
        for start, end in window_edges(counts, cut_priority(doc), size - 2)
        if start < end
    ]


class Collator:
    """Pad windows to a batch and mask it. Of what is chosen 80 % becomes [MASK], 10 % a random piece, and 10 % stays
    (Devlin et al. 2019); a word, or a whole skill mention, is chosen as one (cf. whole-word masking there).

    Random numbers come from torch's global generator, whose state Trainer saves, or from one that is given."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        masking: Masking,
        word_probability: float,
        skill_probability: float,
        generator: torch.Generator | None = None,
    ):
        self.tokenizer = tokenizer
        self.masking = masking
        self.word_probability = word_probability
        self.skill_probability = skill_probability
        self.generator = generator

    def __call__(self, windows: Sequence[Window]) -> dict[str, torch.Tensor]:
        """input_ids, attention_mask, labels: (windows, longest); labels are -100 where nothing is to be guessed."""
        longest = padded(max(len(window.ids) for window in windows))
        input_ids = torch.full((len(windows), longest), self.tokenizer.pad_token_id)
        attention_mask = torch.zeros(input_ids.shape, dtype=torch.long)
        chosen = torch.zeros(input_ids.shape, dtype=torch.bool)
        for row, window in enumerate(windows):
            size = len(window.ids)
            input_ids[row, :size] = torch.tensor(window.ids)
            attention_mask[row, :size] = 1
            chosen[row, :size] = self.choose(window)
        labels = input_ids.masked_fill(~chosen, IGNORE)
        draw = torch.rand(input_ids.shape, generator=self.generator)
        input_ids[chosen & (draw < 0.8)] = self.tokenizer.mask_token_id
        swap = chosen & (draw >= 0.9)
        input_ids[swap] = torch.randint(len(self.tokenizer), (int(swap.sum()),), generator=self.generator)
        return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}

    def choose(self, window: Window) -> torch.Tensor:
        """Which pieces are to be guessed: (pieces,)."""
        words, mentions = torch.tensor(window.words), torch.tensor(window.mentions)
        probability = torch.full((len(words),), self.word_probability)
        unit = words
        if self.masking is Masking.random:
            unit = torch.arange(len(words))
        elif self.masking is Masking.skill_aware:
            # Mentions are numbered after the words, so that each is a unit of its own.
            unit = torch.where(mentions >= 0, mentions + words.max() + 1, words)
            probability[mentions >= 0] = self.skill_probability
        draw = torch.rand(int(unit.max()) + 1, generator=self.generator)[unit.clamp(min=0)]
        return (draw < probability) & (words >= 0)


class HeadFirst(TrainerCallback):
    """Leaves the encoder as it is while the head learns: what a head that begins at random sends back would only spoil
    what the encoder knows (Kumar et al. 2022)."""

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        kwargs["model"].distilbert.requires_grad_(state.global_step >= HEAD_FIRST * state.max_steps)


class MaskedTrainer(Trainer):
    """Trainer that computes the vocabulary's logits for masked pieces alone: half the work of a step."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        logits, labels = masked_logits(model, inputs)
        return cross_entropy(logits, labels)

    def create_optimizer(self) -> torch.optim.Optimizer:
        """AdamW with a higher learning rate for the masked-LM head, which a base may lack and then begins at random."""
        head: list[Any] = []
        encoder: list[Any] = []
        for name, parameter in self.model.named_parameters():
            (head if name.startswith(HEAD) else encoder).append(parameter)
        groups = [
            {"params": encoder, "lr": self.args.learning_rate},
            {"params": head, "lr": max(self.args.learning_rate, HEAD_LEARN_RATE)},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=self.args.weight_decay, fused=True)
        return self.optimizer


def masked_logits(model: DistilBertForMaskedLM, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (masked pieces, vocabulary) of the masked-LM head, and what they should say (masked pieces,)."""
    where = batch["labels"] != IGNORE
    hidden = model.distilbert(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    hidden = model.vocab_layer_norm(model.activation(model.vocab_transform(hidden[where])))
    return model.vocab_projector(hidden), batch["labels"][where]


def fit(
    model: DistilBertForMaskedLM,
    windows: list[Window],
    collate: Collator,
    checkpoints: Path,
    settings: dict[str, Any],
    weights: str,
    gpu_id: int,
) -> None:
    """Train in place. Checkpoints of a run over other text, weights or settings are discarded, not continued."""
    discard_others(checkpoints, json.dumps([weights, settings, windows]))
    for checkpoint in checkpoints.glob("checkpoint-*"):
        # Trainer writes its state last: without it the run was killed while it saved.
        if not (checkpoint / "trainer_state.json").exists():
            shutil.rmtree(checkpoint)
    last = get_last_checkpoint(str(checkpoints))
    if last:
        msg.info(f"going on from {last}")
    steps = math.ceil(len(windows) / settings["batch_size"])
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learn_rate"],
        per_device_train_batch_size=settings["batch_size"],
        weight_decay=0.01,
        warmup_ratio=0.1,
        lr_scheduler_type="linear",
        save_strategy="steps",
        save_steps=max(1, min(steps, 100)),
        save_total_limit=1,
        logging_strategy="epoch",
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=False,
        seed=settings["seed"],
        use_cpu=gpu_id < 0,
        bf16=gpu_id < 0 and fastest_precision("cpu") == "bfloat16",
        dataloader_pin_memory=gpu_id >= 0,
    )
    # Trainer calls PyTorch by a name that is deprecated: nothing a user can mend.
    warnings.filterwarnings("ignore", message="`torch.cpu.amp.autocast", category=FutureWarning)
    trainer = MaskedTrainer(
        model=model, args=arguments, train_dataset=windows, data_collator=collate, callbacks=[HeadFirst()]
    )
    trainer.train(resume_from_checkpoint=last)


def perplexity(
    model: DistilBertForMaskedLM, tokenizer: PreTrainedTokenizerFast, windows: Sequence[Window], seed: int
) -> dict[str, float | None]:
    """exp(mean negative log-likelihood) of masked pieces, overall and of skill mentions (None if none is masked), under
    skill-aware masking with masks that are the same for every model and setting."""
    collate = Collator(tokenizer, Masking.skill_aware, 0.15, 0.25, torch.Generator().manual_seed(seed))
    losses, is_skill = [], []
    model.eval()
    with torch.inference_mode():
        for start in tqdm(range(0, len(windows), 16), desc="perplexity", leave=False, delay=2):
            chunk = windows[start : start + 16]
            batch = collate(chunk)
            mentions = torch.full(batch["labels"].shape, -1)
            for row, window in enumerate(chunk):
                mentions[row, : len(window.ids)] = torch.tensor(window.mentions)
            is_skill.append(mentions[batch["labels"] != IGNORE] >= 0)
            logits, labels = masked_logits(model, {key: value.to(model.device) for key, value in batch.items()})
            losses.append(cross_entropy(logits, labels, reduction="none").cpu())
    model.train()
    loss, skill = torch.cat(losses), torch.cat(is_skill)
    return {"overall": math.exp(loss.mean()), "skills": math.exp(loss[skill].mean()) if skill.any() else None}


if __name__ == "__main__":
    app()
