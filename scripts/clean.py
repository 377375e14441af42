"""Clean raw posts as scrapers leave them: HTML, mojibake, remnants of job sites, contact details, duplicates."""

import ast
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import ftfy
import py3langid
import typer
from datasketch import LeanMinHash
from ftfy.fixes import unescape_html
from selectolax.lexbor import LexborHTMLParser, LexborNode
from tqdm import tqdm
from wasabi import msg

from scripts.cli import bad_input, new_app, replacing, reports_bad_input
from scripts.near_duplicates import Index, shingles, sketch
from scripts.posts import write_jsonl
from scripts.sources import Record, Reject, is_broken, read_source

# Of fewer words the language is a guess: one English line in 500 is taken for another of 20 words, one in 20 of 5.
JUDGED_WORDS = 20
# Parsing HTML takes time that grows with the square of how deep it nests.
MAX_CHARACTERS = 1_000_000
ROUNDS = 20

app = new_app("Clean raw posts.")


class Rule(StrEnum):
    """What may change a text, then what may drop a post, in the order in which they are applied."""

    lists = "lists"
    html = "html"
    entities = "entities"
    encoding = "encoding"
    line_ends = "line-ends"
    invisible = "invisible"
    linkedin = "linkedin"
    glassdoor = "glassdoor"
    show_more = "show-more"
    tracking = "tracking"
    emails = "emails"
    phones = "phones"
    headings = "headings"
    blanks = "blanks"
    blank_lines = "blank-lines"
    too_short = "too-short"
    too_long = "too-long"
    language = "language"
    duplicates = "duplicates"
    near_duplicates = "near-duplicates"


class Settings(NamedTuple):
    """The rules to apply; the words a post may have; from which Jaccard similarity of their runs of five words on two
    posts are near-duplicates; whether duplicates are kept."""

    rules: Collection[Rule] = tuple(Rule)
    min_words: int = 30
    max_words: int = 5000
    similarity: float = 0.7
    keep_duplicates: bool = False


@dataclass
class Report:
    """How many posts came to each rule and how many it changed or caught, the languages of those that are not English,
    how many posts are left, and what is no post."""

    seen: Counter[Rule] = field(default_factory=Counter)
    hit: Counter[Rule] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    left: int = 0
    rejects: list[Reject] = field(default_factory=list)

    def count(self, rule: Rule, hit: bool) -> bool:
        """Count a post for a rule. Returns whether it was hit."""
        self.seen[rule] += 1
        self.hit[rule] += hit
        return hit


