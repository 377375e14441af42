"""The parts of the pipeline that travel inside the package: tokenizer rules, encoder, head, component, scorer.

It imports nothing from its siblings: `spacy package` copies it alone.
"""

import copy
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain as flatten
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy
import spacy
import torch
from numpy.typing import NDArray
from spacy.attrs import IS_SPACE, ORTH
from spacy.lang.en import English
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.scorer import PRFScore
from spacy.tokenizer import Tokenizer
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex
from spacy.vocab import Vocab
from spacy_transformers import install_extensions
from spacy_transformers.data_classes import FullTransformerBatch, HFObjects, TransformerData, WordpieceBatch
from spacy_transformers.layers.hf_shim import HFShim
from spacy_transformers.layers.transformer_model import huggingface_from_pretrained, set_pytorch_transformer
from thinc.api import (
    Linear,
    Model,
    Optimizer,
    chain,
    get_torch_default_device,
    glorot_uniform_init,
    torch2xp,
    with_array,
    xp2torch,
)
from thinc.layers.pytorchwrapper import forward as pytorch_forward
from thinc.layers.resizable import resize_linear_weighted
from thinc.types import ArgsKwargs, Floats2d, Ragged
from transformers import DistilBertConfig, DistilBertModel, DistilBertTokenizerFast
from transformers.file_utils import ModelOutput
from transformers.modeling_utils import no_init_weights

Ints1d = NDArray[numpy.int64]
Floats1d = NDArray[numpy.float32]
LogProbs = NDArray[numpy.float32]

# `nlp.pipe(n_process=2)` forks: in a child PyTorch's thread pool is gone, and waiting for it would hang. The processes
# are the parallelism then, a thread each.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

# Every character that spaCy, Python or a browser may treat as the end of a line.
LINE_BREAKS = frozenset("\n\r\v\f\u0085\u2028\u2029")


# Tokenizer

# In job posts skills are glued to each other and to bullets: "SQL;Python", "AWS(EC2,S3)", "•Python", "skillsSQL".
GLUE = r"[;|\\&(){}\[\]•·/,:*=<>\"“”‘’…–—-]"
INFIXES = [
    GLUE,
    r"(?<=[a-z])(?=[A-Z])",
    r"(?<=[A-Z]{2})(?=[A-Z][a-z]{2})",
    r"(?:(?<=[^\W\d_])|(?<=\)))\.+(?=[^\W\d_])",
    r"[!?]+",
    r"(?<=[0-9])[.)](?=[^\W\d_])",
    r"\+(?=[^\W\d_])",
]
PREFIXES = [GLUE, r"\+(?=[^\W\d_])", r"[0-9]+[.)](?=[^\W\d_])"]
SUFFIXES = [GLUE, r"(?<=[A-Z])\."]


@spacy.registry.tokenizers("skill_ner.Tokenizer.v1")
def create_tokenizer() -> Callable[[Language], Tokenizer]:
    """spaCy's English tokenizer with the extra boundaries that job posts need."""

    def build(nlp: Language) -> Tokenizer:
        defaults = English.Defaults
        # "and/or" is no word: what stands around the slash may be a skill.
        exceptions = {k: v for k, v in (defaults.tokenizer_exceptions or {}).items() if k != "and/or"}
        return Tokenizer(
            nlp.vocab,
            rules=exceptions,
            prefix_search=compile_prefix_regex([*(defaults.prefixes or ()), *PREFIXES]).search,
            suffix_search=compile_suffix_regex([*(defaults.suffixes or ()), *SUFFIXES]).search,
            infix_finditer=compile_infix_regex([*(defaults.infixes or ()), *INFIXES]).finditer,
            token_match=defaults.token_match,
            # "ego.communicate" is two sentences whose blank was lost, not an address.
            url_match=None,
            # Words of posts come again: the default of 10,000 is full after some hundred posts.
            max_cache_size=100_000,
        )

    return build


# Encoder: docs -> windows -> wordpieces -> vectors


class Pieces:
    """The wordpiece ids of tokens, each token by itself: what a piece belongs to is then known without alignment,
    and a token that was seen before costs a look-up."""

    LIMIT = 200_000

    def __init__(self) -> None:
        self.cache: dict[int, list[int]] = {}

    def __call__(self, docs: Sequence[Doc], tokenizer: Any) -> list[list[list[int]]]:
        """Ids by doc and token."""
        if len(self.cache) > self.LIMIT:
            self.cache.clear()
        keys = [doc.to_array(ORTH).tolist() for doc in docs]
        new = sorted(set(flatten(*keys)).difference(self.cache))
        if new:
            texts = [docs[0].vocab.strings[key] for key in new]
            ids = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
            self.cache.update(zip(new, ids, strict=True))
        return [[self.cache[key] for key in doc_keys] for doc_keys in keys]


