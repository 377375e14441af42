"""Check the annotated corpus against the guideline and against itself."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from scripts.cli import BadInput, Fault, new_app, reports_bad_input
from scripts.convert import blank_pipeline, to_doc
from scripts.near_duplicates import cluster
from scripts.posts import Post, Span, read_posts

SIMILAR = 0.2
MOST_REPEATS = 3
COPIED_WORDS = 12

# The shortest span names the skill: what comes before it, and how good one must be at it, stays out.
NOT_FIRST = frozenset(
    "a an the our your their this that strong excellent outstanding exceptional solid proven basic good great superb "
    "superior advanced intermediate expert hands-on in-depth demonstrated demonstrable extensive thorough sound "
    "knowledge experience understanding familiarity proficiency ability and or".split()
)
NOT_LAST = frozenset(
    "skills skill experience knowledge ability abilities experiences a an the and or of for in with to".split()
)
# Words that name no skill by themselves.
NO_SKILL = frozenset(
    "data business reports report metrics insights insight trends growth models model queries query graphs "
    "charts tools tool solutions systems technology technologies information technical skills requirements "
    "applications projects processes".split()
)
# Fixed names, or the beginnings of such, that break a rule above.
ALLOWED_FIRST = (
    *("advanced analytics", "advanced planning", "advanced process control", "basic life support"),
    *("experience design", "experience management", "experience mapping", "experience modification"),
    *("experience rating", "experience stud", "expert determination", "expert elicitation", "expert judg"),
    *(
        "expert system",
        "expert testimony",
        "expert witness",
        "good clinical",
        "good distribution",
        "good documentation",
    ),
    *(
        "good with people",
        "in-depth interviews",
        "good humo",
        "good laboratory",
        "good listener",
        "good manufacturing",
        "good pharmacovigilance",
    ),
    *("great expectations", "hands-on attitude", "hands-on mentality", "knowledge base", "knowledge distillation"),
    *("knowledge engineering", "knowledge graph", "knowledge management", "knowledge representation"),
    *("knowledge sharing", "knowledge tracing", "knowledge transfer", "proficiency testing", "sound event"),
    *("knowledge exchange", "strong consistency", "the trade desk"),
)
ALLOWED_WHOLE = frozenset({"domain knowledge", "industry knowledge", "member experience"})
ALLOWED_LAST = frozenset(
    "interpersonal analytical people soft quantitative organizational organisational social leadership math "
    "mathematical numerical numeracy human relational life business computer administrative client customer consulting "
    "influencing reasoning research user employee digital developer investigative "
    "supervisory conceptual diplomatic it patient guest erlang interface "
    "work".split()
)
ENDS_OF_NAMES = re.compile(r"[\w)+#!*]$|\w\.$")
BEGINS_NAMES = re.compile(r"[\w.(@/]")

# Phrases that employers have to use, whoever writes them, and what job sites put below each post.
STOCK = re.compile(
    r"equal opportunity|opportunity employer|qualified applicants|discriminate|without regard to|protected veteran|"
    r"protected by law|sexual orientation|gender identity|national origin|affirmative action|reasonable accommodation|"
    r"conviction records|background check|e-verify|visa sponsorship|physical demands|physical requirements|"
    r"performing the duties of this job|seniority level|employment type"
)

app = new_app("Check the annotated corpus.")


@app.command()
@reports_bad_input
def main(
    annotations: Annotated[list[Path], typer.Argument(help="doccano JSONL files, or folders of them")],
    labels: Annotated[str, typer.Option(help="labels, separated by commas")],
    against: Annotated[Path | None, typer.Option(help="JSONL of posts that nothing may be copied from")] = None,
    review: Annotated[int, typer.Option(min=0, help="how many inconsistent phrases to list")] = 0,
) -> None:
    """Fail on what breaks a rule; list, for review, phrases that are marked in two ways."""
    posts = read_posts(annotations, labels.split(","))
    nlp = blank_pipeline()
    faults = [fault for post in posts for fault in to_doc(post, nlp)[1]]
    faults += [fault for post in posts for span in post.spans for fault in check_span(post, span)]
    faults += similar_posts(posts)
    faults += repeated_sentences(posts)
    if against is not None:
        faults += copied(posts, read_posts([against], (), annotated=False))
    if review:
        for phrase, counts in two_labels(posts)[:review]:
            print(f"two labels: {phrase!r} {dict(counts.most_common())}")
        for line in marked_and_not(posts)[:review]:
            print(line)
    if faults:
        raise BadInput(faults)
    words = sum(len(post.text.split()) for post in posts)
    spans = sum(len(post.spans) for post in posts)
    msg.good(f"{len(posts)} posts, {words} words, {spans} spans: no fault")


def check_span(post: Post, span: Span) -> Iterator[Fault]:
    """The faults of a span by the guideline's rules for its edges."""
    surface = post.text[span.start : span.end]
    phrase = surface.lower()
    first, last = phrase.split()[0], phrase.split()[-1]
    if phrase in NO_SKILL:
        yield fault(post, span, f"{surface!r} names no skill by itself", "remove the mark")
    elif first in NOT_FIRST and first != phrase and not phrase.startswith(ALLOWED_FIRST):
        yield fault(post, span, f"{surface!r} begins with {first!r}", "leave it out")
    elif last in NOT_LAST and phrase not in ALLOWED_WHOLE and (first == last or phrase.split()[-2] not in ALLOWED_LAST):
        yield fault(post, span, f"{surface!r} ends with {last!r}", "leave it out")
    elif not BEGINS_NAMES.match(surface) or not ENDS_OF_NAMES.search(surface):
        yield fault(post, span, f"{surface!r} has punctuation at an edge", "leave it out")