@app.command()
@reports_bad_input
def main(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="JSONL, JSON, CSV, Parquet, text or HTML files, folders of them, or - for JSONL on stdin"),
    ] = None,
    output: Annotated[Path, typer.Option(help="JSONL to write")] = Path("corpus/posts/cleaned.jsonl"),
    text_column: Annotated[str, typer.Option(help="column or field of the text")] = "text",
    id_column: Annotated[str, typer.Option(help="column or field of the id")] = "id",
    skip: Annotated[list[Rule] | None, typer.Option(help="rule to leave out; may be repeated")] = None,
    min_words: Annotated[int, typer.Option(help="of a cleaned post")] = 30,
    max_words: Annotated[int, typer.Option(help="of a cleaned post")] = 5000,
    similarity: Annotated[
        float, typer.Option(min=0.3, max=1, help="of near-duplicates: Jaccard, of their runs of five words")
    ] = 0.7,
    keep_duplicates: Annotated[bool, typer.Option(help="keep them, each with its cluster")] = False,
    rejects: Annotated[Path | None, typer.Option(help="JSONL for what is no post: where it stands, and why")] = None,
    summary: Annotated[Path | None, typer.Option(help="JSON file for the figures")] = None,
) -> None:
    """Write the posts of INPUTS as clean English text, each advertisement once; their other fields are kept."""
    if not inputs:
        raise bad_input("clean", "no posts given", "spacy project run clean . --vars.raw FILE_OR_FOLDER")
    settings = Settings(set(Rule).difference(skip or ()), min_words, max_words, similarity, keep_duplicates)
    report = Report()
    items = chain.from_iterable(read_source(path, text_column, id_column) for path in inputs)
    rows = clean_posts(tqdm(items, desc="cleaning", unit="post", leave=False), settings, report)
    try:
        # An output that has posts is not replaced by one that has none.
        first = next(rows, None)
        if first is not None:
            write_jsonl(output, chain([first], rows))
        if rejects is not None:
            write_jsonl(rejects, (reject._asdict() for reject in report.rejects))
        if summary is not None:
            with replacing(summary) as beside:
                beside.write_text(json.dumps(figures(report), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise bad_input(error.filename or output, error.strerror or str(error), "mend that and clean again") from None
    print_table(report)
    if report.rejects:
        place, what = report.rejects[0]
        rest = f", all of them: {rejects}" if rejects else "; --rejects FILE lists them"
        msg.warn(f"{len(report.rejects)} are no posts: {place}: {what}{rest}")
    if first is None:
        raise bad_input(inputs[0], "no post is left", "see the table above, and --skip")
    msg.good(f"{report.left} posts -> {output}")


def clean_posts(items: Iterable[Record | Reject], settings: Settings, report: Report) -> Iterator[dict[str, Any]]:
    """Yield the posts that are left as {"id", other fields, "cluster", "text"}; `report` is kept along.

    `cluster` is the id of the first post that is like it, its own if there is none. An id that another post has already
    gets a number behind it. Of the posts that went by, only ids stay in memory.
    """
    duplicates = Duplicates(settings)
    ids: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Reject):
            report.rejects.append(item)
            continue
        cleaned = clean_record(item, settings, report)
        if isinstance(cleaned, Reject):
            report.rejects.append(cleaned)
            continue
        if not fits(cleaned, settings, report):
            continue
        id = unused(item.id, ids)
        like = duplicates.find(id, cleaned, report)
        if like is not None and not settings.keep_duplicates:
            continue
        report.left += 1
        rest = {key: value for key, value in item.fields.items() if key not in ("id", "cluster", "text")}
        yield {"id": id, **rest, "cluster": like or id, "text": cleaned}


def unused(id: str, ids: Counter[str]) -> str:
    """The id, with a number behind it if it is among `ids`; it is then."""
    name = id
    while name in ids:
        ids[id] += 1
        name = f"{id}-{ids[id]}"
    ids[name] = 1
    return name


def clean_record(record: Record, settings: Settings, report: Report) -> str | Reject:
    """The text of a record after the edits, or why there is none."""
    if any(isinstance(record.fields.get(key), list) and record.fields[key] for key in ("label", "entities")):
        return Reject(record.place, "it is annotated, and cleaning would shift its spans")
    if len(record.text) > MAX_CHARACTERS:
        return Reject(record.place, f"over {MAX_CHARACTERS:,} characters")
    edited = edit(record.text, settings.rules)
    if edited is None:
        return Reject(record.place, f"still changing after {ROUNDS} rounds")
    text, changed = edited
    if not text.strip():
        return Reject(record.place, "nothing is left of its text")
    if is_broken(text):
        return Reject(record.place, "half of a surrogate pair")
    for rule in EDITS:
        if rule in settings.rules:
            report.count(rule, rule in changed)
    return text


def edit(text: str, rules: Collection[Rule] = tuple(Rule)) -> tuple[str, set[Rule]] | None:
    """The text after the edits among the rules, and which of them changed it. They are made over and over until none
    changes it any more, so that to clean it again changes nothing; None if that does not come."""
    changed: set[Rule] = set()
    for _ in range(ROUNDS):
        before = text
        for rule, make in EDITS.items():
            if rule in rules and (after := make(text)) != text:
                changed.add(rule)
                text = after
        if text == before:
            return text, changed
    return None


# Edits


STRING = r"""(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")"""
STRINGS = re.compile(rf"\s*\[\s*{STRING}(?:[\s,]++{STRING})*+[\s,]*+\]\s*", re.DOTALL)


def join_list(text: str) -> str:
    """A list of lines that was written as a string ("['line', 'line']") becomes the lines."""
    if not STRINGS.fullmatch(text):
        return text
    try:
        # One by one: Python would glue strings that no comma parts, as numpy writes them.
        return "\n".join(ast.literal_eval(match[0]) for match in re.finditer(STRING, text, re.DOTALL))
    except (ValueError, SyntaxError):
        return text


BLOCKS = frozenset(
    "address article aside blockquote br center dd details div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6"
    " header hr li main nav ol option p pre section summary table tbody td tfoot th thead tr ul".split()
)
HIDDEN = frozenset("-comment head iframe noscript script select style svg template textarea".split())
# Only what nobody writes for anything else: "<5 years", "C++ <3", List<String> and <title> are text.
MARKUP = re.compile(
    r"</?(?:br|p|div|span|ul|ol|li|h[1-6]|strong|em|font|html|body|script|style|hr|table|tbody|tr|td|th|pre|img"
    r"|blockquote)(?:\s[^<>]*)?/?>|</[abiu]>|<a\s(?=[^<>]*href)[^<>]*+>",
    re.IGNORECASE,
)


def strip_html(text: str) -> str:
    """HTML becomes the lines that a browser shows, none of them blank."""
    if not MARKUP.search(text):
        return text
    pieces: list[str] = []
    # In a block a line break of the source is a blank, and outside of any it counts: there the text was never HTML.
    # What is still to be written: edges of blocks, and nodes with whether a block around them flows its text.
    todo: list[tuple[LexborNode | str, bool]] = [(LexborHTMLParser(text).root or "", False)]
    while todo:
        node, flows = todo.pop()
        if isinstance(node, str):
            pieces.append(node)
        elif node.tag == "-text":
            content = node.text_content or ""
            pieces.append(re.sub(r"[ \t\r\n\f]+", " ", content) if flows else content)
        elif node.tag not in HIDDEN:
            edge = "\f" if node.tag in BLOCKS else ""
            inside = node.tag != "pre" if edge else flows
            todo.append((edge, flows))
            todo.extend((child, inside) for child in reversed(list(node.iter(include_text=True))))
            pieces.append(edge)
    lines = (line.strip() for line in "".join(pieces).split("\f"))
    return "\n".join(line for line in lines if line)


def decode_entities(text: str) -> str:
    """`&amp;`, `&nbsp;`, `&#8217;` become what they stand for."""
    return unescape_html(re.sub(r"&(?:amp;|#38;)+", "&amp;", text))


# Quotes and widths stay as they were written; what other rules do is left to them.
ENCODING = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    remove_control_chars=False,
)