@spacy.registry.architectures("skill_ner.Encoder.v1")
def create_encoder(
    name: str,
    window: int = 256,
    batch_pieces: int = 4096,
    tokenizer_config: dict[str, Any] = {},  # noqa: B006 (spaCy fills configs from defaults, never mutates them)
    transformer_config: dict[str, Any] = {},  # noqa: B006
    mixed_precision: bool = False,
    precision: str = "auto",
    adversarial_step: float = 0.0,
) -> Model[list[Doc], FullTransformerBatch]:
    """A Hugging Face encoder for the `transformer` component: docs -> a vector for each wordpiece.

    Unlike a span getter, which sees no wordpieces, it cuts docs into windows that always fit the encoder, end at line
    breaks where they can, do not overlap and leave no word out. Windows of all docs are batched together by length.

    name (str): Folder or hub name of the encoder.
    window (int): Wordpieces in a window at most, the two special ones included.
    batch_pieces (int): Wordpieces, padding included, that go through the encoder at once.
    tokenizer_config (dict): Settings for the Hugging Face tokenizer.
    transformer_config (dict): Settings for the Hugging Face model.
    mixed_precision (bool): Train in bfloat16 on a GPU, and on a CPU with instructions for it.
    precision (str): Of predictions: float32, bfloat16, int8 (on a CPU, by the packages onnx and onnxruntime), or auto:
        bfloat16 where the device has instructions for it, else float32. The weights themselves stay float32.
    adversarial_step (float): How far `scripts/train.py` moves the word embeddings against the model, to learn each
        batch once more (see `EncoderShim.attacked`). 0 for not at all.
    """
    if window < 8:
        raise ValueError(f"window ({window}) must be at least 8 wordpieces")
    if precision not in PRECISIONS:
        raise ValueError(f"precision ({precision!r}) must be one of {', '.join(PRECISIONS)}")
    if adversarial_step < 0:
        raise ValueError(f"adversarial_step ({adversarial_step}) must not be negative")
    shim = EncoderShim(
        HFObjects(None, None, None, dict(tokenizer_config), dict(transformer_config)),
        mixed_precision=mixed_precision,
        precision=precision,
        adversarial_step=adversarial_step,
    )
    wrapper: Model = Model(
        "skill_ner.torch",
        pytorch_forward,
        attrs={"convert_inputs": to_torch, "convert_outputs": from_torch},
        shims=[shim],
        dims={"nI": None, "nO": None},
    )
    return Model(
        "skill_ner.encoder",
        encode,
        init=init_encoder,
        layers=[wrapper],
        dims={"nO": None},
        attrs={
            "name": name,
            "window": window,
            "batch_pieces": batch_pieces,
            "pieces": Pieces(),
            "set_transformer": set_pytorch_transformer,
            "has_transformer": False,
        },
    )


class DistilBert(DistilBertModel):
    """DistilBertModel with the constructor that spacy-transformers calls on AutoModel."""

    @classmethod
    def from_config(cls, config: DistilBertConfig) -> "DistilBert":
        return cls(config)


# Not the Auto classes: to find a class they import the configurations of all architectures, a third of the load time.
DISTILBERT = {
    "config_cls": DistilBertConfig,
    "model_cls": DistilBert,
    "tokenizer_cls": DistilBertTokenizerFast,
}