def fault(post: Post, span: Span, what: str, remedy: str) -> Fault:
    file, _, line = post.source.rpartition(":")
    return Fault(file, int(line), f"post {post.id}, span [{span.start}, {span.end}, {span.label}]: {what}", remedy)


def similar_posts(posts: Sequence[Post]) -> list[Fault]:
    """Posts that share more than a fifth of their runs of five words with an earlier one."""
    return [
        Fault(post.source, None, f"post {post.id} is like {posts[first].id}", "rewrite or remove one")
        for post, first in zip(posts, cluster([post.text for post in posts], SIMILAR), strict=True)
        if posts[first] is not post
    ]


def repeated_sentences(posts: Sequence[Post]) -> list[Fault]:
    """Sentences of eight words or more that stand in more than three posts, stock phrases aside."""
    places: dict[str, set[str]] = defaultdict(set)
    for post in posts:
        for sentence in re.split(r"\n|(?<=[.!?])\s+", post.text):
            if len(sentence.split()) >= 8 and not STOCK.search(sentence.lower()):
                places[" ".join(sentence.lower().split())].add(post.id)
    return [
        Fault(", ".join(sorted(ids)[:5]), None, f"{len(ids)} posts have {sentence!r}", "word it differently")
        for sentence, ids in sorted(places.items())
        if len(ids) > MOST_REPEATS
    ]


def copied(posts: Sequence[Post], others: Sequence[Post]) -> list[Fault]:
    """Runs of twelve words or more that a post has in common with others', stock phrases aside."""
    runs = {run for post in others for run in word_runs(post.text)}
    faults = []
    for post in posts:
        shared = [run for run in word_runs(post.text) if run in runs and not STOCK.search(run)]
        if shared:
            faults.append(Fault(post.source, None, f"post {post.id} copies {shared[0]!r}", "word it differently"))
    return faults


def word_runs(text: str) -> Iterator[str]:
    words = re.findall(r"\w+", text.lower())
    for i in range(len(words) - COPIED_WORDS + 1):
        yield " ".join(words[i : i + COPIED_WORDS])


def two_labels(posts: Sequence[Post]) -> list[tuple[str, Counter[str]]]:
    """Phrases with more than one label, and how often they have each; those that are most often both first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for post in posts:
        for span in post.spans:
            counts[post.text[span.start : span.end].lower()][span.label] += 1
    mixed = [(phrase, labels) for phrase, labels in counts.items() if len(labels) > 1]
    return sorted(mixed, key=lambda item: -min(item[1].values()))


def marked_and_not(posts: Sequence[Post]) -> list[str]:
    """Phrases that are marked in places and bare in others, those that are most often both first."""
    marked: Counter[str] = Counter()
    for post in posts:
        marked.update({post.text[span.start : span.end].lower() for span in post.spans})
    longest = max((len(phrase.split()) for phrase in marked), default=0)
    bare: Counter[str] = Counter()
    example: dict[str, str] = {}
    for post in posts:
        covered = [False] * (len(post.text) + 1)
        for span in post.spans:
            covered[span.start : span.end] = [True] * (span.end - span.start)
        words = list(re.finditer(r"[\w+#.&/-]*[\w+#]", post.text))
        for i, word in enumerate(words):
            if covered[word.start()]:
                continue
            for size in range(1, longest + 1):
                if i + size > len(words) or covered[words[i + size - 1].start()]:
                    break
                start, end = word.start(), words[i + size - 1].end()
                phrase = post.text[start:end].lower()
                if phrase in marked:
                    bare[phrase] += 1
                    around = post.text[max(0, start - 40) : end + 40].replace("\n", " ⏎ ")
                    example.setdefault(phrase, f"{post.id}: …{around}…")
    both = sorted(bare, key=lambda phrase: -min(bare[phrase], marked[phrase]))
    return [f"marked in {marked[p]} posts, bare {bare[p]} times: {p!r}, e.g. {example[p]}" for p in both]


if __name__ == "__main__":
    app()