def fix_encoding(text: str) -> str:
    """Text that was decoded with the wrong encoding ("â€™" for "’") is restored; ligatures become letters."""
    return ftfy.fix_text(text, ENCODING)


def fix_line_ends(text: str) -> str:
    """Every kind of line break becomes a line feed."""
    return re.sub(r"\r\n|[\r\v\f\x85\u2028\u2029]", "\n", text)


INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
    # Joiners belong between the characters of some scripts and of some emoji.
    r"|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
)
# Bullets of Word's fonts Symbol and Wingdings.
SYMBOLS = re.compile("[\uf06e\uf075\uf076\uf0a7\uf0b7\uf0d8\uf0fc]")


def drop_invisible(text: str) -> str:
    """Characters that show nothing go; bullets that only a font of Word's can show become "•"."""
    return SYMBOLS.sub("•", INVISIBLE.sub("", text))


def squeeze_blanks(text: str) -> str:
    """Tabs, no-break and other odd blanks, and runs of blanks, become one; at the ends of a line none."""
    return "\n".join(" ".join(line.split()) for line in text.split("\n"))


def squeeze_lines(text: str) -> str:
    """Of blank lines in a row one is left, around the text none."""
    return re.sub(r"\n{3,}", "\n\n", text).strip()


LINKEDIN_HEAD = re.compile(r"\A\s*About the job[ :]*(?:\n\s*|(?=[A-Z•“\"]))")
LEVEL = r"Seniority level[\s:]*(?:Internship|Entry level|Associate|Mid-Senior level|Director|Executive|Not Applicable)"
TYPE = r"Employment type[\s:]*(?:Full-time|Part-time|Contract|Temporary|Volunteer|Internship|Other)"
REST = r"(?:Job function|Industries)[^\n]{0,100}(?:\n+[^\n]{1,60}){0,4}"
LINKEDIN_TAIL = re.compile(rf"(?<!\n)\n*(?:{TYPE}\s*)?{LEVEL}(?:\s*(?:{TYPE}|{REST})){{1,3}}\s*\Z")


