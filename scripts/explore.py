"""Show the corpus on one HTML page of plots and tables: lengths, skills and their long tail, what training has seen."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import numpy
import typer
from matplotlib import rc_context
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist
from spacy.tokens import DocBin
from spacy.vocab import Vocab
from tqdm import tqdm
from transformers import DistilBertConfig, DistilBertTokenizerFast, PreTrainedTokenizerFast
from wasabi import msg

from scripts.check_corpus import two_labels
from scripts.cli import bad_input, new_app, replacing, reports_bad_input, require_built
from scripts.convert import SPLITS
from scripts.describe import lines_of
from scripts.html_page import grid, literal, page, plot, png, table
from scripts.near_duplicates import THRESHOLD, cluster
from scripts.posts import Post, Span, read_posts
from scripts.skill_ner import displacy_colors

UNLABELLED = "unlabelled"
MOST_FREQUENT = 15
TOGETHER = 25
ROWS = 50
# Expected counts below this say nothing about what is observed (Cochran 1954).
LEAST_EXPECTED = 5
# The ends of the scale of lifts: a quarter and four times.
LIFT = 2
# [CLS] and [SEP], which every window has.
SPECIAL = 2
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "figure.figsize": (3.9, 2.7),
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    # A "$" in a post is money.
    "text.parse_math": False,
}
# Of all labels together, and of the edges that make the pale colours of labels visible on white.
GREY, DARK = "#bbbbbb", "#555555"

# A mention as it is counted: the text in lower case, and the label. Equal ones are one skill.
Skill = tuple[str, str]
Ints = NDArray[numpy.int64]
Floats = NDArray[numpy.float64]

app = new_app("Show the corpus in plots.")


class Plot(NamedTuple):
    """A figure, the name of its file, a title that says what to look at, and a sentence that says what it shows; and
    whether it is one of many parts that needs the width of two."""

    name: str
    title: str
    sentence: str
    figure: Figure
    wide: bool = False


class Overlap(NamedTuple):
    """Mentions, and those whose spelling is seen in training; the same of distinct spellings."""

    running: int
    running_seen: int
    distinct: int
    distinct_seen: int


@app.command()
@reports_bad_input
def main(
    train: Annotated[Path, typer.Option(help="DocBin of annotated posts")],
    dev: Annotated[Path, typer.Option(help="DocBin of annotated posts")],
    test: Annotated[Path, typer.Option(help="DocBin of annotated posts")],
    posts: Annotated[Path, typer.Option(help="folder of posts that are not annotated, JSONL; need not be there")],
    encoder: Annotated[Path, typer.Option(help="folder of the encoder, for its wordpieces")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
    output: Annotated[Path, typer.Option(help="HTML page to write; a folder of that name gets the plots as PNG")],
    window: Annotated[int, typer.Option(min=3, help="wordpieces that the encoder sees at once")] = 128,
) -> None:
    """Write a page that shows the annotated posts, and of the others what needs no labels."""
    if output.suffix != ".html":
        raise bad_input(output, "no HTML file", "name it something.html")
    require_built(train, dev, test, encoder / "config.json", encoder / "tokenizer.json")
    parts = {name: read_docbin(path) for name, path in zip(SPLITS, (train, dev, test), strict=True)}
    annotated = list(chain(*parts.values()))
    if not annotated:
        raise bad_input(train, "no post in it, nor in the other splits", "add annotated posts")
    unlabelled = parts[UNLABELLED] = read_posts([posts], (), annotated=False) if posts.exists() else []
    used = sorted({span.label for post in annotated for span in post.spans})
    names = list(dict.fromkeys([*labels.split(","), *used]))
    tokenizer = DistilBertTokenizerFast.from_pretrained(encoder)
    limit = DistilBertConfig.from_pretrained(encoder).max_position_embeddings
    pieces = {"annotated": wordpieces(annotated, tokenizer), UNLABELLED: wordpieces(unlabelled, tokenizer)}
    with rc_context(STYLE):
        size = [draw_words(annotated, unlabelled), draw_wordpieces(pieces, window, limit)]
        skills: list[Plot] = []
        tail: list[Plot] = []
        if used:
            size.append(draw_spans(annotated, names))
            skills = [draw_most_frequent(annotated, label) for label in names if label in used]
            skills += draw_together(annotated)
            tail = [draw_tail(annotated, names), draw_growth(annotated, names), *draw_overlap(parts, names)]
        drawn = [*size, *skills, *tail]
        pngs = {one.name: png(one.figure) for one in tqdm(drawn, desc="drawing", unit="plot", leave=False, delay=2)}
    for name, content in pngs.items():
        with replacing(output.with_suffix("") / f"{name}.png") as beside:
            beside.write_bytes(content)

    def shown(plots: Sequence[Plot]) -> str:
        return grid(plot(one.title, pngs[one.name], one.sentence, one.wide) for one in plots)

    sections = [
        ("Size", [table(*size_table(parts, names)), shown(size)]),
        ("Skills", [shown(skills)]),
        ("The long tail", [shown(tail), table(*overlap_table(parts, names), texts=2)]),
        ("Near-duplicates", near_duplicates(parts)),
        ("Two labels", doubtful(annotated, names)),
    ]
    lead = (
        f"{many(len(annotated), 'annotated post')} and {many(len(unlabelled), 'post')} without annotation. A skill is "
        "what is marked, in lower case, with its label; it is shown in its most frequent spelling."
    )
    with replacing(output) as beside:
        beside.write_text(page("The corpus", lead, sections), encoding="utf-8")
    msg.good(f"{many(len(annotated) + len(unlabelled), 'post')}, {many(len(drawn), 'plot')} -> {output}")


def read_docbin(path: Path) -> list[Post]:
    """The posts of a DocBin that `convert` wrote; it may have none."""
    docs = DocBin().from_disk(path).get_docs(Vocab())
    return [
        Post(
            id=doc.user_data["id"],
            text=doc.text,
            spans=[Span(start=ent.start_char, end=ent.end_char, label=ent.label_) for ent in doc.ents],
        )
        for doc in docs
    ]


# Figures


def skills_of(post: Post) -> list[Skill]:
    """The mentions of a post in order."""
    return [(post.text[span.start : span.end].lower(), span.label) for span in post.spans]


def mention_counts(posts: Sequence[Post]) -> Counter[Skill]:
    """How often each skill is mentioned."""
    return Counter(skill for post in posts for skill in skills_of(post))


def post_counts(posts: Sequence[Post]) -> Counter[Skill]:
    """How many posts mention each skill."""
    # Not a set, whose order changes from run to run: it decides which of equally frequent skills comes first.
    return Counter(skill for post in posts for skill in dict.fromkeys(skills_of(post)))


def usual_spelling(posts: Sequence[Post]) -> dict[str, str]:
    """The most frequent spelling of each mention in lower case."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for post in posts:
        for span in post.spans:
            surface = post.text[span.start : span.end]
            counts[surface.lower()][surface] += 1
    return {lower: spellings.most_common(1)[0][0] for lower, spellings in counts.items()}