class EncoderShim(HFShim):
    """What holds the PyTorch model, as in spacy-transformers, but quick: it trains in bfloat16 where the device has
    instructions for it, with PyTorch's fused AdamW by the settings and schedule of the optimizer it is given, and
    predicts with a copy in the precision that was asked for."""

    def __init__(self, model: HFObjects, mixed_precision: bool, precision: str, adversarial_step: float):
        # Not the base's own mixed precision: float16 needs a gradient scaler, whose `unscale` after each backward pass
        # would shrink the gradients of an update's earlier batches again and again.
        super().__init__(model, mixed_precision=False, **DISTILBERT)
        self.device_type = get_torch_default_device().type
        self.precision = fastest_precision(self.device_type) if precision == "auto" else precision
        self.use_bfloat16 = mixed_precision and fastest_precision(self.device_type) == "bfloat16"
        self.adversarial_step = adversarial_step
        self.adam: torch.optim.Optimizer | None = None
        self.fast: Callable[..., Any] | None = None

    def predict(self, inputs: ArgsKwargs) -> Any:
        if self.fast is None:
            self.fast = in_precision(self._model, self.precision)
        with torch.inference_mode():
            return self.fast(*inputs.args, **inputs.kwargs)

    def begin_update(self, inputs: ArgsKwargs) -> Any:
        self.fast = None
        with torch.autocast(self.device_type, torch.bfloat16, enabled=self.use_bfloat16):
            return super().begin_update(inputs)

    def finish_update(self, optimizer: Optimizer) -> None:
        """AdamW (Loshchilov and Hutter 2019), the gradient clipped by its norm over all weights."""
        parameters = [parameter for parameter in self._model.parameters() if parameter.grad is not None]
        if not parameters:
            return
        if self.adam is None:
            self.adam = self.new_optimizer()
        self.adam.param_groups[0].update(
            lr=optimizer.learn_rate, betas=(optimizer.b1, optimizer.b2), eps=optimizer.eps, weight_decay=optimizer.L2
        )
        if optimizer.grad_clip:
            torch.nn.utils.clip_grad_norm_(parameters, optimizer.grad_clip)
        self.adam.step()
        self.fast = None
        self.adam.zero_grad(set_to_none=True)

    @contextmanager
    def attacked(self) -> Iterator[None]:
        """The word embeddings moved by `adversarial_step`, over all of them together, to where the loss rises most by
        the gradients that are there already, and in the end back to where they were.

        What a batch teaches must then hold for words a little different, too: adversarial training (Miyato, Dai and
        Goodfellow 2017), the step taken in the table of embeddings instead of each sequence."""
        before, gradient = self.embeddings.detach().clone(), self.embeddings.grad
        if gradient is None:
            raise ValueError("no gradient to attack by: update the pipeline with sgd=False first")
        with torch.no_grad():
            self.embeddings.add_(gradient, alpha=self.adversarial_step / max(float(gradient.norm()), 1e-12))
        self.fast = None
        try:
            yield
        finally:
            with torch.no_grad():
                self.embeddings.copy_(before)
            self.fast = None

    @property
    def embeddings(self) -> torch.nn.Parameter:
        """Of the wordpieces: (wordpieces, width)."""
        weight: torch.nn.Parameter = self._model.get_input_embeddings().weight
        return weight

    def new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self._model.parameters(), fused=True)

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Go on with an optimizer by its `state_dict`, after the weights that belong to it were loaded."""
        self.adam = self.new_optimizer()
        self.adam.load_state_dict(state)

    def from_bytes(self, bytes_data: bytes) -> "EncoderShim":
        # The weights are read in a moment: random ones first would take as long again.
        with no_init_weights():
            super().from_bytes(bytes_data)
        self.adam = self.fast = None
        return self


PRECISIONS = ("float32", "bfloat16", "int8", "auto")


def fastest_precision(device_type: str) -> str:
    """What the device is fast in without a loss that shows in the scores."""
    if device_type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported()
    else:
        # Older releases of PyTorch cannot tell: they stay with float32.
        has_bfloat16 = hasattr(torch.cpu, "get_capabilities") and torch.cpu.get_capabilities().get("avx512_bf16")
    return "bfloat16" if has_bfloat16 else "float32"


def in_precision(model: torch.nn.Module, precision: str) -> Callable[..., Any]:
    """What to predict with: in float32 the model itself, else a copy."""
    model = model.eval()
    if precision == "bfloat16":
        return copy.deepcopy(model).to(torch.bfloat16)
    if precision == "int8":
        return Int8Encoder(model)
    return model


class Int8Encoder:
    """The encoder in ONNX Runtime by dynamic quantization: weights in int8 with a scale for each output channel,
    activations scaled as they come. For CPUs without bfloat16: there it is faster than float32.

    Raises ImportError without onnx and onnxruntime, ValueError on a GPU."""

    def __init__(self, model: Any):
        try:
            import onnxruntime.quantization as quantization
        except ImportError as error:
            raise ImportError("precision int8 needs two more packages: pip install onnx onnxruntime") from error
        if model.device.type != "cpu":
            raise ValueError("precision int8 is for the CPU: use bfloat16 on a GPU")
        config = copy.deepcopy(model.config)
        # Plain matrix products are what the exporter knows best.
        config._attn_implementation = "eager"
        plain = DistilBert(config).eval()
        plain.load_state_dict(model.state_dict())
        ids = torch.ones(2, 8, dtype=torch.long)
        sizes = {0: "windows", 1: "pieces"}
        names = ["input_ids", "attention_mask"]
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                HiddenStates(plain),
                (ids, ids),
                f"{folder}/float32.onnx",
                input_names=names,
                output_names=["hidden"],
                dynamic_axes=dict.fromkeys([*names, "hidden"], sizes),
                dynamo=False,
            )
            quantization.quantize_dynamic(
                f"{folder}/float32.onnx",
                f"{folder}/int8.onnx",
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
                op_types_to_quantize=["MatMul"],
            )
            self.content = Path(folder, "int8.onnx").read_bytes()
        self.process = -1

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        import onnxruntime

        if self.process != os.getpid():
            # Its threads do not live on in a child of `nlp.pipe(n_process=2)`.
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            self.session = onnxruntime.InferenceSession(self.content, options)
            self.process = os.getpid()
        inputs = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.long().numpy()}
        (hidden,) = self.session.run(None, inputs)
        return ModelOutput(last_hidden_state=torch.from_numpy(hidden))


class HiddenStates(torch.nn.Module):
    """An encoder that takes and gives bare tensors."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


def init_encoder(model: Model, X: Any = None, Y: Any = None) -> None:
    if model.attrs["has_transformer"]:
        return
    hf = model.layers[0].shims[0]._hfmodel
    loaded = huggingface_from_pretrained(
        model.attrs["name"], hf._init_tokenizer_config, hf._init_transformer_config, **DISTILBERT
    )
    model.attrs["set_transformer"](model, loaded)


