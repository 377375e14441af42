"""Tell of every skill that was found whether the post requires it, prefers it or merely mentions it, and by what.

It imports nothing from its siblings: `spacy package` copies it alone.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from spacy.language import Language
from spacy.tokens import Doc, Span

Offsets = tuple[int, int]

# The sections of a post, and what a skill is in them unless words nearer to it say otherwise. Duties name what the work
# is about, not what one must know already.
SECTIONS = {
    "company": "mentioned",  # who the employer is
    "role": "mentioned",  # what the job is about, as a whole
    "responsibilities": "mentioned",
    "requirements": "required",
    "preferred": "preferred",  # nice to have
    "education": "required",
    "benefits": "mentioned",
    "legal": "mentioned",  # equal opportunity, physical demands
    "details": "mentioned",  # place, hours, how to apply
}
# In them "bonus" and "required by law" ask for nothing.
SILENT = frozenset(["benefits", "legal"])
# In them a line such as "You have worked with:" introduces a list of theirs.
ASKED = frozenset(["requirements", "preferred", "education"])

# Headings

# A short line made of these words and fillers alone is a heading. The first row that has one of its words tells what it
# heads: "preferred skills" are preferred, "about the role" is about the role.
ROWS = """
preferred: preferred preferable desired desirable optional bonus bonuses nice plus pluses extra extras helpful helps
preferred: beneficial advantage advantages advantageous asset assets love
legal: eeo equal equity diversity inclusion disclaimer accommodation accommodations privacy
benefits: benefits perks compensation salary pay rewards remuneration package offer offers provide give get deal join
responsibilities: responsibilities responsibility responsible duties accountabilities tasks functions deliverables
company: company organization organisation firm employer agency client culture values story
requirements: ksas requirements requirement qualifications skills skill skillset skillsets knowledge abilities ability
requirements: competencies competences attributes characteristics profile background expertise essentials essential
requirements: credentials qualities capabilities traits prerequisites required mandatory minimum must must-have
requirements: must-haves musts criteria need needs bring look looking should ask seek require experience person someone
requirements: candidate candidates takes like hope
education: education educational degree degrees certifications certification license licenses licensure
details: location schedule hours travel apply application process procedure selection interview interested clearance
details: information details terms conditions seniority industries employment type status
benefits: it can
requirements: expect
company: team department us we
responsibilities: do doing own will would you'll you'd day-to-day
role: summary overview description introduction purpose opportunity challenge role position post job gig function
role: mission mandate scope exists project work
requirements: you
"""
HEADINGS = [(section, words.split()) for section, words in re.findall(r"(\w+): (.*)", ROWS)]
ROW_OF = {word: row for row, (_, words) in reversed(list(enumerate(HEADINGS))) for word in words}
FILLERS = frozenset(
    "a about actually additional all an and any are as at basic be but by core could day entails examples following "
    "for from full general good great hard has have haves how i ideal if in include includes including involves is "
    "it'd it's its key looks main major may more nature of on or other our overall part personal please points "
    "primary principal professional related secondary see soft special specific statement succeed successful "
    "technical that the these this to too total typical up we'd we'll we're what what's who who's why with working "
    "you're you've your yourself ii iii iv v vi vii".split()
)
# Together their words mean something else than each by itself.
IDIOMS = [
    (
        re.compile(
            r"\b(?:nice|good|great)[ -]to[ -]haves?\b|\b(?:would|\w+'d) be (?:nice|good|great|lovely)\b|"
            r"\b(?:nice|good|great)(?=,? (?:but not required,? )?if\b)|\bbut not required\b|"
            r"\bways to stand out(?: from the crowd)?\b|"
            r"^(?:the )?(?:(?:exceptional|outstanding|strongest|top) )?candidates?(?: (?:will|should))? also have\b|"
            r"^(?:the )?(?:exceptional|outstanding|strongest) candidates?\b"
        ),
        "nice",
    ),
    (re.compile(r"\bget (?:up )?to\b"), "do"),
    (re.compile(r"\bphysical (?:demands?|requirements?)\b|\bwork(?:ing)? (?:environment|conditions)\b"), "eeo"),
]
# With one of them "preferred" is only half of what a heading heads: "required and preferred skills".
DEMANDS = frozenset("required minimum basic mandatory must essential".split())
# "About Acme", "Why Acme?" are about the employer, "What you will bring to Acme" is not.
OF_EMPLOYER = re.compile(r"(?:about|why|who is|life at|meet) ")
BEFORE_NAME = re.compile(r"(?:what|who|how) .*\b(?:at|for|to|with)(?= \S+$)")
# In lower case, too, a long line that begins so is no item of a list.
OPENING = re.compile(r"(?:what|who|how|why|if|it's|it'd) ")
# In front of something else on their line they head that line alone.
OF_ONE_LINE = frozenset(["preferred", "education", "details"])
# "Company: Acme" names it, "About us: ..." begins to tell of it.
OF_NAME = frozenset("agency client company employer firm organisation organization".split())
# A longer line is a paragraph that happens to end with a colon.
LONGEST_INTRODUCTION = 200
IN_BRACKETS = re.compile(r"\([^)]*\)?")
OF_DUTIES = re.compile(r"\bresponsib(?:le for|ilit)|\bduties\b")
MOST_WORDS = 9
MOST_CHARACTERS = 80
WORD = re.compile(r"[a-z]+(?:[-'][a-z]+)*")
# "What you will doTrain" ends with "do".
CASED_WORD = re.compile(r"(?:[A-Z]?[a-z]+|[A-Z]+(?![a-z]))(?:[-'’][A-Za-z]+)*")
GLUED_WORD = re.compile(r"[A-Z][A-Za-z ,]")
BETWEEN_WORDS = re.compile(r"[ /&,-]{1,3}")
LINE_BREAKS = "\n\r\v\f\u0085\u2028\u2029"
LINE = re.compile(rf"[^\s{LINE_BREAKS}][^{LINE_BREAKS}]*")
BULLET = re.compile(r"[-–—*•▪◦●·>]")
NUMBER = re.compile(r"\d{1,2}[.)]")
# Where a heading may stand within a line: after a sentence, or glued to the last word of a line whose break was lost.
SEAM = re.compile(
    r"[A-Z](?:(?<=[a-z0-9.!?;:)•*|].)|(?<=[.!?;:)•*|]\s.)|(?<=[A-Z].)(?=[a-z]{3})|(?<=\s.)(?=[\w'’ ]{2,40}:))"
)
# No shorter line has lost so many breaks that more than one heading stands in it.
SHORTEST_GLUED = 100
# No shorter word is one if it is glued to what follows ("WorkDay").
SHORTEST_HEADING = 8
LEGAL = [
    "equal opportunity",
    "equal employment opportunity",
    "equal-opportunity",
    "without regard to",
    "regardless of race",
    "regardless of gender",
    "reasonable accommodation",
    "protected veteran",
    "protected by law",
    "affirmative action",
]

# Words that ask for something

END = r"(?=\s*(?:$|[.,;:!)\]/–-]|but\b|though\b|and\b|or\b|by\b|for (?:this|the)\b|in (?:this|the)\b))"
NOUN = (
    r"(?=\s*(?:[:–-]|(?:[\w-]+ )?(?:experience|skill|knowledge|qualification|background|requirement|abilit|education)))"
)
VERY = r"(?:(?:big|huge|strong|definite|great|real|major|nice|added|significant|distinct|considerable|solid) )?"
PERSONAL = r"(?<!customer )(?<!user )(?<!client )(?<!patient )"
CUES = {
    # Nobody has to.
    "negated": [
        r"\bno (?:(?!when\b|if\b|as\b)[\w-]+ ){0,5}?(?:required|needed|necessary|expected)",
        r"(?:\bnot|n't) (?:\w+ ){0,2}?(?:required?|needed|necessary|essential|mandatory|expected|a must)\b",
        r"\byou (?:do not|don't|won't) need\b",
    ],
    # What comes after it is nice to have.
    "preferred>": [
        r"\bpreferably\b",
        r"\bideally\b",
        r"\b(?:nice|good|great)[- ]to[- ]haves?\s*[:–-]",
        r"\bbonus(?: points)?(?=\s*(?:for|if|:))",
        r"\bplus(?= if\b|:)",
        rf"\b(?:preferred|desired|desirable|optional){NOUN}",
        r"\bwe(?:'d| would)? (?:love|prefer)\b(?! to (?:hear|talk|meet|speak))",
        r"\bpreference\b",
        r"\bwould (?:be (?:great|nice|ideal|a plus|helpful) (?:if|to)|love)\b",
    ],
    # What comes before it is nice to have.
    "preferred<": [
        rf"\ba {VERY}plus\b",
        rf"\bplus{END}",
        rf"\b(?:is|are|be|as|considered) an? {VERY}(?:bonus|advantage|asset)\b",
        rf"\ban? (?:added )?(?:advantage|asset){END}",
        rf"\b(?:preferred|desired|helpful|welcome){END}",
        r"\b(?:advantageous|desirable|preferable|optional)\b",
        r"\b(?:is|are|be|also|very) (?:beneficial|helpful|useful|valued|appreciated|great|nice)\b",
        r"\b(?:nice|good|great)[- ]to[- ]have\b",
        r"\bwould (?:help|be (?:great|nice|ideal))\b",
    ],
    "required>": [
        r"\bmust(?:[- ]haves?)?\b",
        rf"\b(?:required|mandatory){NOUN}",
        r"\b(?:role|position|job|work|this|we|which) requires?\b",
        r"\bneeds? (?:to (?:have|be|know)|someone|strong|solid|good)\b",
        r"\b(?:you(?:'ll| will)?|we) need\b",
    ],
    "required<": [
        rf"\b(?<!as )(?<!if )(?<!when )(?<!where )(?:required|mandatory|essential|necessary|needed){END}",
        r"\ba must\b",
    ],
}
# Where none of these is, no cue is: that is soon seen.
HINTS = (
    "prefer plus desir option nice good great ideal bonus love advantage asset helpful beneficial useful valued "
    "appreciated welcome help must requir need mandatory essential necessary expected"
).split()
# They ask where no heading tells,
WANTED = {
    # even in what the employer says of itself,
    "sought": [
        r"\b(?:looking for|seek(?:s|ing)?|candidates?|some(?:one|body)(?! else)|you're|"
        r"you (?:have|are|bring|know|possess|can|should|understand))\b"
    ],
    # and elsewhere.
    "had": [
        rf"\b(?:{PERSONAL}experienced?|knowledge|understanding|familiar(?:ity)?|proficien\w+|"
        r"abilit(?:y|ies)|able to|skill(?:s|ed)?|expert(?:ise)?|fluen\w+|hands-on|proven|track record|background|"
        r"comfortable|aptitude|mastery|degree|years?)\b"
    ],
}
# What begins like this is a requirement even among duties, or where the job is told as a whole.
ASKS = re.compile(
    rf"\W*+(?:(?:(?!ha(?:s|ve) (?:over|more|been|almost|nearly)\b)[\w-]+ ){{0,3}}?(?:{PERSONAL}experienced?|"
    r"knowledge|understanding|familiar(?:ity)?|proficien\w+|"
    r"ability to|able to|skilled|expert(?:ise)?|fluen\w+|mastery|\d+\+? ?(?:-\d+ )?years?)|"
    r"strong|excellent|solid|proven|demonstrated|outstanding|exceptional|superior|highly)\b"
)
# What duties begin with, where no heading says that they are duties.
TASKS = (
    "act adhere administer advise analyse analyze assess assist author automate build coach collaborate collect "
    "communicate conduct configure contribute coordinate create define deliver design develop document drive elicit "
    "ensure escalate establish evaluate facilitate foster gather guide identify implement improve integrate lead "
    "leverage maintain manage mentor migrate monitor optimise optimize oversee own participate partner perform prepare "
    "promote provide quantify recommend represent respond serve summarize supervise support track train translate "
    "troubleshoot tune utilize work write"
).split()
TASK = re.compile(rf"\W*(?:{'|'.join(TASKS)})(?:e?s)?\b(?! (?:experience|skills))")
DUTY = re.compile(
    r"(?:\byou'll|\byou would| will)\b"
    r"(?! (?:need|have|bring|possess|be (?:an?|able|capable|familiar|proficient|experienced)))|\bresponsible for\b"
)
EMPLOYER = re.compile(r"\W*(?:we|our|us|at \w+|join)\b")
GAINED = re.compile(
    r"\b(?:gain|(?<!ability to )learn|teach|develop your|build your|grow your|exposure to|opportunit(?:y|ies) to)\b"
)
# In "SQL required, experience with R a plus" what is a plus begins here.
CLAUSE = re.compile(
    r"\bbut\b|,\s*(?:and |with )?(?=(?:[\w-]+ )?(?:experience|knowledge|familiarity|exposure|proficiency|ability)\b)"
)
VERB = re.compile(r"\b(?:is|are|be|as|considered)\b")
JOINED = re.compile(r"\b(?:and|or)\b")
LAST_ITEM = re.compile(r",\s*(?!and\b|or\b)[^\s,][^,]*$")
# A line of a list has no full stop: there the line is the sentence.
SENTENCE_END = re.compile(
    rf"[.!?;•▪◦●{LINE_BREAKS}](?:(?<![.!?])|(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)(?=[\s)]+[^a-z\s]))"
)
# A longer one is cut: else a text without any end of a sentence would take time by the square of its length.
LONGEST_SENTENCE = 1000


def compiled(kinds: dict[str, list[str]]) -> re.Pattern[str]:
    """One pattern for all kinds; the number of the group that matched is the kind's."""
    return re.compile("|".join(f"({'|'.join(patterns)})" for patterns in kinds.values()))


