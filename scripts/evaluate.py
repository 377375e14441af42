"""Evaluate a pipeline on gold posts: strict span scores and what stands behind them."""

import json
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy
import spacy
import typer
from nervaluate import Evaluator
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from tqdm import tqdm
from wasabi import msg

from scripts import skill_ner  # noqa: F401 (registers the component)
from scripts.cli import BadInput, Fault, bad_input, new_app, replacing, reports_bad_input, require_built
from scripts.convert import to_doc
from scripts.posts import Unit, read_posts

BINS = 10
BESIDE_STRICT = {
    "untyped": "exact boundary, any label",
    "partial": "partial overlap",
    "seen_mentions": "mentions seen in training",
    "unseen_mentions": "mentions unseen in training",
    "distinct_skills": "distinct skills per post",
}

app = new_app("Evaluate a pipeline.")


class Key(NamedTuple):
    """A span as it is compared: offsets in code points, and the label."""

    start: int
    end: int
    label: str


class Contrast(NamedTuple):
    """A sentence with a word, from start to end, that is a skill of the label in it, or no skill (None)."""

    text: str
    start: int
    end: int
    label: str | None


class Judged(NamedTuple):
    """A post with what is annotated in it, and what was found, with its score (None if the pipeline gives none)."""

    text: str
    gold: frozenset[Key]
    found: dict[Key, float | None]


@app.command()
@reports_bad_input
def main(
    model: Annotated[Path, typer.Argument(help="folder of a trained pipeline")],
    test: Annotated[Path, typer.Option(help="DocBin of gold posts")],
    train: Annotated[Path, typer.Option(help="DocBin of the posts it learned from, to tell seen mentions from unseen")],
    gold: Annotated[Path | None, typer.Option(help="doccano JSONL to evaluate on instead")] = None,
    contrast: Annotated[Path | None, typer.Option(help="JSONL of sentences with a word that is a skill or not")] = None,
    unit: Annotated[Unit, typer.Option(help="what offsets of --gold count")] = Unit.codepoint,
    metrics: Annotated[Path | None, typer.Option(help="JSON file for the figures")] = None,
    samples: Annotated[int, typer.Option(min=100, help="bootstrap samples")] = 1000,
    seed: int = 42,
    gpu_id: Annotated[int, typer.Option(help="-1 for the CPU")] = -1,
) -> None:
    """Print the scores of MODEL on the test split, or on --gold, and write them to --metrics."""
    require_built(model, train, *([] if gold else [test]))
    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    nlp = spacy.load(model)
    seen = mentions_in(train, nlp)
    references, spans = read_gold(gold, unit, nlp) if gold else read_docbin(test, nlp)
    judged, scores = judge(nlp, references, spans)
    report = {"data": str(gold or test), **evaluate(judged, seen, samples, seed), **scores}
    if contrast is not None:
        report["contrast"] = contrast_figures(nlp, read_contrast(contrast))
    print_report(report)
    if metrics is not None:
        with replacing(metrics) as beside:
            beside.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def mentions_in(train: Path, nlp: Language) -> Counter[str]:
    """How often each annotated mention, in lower case, stands in a DocBin."""
    return Counter(ent.text.lower() for doc in DocBin().from_disk(train).get_docs(nlp.vocab) for ent in doc.ents)


def read_docbin(path: Path, nlp: Language) -> tuple[list[Doc], list[frozenset[Key]]]:
    docs = list(DocBin().from_disk(path).get_docs(nlp.vocab))
    if not docs:
        raise bad_input(path, "no post in it", "add annotated posts")
    return docs, [keys_of(doc) for doc in docs]


def read_gold(path: Path, unit: Unit, nlp: Language) -> tuple[list[Doc], list[frozenset[Key]]]:
    """The posts as Docs, and their gold spans: also those that cannot be aligned with tokens, which are thus missed."""
    posts = read_posts([path], nlp.pipe_labels[entity_component(nlp)], unit)
    if not posts:
        raise bad_input(path, "no post", "give doccano JSONL with annotated posts")
    docs = [to_doc(post, nlp)[0] for post in posts]
    return docs, [frozenset(Key(span.start, span.end, span.label) for span in post.spans) for post in posts]