def encode(
    model: Model[list[Doc], FullTransformerBatch], docs: list[Doc], is_train: bool
) -> tuple[FullTransformerBatch, Callable[[FullTransformerBatch], list[Doc]]]:
    """The forward pass. In the result each doc has a matrix (its wordpieces with those that open and close its
    windows, width) and the alignment of its tokens to rows of it."""
    wrapper = model.layers[0]
    hf = wrapper.shims[0]._hfmodel
    opening, closing = hf.tokenizer.cls_token_id, hf.tokenizer.sep_token_id
    limit = min(model.attrs["window"], hf.transformer.config.max_position_embeddings) - 2
    windows: list[Ints1d] = []
    aligns: list[Ragged] = []
    rows: list[int] = []
    for doc, ids in zip(docs, model.attrs["pieces"](docs, hf.tokenizer), strict=True):
        counts = numpy.fromiter(map(len, ids), dtype="i", count=len(ids))
        flat = numpy.fromiter(flatten(*ids), dtype="int64", count=int(counts.sum()))
        edges = list(window_edges(counts, cut_priority(doc), limit)) if len(doc) else []
        windows.extend(numpy.concatenate(([opening], flat[start:end], [closing])) for start, end in edges)
        # A window's own pieces are shifted by one for its opening piece, and by two for each window before it.
        shift = numpy.repeat(2 * numpy.arange(len(edges)) + 1, [end - start for start, end in edges])
        aligns.append(Ragged(cast(Any, numpy.arange(len(flat), dtype="i") + shift.astype("i")), cast(Any, counts)))
        rows.append(len(flat) + 2 * len(edges))
    # The same boilerplate stands in many posts. In training it is encoded each time, with other dropout.
    twins: dict[Any, list[int]] = {}
    for number, window in enumerate(windows):
        twins.setdefault(number if is_train else window.tobytes(), []).append(number)
    firsts = [same[0] for same in twins.values()]
    batches = batch_windows([len(windows[first]) for first in firsts], model.attrs["batch_pieces"])
    starts = numpy.cumsum([0, *map(len, windows)])
    vectors: Any = model.ops.alloc2f(int(starts[-1]), model.get_dim("nO"))
    backprops = []
    for batch in batches:
        members = [firsts[i] for i in batch]
        # Windows are packed row by row, so where a batch's vectors go is one index array.
        index = numpy.concatenate([numpy.arange(starts[i], starts[i + 1]) for i in members])
        batch_vectors, backprop_batch = wrapper([windows[i] for i in members], is_train)
        vectors[model.ops.asarray(index)] = batch_vectors
        backprops.append((index, backprop_batch))
    for first, *others in twins.values():
        for other in others:
            vectors[starts[other] : starts[other + 1]] = vectors[starts[first] : starts[first + 1]]

    ends = numpy.cumsum(rows)
    doc_data = [
        TransformerData(
            wordpieces=WordpieceBatch.empty(),
            model_output=ModelOutput(last_hidden_state=vectors[end - size : end]),
            align=align,
        )
        if size
        else TransformerData.empty()
        for end, size, align in zip(ends, rows, aligns, strict=True)
    ]
    output = FullTransformerBatch(
        spans=[[] for _ in docs],
        wordpieces=WordpieceBatch.empty(),
        model_output=ModelOutput(),
        align=TransformerData.empty().align,
        cached_doc_data=doc_data,
    )

    def backprop(d_output: FullTransformerBatch) -> list[Doc]:
        (d_vectors,) = d_output.model_output.to_tuple()
        d_vectors = torch2xp(d_vectors)
        for index, backprop_batch in backprops:
            backprop_batch(d_vectors[model.ops.asarray(index)])
        return docs

    return output, backprop


def cut_priority(doc: Doc) -> NDArray[numpy.int8]:
    """How good it is to end a window after each token: 2 at a line break, 1 at the end of a sentence, else 0."""
    # By distinct token: to make a Token object of each costs as much as the tokenizer.
    keys, where = numpy.unique(doc.to_array(ORTH), return_inverse=True)
    texts = [doc.vocab.strings[int(key)] for key in keys]
    return numpy.array([1 if text in ".!?;•" else 2 if ends_line(text) else 0 for text in texts], dtype="int8")[where]


def ends_line(text: str) -> bool:
    return not LINE_BREAKS.isdisjoint(text)


