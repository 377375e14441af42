"""Swap names in the test posts that say nothing about skills: does what the pipeline finds change?"""

import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from spacy.language import Language
from tqdm import tqdm
from wasabi import msg

from scripts import skill_ner  # noqa: F401 (registers the component)
from scripts.benchmark import encoder_of
from scripts.cli import bad_input, new_app, replacing, reports_bad_input, require_built
from scripts.evaluate import Key, keys_of, read_docbin
from scripts.figures import fairness_table
from scripts.robustness import Edit, apply

# Spellings that are words or names of something else, too, are left out: Turkey, Reading, Grace.
COUNTRIES = """United States|USA|US|United Kingdom|UK|England|Scotland|Ireland|Canada|Australia|New Zealand
India|Pakistan|Bangladesh|Sri Lanka|Philippines|Malaysia|Indonesia|Vietnam|Singapore|Hong Kong|China|Japan
South Korea|Germany|Netherlands|Belgium|France|Spain|Portugal|Italy|Switzerland|Austria|Poland|Romania|Ukraine
Denmark|Norway|Sweden|Finland|Estonia|Israel|Egypt|Morocco|Nigeria|Ghana|Kenya|Ethiopia|South Africa
Saudi Arabia|Iran|Iraq|Mexico|Brazil|Argentina|Chile|Colombia"""
CITIES = """London|Manchester|Leeds|Birmingham|Edinburgh|Belfast|Dublin|New York|Boston|Philadelphia|Pittsburgh
Chicago|Detroit|Minneapolis|Milwaukee|Columbus|Cincinnati|Cleveland|Nashville|Atlanta|Charlotte|Raleigh|Tampa
Orlando|Miami|Dallas|Houston|Austin|Denver|Phoenix|Salt Lake City|Omaha|Kansas City|Seattle|Portland
San Francisco|San Diego|San Jose|Los Angeles|Sacramento|Hartford|Toronto|Vancouver|Calgary|Sydney|Brisbane
Bengaluru|Hyderabad|Pune|Mumbai|Karachi|Dhaka|Manila|Jakarta|Shanghai|Osaka|Seoul|Berlin|Munich|Amsterdam
Utrecht|Brussels|Lyon|Lisbon|Warsaw|Bucharest|Stockholm|Copenhagen|Tallinn|Cairo|Lagos|Accra|Nairobi
Johannesburg|Riyadh|Mexico City|Bogotá|São Paulo|Buenos Aires"""
UNIVERSITIES = """University of Leeds|University of Manchester|University of Nairobi|University of Lagos
University of Tehran|University of Warsaw|University of Cape Town|University of São Paulo
University of the Punjab|National University of Singapore|Howard University|Ohio State University
Tsinghua University|Monash University|Cairo University|Stanford University|Spelman College|Boston College
Trinity College Dublin|ETH Zurich|IIT Bombay"""
FIRST_NAMES = """Emma|James|Emily|Greg|Lakisha|Jamal|Aisha|Mohammed|Fatima|Omar|Leila|Yusuf|Ayşe|Priya|Arjun
Deepika|Wei|Xiaoming|Hiroshi|Yuki|Thuy|Carlos|Lucía|Guadalupe|Agnieszka|Mateusz|Olga|Dmitri|Oluwaseun|Ngozi
Chidi|Kwame|Siobhan|Ingrid|Lars|Noa"""
PRONOUNS = {
    "he": "she",
    "she": "he",
    "him": "her",
    "his": "her",
    "her": "his",
    "himself": "herself",
    "herself": "himself",
}
# Words that say nothing about people, places or skills, each a single wordpiece.
NEUTRAL = """
window garden table river cloud stone paper morning bridge candle bottle blanket kitchen pillow basket
button carpet ceiling circle corner curtain ladder lemon mirror mountain needle ocean pencil pocket ribbon
shadow shelf silver spoon summer thunder ticket tower tunnel valley wagon winter wooden yellow
""".split()
# Posts hardly name a person: without this line in the middle of each there would be nothing to swap.
CONTACT = "Your contact is Emma. She studied at the University of Leeds and will tell you more about us."
# At the beginning of a line, where a post introduces the employer: "About Acme", "Acme Foods, a grocer, is ...".
NAME = r"[A-Z][\w-]+(?: (?:& )?[A-Z][\w-]+)*"
INTRODUCED = re.compile(
    rf"^(?:(?:About |At |Join )?({NAME})(?:,[^.\n]{{0,60}},)? "
    r"(?:is|are|was|has|have|runs|makes|builds|operates|provides|helps|began|designs|sells|offers|serves)\b"
    rf"|(?:About|At|Join) ({NAME})\b)",
    re.MULTILINE,
)
NO_NAMES = frozenset("We You Our Your Us This That The It There Who What They These If As".split())

Swap = Callable[[str, random.Random], list[Edit]]

app = new_app("Measure what names in a post change.")