CUE, WANT = compiled(CUES), compiled(WANTED)


class Zone(NamedTuple):
    """A part of a post, from `start` to where the next begins, and the heading that it stands under."""

    start: int
    section: str | None
    heading: Offsets | None


class Cue(NamedTuple):
    """Words that ask for something, or say that nobody has to."""

    kind: str
    start: int
    end: int


class Verdict(NamedTuple):
    """What is said of a skill, in which section, and the offsets of the words that say so."""

    requirement: str
    section: str | None
    evidence: Offsets | None


def evidence(span: Span) -> Span | None:
    offsets = span._.skill_context[2]
    if offsets is None:
        return None
    start, end = offsets
    return span.doc.char_span(start, end, alignment_mode="expand")


# A single value, and of a kind that can be saved with the doc, which a span cannot.
Span.set_extension("skill_context", default=(None, None, None), force=True)
Span.set_extension("requirement", getter=lambda span: span._.skill_context[0], force=True)
Span.set_extension("section", getter=lambda span: span._.skill_context[1], force=True)
Span.set_extension("evidence", getter=evidence, force=True)


@Language.factory(
    "skill_context",
    assigns=["span._.requirement", "span._.section", "span._.evidence"],
    requires=["doc.ents"],
)
def create_skill_context(nlp: Language, name: str) -> "SkillContext":
    return SkillContext()