def window_edges(counts: NDArray[Any], priority: NDArray[Any], limit: int) -> Iterator[tuple[int, int]]:
    """Cut the wordpieces of a doc into windows of at most `limit`, in order, leaving none out.

    A window ends at the last line break of its second half, else at the last end of a sentence there, else between
    two tokens; only inside a token if that alone is longer than half a window. A doc of blanks has one empty window.

    counts (tokens,): wordpieces of each token.  priority (tokens,): see `cut_priority`.
    """
    ends = numpy.cumsum(counts)
    total = int(ends[-1])
    start = 0
    while total - start > limit:
        low, high = numpy.searchsorted(ends, [start + limit // 2, start + limit], side="right")
        if low < high:
            best = numpy.flatnonzero(priority[low:high] == priority[low:high].max())[-1]
            end = int(ends[low + best])
        else:
            end = start + limit
        yield start, end
        start = end
    yield start, total


def padded(length: int) -> int:
    """The length of a batch's rows: a multiple of 16, which PyTorch's attention needs for its fast path on a CPU. And
    for each new shape of a batch oneDNN builds and keeps its kernels again: so the shapes are few."""
    return -(-length // 16) * 16


def batch_windows(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Group windows of like length, so that little is padded and no batch has more than `size` padded pieces
    (a window alone may)."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and padded(lengths[batches[-1][0]]) * (len(batches[-1]) + 1) <= size:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def to_torch(model: Model, windows: list[Ints1d], is_train: bool) -> tuple[ArgsKwargs, Callable[[Any], list[Any]]]:
    lengths = numpy.array([len(window) for window in windows])
    mask = numpy.arange(padded(lengths.max())) < lengths[:, None]
    ids = numpy.zeros(mask.shape, dtype="int64")
    ids[mask] = numpy.concatenate(windows)
    device = get_torch_default_device()
    kwargs = {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(mask).to(device),
    }
    return ArgsKwargs(args=(), kwargs=kwargs), lambda d_inputs: []


def from_torch(
    model: Model, inputs_outputs: tuple[list[Ints1d], Any], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], ArgsKwargs]]:
    """Padded (windows, longest, width) -> packed (pieces, width)."""
    windows, output = inputs_outputs
    hidden = output.last_hidden_state
    lengths = torch.tensor([len(window) for window in windows], device=hidden.device)
    packed = hidden[torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]].float()

    def backprop(d_packed: Floats2d) -> ArgsKwargs:
        return ArgsKwargs(args=([packed],), kwargs={"grad_tensors": [xp2torch(d_packed, device=packed.device)]})

    return cast(Floats2d, torch2xp(packed)), backprop


# Head


@spacy.registry.architectures("skill_ner.Head.v1")
def create_head(tok2vec: Model[list[Doc], list[Floats2d]], nO: int | None = None) -> Model[list[Doc], list[Floats2d]]:
    """Docs -> for each doc a matrix (tokens, tags) of unnormalised log-probabilities.

    tok2vec (Model): Docs -> a vector for each token. The head knows nothing of what is behind it.
    nO (int): The number of tags. Set by the component from its labels.
    """
    width = tok2vec.maybe_get_dim("nO")
    output_layer: Model = Linear(nO, width, init_W=glorot_uniform_init)
    model: Model = chain(tok2vec, with_array(output_layer))
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output_layer)
    return model


def resize_output(model: Model, nO: int) -> None:
    """Give the head more tags, keeping what it knows of those it has."""
    layer = model.get_ref("output_layer")
    model.replace_node(layer, resize_linear_weighted(layer, nO))
    # The layers around it remember the old size.
    for node in model.walk():
        if node.has_dim("nO") and node.get_dim("nO") == layer.get_dim("nO"):
            node.set_dim("nO", nO, force=True)


# Tags and decoding


def tags_of(labels: Sequence[str]) -> list[str]:
    """BILUO tags; those of a label added later come last, so that the others keep their place."""
    return ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BILU")]


class Grammar(NamedTuple):
    """Which tags may begin a line, follow each other, and end a line."""

    first: NDArray[numpy.bool_]
    follows: NDArray[numpy.bool_]
    last: NDArray[numpy.bool_]


def grammar_of(tags: Sequence[str]) -> Grammar:
    opens = numpy.array([tag[0] in "OBU" for tag in tags])
    closes = numpy.array([tag[0] in "OLU" for tag in tags])
    # After B or I comes I or L of the same label; after the others anything that opens.
    inside = numpy.array([[a[0] in "BI" and b[0] in "IL" and a[1:] == b[1:] for b in tags] for a in tags])
    return Grammar(opens, inside | (closes[:, None] & opens[None, :]), closes)


class Lines(NamedTuple):
    """The tokens of a batch of docs that can belong to an entity, line by line.

    doc (tokens,): number of the doc.  token (tokens,): index in the doc.  starts (lines + 1,): first token of each
    line, then the number of tokens. Blanks are left out: an entity may contain one, but not begin or end with it.
    """

    doc: Ints1d
    token: Ints1d
    starts: Ints1d


def lines_of(docs: Sequence[Doc]) -> Lines:
    parts = []
    for number, doc in enumerate(docs):
        is_space = doc.to_array(IS_SPACE).astype(bool)
        breaks = numpy.zeros(len(doc), dtype="int64")
        spaces = numpy.flatnonzero(is_space)
        breaks[spaces] = [ends_line(doc[int(i)].text) for i in spaces]
        token = numpy.flatnonzero(~is_space)
        parts.append(numpy.stack([numpy.full(len(token), number), token, numpy.cumsum(breaks)[token]]))
    doc_number, token, line = numpy.concatenate(parts, axis=1) if parts else numpy.zeros((3, 0), dtype="int64")
    is_first = numpy.ones(len(token), dtype=bool)
    is_first[1:] = (doc_number[1:] != doc_number[:-1]) | (line[1:] != line[:-1])
    return Lines(doc_number, token, numpy.append(numpy.flatnonzero(is_first), len(token)))