def drop_linkedin(text: str) -> str:
    """LinkedIn's "About the job" above a post and its "Seniority level … Industries …" below go."""
    return LINKEDIN_TAIL.sub("", LINKEDIN_HEAD.sub("", text))


def drop_glassdoor(text: str) -> str:
    """Glassdoor's "(Glassdoor est.)" and "(Employer est.)" go; the salary before them stays."""
    return re.sub(r" ?\((?:Glassdoor|Employer) [Ee]st\.?\)", "", text)


MORE = r"(?:(?:Show|See) (?:[Mm]ore|[Ll]ess)[ .…]*){1,4}"


def drop_show_more(text: str) -> str:
    """The buttons "Show more" and "Show less" go, on lines of their own, behind a sentence and at the end."""
    return re.sub(rf"^ *{MORE}$\n?|(?<=[.!?…]) *{MORE}$|\s?{MORE}\Z", "", text, flags=re.MULTILINE)


TAG = r"#(?:LI-\w+|GD(?:-\w+)?|IND(?:-\w+|\d+)?)(?!\w)"
REQUISITION = (
    r"(?i:job|requisition|req|posting|position|vacancy|reference|ref)\.?"
    r"(?: ?(?i:id|code|no|nr|number|reference|ref)\b\.?| ?#)[ :*#]*[A-Z]{0,6}[ -]?\d[\w./-]{2,20}"
)


def drop_tracking(text: str) -> str:
    """Tags for trackers (#LI-AB1, #GD, #IND123) go, and lines that hold only the number of a requisition."""
    text = re.sub(rf"^[ *]*(?:{TAG}[ *]*)+$\n?|^[ *]*{REQUISITION}[ *]*$\n?", "", text, flags=re.MULTILINE)
    return re.sub(rf"(?<!\S){TAG} ?", "", text)


EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")


def mask_emails(text: str) -> str:
    """Addresses become "[email]": whose they are does not belong in a corpus."""
    return EMAIL.sub("[email]", text)


PHONE = re.compile(
    r"(?<![\w$€£+#./-])(?<!\d,)(?:"
    # North America: (408) 555-0100, 1-408-555-0100, 408.555.0100
    r"(?:\+?1[ .-]?)?(?:\(\d{3}\)[ .-]{0,2}|\d{3}[ .-])\d{3}[ .-]\d{4}"
    # The United Kingdom and others: 020 7946 0100
    r"|0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4}"
    # Anywhere, with its country: +44 (0)20 7946 0100
    r"|\+\d{1,3}(?:[ .-]?\(?\d{1,5}\)?){2,5}"
    r")(?![\d%]|[.,/-]\d)"
)


def mask_phones(text: str) -> str:
    """Telephone numbers become "[phone]"; salaries, years, versions and numbers of other forms stay."""
    return PHONE.sub(lambda match: "[phone]" if 8 <= sum(map(str.isdigit, match[0])) <= 15 else match[0], text)


KINDS = (
    "Additional|Basic|Core|Desired|Essential|General|Job|Key|Main|Minimum|Must[- ]Have|Other|Preferred|Primary|Required"
    "|Technical|Your"
)
HEADS = (
    "Benefits|Certifications?|Competencies|Description|Duties|Education|Experience|Overview|Qualifications?"
    "|Requirements?|Responsibilit(?:y|ies)|Skills|Summary"
)
GLUED = re.compile(
    rf"(?:(?<=[\w)%][.!?])|(?<=[a-z]{{2}}|[a-z]\)))"
    rf"(?=(?:(?:{KINDS}) ){{0,2}}(?:{HEADS})(?: (?:and|&|/) (?:{HEADS}))?:)"
)


def part_headings(text: str) -> str:
    """A heading that is glued to the line before it ("with SQL.Requirements:") gets a line of its own."""
    return GLUED.sub("\n", text)


EDITS: dict[Rule, Callable[[str], str]] = {
    Rule.lists: join_list,
    Rule.html: strip_html,
    Rule.entities: decode_entities,
    Rule.encoding: fix_encoding,
    Rule.line_ends: fix_line_ends,
    Rule.invisible: drop_invisible,
    Rule.linkedin: drop_linkedin,
    Rule.glassdoor: drop_glassdoor,
    Rule.show_more: drop_show_more,
    Rule.tracking: drop_tracking,
    Rule.emails: mask_emails,
    Rule.phones: mask_phones,
    Rule.headings: part_headings,
    Rule.blanks: squeeze_blanks,
    Rule.blank_lines: squeeze_lines,
}