def keys_of(doc: Doc) -> frozenset[Key]:
    return frozenset(Key(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents)


def judge(
    nlp: Language, references: Sequence[Doc], gold: Sequence[frozenset[Key]]
) -> tuple[list[Judged], dict[str, float | None]]:
    """Run the pipeline on the texts. Returns the posts, and the loss and token accuracy that need its components."""
    predicted = predict(nlp, references)
    examples = [Example(doc, reference) for doc, reference in zip(predicted, references, strict=True)]
    name = entity_component(nlp)
    component: Any = nlp.get_pipe(name)
    scores = component.score(examples)
    return compare(predicted, gold), {
        "loss": scores.get(f"{name}_loss"),
        "token_accuracy": scores["ents_token_acc"],
    }


def predict(nlp: Language, references: Sequence[Doc]) -> list[Doc]:
    """Docs of the same texts with what the pipeline finds in them."""
    docs = nlp.pipe([nlp.make_doc(doc.text) for doc in references])
    return list(tqdm(docs, total=len(references), desc="evaluating", unit="post", leave=False, delay=2))


def compare(predicted: Iterable[Doc], gold: Sequence[frozenset[Key]]) -> list[Judged]:
    return [
        Judged(doc.text, keys, {Key(e.start_char, e.end_char, e.label_): e._.score for e in doc.ents})
        for doc, keys in zip(predicted, gold, strict=True)
    ]


def entity_component(nlp: Language) -> str:
    """The name of the component that finds the entities."""
    return next(name for name in nlp.pipe_names if nlp.get_pipe_meta(name).factory in ("skill_ner", "ner"))


def evaluate(judged: Sequence[Judged], seen: Container[str], samples: int, seed: int) -> dict[str, Any]:
    """All figures that follow from gold and found spans. `seen`: mentions, in lower case, of the training posts."""
    labels = sorted({key.label for post in judged for key in (*post.gold, *post.found)})
    strict = [counts(post.gold, post.found) for post in judged]

    def subset(is_seen: bool) -> dict[str, float]:
        return total(
            counts(
                {key for key in post.gold if (surface(post, key) in seen) == is_seen},
                {key for key in post.found if (surface(post, key) in seen) == is_seen},
            )
            for post in judged
        )

    return {
        "posts": len(judged),
        "gold_spans": sum(len(post.gold) for post in judged),
        "strict": total(strict) | {"f1_interval_95": bootstrap_interval(strict, samples, seed)},
        "per_label": {
            label: total(
                counts({k for k in post.gold if k.label == label}, {k for k in post.found if k.label == label})
                for post in judged
            )
            for label in labels
        },
        "untyped": total(counts({k[:2] for k in post.gold}, {k[:2] for k in post.found}) for post in judged),
        "partial": partial_scores(judged, labels),
        "seen_mentions": subset(True),
        "unseen_mentions": subset(False),
        "distinct_skills": total(
            counts(
                {(surface(post, key), key.label) for key in post.gold},
                {(surface(post, key), key.label) for key in post.found},
            )
            for post in judged
        ),
        "calibration_error": calibration_error(judged),
    }


class Counts(NamedTuple):
    right: int
    found: int
    gold: int


def counts(gold: Iterable[Any], found: Iterable[Any]) -> Counts:
    gold, found = set(gold), set(found)
    return Counts(len(gold & found), len(found), len(gold))


def surface(post: Judged, key: Key) -> str:
    return post.text[key.start : key.end].lower()


def total(parts: Iterable[Counts]) -> dict[str, float]:
    """Micro-averaged precision, recall and F1 of the counts of several posts."""
    right, found, gold = (int(column) for column in numpy.array([(0, 0, 0), *parts]).sum(axis=0))
    return {
        "precision": right / found if found else 0.0,
        "recall": right / gold if gold else 0.0,
        "f1": f1(right, found, gold),
        "gold": gold,
        "found": found,
    }


def f1(right: float, found: float, gold: float) -> float:
    return 2 * right / (found + gold) if found + gold else 0.0


def bootstrap_interval(parts: Sequence[Counts], samples: int, seed: int) -> list[float]:
    """The 2.5 % and 97.5 % points of micro F1 over posts drawn with replacement (Efron 1979, percentile interval)."""
    table = numpy.array(parts)
    draws = numpy.random.default_rng(seed).integers(len(table), size=(samples, len(table)))
    sums = table[draws].sum(axis=1)
    return [float(point) for point in numpy.quantile([f1(*row) for row in sums], [0.025, 0.975])]


def partial_scores(judged: Sequence[Judged], labels: Sequence[str]) -> dict[str, float]:
    """Scores by overlap, half a point for a span with a wrong edge (`partial` of nervaluate, after SemEval 2013)."""
    gold = [[key._asdict() for key in sorted(post.gold)] for post in judged]
    found = [[key._asdict() for key in sorted(post.found)] for post in judged]
    result = Evaluator(gold, found, tags=list(labels), loader="dict").evaluate()["overall"]["partial"]
    return {"precision": result.precision, "recall": result.recall, "f1": result.f1}


def calibration_error(judged: Sequence[Judged]) -> float | None:
    """Expected calibration error of entity scores over ten bins of equal width (Guo et al. 2017, equation 3): how far,
    on average, the score of an entity is from the share of entities with such scores that are right."""
    pairs = [(score, key in post.gold) for post in judged for key, score in post.found.items() if score is not None]
    if not pairs:
        return None
    scores, right = numpy.array(pairs).T
    bins = numpy.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = [abs((scores - right)[bins == i].sum()) for i in Counter(bins.tolist())]
    return float(sum(gaps) / len(pairs))


def read_contrast(path: Path) -> list[Contrast]:
    """Raises BadInput for a line that is not as `Contrast` has it."""
    sentences, faults = [], []
    require_built(path)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            sentence = Contrast(**json.loads(line))
            assert 0 <= sentence.start < sentence.end <= len(sentence.text)
            sentences.append(sentence)
        except (ValueError, TypeError, AssertionError):
            remedy = 'write {"text": …, "start": …, "end": …, "label": … or null}'
            faults.append(Fault(path, number, "not a sentence with a word marked in it", remedy))
    if faults:
        raise BadInput(faults)
    return sentences


def contrast_figures(nlp: Language, sentences: Sequence[Contrast]) -> dict[str, Any]:
    """Accuracy over the sentences: one with a skill is right if an entity of its label overlaps the word, one without
    if none of any label does."""
    wrong = []
    for sentence, doc in zip(sentences, nlp.pipe(sentence.text for sentence in sentences), strict=True):
        found = {ent.label_ for ent in doc.ents if ent.start_char < sentence.end and sentence.start < ent.end_char}
        if sentence.label not in found if sentence.label else found:
            wrong.append(sentence._asdict() | {"found": sorted(found)})
    return {"sentences": len(sentences), "accuracy": 1 - len(wrong) / len(sentences), "wrong": wrong}


def score_rows(report: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """The rows of the table of scores: a name, and precision, recall and F1."""
    return [
        ("strict", report["strict"]),
        *((f"  {label}", scores) for label, scores in report["per_label"].items()),
        *((name, report[key]) for key, name in BESIDE_STRICT.items() if key in report),
    ]


def print_report(report: dict[str, Any]) -> None:
    low, high = report["strict"]["f1_interval_95"]
    table = [
        (name, *(f"{scores[key]:.4f}" for key in ("precision", "recall", "f1")), scores.get("gold", ""))
        for name, scores in score_rows(report)
    ]
    msg.divider(f"{report['data']}: {report['posts']} posts, {report['gold_spans']} spans")
    msg.table(table, header=("", "P", "R", "F1", "gold"), divider=True, aligns=("l", "r", "r", "r", "r"))
    print(f"strict F1, 95 % interval over posts: {low:.4f} to {high:.4f}")
    for name in ("loss", "token_accuracy", "calibration_error"):
        if report[name] is not None:
            print(f"{name.replace('_', ' ')}: {report[name]:.4f}")
    if "contrast" in report:
        contrast = report["contrast"]
        print(f"contrast set: {contrast['accuracy']:.4f} of {contrast['sentences']} sentences right")


if __name__ == "__main__":
    app()
