"""What tests share: a tiny encoder in hub layout, a few posts, a pipeline that has learned them by heart."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import spacy
import srsly
import torch
from hypothesis import strategies as st
from spacy.language import Language
from spacy.training import Example
from transformers import DistilBertConfig, DistilBertForMaskedLM, DistilBertTokenizerFast
from typer.testing import CliRunner

from scripts.convert import app as convert_app
from scripts.convert import to_doc
from scripts.evaluate import Judged, Key, evaluate
from scripts.markup import parse_text
from scripts.posts import Post, to_row

# No test may reach for a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).parent.parent
LABELS = ["TECHNOLOGY", "TECHNICAL", "BUS", "SOFT"]
# What a file or a request may hold, halves of surrogate pairs too.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)

MARKED = [
    "We need {{Python|T}}, {{SQL|T}} and {{machine learning|M}}.\nYou are {{curious|S}} and know {{budgeting|B}}.",
    "Requirements:\n{{data modelling|M}} in {{Snowflake|T}}\n{{stakeholder management|B}}\n{{team player|S}}",
    "Our platform is great.\nApply with {{communication|S}} skills and {{A/B testing|M}}; {{Tableau|T}}|{{SQL|T}}.",
    "The bank offers lunch.\nBuild {{dashboards|M}} with {{Power BI|T}}, {{pricing|B}}, {{attention to detail|S}}.",
]


def make_posts(marked: list[str] = MARKED) -> list[Post]:
    posts = []
    for number, text in enumerate(marked):
        plain, spans = parse_text(text)
        posts.append(Post(id=f"post-{number}", text=plain, spans=spans, source=f"posts.jsonl:{number + 1}"))
    return posts


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Write rows (objects, or lines as they are) to a JSONL file."""

    def write(*rows: Any, name: str = "posts.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def write_annotations(folder: Path) -> Path:
    """Write the sample posts to a folder, several times over with other text around, so that no split stays empty."""
    rows = []
    for copy in range(6):
        for post in make_posts():
            # Words of its own make it a post of its own, not a near-duplicate.
            tail = " ".join(f"{post.id} says {copy} {i}" for i in range(20))
            rows.append(to_row(post) | {"id": f"{post.id}-{copy}", "text": f"{post.text}\n{tail}"})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sample.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    return write_annotations(tmp_path / "annotations")


@pytest.fixture
def corpus(annotations: Path, tmp_path: Path) -> Path:
    """The sample posts as train.spacy, dev.spacy and test.spacy."""
    arguments = [str(annotations), "--output", str(tmp_path / "corpus"), "--labels", ",".join(LABELS)]
    assert CliRunner().invoke(convert_app, arguments).exit_code == 0
    return tmp_path / "corpus"


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DistilBERT of two layers with random weights and a vocabulary of single characters and some words."""
    folder = tmp_path_factory.mktemp("encoder")
    characters = [chr(i) for i in range(33, 127) if not chr(i).isupper()]
    words = sorted({word for text in MARKED for word in parse_text(text)[0].lower().split() if word.isalpha()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters), *words]
    vocabulary = list(dict.fromkeys(vocabulary))
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = DistilBertTokenizerFast(vocab_file=str(folder / "vocab.txt"))
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=len(vocabulary), dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=128
    )
    DistilBertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_pipeline(encoder: Path, window: int = 64) -> Language:
    """A pipeline as configs/skill_ner.cfg has it, not initialized."""
    config = spacy.util.load_config(
        ROOT / "configs" / "skill_ner.cfg",
        overrides={
            "paths.encoder": str(encoder),
            "components.transformer.model.window": window,
            # What is compared to the last digit must not depend on the machine.
            "components.transformer.model.precision": "float32",
        },
    )
    return spacy.util.load_model_from_config(config, auto_fill=True)


def make_examples(nlp: Language, posts: list[Post]) -> list[Example]:
    return [Example(nlp.make_doc(post.text), to_doc(post, nlp)[0]) for post in posts]


def train(nlp: Language, examples: list[Example], steps: int = 60) -> list[float]:
    """Initialize the pipeline and learn the examples by heart. Returns the losses."""
    spacy.util.fix_random_seed(0)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.003
    losses = []
    for _ in range(steps):
        loss: dict[str, float] = {}
        nlp.update(examples, sgd=optimizer, losses=loss, drop=0.0)
        losses.append(loss["skill_ner"])
    return losses


@pytest.fixture(scope="session")
def trained(tiny_encoder: Path) -> Language:
    """A pipeline that knows the sample posts by heart. Tests must not change it."""
    nlp = make_pipeline(tiny_encoder)
    losses = train(nlp, make_examples(nlp, make_posts()))
    assert losses[-1] < losses[0] / 10
    return nlp


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    """A folder with what the steps before the report and the model card measured."""
    post = make_posts()[0]
    gold = [Key(span.start, span.end, span.label) for span in post.spans]
    judged = Judged(post.text, frozenset(gold), dict.fromkeys(gold[1:], 0.9))
    metrics = {"data": "test.spacy", **evaluate([judged], set(), 100, 0), "loss": 0.1, "token_accuracy": 0.9}
    epochs = [
        {"epoch": n, "step": 9 * n, "training loss": 1 / n, "validation loss": 1 / n, "P": 0.5, "R": 0.5, "F1": f1}
        | {"token accuracy": 0.9, "seconds": n}
        for n, f1 in ((1, 0.5), (2, 0.75), (3, 0.625))
    ]
    settings = {"masking": "skill-aware", "word_probability": 0.15, "skill_probability": 0.25}
    settings |= {"epochs": 1.0, "learn_rate": 0.0001, "batch_size": 16, "seed": 42}
    perplexity = {"overall": 1234.0, "skills": 2345.0}
    adapt = {"before": perplexity, "after": perplexity, "posts": 10, "wordpieces": 1000, "settings": settings}
    folder = tmp_path / "training"
    folder.mkdir()
    srsly.write_json(folder / "metrics.json", metrics)
    srsly.write_json(folder / "adapt.json", adapt)
    srsly.write_jsonl(folder / "log.jsonl", epochs)
    return folder


@contextmanager
def headless_chromium() -> Iterator[Any]:
    """A driver of headless Chromium. Where there is none, the test is skipped."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromedriver = shutil.which("chromedriver")
    if chromedriver is None:
        pytest.skip("no chromedriver")
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--window-size=1400,900",
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], health: str, log: Path, seconds: float = 90) -> Iterator[int]:
    """A server for as long as the block takes. Yields its process id once it answers at the address `health`."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
    try:
        end = time.monotonic() + seconds
        while not answers(health):
            assert process.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=1).ok
    except requests.ConnectionError:
        return False