# Filters


FILTERS: dict[Rule, str] = {
    Rule.too_short: "It has fewer words than --min-words.",
    Rule.too_long: "It has more words than --max-words.",
    Rule.language: f"It is not in English, as far as {JUDGED_WORDS} words or more can tell.",
    Rule.duplicates: "Its text was there before.",
    Rule.near_duplicates: "Most of its text was there before: --similarity.",
}


def fits(text: str, settings: Settings, report: Report) -> bool:
    """Whether a text is of the right length and in English."""
    words = len(text.split())
    if Rule.too_short in settings.rules and report.count(Rule.too_short, words < settings.min_words):
        return False
    if Rule.too_long in settings.rules and report.count(Rule.too_long, words > settings.max_words):
        return False
    if Rule.language in settings.rules:
        language = py3langid.classify(text)[0] if words >= JUDGED_WORDS else "en"
        if report.count(Rule.language, language != "en"):
            report.languages[language] += 1
            return False
    return True


class Duplicates:
    """Finds texts that are like one before.

    A text is compared with the first of each cluster alone: so all its members are like the one that is kept. What went
    by is in temporary files: memory stays flat.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.file = sqlite3.connect("")
        self.file.execute("CREATE TABLE texts (digest BLOB PRIMARY KEY, cluster TEXT) WITHOUT ROWID")
        self.file.execute("CREATE TABLE firsts (number INTEGER PRIMARY KEY, id TEXT, sketch BLOB)")
        # At its own threshold it finds half of the pairs only.
        self.index = Index(settings.similarity - 0.2)

    def find(self, id: str, text: str, report: Report) -> str | None:
        """The id of the first post that this one is like, or None: then it is the first of its own cluster.

        The similarity of near-duplicates is estimated by MinHash (Broder 1997), with a standard error of at most 0.045.
        """
        digest = blake2b(text.encode(), digest_size=16).digest()
        like = None
        if Rule.duplicates in self.settings.rules:
            row = self.file.execute("SELECT cluster FROM texts WHERE digest = ?", [digest]).fetchone()
            like = row and row[0]
            report.count(Rule.duplicates, like is not None)
        if like is None and Rule.near_duplicates in self.settings.rules:
            like = self.nearest(id, text)
            report.count(Rule.near_duplicates, like is not None)
        self.file.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", [digest, like or id])
        return like

    def nearest(self, id: str, text: str) -> str | None:
        own = sketch(shingles(text))
        best, nearest = 0.0, None
        for number in self.index.query(own):
            select = "SELECT id, sketch FROM firsts WHERE number = ?"
            first, content = self.file.execute(select, [number]).fetchone()
            if (similarity := own.jaccard(LeanMinHash.deserialize(content))) > best:
                best, nearest = similarity, first
        if best >= self.settings.similarity:
            return nearest
        content = bytearray(own.bytesize())
        own.serialize(content)
        done = self.file.execute("INSERT INTO firsts (id, sketch) VALUES (?, ?)", [id, content])
        self.index.insert(done.lastrowid or 0, own)
        return None


# The report


def figures(report: Report) -> dict[str, Any]:
    """The report as it is written to JSON. What a filter of duplicates caught may have been kept all the same."""
    rules = {
        rule: {"posts": report.seen[rule], "caught" if rule in FILTERS else "changed": report.hit[rule]}
        for rule in Rule
        if report.seen[rule]
    }
    return {"left": report.left, "rejected": len(report.rejects), "rules": rules, "languages": report.languages}


def print_table(report: Report) -> None:
    rows = []
    for rule in Rule:
        if not report.seen[rule]:
            continue
        what = FILTERS[rule] if rule in FILTERS else (EDITS[rule].__doc__ or "").splitlines()[0]
        if rule is Rule.language and report.languages:
            what += f" ({', '.join(f'{name} {count}' for name, count in report.languages.most_common())})"
        rows.append((rule, report.seen[rule], report.hit[rule], what))
    msg.table(rows, header=("rule", "posts in", "changed or caught", "why"), divider=True, aligns=("l", "r", "r", "l"))


if __name__ == "__main__":
    app()
