"""What a table of extracted skills says: which are asked for, where, with which others, and which rise and fall."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, NamedTuple

import networkx
import numpy
import typer
from markupsafe import Markup
from matplotlib.figure import Figure
from tqdm import tqdm
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input
from scripts.html_page import grid, literal, page, plot, png, table
from scripts.posts import read_rows
from scripts.skill_ner import displacy_colors

# What plots show, and tables of the page; the CSV files have all.
LARGEST_GROUPS = 12
TOP = 30
ROWS = 500

app = new_app("Tell what extracted skills say.")


class Skill(NamedTuple):
    """A skill as posts are counted for it: its canonical name, or else how it is written, in lower case."""

    name: str
    label: str


class Post(NamedTuple):
    """Its distinct skills, those of them that it requires, and the columns to group by (None: not said)."""

    skills: frozenset[Skill]
    required: frozenset[Skill]
    groups: tuple[str | None, ...]
    month: str | None


class Share(NamedTuple):
    """The posts of a group that name a skill, and the posts of the group."""

    posts: int
    of: int

    @property
    def value(self) -> float:
        return self.posts / self.of if self.of else 0.0


class Pair(NamedTuple):
    """Two skills, the posts that name both, and how many times as many they are as chance would give."""

    one: Skill
    other: Skill
    posts: int
    lift: float


class Trend(NamedTuple):
    """A skill's share of posts before and since, the difference, and the ends of its 95 % interval."""

    skill: Skill
    before: Share
    since: Share
    change: float
    low: float
    high: float


