"""The component keeps spaCy's contracts and its own promises."""

import itertools
import random
from pathlib import Path
from typing import Any

import numpy
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from scripts import skill_ner
from scripts.convert import blank_pipeline
from scripts.skill_ner import (
    Lines,
    batch_windows,
    best_tags,
    calibrated,
    fit_calibration,
    grammar_of,
    lines_of,
    log_softmax,
    tags_of,
    window_edges,
)
from tests.conftest import LABELS, make_examples, make_pipeline, make_posts, train


def spans_of(doc: Doc) -> list[tuple[int, int, str]]:
    return [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]


def long_text(words: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    pieces = [text for post in make_posts() for text in post.text.replace("\n", " \n ").split(" ")]
    return " ".join(draw.choice(pieces) for _ in range(words))


# Learning


def test_learns_posts_by_heart(trained: Language) -> None:
    for post in make_posts():
        assert spans_of(trained(post.text)) == [(span.start, span.end, span.label) for span in post.spans]


def test_scores_are_probabilities(trained: Language) -> None:
    doc = trained(make_posts()[0].text)
    assert doc.ents and all(0 <= ent._.score <= 1 for ent in doc.ents)


def test_score_is_none_where_it_is_unknown(trained: Language) -> None:
    doc = trained.make_doc("Python and SQL")
    doc.ents = [Span(doc, 0, 1, label="TECHNOLOGY")]
    assert doc.ents[0]._.score is None


def test_training_continues_from_a_saved_pipeline(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    examples = make_examples(nlp, make_posts(["Learn {{Rust|T}} and {{glass blowing|M}} here."]))
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.003
    first: dict[str, float] = {}
    nlp.update(examples, sgd=optimizer, losses=first, drop=0.0)
    for _ in range(40):
        last: dict[str, float] = {}
        nlp.update(examples, sgd=optimizer, losses=last, drop=0.0)
    assert last["skill_ner"] < first["skill_ner"] / 4
    assert [ent.text for ent in nlp("Learn Rust and glass blowing here.").ents] == ["Rust", "glass blowing"]


def test_a_fifth_label_keeps_what_was_learned(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    component: Any = nlp.get_pipe("skill_ner")
    assert component.add_label("LANGUAGE") == 1
    assert component.add_label("LANGUAGE") == 0
    assert component.labels[-1] == "LANGUAGE"
    text = make_posts()[0].text
    known = [ent for ent in spans_of(nlp(text)) if ent[2] != "LANGUAGE"]
    assert set(known) <= set(spans_of(trained(text)))
    doc = nlp.make_doc("Speak German daily")
    example = Example(doc, doc.copy())
    example.reference.ents = [Span(example.reference, 1, 2, label="LANGUAGE")]
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.003
    for _ in range(40):
        nlp.update([example], sgd=optimizer, drop=0.0)
    assert spans_of(nlp("Speak German daily")) == [(6, 12, "LANGUAGE")]


def test_a_pipeline_with_a_new_label_can_be_initialized_again(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    component: Any = nlp.get_pipe("skill_ner")
    component.add_label("LANGUAGE")
    examples = make_examples(nlp, make_posts())
    nlp.initialize(lambda: examples)
    assert len(nlp.evaluate(examples)["ents_per_type"]) >= len(LABELS)


def test_an_entity_of_blanks_is_no_gold(trained: Language) -> None:
    doc = trained.make_doc("Know  SQL")
    reference = doc.copy()
    reference.ents = [Span(reference, 1, 2, label="TECHNOLOGY")]
    component: Any = trained.get_pipe("skill_ner")
    gold = skill_ner.gold_tags([Example(doc, reference)], lines_of([doc]), component.labels)
    assert gold.tolist() == [0, 0]


def test_labels_are_those_of_the_examples_or_those_given(tiny_encoder: Path) -> None:
    nlp = make_pipeline(tiny_encoder)
    examples = make_examples(nlp, make_posts())
    nlp.initialize(lambda: examples)
    assert nlp.pipe_labels["skill_ner"] == sorted(LABELS)
    empty = make_examples(nlp, make_posts(["Nothing here."]))
    with pytest.raises(ValueError, match="no label for 'skill_ner'"):
        make_pipeline(tiny_encoder).initialize(lambda: empty)


def test_tokens_that_are_not_annotated_teach_nothing(trained: Language) -> None:
    component: Any = trained.get_pipe("skill_ner")
    doc = trained.make_doc("Python and SQL")
    reference = doc.copy()
    reference.set_ents([], missing=[reference[0:1]])
    gold = skill_ner.gold_tags([Example(doc, reference)], lines_of([doc]), component.labels)
    assert gold.tolist() == [-1, 0, 0]


def test_gold_is_aligned_where_tokens_differ(trained: Language) -> None:
    component: Any = trained.get_pipe("skill_ner")
    predicted = Doc(trained.vocab, words=["machine", "learning", "now"])
    reference = Doc(trained.vocab, words=["ma", "chine", "learning", "now"], spaces=[False, True, True, False])
    reference.ents = [Span(reference, 0, 3, label="TECHNICAL")]
    gold = skill_ner.gold_tags([Example(predicted, reference)], lines_of([predicted]), component.labels)
    tags = tags_of(component.labels)
    assert [tags[i] for i in gold] == ["B-TECHNICAL", "L-TECHNICAL", "O"]


# spaCy's contracts


def test_pipe_equals_one_by_one(trained: Language) -> None:
    texts = [long_text(words, seed=words) for words in (3, 300, 40, 1, 700, 90)] + [
        "",
        " ",
        *(p.text for p in make_posts()),
    ]
    single = [trained(text) for text in texts]
    piped = list(trained.pipe(texts, batch_size=3))
    tuples = [doc for doc, _ in trained.pipe([(text, i) for i, text in enumerate(texts)], as_tuples=True)]
    for one, two, three in zip(single, piped, tuples, strict=True):
        assert spans_of(one) == spans_of(two) == spans_of(three)
        scores = [[ent._.score for ent in doc.ents] for doc in (one, two, three)]
        numpy.testing.assert_allclose(scores[1], scores[0], atol=1e-4)
        numpy.testing.assert_allclose(scores[2], scores[0], atol=1e-4)


@pytest.mark.parametrize("text", ["", " ", "\n\n \t", "\u2028", "😀", "\u0301", "x" * 5000])
def test_odd_docs_pass(trained: Language, text: str) -> None:
    doc = trained(text)
    assert doc.text == text


@pytest.mark.parametrize(
    "text",
    [
        "We need Python 😀, SQL and machine learning.",
        "We need Python,\r\nSQL\r\nand machine learning.",
        "We need\tPython,\u00a0SQL\u00a0and machine\u00a0learning.",
        "We nee\u0301d Python, SQL and machine  learning.",
    ],
)
def test_odd_characters_do_not_shift_spans(trained: Language, text: str) -> None:
    doc = trained(text)
    assert doc.text == text
    for ent in doc.ents:
        assert text[ent.start_char : ent.end_char] == ent.text == ent.text.strip()


def test_a_very_long_doc(trained: Language) -> None:
    doc = trained(long_text(20_000))
    assert len(doc) > 20_000 and len(doc.ents) > 1_000


def test_round_trips(trained: Language, tmp_path: Path) -> None:
    text = long_text(200)
    expected = spans_of(trained(text))
    scores = [ent._.score for ent in trained(text).ents]
    trained.to_disk(tmp_path)
    from_bytes = make_pipeline_like(trained).from_bytes(trained.to_bytes())
    for nlp in (spacy.load(tmp_path), from_bytes):
        doc = nlp(text)
        assert spans_of(doc) == expected
        numpy.testing.assert_allclose([ent._.score for ent in doc.ents], scores, atol=1e-5)


def make_pipeline_like(nlp: Language) -> Language:
    return spacy.util.load_model_from_config(nlp.config, auto_fill=True)


def test_docs_keep_their_scores_through_serialization(trained: Language) -> None:
    doc = trained(make_posts()[0].text)
    doc._.trf_data = None
    copy = next(iter(DocBin(docs=[doc], store_user_data=True).get_docs(trained.vocab)))
    assert [ent._.score for ent in copy.ents] == [ent._.score for ent in doc.ents]


def test_a_disabled_encoder_is_one_clear_error(trained: Language) -> None:
    with (
        trained.select_pipes(disable="transformer"),
        pytest.raises(ValueError, match="needs the component 'transformer'"),
    ):
        trained("We need Python.")
    with trained.select_pipes(disable=["transformer", "skill_ner"]):
        assert not trained("We need Python.").ents


def test_evaluate_reports_strict_scores_loss_and_accuracy(trained: Language) -> None:
    scores = trained.evaluate(make_examples(trained, make_posts()))
    assert scores["ents_f"] == scores["ents_token_acc"] == 1.0
    assert set(scores["ents_per_type"]) == set(LABELS)
    assert 0 <= scores["skill_ner_loss"] < 0.3


def test_scorer_counts_edges_and_labels(trained: Language) -> None:
    doc = trained.make_doc("deep machine learning with Python")
    reference, predicted = doc.copy(), doc.copy()
    reference.ents = [Span(reference, 1, 3, label="TECHNICAL"), Span(reference, 4, 5, label="TECHNOLOGY")]
    predicted.ents = [Span(predicted, 0, 3, label="TECHNICAL"), Span(predicted, 4, 5, label="TECHNOLOGY")]
    scores = skill_ner.score_entities([Example(predicted, reference)])
    assert scores["ents_p"] == scores["ents_r"] == 0.5
    assert scores["ents_per_type"]["TECHNICAL"]["f"] == 0.0
    assert scores["ents_token_acc"] == pytest.approx(3 / 5)


def test_every_registered_name_resolves() -> None:
    assert spacy.registry.architectures.get("skill_ner.Encoder.v1")
    assert spacy.registry.architectures.get("skill_ner.Head.v1")
    assert spacy.registry.tokenizers.get("skill_ner.Tokenizer.v1")
    assert spacy.registry.scorers.get("skill_ner.scorer.v1")
    colors = spacy.registry.displacy_colors.get("skill_ner.colors.v1")()
    assert set(colors) == set(LABELS)


# Tokenizer


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("C++,Java", ["C++", "Java"]),
        ("•Python", ["Python"]),
        ("-Python", ["Python"]),
        ("AWS(EC2,S3)", ["AWS", "EC2", "S3"]),
        ("SQL;Python|Scala\\Go", ["SQL", "Python", "Scala", "Go"]),
        ("Python&R", ["Python", "R"]),
        ("Python, or R.", ["Python", "R"]),
        ("skillsSQL", ["skills", "SQL"]),
        ("ROSAgronomy", ["ROS", "Agronomy"]),
        ("know KPIs and APIs", ["KPIs", "APIs"]),
        ("modeling.Strong", ["modeling", "Strong"]),
        ("1.Python 2)SQL", ["Python", "SQL"]),
        ("database(s)", ["database"]),
        ("and/or", ["and", "or"]),
        (".NET", [".NET"]),
        ("ego.communicate", ["ego", "communicate"]),
    ],
)
def test_glued_skills_are_tokens(text: str, tokens: list[str]) -> None:
    doc = blank_pipeline().make_doc(text)
    assert doc.text == text
    assert [token for token in tokens if token not in [t.text for t in doc]] == []


# Windows


def test_windows_cover_every_piece_once_and_fit() -> None:
    draw = numpy.random.default_rng(0)
    for _ in range(200):
        counts = draw.integers(0, 6, size=draw.integers(1, 400))
        counts[draw.integers(len(counts))] += draw.choice([0, 300])
        priority = draw.choice([0, 0, 0, 1, 2], size=len(counts))
        edges = list(window_edges(counts, priority, limit=62))
        assert edges[0][0] == 0 and edges[-1][1] == counts.sum()
        assert all(end == start for (_, end), (start, _) in itertools.pairwise(edges))
        assert all(end - start <= 62 for start, end in edges)


def test_windows_end_at_line_breaks_where_they_can() -> None:
    counts, priority = numpy.ones(100, dtype=int), numpy.zeros(100, dtype=int)
    priority[[35, 45]], priority[48] = 2, 1
    assert next(iter(window_edges(counts, priority, limit=50))) == (0, 46)
    priority[[35, 45]] = 0
    assert next(iter(window_edges(counts, priority, limit=50))) == (0, 49)
    priority[48] = 0
    assert next(iter(window_edges(counts, priority, limit=50))) == (0, 50)


def test_batches_hold_every_window_and_pad_little() -> None:
    # As posts give them: most windows are filled to the last line break that fits.
    lengths = numpy.random.default_rng(0).normal(105, 20, size=300).clip(8, 128).astype(int).tolist()
    batches = batch_windows(lengths, 1024)
    assert sorted(i for batch in batches for i in batch) == list(range(300))
    sizes = [skill_ner.padded(max(lengths[i] for i in batch)) * len(batch) for batch in batches]
    assert sum(sizes) < 1.12 * sum(lengths) and max(sizes) <= 1024


def test_window_size_does_not_drop_words(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    small = spacy.load(tmp_path, config={"components.transformer.model.window": 16})
    text = "\n".join(post.text for post in make_posts())
    assert len(small(text).ents) > 0.5 * len(trained(text).ents)
    with pytest.raises(ValueError, match=r"window \(4\) must be at least 8"):
        spacy.load(tmp_path, config={"components.transformer.model.window": 4})


# Decoding


def random_log_probs(tokens: int, seed: int) -> Any:
    tags = len(tags_of(LABELS))
    return log_softmax(numpy.random.default_rng(seed).normal(size=(tokens, tags)).astype("f") * 2)


def is_valid(tags: list[int]) -> bool:
    names, grammar = tags_of(LABELS), grammar_of(tags_of(LABELS))
    assert len(names) == len(grammar.first)
    return bool(
        grammar.first[tags[0]]
        and grammar.last[tags[-1]]
        and all(grammar.follows[a, b] for a, b in itertools.pairwise(tags))
    )


def test_decoding_is_always_valid_and_the_best() -> None:
    names = tags_of(["X"])
    grammar = grammar_of(names)
    draw = numpy.random.default_rng(1)
    for seed in range(30):
        size = int(draw.integers(1, 5))
        log_probs = log_softmax(numpy.random.default_rng(seed).normal(size=(size, len(names))).astype("f") * 2)
        found = best_tags(log_probs, numpy.array([0, size]), grammar)
        best, best_score = None, -numpy.inf
        for sequence in numpy.ndindex(*(len(names),) * size):
            allowed = grammar.first[sequence[0]] and grammar.last[sequence[-1]]
            if allowed and all(grammar.follows[a, b] for a, b in itertools.pairwise(sequence)):
                score = sum(log_probs[i, tag] for i, tag in enumerate(sequence))
                if score > best_score:
                    best, best_score = list(sequence), score
        assert found.tolist() == best


def test_lines_are_decoded_by_themselves() -> None:
    grammar = grammar_of(tags_of(LABELS))
    log_probs = random_log_probs(300, seed=3)
    starts = numpy.array([0, 1, 50, 52, 200, 300])
    tags = best_tags(log_probs, starts, grammar).tolist()
    for start, end in itertools.pairwise(starts):
        assert is_valid(tags[start:end])


@pytest.mark.parametrize("line_break", sorted(skill_ner.LINE_BREAKS))
def test_no_entity_crosses_a_line_break_or_has_a_blank_at_its_edge(trained: Language, line_break: str) -> None:
    component: Any = trained.get_pipe("skill_ner")
    doc = trained(f"machine{line_break}learning  and  Power{line_break} BI \u00a0 team{line_break}{line_break}player")
    # Whatever the scores, also such as want one long entity.
    for seed in range(20):
        lines: Lines = lines_of([doc])
        tags = best_tags(random_log_probs(len(lines.token), seed), lines.starts, grammar_of(tags_of(LABELS)))
        assert len(tags) == len(lines.token)
        for start, end in zip(lines.starts, lines.starts[1:], strict=False):
            assert is_valid(tags[start:end].tolist())
            tokens = [doc[int(i)] for i in lines.token[start:end]]
            assert line_break not in doc[tokens[0].i : tokens[-1].i + 1].text
            assert not tokens[0].is_space and not tokens[-1].is_space
    for entity in component.predict([doc])[0]:
        surface = doc[entity.start : entity.end].text
        assert line_break not in surface and surface == surface.strip()


# Calibration


def test_min_score_leaves_out_what_the_model_is_less_sure_of(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "model")
    text = " ".join(post.text for post in make_posts())
    scores = {(ent.text, ent.start): ent._.score for ent in trained(text).ents}
    bar = sum(sorted(scores.values())[len(scores) // 2 - 1 :][:2]) / 2
    sure = spacy.load(tmp_path / "model", config={"components.skill_ner.min_score": bar})
    assert {(ent.text, ent.start) for ent in sure(text).ents} == {key for key, score in scores.items() if score >= bar}
    with pytest.raises(ValueError, match="min_score"):
        spacy.load(tmp_path / "model", config={"components.skill_ner.min_score": 50})


def test_calibration_moves_scores_to_the_share_that_is_right() -> None:
    draw = numpy.random.default_rng(0)
    true = draw.uniform(0.05, 0.95, size=5000)
    correct = draw.uniform(size=5000) < true
    overconfident = 1 / (1 + ((1 - true) / true) ** 3)
    calibration = fit_calibration(overconfident.tolist(), correct.tolist())
    moved = [calibrated(score, calibration) for score in overconfident]
    assert numpy.abs(numpy.array(moved) - true).mean() < 0.03
    assert fit_calibration([0.5], [True]) is None
    assert calibrated(0.3, None) == 0.3


def test_calibration_of_scores_that_are_all_right_stays_finite() -> None:
    calibration = fit_calibration([0.99] * 30, [True] * 30)
    assert 0.9 < calibrated(0.99, calibration) <= 1


def test_scores_that_mislead_all_become_the_base_rate() -> None:
    scores, correct = [0.9] * 30 + [0.1] * 30, [False] * 30 + [True] * 30
    calibration = fit_calibration(scores, correct)
    assert calibrated(0.9, calibration) == calibrated(0.1, calibration) == pytest.approx(0.5)


def test_calibrated_pipeline_keeps_its_calibration(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    component: Any = nlp.get_pipe("skill_ner")
    examples = make_examples(nlp, make_posts() * 3)
    for example in examples:
        example.predicted = nlp(example.predicted)
    component.calibrate(examples)
    text = make_posts()[0].text
    scores = [ent._.score for ent in nlp(text).ents]
    nlp.to_disk(tmp_path / "again")
    numpy.testing.assert_allclose([ent._.score for ent in spacy.load(tmp_path / "again")(text).ents], scores, atol=1e-5)


def test_training_is_repeatable(tiny_encoder: Path) -> None:
    runs = []
    for _ in range(2):
        nlp = make_pipeline(tiny_encoder)
        runs.append(train(nlp, make_examples(nlp, make_posts()), steps=5))
    numpy.testing.assert_allclose(runs[0], runs[1], rtol=1e-4)


# Precision


def logits_of(nlp: Language, texts: list[str]) -> Any:
    component: Any = nlp.get_pipe("skill_ner")
    return numpy.concatenate([numpy.asarray(matrix) for matrix in component.model.predict(list(nlp.pipe(texts)))])


def loaded(folder: Path, precision: str) -> Language:
    return spacy.load(folder, config={"components.transformer.model.precision": precision})


def test_precision_is_chosen_at_loading(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    texts = [post.text for post in make_posts()]
    exact = logits_of(loaded(tmp_path, "float32"), texts)
    for precision in ("bfloat16", "int8", "auto"):
        nlp = loaded(tmp_path, precision)
        found = logits_of(nlp, texts)
        assert (found != exact).any() or precision == "auto"
        assert numpy.abs(found - exact).max() < 0.1 * numpy.abs(exact).max()
        nlp.to_disk(tmp_path / precision)
        assert (logits_of(loaded(tmp_path / precision, "float32"), texts) == exact).all(), (
            "the weights are as they were"
        )
    with pytest.raises(ValueError, match="precision"):
        loaded(tmp_path, "int3")


def test_predictions_follow_training(trained: Language, tmp_path: Path) -> None:
    """What predicts is a copy of the weights: it must not be older than they are."""
    trained.to_disk(tmp_path)
    nlp = loaded(tmp_path, "bfloat16")
    examples = make_examples(nlp, make_posts(["Learn {{Rust|T}} here."]))
    before = logits_of(nlp, ["Learn Rust here."])
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.003
    nlp.update(examples, sgd=optimizer, drop=0.0)
    after = logits_of(nlp, ["Learn Rust here."])
    nlp.to_disk(tmp_path / "again")
    assert (before != after).any() and (
        logits_of(loaded(tmp_path / "again", "bfloat16"), ["Learn Rust here."]) == after
    ).all()


def test_what_stands_twice_is_encoded_once(trained: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained.to_disk(tmp_path)
    nlp = loaded(tmp_path, "float32")
    texts = [post.text for post in make_posts()]
    alone = [spans_of(doc) for doc in nlp.pipe(texts)]
    sizes = []
    convert = skill_ner.to_torch
    wrapper = nlp.get_pipe("transformer").model.layers[0]  # type: ignore[attr-defined]

    def count(model: Any, windows: Any, is_train: bool) -> Any:
        sizes.append(len(windows))
        return convert(model, windows, is_train)

    monkeypatch.setitem(wrapper.attrs, "convert_inputs", count)
    assert [spans_of(doc) for doc in nlp.pipe([*texts, *texts[::-1]])] == [*alone, *alone[::-1]]
    once = sum(sizes)
    sizes.clear()
    list(nlp.pipe(texts))
    assert sum(sizes) == once