def best_tags(log_probs: LogProbs, starts: Ints1d, grammar: Grammar) -> Ints1d:
    """The most probable sequence of tags of each line that the grammar allows.

    The constraint only takes sequences away: where the best tag of each token gives a valid sequence, that is the
    answer, and only the other lines need the Viterbi algorithm (Viterbi 1967).

    log_probs (tokens, tags), starts (lines + 1,) -> (tokens,)
    """
    tags = log_probs.argmax(axis=1)
    if not len(tags):
        return tags
    valid = numpy.ones(len(tags), dtype=bool)
    valid[1:] = grammar.follows[tags[:-1], tags[1:]]
    valid[starts[:-1]] = grammar.first[tags[starts[:-1]]]
    valid[starts[1:] - 1] &= grammar.last[tags[starts[1:] - 1]]
    for line in numpy.flatnonzero(~numpy.logical_and.reduceat(valid, starts[:-1])):
        start, end = starts[line], starts[line + 1]
        tags[start:end] = viterbi(log_probs[start:end], grammar)
    return tags


def viterbi(log_probs: LogProbs, grammar: Grammar) -> Ints1d:
    """The most probable valid sequence of tags of one line. (tokens, tags) -> (tokens,)"""
    step = numpy.where(grammar.follows, 0.0, -numpy.inf)
    score = numpy.where(grammar.first, log_probs[0], -numpy.inf)
    back = numpy.zeros(log_probs.shape, dtype="int64")
    for i in range(1, len(log_probs)):
        paths = score[:, None] + step
        back[i] = paths.argmax(axis=0)
        score = paths.max(axis=0) + log_probs[i]
    tags = numpy.zeros(len(log_probs), dtype="int64")
    tags[-1] = numpy.where(grammar.last, score, -numpy.inf).argmax()
    for i in range(len(log_probs) - 1, 0, -1):
        tags[i - 1] = back[i, tags[i]]
    return tags


def log_softmax(logits: NDArray[Any]) -> LogProbs:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))


class Entity(NamedTuple):
    """Tokens `start` to `end` (exclusive) of a doc, and how sure the model is, before calibration, in [0, 1]."""

    start: int
    end: int
    label: str
    score: float


# Component


DEFAULT_CONFIG = """
[skill_ner]
min_score = 0.0

[skill_ner.model]
@architectures = "skill_ner.Head.v1"

[skill_ner.model.tok2vec]
@architectures = "spacy-transformers.TransformerListener.v1"
grad_factor = 1.0

[skill_ner.model.tok2vec.pooling]
@layers = "reduce_mean.v1"

[skill_ner.scorer]
@scorers = "skill_ner.scorer.v1"
"""

if not Span.has_extension("score"):
    Span.set_extension("score", default=None)


