"""The page of `demo`: a post with its skills marked, a table to take along, and two texts side by side.

Streamlit runs this file from top to bottom for each thing a user does.
"""

import sys
import threading
from pathlib import Path
from typing import Any

import pandas
import streamlit as st
from spacy.language import Language
from spacy_streamlit import visualize_ner

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    # Streamlit knows the folder of this file only.
    sys.path.insert(0, str(ROOT))

from scripts.extract import SKILL, find_skills, load_pipeline  # noqa: E402
from scripts.posts import read_posts  # noqa: E402
from scripts.tables import Row  # noqa: E402

MOST_CHARACTERS = 400_000
EXAMPLES = 3
# displaCy's own template of an entity, with the score on hover.
ENTITY = """
<mark class="entity" title="{hint}" style="background: {bg}; padding: 0.2em 0.4em; margin: 0 0.15em; line-height: 1.8;
 border-radius: 0.35em;">{text} <span style="font-size: 0.7em; font-weight: bold">{label}</span></mark>
"""


@st.cache_resource(show_spinner="Loading the pipeline …")
def pipeline(model: str) -> Language:
    return load_pipeline(model)


@st.cache_resource
def lock() -> threading.Lock:
    """All who look at the page share the pipeline, which is no use to two threads at once."""
    return threading.Lock()


@st.cache_data(show_spinner="Reading …", max_entries=20)
def skills_in(model: str, text: str) -> list[Row]:
    """The skills of a text, with the words that stand there as `skill` where there is no canonical name."""
    nlp = pipeline(model)
    with lock(), nlp.memory_zone():
        (skills,) = find_skills(nlp, [text])
    return [row | {"skill": row["skill"] or row["text"]} for row in skills]


@st.cache_data
def example_posts(path: str) -> dict[str, str]:
    """Titles and texts of some posts."""
    posts = read_posts([Path(path)], labels=[], annotated=False)
    return {str(post.meta.get("title", post.id)): post.text for post in posts[:EXAMPLES]}


def text_input(name: str, examples: dict[str, str]) -> str:
    """What the user pasted, uploaded, or chose; cut where it is too long."""
    chosen = st.selectbox("An example", ["", *examples], key=f"{name}-example")
    file = st.file_uploader("or a text file", type=["txt", "md"], key=f"{name}-file")
    text = examples.get(chosen, "")
    if file is not None:
        text = file.getvalue().decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    text = st.text_area("or paste one", value=text, height=220, key=f"{name}-{chosen}-{file and file.file_id}")
    if len(text) > MOST_CHARACTERS:
        st.warning(f"Only the first {MOST_CHARACTERS:,} characters are read.")
    return text[:MOST_CHARACTERS]


def show_marks(text: str, skills: list[Row], labels: list[str], key: str) -> None:
    """The text with its skills marked, in the colours that the pipeline brings; displaCy escapes all of it."""
    ents = []
    for skill in skills:
        hint = ", ".join(filter(None, [f"score {skill['score']:.2f}", skill["requirement"]]))
        ents.append({key: skill[key] for key in ("start", "end", "label")} | {"params": {"hint": hint}})
    doc = [{"text": text, "ents": ents, "title": None}]
    options = {"template": ENTITY}
    visualize_ner(doc, labels=labels, show_table=False, title=None, key=key, manual=True, displacy_options=options)


def show_table(skills: list[Row], key: str) -> None:
    frame = pandas.DataFrame(skills, columns=[*SKILL])
    summary = frame.groupby(["skill", "label"], as_index=False, sort=False).agg(
        requirement=("requirement", strongest), score=("score", "max"), mentions=("text", "size")
    )
    st.dataframe(summary, hide_index=True, width="stretch")
    left, right = st.columns(2)
    csv, json = frame.to_csv(index=False), frame.to_json(orient="records", force_ascii=False)
    left.download_button("CSV", csv, "skills.csv", "text/csv", key=f"{key}-csv")
    right.download_button("JSON", json, "skills.json", "application/json", key=f"{key}-json")


def strongest(requirements: Any) -> str:
    """What counts of several mentions of a skill: required before preferred before mentioned."""
    order = ["required", "preferred", "mentioned"]
    return min(requirements, key=lambda word: order.index(word) if word in order else len(order))


def show_comparison(first: list[Row], second: list[Row]) -> None:
    """The skills of both texts, and of one of them only, by name and label."""
    one, other = (
        {(skill["skill"].lower(), skill["label"]): skill["skill"] for skill in skills} for skills in (first, second)
    )
    parts = {
        "In both": one.keys() & other.keys(),
        "Only in the first: missing in the second": one.keys() - other.keys(),
        "Only in the second": other.keys() - one.keys(),
    }
    for column, (title, keys) in zip(st.columns(3), parts.items(), strict=True):
        column.subheader(f"{title} ({len(keys)})")
        rows = [((one | other)[key], key[1]) for key in sorted(keys)]
        column.dataframe(pandas.DataFrame(rows, columns=["skill", "label"]), hide_index=True, width="stretch")


def main(model: str, examples_path: str) -> None:
    st.set_page_config(page_title="Skills in job posts", layout="wide")
    st.title("Skills in job posts")
    nlp = pipeline(model)
    labels = list(nlp.pipe_labels["skill_ner"])
    least = st.sidebar.slider("Least score", 0.0, 1.0, 0.0, 0.05, help="Higher: fewer skills, and surer ones.")
    st.sidebar.caption(f"{nlp.meta['lang']}_{nlp.meta['name']} {nlp.meta['version']}. Do not rank people by it.")
    examples = example_posts(examples_path)
    marked, compared = st.tabs(["A post", "Compare two"])
    with marked:
        text = text_input("post", examples)
        skills = [skill for skill in skills_in(model, text) if skill["score"] >= least]
        if text.strip():
            with st.container(height=500):
                show_marks(text, skills, labels, "marks")
            show_table(skills, "post")
    with compared:
        left, right = st.columns(2)
        with left:
            st.subheader("First: a post")
            first = text_input("first", examples)
        with right:
            st.subheader("Second: another post, or a CV")
            second = text_input("second", examples)
        if first.strip() and second.strip():
            pair = ([skill for skill in skills_in(model, text) if skill["score"] >= least] for text in (first, second))
            show_comparison(*pair)


if __name__ == "__main__":
    main(*sys.argv[1:])