@app.command()
@reports_bad_input
def main(
    model: Annotated[Path, typer.Argument(help="folder of a trained pipeline")],
    test: Annotated[Path, typer.Option(help="DocBin of gold posts")],
    metrics: Annotated[Path, typer.Option(help="JSON file for the figures")],
    seed: int = 42,
    gpu_id: Annotated[int, typer.Option(help="-1 for the CPU")] = -1,
) -> None:
    """Print how often the predictions of MODEL change when names in the test posts are swapped for others, and how
    often when neutral words take their place."""
    require_built(model, test)
    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    nlp = spacy.load(model)
    if "transformer" not in nlp.pipe_names:
        raise bad_input(model, "no component 'transformer'", "give a pipeline as `train` writes it")
    docs, _ = read_docbin(test, nlp)
    posts = [add_contact(doc.text, sorted(keys_of(doc))) for doc in docs]
    texts = [text for text, _ in posts]
    tokenizer, _ = encoder_of(nlp.get_pipe("transformer"))

    def pieces(name: str) -> int:
        return len(tokenizer(name, add_special_tokens=False)["input_ids"])

    found = [sorted(keys_of(doc)) for doc in nlp.pipe(texts)]
    figures: dict[str, dict[str, Any]] = {}
    for kind, swap in tqdm(swaps(texts).items(), desc="swapped names", unit="kind", leave=False):
        generator = random.Random(seed)
        edits = [outside(gold, swap(text, generator)) for text, gold in posts]
        # As many wordpieces, or the windows that the encoder cuts would differ, and with them much else.
        neutral = [[edit._replace(new=words(pieces(edit.new), generator)) for edit in made] for made in edits]
        figures[kind] = changes(nlp, texts, found, edits) | {"chance": changes(nlp, texts, found, neutral)}
    with replacing(metrics) as beside:
        beside.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    header, rows = fairness_table(figures)
    msg.table(rows, header=header, divider=True, aligns=("l", *"rrrrrr"))


def swaps(texts: Sequence[str]) -> dict[str, Swap]:
    """The kinds of swaps. An employer is swapped for another one of the texts."""
    employers = sorted({name for text in texts for name in employers_in(text)})
    university = r"University of [A-Z]\w+|(?:(?!The\b)[A-Z][\w’'-]+ )+(?:University|College)"
    return {
        "countries": swap_names(split(COUNTRIES), rf"(?:[Tt]he )?{any_of(split(COUNTRIES))}"),
        "cities": swap_names(split(CITIES), rf"(?<!University of ){any_of(split(CITIES))}"),
        "universities": swap_names(split(UNIVERSITIES), f"{any_of(split(UNIVERSITIES))}|{university}"),
        "pronouns": swap_pronouns,
        "first names": swap_names(split(FIRST_NAMES), any_of(split(FIRST_NAMES))),
        "employers": lambda text, generator: swap_names(employers, any_of(employers_in(text)))(text, generator),
    }


def split(names: str) -> list[str]:
    return re.split(r"[|\n]", names)


def any_of(names: Sequence[str]) -> str:
    """A pattern of these names as whole words, the longest first; one that matches nothing if there are none."""
    return rf"\b(?:{'|'.join(map(re.escape, sorted(names, key=len, reverse=True))) or '(?!)'})\b"


def swap_names(names: Sequence[str], pattern: str) -> Swap:
    """What matches becomes another one of the names, the same one throughout a post."""

    def swap(text: str, generator: random.Random) -> list[Edit]:
        others: dict[str, str] = {}
        edits = []
        for match in re.finditer(pattern, text):
            if match[0] not in others:
                others[match[0]] = generator.choice([name for name in names if name not in match[0]] or [match[0]])
            edits.append(Edit(*match.span(), others[match[0]]))
        return edits

    return swap


def swap_pronouns(text: str, generator: random.Random) -> list[Edit]:
    """He becomes she, and she he."""
    edits = []
    for match in re.finditer(rf"\b({'|'.join(PRONOUNS)})\b(?=( [a-z])?)", text, re.IGNORECASE):
        owns = match[2] is not None
        new = "him" if match[1].lower() == "her" and not owns else PRONOUNS[match[1].lower()]
        edits.append(Edit(*match.span(), new.capitalize() if match[1][0].isupper() else new))
    return edits


def words(size: int, generator: random.Random) -> str:
    """So many neutral words, written like a name."""
    return " ".join(generator.choices(NEUTRAL, k=size)).title()


def employers_in(text: str) -> list[str]:
    """Names by which a post introduces its employer: metadata do not say who it is. A name stands in the post twice
    or more, and never in lower case, as a heading's words do."""
    names = {match[1] or match[2] for match in INTRODUCED.finditer(text)}
    return sorted(
        name
        for name in names
        if NO_NAMES.isdisjoint(name.split()) and len(re.findall(any_of([name]), text)) > 1 and name.lower() not in text
    )


def add_contact(text: str, gold: Sequence[Key]) -> tuple[str, list[Key]]:
    """The post with a contact named in the middle, or at its end if it is a single line."""
    middle = text.find("\n", len(text) // 2)
    place = len(text) if middle < 0 else middle
    return apply([Edit(place, place, f"\n{CONTACT}")], text, gold)


def outside(gold: Sequence[Key], edits: Sequence[Edit]) -> list[Edit]:
    """The edits that touch no skill."""
    return [edit for edit in edits if not any(key.start < edit.end and edit.start < key.end for key in gold)]


def changes(
    nlp: Language, texts: Sequence[str], found: Sequence[Sequence[Key]], edits: Sequence[Sequence[Edit]]
) -> dict[str, float]:
    """What the edits change among the posts that have one: the share of posts, and of the spans that are found before
    or after, those that are found only once."""
    edited = [apply(made, text, keys) for text, keys, made in zip(texts, found, edits, strict=True) if made]
    posts = spans = differing = 0
    for (_, before), doc in zip(edited, nlp.pipe(text for text, _ in edited), strict=True):
        after = keys_of(doc)
        posts += after != set(before)
        spans += len(after | set(before))
        differing += len(after ^ set(before))
    return {
        "posts": len(edited),
        "swaps": sum(map(len, edits)),
        "posts_changed": posts / max(len(edited), 1),
        "spans_changed": differing / max(spans, 1),
    }


if __name__ == "__main__":
    app()