@Language.factory(
    "skill_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "span._.score"],
    default_config=spacy.util.load_config_from_str(DEFAULT_CONFIG)["skill_ner"],
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def create_skill_ner(
    nlp: Language,
    name: str,
    model: Model[list[Doc], list[Floats2d]],
    scorer: Callable[..., Any] | None,
    min_score: float,
) -> "SkillNER":
    return SkillNER(nlp.vocab, model, name, scorer=scorer, min_score=min_score)


class SkillNER(TrainablePipe):
    """Named entities by token classification: each token gets a BILUO tag, each line the best valid sequence.

    It replaces `doc.ents`. No entity crosses a line break or has a blank at its edge; each carries `ent._.score`, and
    those whose score is below `min_score` are left out: the higher it is, the fewer and surer they are.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], list[Floats2d]],
        name: str = "skill_ner",
        *,
        scorer: Callable[..., Any] | None = None,
        min_score: float = 0.0,
    ):
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score ({min_score}) must be from 0 to 1")
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.min_score = min_score
        # Else docs would lack `trf_data` in a process that loads the pipeline without its encoder.
        install_extensions()
        self.cfg: dict[str, Any] = {"labels": [], "calibration": None}

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> tuple[str, ...]:
        return self.labels

    def add_label(self, label: str) -> int:
        """Add a label; a model that is trained already keeps what it knows. Returns 1 if it is new, else 0."""
        if not isinstance(label, str) or not label:
            raise ValueError(f"a label is a string that is not empty, not {label!r}")
        if label in self.cfg["labels"]:
            return 0
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        if self.model.get_ref("output_layer").has_param("W"):
            resize_output(self.model, len(tags_of(self.labels)))
        return 1

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Set the labels, by default those of the examples, and the sizes of the model.

        Raises ValueError if there is no label."""
        validate_get_examples(get_examples, "SkillNER.initialize")
        if labels is None:
            labels = sorted({ent.label_ for example in get_examples() for ent in example.reference.ents})
        for label in labels:
            self.add_label(label)
        if not self.labels:
            raise ValueError(f"no label for {self.name!r}: no entity in the examples and no labels given")
        sample = [example.x for example, _ in zip(get_examples(), range(10), strict=False)]
        self.model.get_ref("output_layer").set_dim("nO", len(tags_of(self.labels)))
        self.model.initialize(X=sample)

    def predict(self, docs: Iterable[Doc]) -> list[list[Entity]]:
        """The entities of each doc, which are not changed. Raises ValueError if the encoder did not run."""
        docs = list(docs)
        entities: list[list[Entity]] = [[] for _ in docs]
        lines = lines_of(docs)
        if not len(lines.token):
            return entities
        log_probs = self.log_probs(docs, lines)
        tags = best_tags(log_probs, lines.starts, grammar_of(tags_of(self.labels)))
        chosen = log_probs[numpy.arange(len(tags)), tags]
        # A valid sequence opens and closes entities in turn; past O, four tags a label: B, I, L, U.
        place = (tags - 1) % 4
        firsts = numpy.flatnonzero((tags > 0) & ((place == 0) | (place == 3)))
        lasts = numpy.flatnonzero((tags > 0) & ((place == 2) | (place == 3)))
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            label = self.labels[(tags[first] - 1) // 4]
            # An entity is as sure as its least sure token.
            score = float(numpy.exp(chosen[first : last + 1].min()))
            start, end = int(lines.token[first]), int(lines.token[last]) + 1
            entities[lines.doc[first]].append(Entity(start, end, label, score))
        return entities

    def log_probs(self, docs: Sequence[Doc], lines: Lines) -> LogProbs:
        """Log-probabilities (tokens of `lines`, tags)."""
        if self.uses_transformer and any(len(doc) and doc._.trf_data is None for doc in docs):
            raise ValueError(f"{self.name!r} needs the component 'transformer' before it: enable it, or disable both")
        scores = [self.model.ops.to_numpy(matrix) for matrix in self.model.predict(list(docs))]
        offsets = numpy.cumsum([0, *map(len, docs)])
        logits = numpy.concatenate([matrix for matrix in scores if len(matrix)])
        return log_softmax(logits[offsets[lines.doc] + lines.token])

    @property
    def uses_transformer(self) -> bool:
        return any(node.name == "transformer-listener" for node in self.model.walk())

    def set_annotations(self, docs: Iterable[Doc], predictions: list[list[Entity]]) -> None:
        calibration = self.cfg["calibration"]
        for doc, entities in zip(docs, predictions, strict=True):
            scores = {Span(doc, e.start, e.end, label=e.label): calibrated(e.score, calibration) for e in entities}
            sure = [span for span, score in scores.items() if score >= self.min_score]
            doc.ents = sure
            for span in sure:
                span._.score = scores[span]

    def get_loss(self, examples: Iterable[Example], scores: list[Floats2d]) -> tuple[float, list[Floats2d]]:
        """Mean negative log-likelihood of the gold tags over the tokens that have one, and its gradient."""
        examples = list(examples)
        validate_examples(examples, "SkillNER.get_loss")
        lines = lines_of([example.predicted for example in examples])
        gold = gold_tags(examples, lines, self.labels)
        known = numpy.flatnonzero(gold >= 0)
        d_scores = [numpy.zeros(matrix.shape, dtype="f") for matrix in scores]
        if not len(known):
            return 0.0, [self.model.ops.asarray2f(matrix) for matrix in d_scores]
        logits = [self.model.ops.to_numpy(matrix) for matrix in scores]
        rows = numpy.stack([logits[lines.doc[i]][lines.token[i]] for i in known])
        log_probs = log_softmax(rows)
        loss = -float(log_probs[numpy.arange(len(known)), gold[known]].mean())
        gradient = numpy.exp(log_probs)
        gradient[numpy.arange(len(known)), gold[known]] -= 1
        gradient /= len(known)
        for i, row in zip(known, gradient, strict=True):
            d_scores[lines.doc[i]][lines.token[i]] = row
        return loss, [self.model.ops.asarray2f(matrix) for matrix in d_scores]

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """The scores of the scorer and, while the encoder's output is still on the docs, the loss as `NAME_loss`."""
        examples = list(examples)
        scores: dict[str, Any] = super().score(examples, **kwargs)
        docs = [example.predicted for example in examples]
        lines = lines_of(docs)
        if len(lines.token) and all(doc._.trf_data is not None for doc in docs if len(doc) and self.uses_transformer):
            gold = gold_tags(examples, lines, self.labels)
            known = numpy.flatnonzero(gold >= 0)
            chosen = self.log_probs(docs, lines)[known, gold[known]]
            scores[f"{self.name}_loss"] = -float(chosen.mean()) if len(known) else None
        return scores

    def calibrate(self, examples: Iterable[Example]) -> None:
        """Fit the calibration of scores on examples whose docs have been predicted by this component as it stands."""
        self.cfg["calibration"] = None
        examples = list(examples)
        predictions = self.predict([example.predicted for example in examples])
        scores, correct = [], []
        for example, entities in zip(examples, predictions, strict=True):
            doc, reference = example.predicted, example.reference
            gold = {(ent.start_char, ent.end_char, ent.label_) for ent in reference.ents}
            for entity in entities:
                span = doc[entity.start : entity.end]
                scores.append(entity.score)
                correct.append((span.start_char, span.end_char, entity.label) in gold)
        self.cfg["calibration"] = fit_calibration(scores, correct)


def gold_tags(examples: Sequence[Example], lines: Lines, labels: Sequence[str]) -> Ints1d:
    """The gold tag of each token of `lines`, -1 where it is not known: not annotated, misaligned, another label."""
    number = {tag: i for i, tag in enumerate(tags_of(labels))}
    by_doc = []
    for example in examples:
        ents, tags = example.get_aligned_ents_and_ner()
        gold = numpy.array([0 if tag == "O" else -1 for tag in tags], dtype="int64")
        for ent in ents:
            if ent.label_ in labels:
                tokens = [token.i for token in ent if not token.is_space]
                if not tokens:
                    continue
                prefixes = "U" if len(tokens) == 1 else "B" + "I" * (len(tokens) - 2) + "L"
                gold[tokens] = [number[f"{prefix}-{ent.label_}"] for prefix in prefixes]
        by_doc.append(gold)
    offsets = numpy.cumsum([0, *map(len, by_doc)])
    return numpy.concatenate([*by_doc, numpy.zeros(0, dtype="int64")])[offsets[lines.doc] + lines.token]


def logit(probability: NDArray[Any]) -> NDArray[Any]:
    clipped = numpy.clip(probability, 1e-6, 1 - 1e-6)
    return numpy.log(clipped / (1 - clipped))


def calibrated(score: float, calibration: Sequence[float] | None) -> float:
    """The score after Platt scaling: sigmoid(slope · logit(score) + intercept)."""
    if calibration is None:
        return score
    slope, intercept = calibration
    return float(1 / (1 + numpy.exp(-(slope * logit(numpy.array(score)) + intercept))))


def fit_calibration(scores: Sequence[float], correct: Sequence[bool]) -> list[float] | None:
    """Slope and intercept of Platt scaling (Platt 1999) by Newton's method, with his smoothed targets.

    Returns None if there are fewer than 20 scores, too few to say anything."""
    if len(scores) < 20:
        return None
    features = numpy.stack([logit(numpy.array(scores)), numpy.ones(len(scores))], axis=1)
    right = int(sum(correct))
    targets = numpy.where(correct, (right + 1) / (right + 2), 1 / (len(scores) - right + 2))
    weights = numpy.zeros(2)
    for _ in range(50):
        predicted = 1 / (1 + numpy.exp(-features @ weights))
        # A small ridge keeps the step finite where all scores are alike.
        hessian = (features.T * (predicted * (1 - predicted))) @ features + 1e-3 * numpy.eye(2)
        step = numpy.linalg.solve(hessian, features.T @ (predicted - targets) + 1e-3 * (weights - [1.0, 0.0]))
        weights = weights - step
        if numpy.abs(step).max() < 1e-8:
            break
    if weights[0] <= 0:
        # A higher score must never mean a lower probability: then the score says nothing, and all get the base rate.
        return [0.0, float(numpy.log((right + 1) / (len(scores) - right + 1)))]
    return weights.tolist()


# Scorer, colours


@spacy.registry.scorers("skill_ner.scorer.v1")
def create_scorer() -> Callable[..., dict[str, Any]]:
    return score_entities


def score_entities(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
    """Strict precision, recall and F1 (label and both edges right), overall and per label, and `ents_token_acc`: the
    share of tokens, blanks aside, whose BILUO tag is right."""
    examples = list(examples)
    total = PRFScore()
    per_type: dict[str, PRFScore] = {}
    right = known = 0
    for example in examples:
        if not example.reference.has_annotation("ENT_IOB"):
            continue
        gold = {(ent.label_, ent.start_char, ent.end_char) for ent in example.reference.ents}
        predicted = {(ent.label_, ent.start_char, ent.end_char) for ent in example.predicted.ents}
        total.score_set(predicted, gold)
        for label in {item[0] for item in gold | predicted}:
            per_type.setdefault(label, PRFScore()).score_set(
                {item for item in predicted if item[0] == label}, {item for item in gold if item[0] == label}
            )
        labels = sorted({item[0] for item in gold | predicted})
        lines = lines_of([example.predicted])
        gold_tag = gold_tags([example], lines, labels)
        found = gold_tags([Example(example.predicted, example.predicted)], lines, labels)
        right += int(((gold_tag == found) & (gold_tag >= 0)).sum())
        known += int((gold_tag >= 0).sum())
    if not known:
        return {"ents_p": None, "ents_r": None, "ents_f": None, "ents_per_type": None, "ents_token_acc": None}
    return {
        "ents_p": total.precision,
        "ents_r": total.recall,
        "ents_f": total.fscore,
        "ents_per_type": {label: score.to_dict() for label, score in sorted(per_type.items())},
        "ents_token_acc": right / known,
    }


@spacy.registry.displacy_colors("skill_ner.colors.v1")
def displacy_colors() -> dict[str, str]:
    return {"TECHNOLOGY": "#7aecec", "TECHNICAL": "#bfeeb7", "BUS": "#feca74", "SOFT": "#ff9eb5"}
