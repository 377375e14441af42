"""Plots of training and of what a pipeline finds, for the error page and the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scripts.evaluate import BINS, Judged, f1
from scripts.figures import kept_epoch
from scripts.html_page import grid, plot, png

# In inches: a phone shows a plot of this width with letters that can be read.
SIZE = (4.8, 3.4)


def draw_epochs(epochs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure:
    """These columns after each epoch; a grey line marks the epoch that was kept."""
    figure, axes = new_figure()
    axes.axvline(kept_epoch(epochs)["epoch"], color="#dddddd", linewidth=4)
    for name in names:
        points = [(row["epoch"], row[name]) for row in epochs if row[name] is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], marker=".", label=name)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=9)
    return figure


def draw_confusion(table: numpy.ndarray, labels: Sequence[str]) -> Figure:
    """Counts (gold, found), coloured by their share of the row."""
    figure, axes = new_figure(height=4)
    share = table / numpy.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in numpy.ndenumerate(table):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("found")
    axes.set_ylabel("annotated")
    axes.spines[:].set_visible(False)
    return figure


def draw_groups(groups: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """F1 of groups of mentions, as bars, with the number of annotated ones."""
    figure, axes = new_figure()
    bars = axes.bar(list(groups), [scores["f1"] for scores in groups.values()], color="#1f77b4")
    counts = [f"{scores['f1']:.2f}\n({scores['gold']:,})" for scores in groups.values()]
    axes.bar_label(bars, counts, padding=2, fontsize=8)
    axes.set_xlabel(title)
    axes.set_ylabel("F1")
    axes.set_ylim(0, 1.15)
    axes.set_yticks(numpy.arange(0, 1.1, 0.2))
    return figure


def scores_plots(judged: Sequence[Judged]) -> Markup:
    """What scores are worth: both plots of them, side by side."""
    reliability = plot(
        "Reliability: are entities of a score right as often as it says?",
        png(draw_reliability(judged)),
        "Below the grey line scores are too high; at each point stands the number of its entities.",
    )
    thresholds = plot(
        "Thresholds: what does a least score gain and cost?",
        png(draw_thresholds(judged)),
        "Precision against recall as the least score that counts rises, from right to left.",
    )
    return grid([reliability, thresholds])


def scored(judged: Sequence[Judged], label: str | None = None) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Scores of the found spans, and which of them are right: (spans,), (spans,)."""
    pairs = [
        (score, key in post.gold)
        for post in judged
        for key, score in post.found.items()
        if score is not None and label in (None, key.label)
    ]
    table = numpy.array(pairs, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def draw_reliability(judged: Sequence[Judged]) -> Figure:
    """A reliability diagram (DeGroot and Fienberg 1983): how often spans of a score are right."""
    scores, right = scored(judged)
    bins = numpy.minimum((scores * BINS).astype(int), BINS - 1)
    figure, axes = new_figure()
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    points = [(scores[bins == i].mean(), right[bins == i].mean(), (bins == i).sum()) for i in sorted(set(bins))]
    axes.plot([x for x, _, _ in points], [y for _, y, _ in points], marker="o", color="#1f77b4")
    for x, y, size in points:
        axes.annotate(f"{size:,}", (x, y), xytext=(5, -10), textcoords="offset points", fontsize=8)
    axes.set_xlim(-0.05, 1.12)
    axes.set_xlabel("score (mean of the bin)")
    axes.set_ylabel("share that is right")
    return figure


def draw_thresholds(judged: Sequence[Judged]) -> Figure:
    """Precision against recall of each label as the least score that counts rises."""
    figure, axes = new_figure()
    for label in sorted({key.label for post in judged for key in post.gold}):
        gold = sum(key.label == label for post in judged for key in post.gold)
        scores, right = scored(judged, label)
        order = numpy.argsort(-scores)
        hits = numpy.cumsum(right[order])
        found = numpy.arange(1, len(hits) + 1)
        if not len(hits):
            continue
        best = max(range(len(hits)), key=lambda i: f1(float(hits[i]), float(found[i]), gold))
        line = axes.plot(hits / gold, hits / found, label=f"{label} (best F1 from {scores[order][best]:.2f})")
        axes.plot(hits[best] / gold, hits[best] / found[best], "o", color=line[0].get_color())
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, fontsize=8)
    return figure


def new_figure(height: float = SIZE[1]) -> tuple[Figure, Axes]:
    """A figure that draws without a screen."""
    figure = Figure(figsize=(SIZE[0], height), layout="constrained")
    return figure, figure.subplots()