class SkillContext:
    """Sets of each entity:

    `_.requirement`: required, preferred or mentioned. Words that ask for it decide ("a plus", "must have"), else the
        section, else, where no heading tells, words such as "experience with". None on other spans.
    `_.section`: one of SECTIONS, None where neither a heading nor the sentence tells.
    `_.evidence`: the span that decided: words that ask, or a heading; None where there is none.
    """

    def __call__(self, doc: Doc) -> Doc:
        ents = doc.ents
        verdicts = judge(doc.text, [(ent.start_char, ent.end_char) for ent in ents])
        for ent, verdict in zip(ents, verdicts, strict=True):
            ent._.skill_context = tuple(verdict)
        return doc


def judge(text: str, ents: Sequence[Offsets]) -> list[Verdict]:
    """The verdict on each entity of a text; they come in order. Takes time linear in the text's length."""
    if not ents:
        return []
    lowered = lower(text)
    zones = sorted(find_zones(text, lowered, [start for start, _ in ents]), key=lambda zone: zone.start)
    starts = [*(zone.start for zone in zones), len(text)]
    ends = [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
    lines = list(LINE.finditer(text))
    line_starts = [line.start() for line in lines]
    verdicts = []
    sentence: Offsets = (0, 0)
    for ent in ents:
        if not sentence[0] <= ent[0] < sentence[1]:
            number, place = bisect_right(ends, ent[0]), bisect_right(starts, ent[0])
            zone = zones[place - 1]
            start, end = max(ends[number - 1], zone.start), min(ends[number], starts[place])
            start += (ent[0] - start) // LONGEST_SENTENCE * LONGEST_SENTENCE
            sentence = start, min(end, start + LONGEST_SENTENCE)
            zone = zone_that_asks(lowered, sentence, zone)
            cues = [] if zone.section in SILENT else find_cues(lowered, sentence)
            # An entity of blanks alone, which others may set, stands in no line.
            line = lines[bisect_right(line_starts, ent[0]) - 1] if lines else None
            rest = presumed(lowered, sentence, zone, line is not None and is_item(line, ends))
        verdicts.append((cues and asked(lowered, sentence, cues, zone.section, ent)) or rest)
    return verdicts


def lower(text: str) -> str:
    """The text in lower case and with straight apostrophes, every character where it was."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = "".join(char.lower() if len(char.lower()) == 1 else char for char in text)
    return lowered.replace("’", "'")


# Sections


def find_zones(text: str, lowered: str, ents: Sequence[int]) -> Iterator[Zone]:
    """The parts of a text, the first from 0 on. `ents` are the starts of its entities, in order."""
    legal = sorted(match.span() for said in LEGAL if said in lowered for match in re.finditer(said, lowered))
    zone = Zone(0, None, None)
    yield zone
    for match in LINE.finditer(text):
        line = match[0].rstrip()
        start = match.start()
        end = start + len(line)
        has_skill = bisect_left(ents, start) < bisect_left(ents, end)
        section = None if has_skill and line[-1] != ":" else whole_line(line, lowered[start:end])
        if section is None and line[-1] == ":":
            section = introduced(lowered[start:end], zone.section)
        if section or (section == "" and not has_skill):
            zone = Zone(start, section or None, (start, end) if section else None)
            yield zone
            continue
        before = zone
        for zone in inline(text, lowered, start, end):
            yield zone
        said = legal[bisect_left(legal, (start, 0)) : bisect_left(legal, (end, 0))]
        if said:
            yield Zone(said[0][0], "legal", said[0])
        heading = lowered[slice(*zone.heading)] if zone.heading else ""
        if said or (zone is not before and (zone.section in OF_ONE_LINE or heading in OF_NAME)):
            zone = before._replace(start=end)
            yield zone


def whole_line(line: str, lowered: str) -> str | None:
    """The section that a line of its own heads; "" if it heads something else, None if it is no heading."""
    if line[0] == "*" == line[-1]:
        line, lowered = line.strip("* ") or "*", lowered.strip("* ")
    if len(line) > MOST_CHARACTERS or line[-1] in ".,;" or (line[-1] != ":" and BULLET.match(line)):
        return None
    words = line.split()
    in_capitals = all(len(word) < 4 or not word[0].islower() for word in words)
    is_marked = line[-1] in ":?" or line.isupper()
    section = None
    if is_marked or in_capitals or len(words) <= 5 or OPENING.match(lowered):
        section = headed(lowered)
    if section is None and in_capitals and len(words) <= 6 and line[-1] != "!":
        # Not all of its words are known: "Analytics Responsibilities", "About Acme Bank".
        last = WORD.findall(lowered)[-1:]
        if OF_EMPLOYER.match(lowered):
            return "company"
        question = BEFORE_NAME.match(lowered)
        section = headed(question[0]) if question else None
        if section is None and last and last[0] in ROW_OF:
            section = HEADINGS[ROW_OF[last[0]]][0]
        elif section is None and last and is_marked:
            section = ""
    return section


def introduced(line: str, section: str | None) -> str | None:
    """The section of the list that a line in lower case introduces which is longer than a heading; None if it is of
    the section that the line itself stands in."""
    if len(line) > LONGEST_INTRODUCTION or section not in (None, "role", "responsibilities", *ASKED):
        return None
    words = IN_BRACKETS.sub("", line)
    kinds = [list(CUES)[(match.lastindex or 1) - 1] for match in CUE.finditer(words)]
    if kinds and all(kind.startswith("preferred") for kind in kinds) and DEMANDS.isdisjoint(WORD.findall(words)):
        return "preferred"
    if section in ASKED:
        return None
    if OF_DUTIES.search(words):
        return "responsibilities"
    if section == "responsibilities" or any(told.search(words) for told in (EMPLOYER, DUTY, GAINED)):
        return None
    return "requirements" if WANT.search(words) else None


def headed(heading: str) -> str | None:
    """The section that words in lower case head, None if they are no heading."""
    for idiom, word in IDIOMS:
        heading = idiom.sub(word, heading)
    words = WORD.findall(heading)
    rows = [ROW_OF[word] for word in words if word in ROW_OF]
    if not rows or len(words) > MOST_WORDS or len(rows) + sum(map(FILLERS.__contains__, words)) < len(words):
        return None
    section = HEADINGS[min(rows)][0]
    return "requirements" if section == "preferred" and not DEMANDS.isdisjoint(words) else section


def inline(text: str, lowered: str, start: int, end: int) -> Iterator[Zone]:
    """The zones that begin at a heading within a line: one before a colon, glued to what follows, or in capitals."""
    places = [start]
    if end - start >= SHORTEST_GLUED:
        places += [match.start() for match in SEAM.finditer(text, start, end)]
    elif text.find(":", start, end) < 0:
        return
    last = start
    for place in places:
        if place < last:
            continue
        last = stop = place
        count = capitals = 0
        while count < MOST_WORDS and (found := CASED_WORD.match(text, stop)):
            word = lowered[stop : found.end()]
            if word not in ROW_OF and word not in FILLERS:
                break
            count += 1
            capitals += text[stop].isupper()
            last = stop = found.end()
            if gap := BETWEEN_WORDS.match(text, last):
                stop = gap.end()
            else:
                break
        following = text[last : last + 3].lstrip()[:1]
        is_titled = 1 < count == capitals and following.isupper()
        is_glued = last - place >= SHORTEST_HEADING and GLUED_WORD.match(text, last)
        if count and (following == ":" or is_titled or is_glued):
            section = headed(lowered[place:last])
            if section:
                yield Zone(place, section, (place, last))


# Sentences


def find_cues(lowered: str, sentence: Offsets) -> list[Cue]:
    words = lowered[slice(*sentence)]
    if not any(hint in words for hint in HINTS):
        return []
    kinds = list(CUES)
    return [Cue(kinds[(match.lastindex or 1) - 1], *match.span()) for match in CUE.finditer(lowered, *sentence)]


def asked(lowered: str, sentence: Offsets, cues: Sequence[Cue], section: str | None, ent: Offsets) -> Verdict | None:
    """The verdict on an entity by the cues of its sentence, None if none of them speaks of it."""
    reached = [cue for number, cue in enumerate(cues) if reaches(lowered, sentence, cues, number, ent)]
    for kind, requirement, guess in (
        ("preferred", "preferred", "preferred"),
        ("negated", "mentioned", None),
        ("required", "required", "requirements"),
    ):
        for cue in reached:
            if cue.kind.startswith(kind):
                return Verdict(requirement, section or guess, (cue.start, cue.end))
    return None


def zone_that_asks(lowered: str, sentence: Offsets, zone: Zone) -> Zone:
    """The zone of a sentence: the one that it stands in, unless it asks for something where no requirements are due."""
    if zone.section in (None, "role", "education"):
        words = lowered[slice(*sentence)]
        asks = ASKS.match(words)
        if asks and "degree" not in asks[0] and not DUTY.search(words) and not EMPLOYER.match(words):
            return Zone(sentence[0], "requirements", (sentence[0] + asks.start(), sentence[0] + asks.end()))
    return zone


def is_item(line: re.Match[str], ends: Sequence[int]) -> bool:
    """Whether a line is an item of a list and no paragraph: it has a bullet or a number, or a single sentence."""
    start, end = line.start(), line.start() + len(line[0].rstrip())
    marked = BULLET.match(line[0]) or NUMBER.match(line[0])
    return bool(marked) or bisect_right(ends, start) == bisect_left(ends, end)


def presumed(lowered: str, sentence: Offsets, zone: Zone, listed: bool) -> Verdict:
    """The verdict on the entities of a sentence that no cue speaks of."""
    section = zone.section
    if section in SILENT or SECTIONS.get(section or "", "mentioned") != "mentioned":
        return Verdict(SECTIONS[str(section)], section, zone.heading)
    words = lowered[slice(*sentence)]
    if section == "responsibilities" and not ASKS.match(words):
        return Verdict("mentioned", section, zone.heading)
    is_duty = bool(DUTY.search(words) or GAINED.search(words))
    is_employer = bool(EMPLOYER.match(words))
    if section in (None, "role") and not is_duty and not is_employer and TASK.match(words):
        # What the job is about runs on into duties where a post has few headings.
        return Verdict("mentioned", "responsibilities" if listed else "role", None)
    if not is_duty:
        for match in WANT.finditer(lowered, *sentence):
            if match.lastindex == 1 or not (is_employer or section == "company"):
                return Verdict("required", section or "requirements", match.span())
    guess = ("responsibilities" if listed else "role") if is_duty else "company" if is_employer else None
    return Verdict("mentioned", section or guess, zone.heading)


def reaches(lowered: str, sentence: Offsets, cues: Sequence[Cue], number: int, ent: Offsets) -> bool:
    """Whether a cue speaks of an entity: of what comes before or after it, as far as its clause and the next cue go."""
    kind, start, end = cues[number]
    high = cues[number + 1].start if number + 1 < len(cues) else sentence[1]
    before = number - 1
    while before >= 0 and cues[before].kind == "negated":
        before -= 1
    low = cues[before].end if before >= 0 else sentence[0]
    opened = lowered.rfind("(", sentence[0], start)
    if opened >= 0 and lowered.find(")", opened, start) < 0:
        # In brackets it speaks of what is in them; alone in them, of what stands before.
        closed = lowered.find(")", end, sentence[1])
        if lowered[opened + 1 : start].strip() or kind.endswith(">"):
            return opened < ent[0] and ent[1] <= (closed if closed >= 0 else sentence[1])
        start = opened
    if kind.endswith(">"):
        return end <= ent[0] < high
    if kind == "negated":
        return low <= ent[0] < high
    if number and cues[number - 1].kind == "negated" and ent[0] < cues[number - 1].start:
        # "SQL is not required, but a plus."
        start = cues[number - 1].start
    for match in CLAUSE.finditer(lowered, low, start):
        low = match.end()
    if not VERB.search(lowered, max(low, start - 30), start + 4):
        # "SQL, R a plus": the last alone. "Experience in SQL, R and SAS a plus": all of them.
        item = LAST_ITEM.search(lowered[low:start])
        if item and not (JOINED.search(item[0]) and ASKS.match(lowered, low, start)):
            low += item.start()
    return low <= ent[0] and ent[1] <= start
