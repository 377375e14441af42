"""The figures that other steps wrote, for the report and the model card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import srsly
from wasabi import msg

from scripts.cli import bad_input, require_built
from scripts.evaluate import score_rows

# Measured on one pipeline: void once another one has been evaluated.
OF_ONE_PIPELINE = ("robustness", "fairness", "gate")


class Figures(NamedTuple):
    """What the steps of these names measured; None for what was not, or not on this pipeline."""

    metrics: dict[str, Any]
    adapt: dict[str, Any]
    epochs: list[dict[str, Any]]
    robustness: dict[str, Any] | None
    fairness: dict[str, Any] | None
    gate: dict[str, Any] | None
    stock_ner: dict[str, Any] | None
    benchmark: dict[str, Any] | None


def read_figures(folder: Path) -> Figures:
    """Raises BadInput if what `run all` writes before is missing, or a file is not JSON."""
    metrics, adapt, log = (folder / name for name in ("metrics.json", "adapt.json", "log.jsonl"))
    require_built(metrics, adapt, log)
    optional = {
        "stock_ner": folder / "stock_ner_metrics.json",
        **{name: folder / f"{name}.json" for name in ("benchmark", *OF_ONE_PIPELINE)},
    }
    found: dict[str, Any] = {}
    for name, path in optional.items():
        is_old = name in OF_ONE_PIPELINE and path.exists() and path.stat().st_mtime < metrics.stat().st_mtime
        if is_old:
            msg.info(f"{path} is of a pipeline before this one: left out")
        found[name] = read_json(path) if path.exists() and not is_old else None
    return Figures(metrics=read_json(metrics), adapt=read_json(adapt), epochs=read_json(log), **found)


def read_real(path: Path) -> dict[str, Any]:
    """Figures on real posts as `evaluate` writes them, with the commit, the seed and the corpus of the pipeline that
    they were measured with. Raises BadInput if one of these is missing."""
    real: dict[str, Any] = read_json(path)
    missing = [name for name in ("commit", "seed", "corpus_posts") if name not in real]
    if missing:
        raise bad_input(path, f"no {', '.join(missing)}", "say which pipeline the figures were measured with")
    return real


def read_json(path: Path) -> Any:
    """What is in a JSON file; of JSONL the lines. Raises BadInput if it is neither."""
    try:
        return list(srsly.read_jsonl(path)) if path.suffix == ".jsonl" else srsly.read_json(path)
    except ValueError as error:
        raise bad_input(path, f"invalid JSON: {error}", "remove it and run its step again") from None


# The same tables stand in the report and in the card.


class Table(NamedTuple):
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def decimals(scores: Mapping[str, float]) -> tuple[str, str, str]:
    """Precision, recall and F1."""
    return f"{scores['precision']:.3f}", f"{scores['recall']:.3f}", f"{scores['f1']:.3f}"


def scores_table(title: str, metrics: dict[str, Any]) -> Table:
    """What `evaluate` prints; without the numbers of spans where they are not known."""
    rows = [
        (
            name.replace("  ", "\N{NO-BREAK SPACE}" * 2),
            *decimals(scores),
            *([f"{scores['gold']:,}" if "gold" in scores else ""] if "gold" in metrics["strict"] else []),
        )
        for name, scores in score_rows(metrics)
    ]
    return Table((title, "P", "R", "F1", "spans")[: len(rows[0])], rows)


def beside_table(title: str, metrics: Mapping[str, Any]) -> Table:
    """Single figures, as far as they were measured."""
    figures = {
        "loss (mean over tokens)": metrics["loss"],
        "token accuracy": metrics["token_accuracy"],
        "expected calibration error of scores": metrics["calibration_error"],
        "contrast set, share that is right": metrics["contrast"]["accuracy"] if "contrast" in metrics else None,
    }
    return Table(("", title), [(name, f"{value:.3f}") for name, value in figures.items() if value is not None])


def kept_epoch(epochs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first with the best F1."""
    return max(epochs, key=lambda row: row["F1"])


def epochs_table(epochs: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("training loss", "validation loss", "P", "R", "F1", "token accuracy")
    rows = [
        (
            f"{row['epoch']:g}{' (kept)' if row is kept_epoch(epochs) else ''}",
            *("" if row[column] is None else f"{row[column]:.4f}" for column in columns),
        )
        for row in epochs
    ]
    return Table(("epoch", *columns), rows)


def robustness_table(robustness: Mapping[str, Any]) -> Table:
    base = next(iter(robustness.values()))["f1"]
    rows = [(name, *decimals(scores), f"{scores['f1'] - base:+.3f}") for name, scores in robustness.items()]
    return Table(("spoilt posts", "P", "R", "F1", "difference"), rows)


def fairness_table(fairness: Mapping[str, Any]) -> Table:
    """For each kind of swap: posts with one, swaps, the share of posts and of spans that change, each beside what
    neutral words in the same places change."""
    shares = ("posts_changed", "spans_changed")
    rows = [
        (
            kind,
            f"{made['posts']:,}",
            f"{made['swaps']:,}",
            *(f"{100 * part[share]:.1f} %" for share in shares for part in (made, made["chance"])),
        )
        for kind, made in fairness.items()
    ]
    return Table(("swapped", "posts", "swaps", "posts changed", "by chance", "spans changed", "by chance"), rows)


def speed_table(benchmark: Mapping[str, Any]) -> Table:
    rows = [
        (name, f"{row['words_per_second']:,.0f}", f"{row['peak_mb']:,.0f}", f"{row['load_seconds']:.2f}")
        for name, row in benchmark["rows"].items()
    ]
    return Table(("speed and memory", "words/s", "peak MB", "load s"), rows)