@app.command()
@reports_bad_input
def main(
    skills: Annotated[Path, typer.Argument(help="JSONL of `extract`, a row a post")],
    output: Annotated[Path, typer.Option(help="folder for the page and the CSV files")],
    group: Annotated[str, typer.Option(help="columns to count by, separated by commas")] = "role,country",
    date: Annotated[str, typer.Option(help="column with a date that begins YYYY-MM")] = "date",
    since: Annotated[
        str, typer.Option(help="month YYYY-MM that the second period begins with; default: half way")
    ] = "",
    least: Annotated[int, typer.Option(min=1, help="posts that a skill, pair or group must have to be listed")] = 5,
) -> None:
    """Write OUTPUT/insights.html and a CSV of each table."""
    if not skills.exists():
        raise bad_input(skills, "no such file", "run first: spacy project run extract . --vars.input POSTS")
    if since and not is_month(since):
        raise bad_input("--since", f"{since!r} is no month", "write it as 2026-07")
    columns = [name.strip() for name in group.split(",") if name.strip()]
    posts = read_extraction(skills, columns, date)
    counts = Counter(skill for post in posts for skill in post.skills)
    listed = {skill for skill, count in counts.items() if count >= least}
    tables = {"skills": skill_rows(posts, counts, listed)}
    for number, name in enumerate(columns):
        tables[f"by_{name}"] = group_rows(posts, number, listed, least)
    pairs = count_pairs(posts, counts, listed, least)
    tables["pairs"] = [(p.one.name, p.other.name, p.posts, round(p.lift, 2)) for p in pairs]
    months = sorted({post.month for post in posts if post.month})
    since = since or (months[(len(months) + 1) // 2] if len(months) > 1 else "")
    trends = count_trends(posts, listed, since) if since else []
    tables["trends"] = [trend_row(trend) for trend in trends]
    tables["months"] = month_rows(posts, months, counts)
    files = {f"{name}.csv": to_csv(HEADERS.get(name, GROUP_HEADER), rows) for name, rows in tables.items()}
    files["insights.html"] = render(posts, columns, tables, pairs, trends, since, counts)
    for name, text in files.items():
        with replacing(output / name) as beside:
            beside.write_text(text, encoding="utf-8")
    msg.good(f"{len(posts)} posts, {len(counts)} skills -> {output / 'insights.html'}")


HEADERS = {
    "skills": ("skill", "label", "posts", "share", "required in"),
    "pairs": ("skill", "other", "posts", "lift"),
    "trends": ("skill", "label", "before", "since", "change", "low", "high"),
    "months": ("month", "skill", "posts", "share"),
}
GROUP_HEADER = ("group", "skill", "label", "posts", "share", "times the average")


def read_extraction(path: Path, columns: Sequence[str], date: str) -> list[Post]:
    """The posts of an extraction. Raises BadInput if a row is not as `extract` writes it, or there is none."""
    faults: list[Any] = []
    posts = []
    for number, row in tqdm(read_rows(path, faults), desc="reading", unit="post", leave=False, delay=2):
        try:
            found = [(Skill(item.get("skill") or item["text"].lower(), item["label"]), item) for item in row["skills"]]
        except (KeyError, TypeError, AttributeError):
            what, remedy = "no post with its skills", "give JSONL of `extract`, a row a post: --per post"
            raise bad_input(path, what, remedy, number) from None
        required = frozenset(skill for skill, item in found if item.get("requirement") == "required")
        groups = tuple(str(row[name]) if row.get(name) not in (None, "") else None for name in columns)
        month = str(row.get(date) or "")[:7]
        posts.append(Post(frozenset(skill for skill, _ in found), required, groups, month if is_month(month) else None))
    if faults:
        raise bad_input(path, f"{len(faults)} lines are no JSON objects", "extract again", faults[0].line)
    if not any(post.skills for post in posts):
        raise bad_input(path, "no post with a skill in it", "extract again")
    return posts


def is_month(text: str) -> bool:
    return len(text) == 7 and text[4] == "-" and text[:4].isdigit() and text[5:].isdigit() and 1 <= int(text[5:]) <= 12


def skill_rows(posts: Sequence[Post], counts: Counter[Skill], listed: set[Skill]) -> list[tuple[Any, ...]]:
    required = Counter(skill for post in posts for skill in post.required)
    return [
        (skill.name, skill.label, count, round(count / len(posts), 4), required[skill])
        for skill, count in ordered(counts)
        if skill in listed
    ]


def ordered(counts: Counter[Skill]) -> list[tuple[Skill, int]]:
    """The most frequent first, equals by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def group_rows(posts: Sequence[Post], number: int, listed: set[Skill], least: int) -> list[tuple[Any, ...]]:
    """For each group, largest first, the skills it names, those that set it apart most first."""
    sizes = Counter(name for post in posts if (name := post.groups[number]))
    known = sum(sizes.values())
    average = Counter(skill for post in posts if post.groups[number] for skill in post.skills & listed)
    rows = []
    for name, size in sizes.most_common():
        if size < least:
            continue
        counts = Counter(skill for post in posts if post.groups[number] == name for skill in post.skills & listed)
        times = {skill: (count / size) / (average[skill] / known) for skill, count in counts.items()}
        for skill in sorted(counts, key=lambda skill: (-times[skill], skill)):
            if counts[skill] >= least:
                share = round(counts[skill] / size, 4)
                rows.append((name, skill.name, skill.label, counts[skill], share, round(times[skill], 2)))
    return rows


def count_pairs(posts: Sequence[Post], counts: Counter[Skill], listed: set[Skill], least: int) -> list[Pair]:
    """Pairs that stand together in posts more often than chance would have it, by lift: the posts with both over those
    expected if the two were independent."""
    together: Counter[tuple[Skill, Skill]] = Counter()
    for post in tqdm(posts, desc="pairs", unit="post", leave=False, delay=2):
        together.update(combinations(sorted(post.skills & listed), 2))
    pairs = [
        Pair(one, other, count, count * len(posts) / (counts[one] * counts[other]))
        for (one, other), count in together.items()
        if count >= least
    ]
    return sorted((pair for pair in pairs if pair.lift > 1), key=lambda pair: (-pair.lift, -pair.posts, pair))


def count_trends(posts: Sequence[Post], listed: set[Skill], since: str) -> list[Trend]:
    """The skills whose share of posts differs most between the months before `since` and those from it on."""
    periods = [
        [post for post in posts if post.month and post.month < since],
        [post for post in posts if post.month and post.month >= since],
    ]
    counts = [Counter(skill for post in period for skill in post.skills) for period in periods]
    trends = []
    for skill in listed:
        before, after = (Share(count[skill], len(period)) for count, period in zip(counts, periods, strict=True))
        if before.of and after.of:
            trends.append(Trend(skill, before, after, after.value - before.value, *difference_interval(before, after)))
    return sorted(trends, key=lambda trend: (-abs(trend.change), trend.skill))


def difference_interval(before: Share, since: Share, level: float = 0.95) -> tuple[float, float]:
    """Ends of the interval of the difference of two shares (Newcombe 1998, method 10: from Wilson's intervals of
    each)."""
    (low_b, high_b), (low_s, high_s) = wilson_interval(before, level), wilson_interval(since, level)
    change = since.value - before.value
    down = ((since.value - low_s) ** 2 + (high_b - before.value) ** 2) ** 0.5
    up = ((high_s - since.value) ** 2 + (before.value - low_b) ** 2) ** 0.5
    return change - down, change + up


def wilson_interval(share: Share, level: float) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    n, p = share.of, share.value
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return middle - half, middle + half


def trend_row(trend: Trend) -> tuple[Any, ...]:
    figures = (trend.before.value, trend.since.value, trend.change, trend.low, trend.high)
    return (*trend.skill, *(round(figure, 4) for figure in figures))


def month_rows(posts: Sequence[Post], months: Sequence[str], counts: Counter[Skill]) -> list[tuple[Any, ...]]:
    """The share of each month's posts that name each of the most frequent skills."""
    top = [skill for skill, _ in ordered(counts)[:TOP]]
    rows = []
    for month in months:
        here = [post for post in posts if post.month == month]
        by_skill = Counter(skill for post in here for skill in post.skills)
        rows += [(month, skill.name, by_skill[skill], round(by_skill[skill] / len(here), 4)) for skill in top]
    return rows


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()


def render(
    posts: Sequence[Post],
    columns: Sequence[str],
    tables: dict[str, list[tuple[Any, ...]]],
    pairs: Sequence[Pair],
    trends: Sequence[Trend],
    since: str,
    counts: Counter[Skill],
) -> str:
    """The page. What the data do not say (no dates, no such column) is left out, and said to be."""
    top = ordered(counts)[:TOP]
    bars = plot("Skills by share of posts", draw_skills(top, len(posts)), "A post counts once for each skill.")
    sections = [("Most asked for", [grid([bars, table(HEADERS["skills"], tables["skills"][:ROWS], texts=2)])])]
    for number, name in enumerate(columns):
        rows = tables[f"by_{name}"]
        part = Markup("<p>No column {!r} with enough posts.</p>").format(name)
        if rows:
            caption = "The darker, the larger the share of the group's posts that name the skill."
            heat = plot(f"Skills by {name}", draw_groups(posts, number, top), caption)
            part = grid([heat, table(GROUP_HEADER, rows[:ROWS], texts=3)])
        sections.append((f"By {name}", [part]))
    part = Markup("<p>No two skills with enough posts.</p>")
    if pairs:
        caption = "A line joins skills that posts name together more often than chance; the thicker, the more so."
        graph = plot("What goes with what", draw_graph(pairs, counts), caption)
        part = grid([graph, table(HEADERS["pairs"], tables["pairs"][:ROWS], texts=2)])
    sections.append(("Together", [part]))
    part = Markup("<p>No dates of two months or more in the data.</p>")
    if trends:
        caption = (
            f"Change of the share of posts since {since} with its 95 % interval. Of twenty skills that do not change, "
            "one stands clear of zero by chance."
        )
        changes = plot("Change of the share of posts", draw_trends(trends), caption)
        part = grid([changes, table(HEADERS["trends"], tables["trends"][:ROWS], texts=2)])
    sections.append(("Rising and falling", [part]))
    found = sum(len(post.skills) for post in posts)
    lead = f"{len(posts):,} posts, {len(counts):,} distinct skills, {found / len(posts):.1f} a post."
    return page("Skills in job posts", lead, sections)


def draw_skills(top: Sequence[tuple[Skill, int]], posts: int) -> bytes:
    figure = Figure(figsize=(7, 0.5 + 0.22 * len(top)), layout="constrained")
    axes = figure.subplots()
    colors = displacy_colors()
    names = [literal(skill.name) for skill, _ in top]
    shares = [100 * count / posts for _, count in top]
    axes.barh(range(len(top)), shares, color=[colors.get(skill.label, "#cccccc") for skill, _ in top])
    axes.set_yticks(range(len(top)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("% of posts")
    for label in sorted({skill.label for skill, _ in top}):
        axes.barh(0, 0, color=colors.get(label, "#cccccc"), label=label)
    axes.legend(frameon=False, loc="lower right")
    return png(figure)


def draw_groups(posts: Sequence[Post], number: int, top: Sequence[tuple[Skill, int]]) -> bytes:
    sizes = Counter(name for post in posts if (name := post.groups[number])).most_common(LARGEST_GROUPS)
    skills = [skill for skill, _ in top]
    shares = numpy.zeros((len(skills), len(sizes)))
    for column, (name, size) in enumerate(sizes):
        here = Counter(skill for post in posts if post.groups[number] == name for skill in post.skills)
        shares[:, column] = [100 * here[skill] / size for skill in skills]
    figure = Figure(figsize=(7, 2 + 0.22 * len(skills)), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", aspect="auto", vmin=0)
    axes.set_yticks(range(len(skills)), [literal(skill.name) for skill in skills], fontsize=8)
    names = [literal(f"{name[:24]} ({size})") for name, size in sizes]
    axes.set_xticks(range(len(sizes)), names, fontsize=8, rotation=45, ha="right")
    figure.colorbar(picture, label="% of posts")
    return png(figure)


def draw_graph(pairs: Sequence[Pair], counts: Counter[Skill]) -> bytes:
    """The strongest pairs of the most frequent skills, as far apart as there are lines between them (Kamada and
    Kawai 1989)."""
    frequent = {skill for skill, _ in ordered(counts)[: 2 * TOP]}
    graph = networkx.Graph()
    for pair in pairs:
        if pair.one in frequent and pair.other in frequent and graph.size() < 2 * TOP:
            graph.add_edge(pair.one, pair.other, weight=float(numpy.log2(pair.lift)))
    figure = Figure(figsize=(9, 8), layout="constrained")
    # Each connected part by itself: between parts there is no distance.
    parts = sorted(networkx.connected_components(graph), key=len, reverse=True)
    places: dict[Skill, numpy.ndarray] = {}
    right = 0.0
    for part in parts:
        width = len(part) ** 0.5
        layout = (
            networkx.kamada_kawai_layout(graph.subgraph(part), weight=None, scale=width / 2)
            if len(part) > 2
            else {skill: numpy.array([0.0, number]) for number, skill in enumerate(sorted(part))}
        )
        places |= {skill: place + numpy.array([right + width / 2, 0]) for skill, place in layout.items()}
        right += width + 0.5
    axes = figure.subplots()
    axes.axis("off")
    axes.margins(0.1)
    colors = displacy_colors()
    widths = [0.5 * data["weight"] for *_, data in graph.edges(data=True)]
    networkx.draw_networkx_edges(graph, places, ax=axes, edge_color="#bbbbbb", width=widths)
    sizes = [30 + 600 * counts[skill] / max(counts.values()) for skill in graph]
    fills = [colors.get(skill.label, "#cccccc") for skill in graph]
    networkx.draw_networkx_nodes(graph, places, ax=axes, node_size=sizes, node_color=fills)
    networkx.draw_networkx_labels(graph, places, {skill: literal(skill.name) for skill in graph}, font_size=8, ax=axes)
    return png(figure)


def draw_trends(trends: Sequence[Trend]) -> bytes:
    shown = sorted(trends[:TOP], key=lambda trend: trend.change)
    figure = Figure(figsize=(7, 0.6 + 0.22 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, trend in enumerate(shown):
        sure = trend.low > 0 or trend.high < 0
        axes.plot([100 * trend.low, 100 * trend.high], [place, place], color="#1f77b4" if sure else "#bbbbbb")
        axes.plot(100 * trend.change, place, "o", markersize=4, color="#1f77b4" if sure else "#bbbbbb")
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.set_yticks(range(len(shown)), [literal(trend.skill.name) for trend in shown], fontsize=8)
    axes.set_xlabel("percentage points")
    return png(figure)


if __name__ == "__main__":
    app()