def word_counts(posts: Sequence[Post]) -> Ints:
    """(posts,)"""
    return numpy.array([len(post.text.split()) for post in posts], dtype=int)


def wordpieces(posts: Sequence[Post], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """How many wordpieces each line that is not blank has, by post, special ones not counted."""
    counts = []
    for post in tqdm(posts, desc="wordpieces", unit="post", leave=False, delay=2):
        lines = [line for _, line in lines_of(post)]
        ids = tokenizer(lines, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        counts.append([len(line) for line in ids])
    return counts


def growth(counts: Sequence[int], posts: int) -> Floats:
    """How many distinct skills n posts drawn at random mention on average, for n from 0 to `posts`: (posts + 1,).

    counts: how many posts mention each skill. It is the exact species accumulation curve (Ugland et al. 2003): a
    skill of k posts out of N is in none of n with probability C(N - k, n) / C(N, n)."""
    log_factorial = numpy.cumsum(numpy.log(numpy.maximum(numpy.arange(posts + 1), 1)))
    drawn = numpy.arange(posts + 1)
    expected = numpy.zeros(posts + 1)
    for count, skills in Counter(counts).items():
        few = drawn[: posts - count + 1]
        missing = (log_factorial[posts - count] - log_factorial[posts - count - few]) - (
            log_factorial[posts] - log_factorial[posts - few]
        )
        expected += skills
        expected[few] -= skills * numpy.exp(missing)
    return expected


def together(posts: Sequence[Post], phrases: Sequence[str]) -> tuple[Ints, Floats]:
    """How many posts mention both of two phrases, and how many would by chance: (phrases, phrases) each."""
    sets = [{phrase for phrase, _ in skills_of(post)} for post in posts]
    has = numpy.array([[phrase in mentioned for phrase in phrases] for mentioned in sets], dtype=int)
    return has.T @ has, numpy.outer(has.sum(axis=0), has.sum(axis=0)) / len(posts)


def overlap(posts: Sequence[Post], train: Sequence[Post], label: str | None = None) -> Overlap:
    """How far the mentions of posts, of a label or of all, stand in the training posts: as in `evaluate`, under
    whatever label."""
    seen = {phrase for phrase, _ in mention_counts(train)}
    running = [phrase for post in posts for phrase, own in skills_of(post) if label in (None, own)]
    return Overlap(len(running), sum(p in seen for p in running), len(set(running)), len(seen.intersection(running)))


def clusters(posts: Sequence[Post]) -> list[list[int]]:
    """The clusters of near-duplicates, each the indices of its posts; the largest first."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, name in enumerate(cluster([post.text for post in posts])):
        members[name].append(i)
    return sorted((group for group in members.values() if len(group) > 1), key=len, reverse=True)


# Tables

Table = tuple[Sequence[str], list[tuple[object, ...]]]


def size_table(parts: Mapping[str, Sequence[Post]], labels: Sequence[str]) -> Table:
    """Header and rows: posts, words, spans of each split, of all that is annotated, and of what is not."""
    rows: list[tuple[object, ...]] = []
    annotated = list(chain(*(parts[name] for name in SPLITS)))
    for name, posts in [*((name, parts[name]) for name in SPLITS), ("all annotated", annotated)]:
        mentions = mention_counts(posts)
        by_label = Counter(label for post in posts for _, label in skills_of(post))
        shares = [f"{by_label[label]:,} ({percent(by_label[label], mentions.total())})" for label in labels]
        rows.append((name, len(posts), int(word_counts(posts).sum()), mentions.total(), len(mentions), *shares))
    if parts[UNLABELLED]:
        words = int(word_counts(parts[UNLABELLED]).sum())
        rows.append((UNLABELLED, len(parts[UNLABELLED]), words, *[""] * (2 + len(labels))))
    return ("split", "posts", "words", "spans", "distinct skills", *labels), rows


def overlap_table(parts: Mapping[str, Sequence[Post]], labels: Sequence[str]) -> Table:
    rows: list[tuple[object, ...]] = []
    for name in ("dev", "test"):
        for label in (None, *labels):
            one = overlap(parts[name], parts["train"], label)
            running = (one.running, percent(one.running_seen, one.running))
            rows.append((name, label or "all", *running, one.distinct, percent(one.distinct_seen, one.distinct)))
    return ("split", "label", "mentions", "seen in train", "distinct", "seen in train"), rows


def near_duplicates(parts: Mapping[str, Sequence[Post]]) -> list[str]:
    """A sentence, and the table of the largest clusters if there are any."""
    posts = list(chain(*parts.values()))
    where = [name for name, part in parts.items() for _ in part]
    groups = clusters(posts)
    rule = f"Two posts are if the Jaccard similarity of their runs of five words is {THRESHOLD} or more."
    if not groups:
        return [f"None of {many(len(posts), 'post')} is a near-duplicate of another. {rule}"]
    inside = sum(map(len, groups))
    mixed = sum(UNLABELLED in kinds and len(kinds) > 1 for kinds in ({where[i] for i in group} for group in groups))
    sentence = (
        f"{inside:,} of {many(len(posts), 'post')} ({percent(inside, len(posts))}) are near-duplicates of others, in "
        f"{many(len(groups), 'cluster')}, of which {mixed:,} hold annotated and unlabelled posts. {rule}"
    )
    rows = []
    for group in groups[:ROWS]:
        kinds = Counter(where[i] for i in group)
        ids = ", ".join(posts[i].id for i in group[:3]) + ("" if len(group) <= 3 else ", …")
        parts_of = ", ".join(f"{count} {name}" for name, count in kinds.items())
        rows.append((shorten(" ".join(posts[group[0]].text.split()), 80), ids, parts_of, len(group)))
    return [sentence, table(("begins with", "ids", "where", "posts"), rows, texts=3)]


def doubtful(posts: Sequence[Post], labels: Sequence[str]) -> list[str]:
    """A sentence on phrases with more than one label, and the table of those that are most often both."""
    mixed = two_labels(posts)
    spelling = usual_spelling(posts)
    minority = sum(counts.total() - max(counts.values()) for _, counts in mixed)
    mentions = sum(len(post.spans) for post in posts)
    sentence = (
        f"{len(mixed):,} of {many(len(spelling), 'phrase')} have more than one label; {many(minority, 'mention')} "
        f"({percent(minority, mentions)}) have another than the phrase has most often."
    )
    rows = [(spelling[p], counts.total(), *(counts[label] for label in labels)) for p, counts in mixed[:ROWS]]
    return [sentence, *([table(("phrase", "mentions", *labels), rows)] if rows else [])]


# Plots


def draw_words(annotated: Sequence[Post], unlabelled: Sequence[Post]) -> Plot:
    figure = Figure()
    axes = figure.subplots()
    own, other = word_counts(annotated), word_counts(unlabelled)
    both = numpy.concatenate([own, other])
    bins = numpy.geomspace(both.min() * 0.9, both.max() * 1.1, 41).tolist()
    axes.hist(own, bins, weights=numpy.full(len(own), 1 / len(own)), color=GREY, label="annotated")
    sentence = f"Half of the annotated posts have {middle(own)} words; the longest has {own.max():,}"
    if len(other):
        weights = numpy.full(len(other), 1 / len(other))
        axes.hist(other, bins, weights=weights, histtype="step", color="black", label=UNLABELLED)
        axes.legend()
        sentence += f"; of the unlabelled half have {middle(other)}, the longest {other.max():,}"
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set(xlabel="words in a post", ylabel="posts")
    return Plot("words", "How long posts are: look for a second hump and a tail", f"{sentence}.", figure)


def draw_wordpieces(pieces: Mapping[str, list[list[int]]], window: int, limit: int) -> Plot:
    lengths = {
        name: (numpy.array([sum(lines) for lines in posts]) + SPECIAL, numpy.array(list(chain(*posts))) + SPECIAL)
        for name, posts in pieces.items()
        if posts
    }
    figure = Figure()
    axes = figure.subplots()
    for (name, (posts, lines)), style in zip(lengths.items(), ("solid", "dotted"), strict=False):
        axes.ecdf(posts, color="black", linestyle=style, label=f"posts, {name}")
        axes.ecdf(lines, color="#1f77b4", linestyle=style, label=f"lines, {name}")
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    for edge, what, side in ((window, "window", "right"), (limit, "limit", "left")):
        axes.axvline(edge, color=DARK, linestyle="dashed", linewidth=1)
        axes.annotate(f"{what} {edge}", (edge, 1.01), xycoords=("data", "axes fraction"), ha=side, fontsize=7)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set(xlabel="wordpieces, special ones included", ylabel="as long at most")
    figure.legend(loc="outside lower center", ncols=2, fontsize=7)

    def longer(values: Ints, edge: int) -> str:
        return percent((values > edge).sum(), len(values))

    told = [
        f"{longer(posts, limit)} of the {name} posts are longer than the encoder's limit of {limit} wordpieces and "
        f"{longer(posts, window)} than a window of {window}, as are {longer(lines, window)} of their lines"
        for name, (posts, lines) in lengths.items()
    ]
    title = "Wordpieces: what is right of a dashed line must be cut"
    return Plot("wordpieces", title, f"{'; '.join(told)}.", figure)


def draw_spans(posts: Sequence[Post], labels: Sequence[str]) -> Plot:
    total = numpy.array([len(post.spans) for post in posts])
    counts = {label: numpy.array([sum(s.label == label for s in post.spans) for post in posts]) for label in labels}
    figure = Figure()
    axes = figure.subplots()
    boxes = axes.boxplot(
        [total, *counts.values()],
        orientation="horizontal",
        tick_labels=["all", *counts],
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        widths=0.6,
        medianprops={"color": "black"},
    )
    for box, label in zip(boxes["boxes"], (None, *counts), strict=True):
        box.set_facecolor(colour_of(label))
    axes.invert_yaxis()
    axes.set(xlabel="spans in a post (box: half of the posts, whiskers: 90 %)")
    medians = ", ".join(f"{label} {numpy.median(count):.0f}" for label, count in counts.items())
    without = {label: int((count == 0).sum()) for label, count in counts.items()}
    rarest = max(without, key=without.__getitem__)
    sentence = (
        f"The median post has {numpy.median(total):.0f} spans ({medians}); {percent((total == 0).sum(), len(posts))} "
        f"have none, {percent(without[rarest], len(posts))} have no {rarest}."
    )
    return Plot("spans", "Spans in a post: look for labels that many posts lack", sentence, figure)


def draw_most_frequent(posts: Sequence[Post], label: str) -> Plot:
    spelling = usual_spelling(posts)
    in_posts = Counter({skill: count for skill, count in post_counts(posts).items() if skill[1] == label})
    mentions = mention_counts(posts)
    top = in_posts.most_common(MOST_FREQUENT)
    names = [literal(shorten(spelling[phrase])) for (phrase, _), _ in top]
    figure = Figure(figsize=(3.9, 0.9 + 0.17 * len(top)))
    axes = figure.subplots()
    heights = [count for _, count in top]
    bars = axes.barh(range(len(top)), heights, color=colour_of(label), edgecolor=DARK, linewidth=0.5)
    axes.bar_label(bars, [f"{height:,}" for height in heights], padding=2, fontsize=7)
    axes.set_yticks(range(len(top)), names)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set(xlabel="posts", xticks=[])
    share = percent(sum(mentions[skill] for skill, _ in top), sum(mentions[skill] for skill in in_posts))
    sentence = (
        f"The first, {names[0]}, stands in {many(heights[0], 'post')} ({percent(heights[0], len(posts))}); these "
        f"{len(top)} of {len(in_posts):,} distinct skills make up {share} of the mentions of {label}."
    )
    return Plot(f"most_frequent_{quote(label, safe='')}", f"{label}: what most posts ask for", sentence, figure)


def draw_tail(posts: Sequence[Post], labels: Sequence[str]) -> Plot:
    mentions = mention_counts(posts)
    figure = Figure()
    axes = figure.subplots()
    for label in labels:
        counts = sorted((count for skill, count in mentions.items() if skill[1] == label), reverse=True)
        if counts:
            axes.plot(range(1, len(counts) + 1), counts, label=label, **line_style(label))
    axes.loglog()
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.set(xlabel="rank of a skill", ylabel="mentions")
    axes.legend()
    once = sum(count == 1 for count in mentions.values())
    head = max(1, len(mentions) // 100)
    top = sum(count for _, count in mentions.most_common(head))
    sentence = (
        f"{once:,} of {len(mentions):,} distinct skills ({percent(once, len(mentions))}) are mentioned once, which is "
        f"{percent(once, mentions.total())} of the mentions; the most frequent 1 % of the skills ({head:,}) make up "
        f"{percent(top, mentions.total())}."
    )
    return Plot("tail", "The long tail: how far along the lowest step, skills mentioned once, goes", sentence, figure)


def draw_growth(posts: Sequence[Post], labels: Sequence[str]) -> Plot:
    in_posts = post_counts(posts)
    figure = Figure()
    axes = figure.subplots()
    new = {}
    for label in labels:
        curve = growth([count for skill, count in in_posts.items() if skill[1] == label], len(posts))
        axes.plot(curve, label=label, **line_style(label))
        new[label] = curve[-1] - curve[-2]
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.set(xlabel="posts read, in random order", ylabel="distinct skills")
    axes.legend()
    parts = ", ".join(f"{label} {count:.1f}" for label, count in new.items())
    sentence = (
        f"There are {len(in_posts):,} distinct skills in {many(len(posts), 'post')}, and the last one read still "
        f"brings {sum(new.values()):.1f} new ones on average ({parts})."
    )
    return Plot("growth", "Growth of the vocabulary: does a curve flatten?", sentence, figure)


def draw_together(posts: Sequence[Post]) -> list[Plot]:
    """A heatmap of the lift of the most frequent phrases; none if no two are expected together often enough.

    Lift, not Jaccard similarity, which cannot exceed the ratio of two frequencies: among skills of which some stand in
    most posts it shows above all which ones are frequent."""
    spelling = usual_spelling(posts)
    label_of: dict[str, str] = {}
    for (phrase, label), _ in post_counts(posts).most_common():
        label_of.setdefault(phrase, label)
    phrases = list(label_of)[:TOGETHER]
    observed, expected = together(posts, phrases)
    pairs = numpy.tri(len(phrases), k=-1, dtype=bool) & (expected >= LEAST_EXPECTED)
    if not pairs.any():
        return []
    names = [literal(shorten(spelling[phrase], 22)) for phrase in phrases]
    # No lift is drawn beyond the ends of the scale, so a pair that never stands together needs no logarithm of zero.
    lift = numpy.where(pairs | pairs.T, numpy.maximum(observed / expected, 2.0**-LIFT), 1)
    order = leaves_list(linkage(pdist(numpy.log2(lift)), "average", optimal_ordering=True))
    figure = Figure(figsize=(3.9, 3.1))
    axes = figure.subplots()
    shown = numpy.ma.masked_where(~numpy.tri(len(order), k=-1, dtype=bool), numpy.log2(lift)[numpy.ix_(order, order)])
    mesh = axes.pcolormesh(shown, cmap="RdBu_r", vmin=-LIFT, vmax=LIFT, edgecolors="white", linewidth=0.3)
    for place, i in enumerate(order):
        axes.add_patch(Rectangle((place, place), 1, 1, facecolor=colour_of(label_of[phrases[i]]), edgecolor="white"))
        axes.text(place + 1.3, place + 0.5, names[i], va="center", fontsize=6.5)
    # Room for the names, which stand right of the diagonal: a letter is about as wide as a third of a cell.
    axes.set_xlim(0, max(place + 2 + len(names[i]) * len(order) / 70 for place, i in enumerate(order)))
    axes.invert_yaxis()
    axes.set_axis_off()
    scale = figure.colorbar(mesh, cax=axes.inset_axes((0.6, 0.93, 0.38, 0.03)), orientation="horizontal")
    scale.set_ticks(range(-LIFT, LIFT + 1), labels=["≤ 1/4", "1/2", "1", "2", "≥ 4"], fontsize=6)
    scale.ax.set_title("lift", fontsize=7)

    def told(index: int) -> str:
        one, other = numpy.unravel_index(index, lift.shape)
        found, chance = observed[one, other], expected[one, other]
        return f"{names[one]} and {names[other]} ({many(found, 'post')}, {chance:.0f} by chance)"

    ratios = observed / expected
    sentence = (
        f"Of the {len(phrases)} skills that most posts mention the highest lift have "
        f"{told(int(numpy.where(pairs, ratios, -1).argmax()))}, the lowest "
        f"{told(int(numpy.where(pairs, ratios, numpy.inf).argmin()))}. Lift is the number of posts with both over that "
        f"expected if they were independent; where fewer than {LEAST_EXPECTED} are expected it is white too."
    )
    return [Plot("together", "Skills together: red more often than by chance, blue less", sentence, figure, True)]


def draw_overlap(parts: Mapping[str, Sequence[Post]], labels: Sequence[str]) -> list[Plot]:
    """How much of dev and test is seen in training; none if both have no mention."""
    figure = Figure()
    axes = figure.subplots()
    told = []
    kinds = {("dev", "o"): -0.15, ("test", "s"): 0.15}
    for (name, marker), shift in kinds.items():
        for row, label in enumerate((None, *labels)):
            one = overlap(parts[name], parts["train"], label)
            if not one.running:
                continue
            shares = (one.distinct_seen / one.distinct, one.running_seen / one.running)
            heights = (row + shift, row + shift)
            axes.plot(shares, heights, color=DARK, linewidth=1, zorder=1)
            axes.scatter(shares, heights, marker=marker, c=("white", colour_of(label)), edgecolors=DARK, zorder=2)
            if label is None:
                running, distinct = percent(one.running_seen, one.running), percent(one.distinct_seen, one.distinct)
                told.append(f"{running} of the mentions and {distinct} of the distinct spellings of {name}")
    if not told:
        return []
    key: dict[str, Any] = {"markeredgecolor": DARK, "linestyle": "none", "markersize": 5}
    handles = [
        Line2D([], [], marker=marker, markerfacecolor=fill, label=f"{name}, {what}", **key)
        for what, fill in (("distinct", "white"), ("mentions", GREY))
        for name, marker in kinds
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=7, columnspacing=1, handletextpad=0)
    axes.set_yticks(range(len(labels) + 1), ["all", *labels])
    axes.set_ylim(len(labels) + 0.5, -0.5)
    axes.set_xlim(0, 1.02)
    axes.xaxis.set_major_formatter(PERCENT)
    axes.set(xlabel="seen in train")
    sentence = f"{' and '.join(told)} stand in train too, under whatever label; what is left is new to the pipeline."
    return [Plot("overlap", "Overlap: how much of dev and test is seen in training?", sentence, figure)]


PERCENT = PercentFormatter(1, decimals=0, symbol=" %")
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def plain_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis as plain numbers: 1, 2, 5 of each power of ten, or 1 alone where that is too many."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axis.set_major_formatter(THOUSANDS)
    axis.set_minor_formatter(NullFormatter())


def colour_of(label: str | None) -> str:
    """The label's colour in displaCy; displaCy's own for one that has none there."""
    return GREY if label is None else displacy_colors().get(label, "#dddddd")


def line_style(label: str) -> dict[str, Any]:
    return {
        "color": colour_of(label),
        "linewidth": 2,
        "path_effects": [withStroke(linewidth=3.2, foreground=DARK)],
    }


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}\N{NO-BREAK SPACE}%" if whole else "–"


def many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def middle(values: Ints) -> str:
    low, median, high = numpy.quantile(values, [0.25, 0.5, 0.75])
    return f"{low:,.0f} to {high:,.0f} (median {median:,.0f})"


def shorten(text: str, length: int = 30) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


if __name__ == "__main__":
    app()
