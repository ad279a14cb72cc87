"""The forms in which judges write verdicts: what each is read as under which prompt, and what is not."""

from __future__ import annotations

import ast
import gzip
import json
import re
from pathlib import Path

import pytest
from support.candidates import table
from support.judges import good, judged

from pairkit.rankers.judge.header import Header
from pairkit.rankers.judge.spoken import spoken, verdict_end
from pairkit.rankers.judge.verdicts import read_verdict, spell_verdict, why_unread
from pairkit.rankers.thoughts import answer_of


def header(kind: str, **fields: object) -> Header:
    return Header(version=1, kind=kind, **fields)  # type: ignore[arg-type]


TAG, BRACKETS, BOXED, JSON = (
    header("pairwise", verdict=form) for form in ("tag", "brackets", "boxed", "json")
)
FIVE = header("pairwise", verdict="brackets", steps=5)
RATING, TEN = header("pointwise"), header("pointwise", verdict="brackets", scale=(1, 10))
A, B, TIE = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)
FENCED = '```json\n{"reason": "first is right", "verdict": "A"}\n```'


@pytest.mark.parametrize("end", ["", *".!。！…»”）_`*$।؛", "```\n"])
def test_punctuation_of_any_script_may_follow(end: str) -> None:
    assert read_verdict(f"Because. <verdict>A</verdict>{end}", TAG, 2) == A
    assert read_verdict(f"因为。[[B]]{end}", BRACKETS, 2) == B


@pytest.mark.parametrize(
    "end",
    ["?", "？", "؟", "‽", "!?", " or", " 2", "~~", "=", "<b>", " B", "✗", "❌", "👎", "🤔", "<hr>", "<p>"],
)
def test_what_may_change_a_verdict_may_not_follow(end: str) -> None:
    assert read_verdict(f"<verdict>A</verdict>{end}", TAG, 2) is None
    assert read_verdict(f"[[A]]{end}", BRACKETS, 2) is None


@pytest.mark.parametrize(
    "token",
    [
        *("<|im_end|>", "</s>", "<|eot_id|>", "<end_of_turn>", "<|endoftext|>", "<｜end▁of▁sentence｜>"),
        *("<turn|>", "<|return|>", "<|end|>", "[/INST]", "</answer>", "<eos>", "<|im_end|>\n<|im_end|>"),
        *(
            "<br>",
            "<br/>",
            "<br />",
            "<pad>",
            "<unk>",
            "<pad><pad>\n",
            "</s><pad>",
            " ✅",
            " 🎉",
            "✔️",
            " 👍🏆",
        ),
    ],
)
def test_stray_end_tokens_may_follow(token: str) -> None:
    for answer in (f"Right. <verdict>A</verdict>{token}", f"**<verdict>A</verdict>**。{token}\n"):
        assert read_verdict(answer, TAG, 2) == A
    assert read_verdict(f"[[A]]{token}", BRACKETS, 2) == A
    assert read_verdict(f"<rating>4</rating>{token}", RATING, 1) == (4.0,)
    assert read_verdict(f"<verdict>A{token}</verdict>", TAG, 2) is None


@pytest.mark.parametrize(
    ("draft", "end"),
    [
        *((f"<{tag}>", f"</{tag}>") for tag in ("think", "thinking", "reasoning", "Thought", "scratchpad")),
        ("[THINK]", "[/THINK]"),
        ("<seed:think>", "</seed:think>"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<|channel>thought\n", "<channel|>"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("◁think▷", "◁/think▷"),
        ("<|begin_of_thought|>", "<|end_of_thought|>\n<|begin_of_solution|>"),
        ("<think>", "</think>\n</think>"),
    ],
)
def test_drafts_hold_no_verdict(draft: str, end: str) -> None:
    maybe = "Maybe <verdict>B</verdict>? [[B]]"
    assert read_verdict(f"{draft}{maybe}{end}<verdict>A</verdict>", TAG, 2) == A
    assert read_verdict(f"Hm. {draft}{maybe}{end}\nSo [[A]]", BRACKETS, 2) == A
    assert read_verdict(f"{draft}{maybe}{end}I cannot decide.", TAG, 2) is None
    assert read_verdict(f"{draft}<verdict>A</verdict>", TAG, 2) is None
    # A draft after a verdict may take it back, and outside of drafts two verdicts differ.
    assert read_verdict(f"<verdict>A</verdict>{draft}{maybe}{end}", TAG, 2) is None
    assert read_verdict(f"<verdict>B</verdict>{draft}Hm{end}<verdict>A</verdict>", TAG, 2) is None


@pytest.mark.parametrize("end", ["</think>", "</thinking>", "[/THINK]", "<channel|>"])
def test_a_draft_that_the_template_opened_ends_alone(end: str) -> None:
    assert read_verdict(f"Maybe <verdict>B</verdict>?\n{end}\n\n<verdict>A</verdict>", TAG, 2) == A
    assert read_verdict(f"Maybe <verdict>A</verdict>\n{end}", TAG, 2) is None
    assert read_verdict(f"Maybe <verdict>A</verdict>{end}{end}", TAG, 2) is None


def test_drafts_may_contain_drafts() -> None:
    said = "<think>Or <verdict>B</verdict>?<think>Hm.</think> Still <verdict>B</verdict></think>"
    assert read_verdict(f"{said}<verdict>A</verdict>", TAG, 2) == A
    assert read_verdict(f"<verdict>A</verdict>{said}<|im_end|>", TAG, 2) is None


def test_a_draft_without_its_tokens_is_one() -> None:
    """gpt-oss's answer where the control tokens were dropped."""
    said = "analysisMaybe <verdict>B</verdict>.assistantfinal"
    assert read_verdict(f"{said}<verdict>A</verdict>", TAG, 2) == A
    assert read_verdict(f"{said}I decline.", TAG, 2) is None
    # In other answers the words are words.
    assert read_verdict("I say assistantfinal. <verdict>A</verdict>", TAG, 2) == A
    assert read_verdict("<verdict>B</verdict> assistantfinal <verdict>A</verdict>", TAG, 2) is None


@pytest.mark.parametrize(
    "text",
    [
        "<think>x</think>4",
        "x\n</think>4",
        "<analysis>x</analysis>4",
        "analysisX.assistantfinal4",
        "◁think▷x◁/think▷4",
        "<think>a<think>b</think>c</think>4",
        "[THINK]x[/THINK]4",
        "<|inner_prefix|>x<|inner_suffix|>4",
    ],
)
def test_judges_and_rankers_know_the_same_thoughts(text: str) -> None:
    assert spoken(text).strip() == answer_of(text) == "4"


def test_ends_of_turns_end_no_draft() -> None:
    """Phi ends a turn with the token with which gpt-oss ends a thought."""
    assert read_verdict("<verdict>A</verdict><|end|>", TAG, 2) == A
    assert spoken("A.<|end|>") == "A.<|end|>"
    assert verdict_end("[[A]]。<|end|>\n") == 5


# The judge's words, and what they are under a prompt that asks for a tag, brackets, a box, JSON.
FORMS = [
    ("<verdict>Answer A</verdict>", (A, A, A, A)),
    ("<verdict>Assistant B is better</verdict>", (B, B, B, B)),
    ("<verdict>**A**</verdict>", (A, A, A, A)),
    ("<verdict>[[A]]</verdict>", (A, A, A, A)),
    ("<verdict>B</verdict> [[A]]", (None, None, None, None)),
    ("[[B]] <verdict>A</verdict>", (None, None, None, None)),
    ("[[A]]\n<verdict>A</verdict>", (A, A, A, A)),
    ('{"verdict": "A"} <verdict>A</verdict>', (None, None, None, None)),
    ('{"verdict": "A"}\nVerdict: [[B]]', (None, None, None, None)),
    ('{"verdict": "A", "reason": "not <verdict>B</verdict>"}', (None, None, None, None)),
    ("<verdict>a tie</verdict>", (TIE, TIE, TIE, TIE)),
    ("<verdict>C</verdict>", (None, TIE, None, None)),
    ("<verdict>A>>B</verdict>", (A, A, A, A)),
    ("<verdict>A&gt;&gt;B</verdict>", (A, A, A, A)),
    ("<verdict>B<<A</verdict>", (A, A, A, A)),
    ("<verdict>**A < B**</verdict>", (B, B, B, B)),
    ("<verdict>A<verdict>B</verdict>", (None, None, None, None)),
    ("<verdict><b>A</b></verdict>", (None, None, None, None)),
    ("<verdict>A<<</verdict>", (None, None, None, None)),
    ("My verdict: [[A&gt;B]]", (A, A, A, A)),
    ("<verdict>neither</verdict>", (None, None, None, None)),
    ("<verdict>A</verdict>\n\nThe first is right, since it is true.", (None, None, None, None)),
    ("The first is right. [[A]]", (None, A, None, None)),
    ("Final Verdict: **[[A]]**", (A, A, A, A)),
    ("My final verdict is: [[A>>B]]", (A, A, A, A)),
    ("My verdict is [[A=B]].", (TIE, TIE, TIE, TIE)),
    ("The verdict is not [[A]]", (None, A, None, None)),
    ("My verdict: [[B]], as [[A]] is wrong: [[A]]", (None, None, None, None)),
    ("[[Assistant A]]", (None, A, None, None)),
    ("[[A>A]]", (None, None, None, None)),
    ("So \\boxed{A}", (None, None, A, None)),
    ("$$\\boxed{\\text{B}}$$", (None, None, B, None)),
    ("\\[ \\boxed{tie} \\]", (None, None, TIE, None)),
    ("The answer is \\boxed{12}.", (None, None, None, None)),
    (FENCED, (A, A, A, A)),
    ('{"verdict": "tie"}', (TIE, TIE, TIE, TIE)),
    ('{"evaluation": {"verdict": "B", "reason": "}"}}<|im_end|>', (B, B, B, B)),
    ('I compared them:\n{"verdict": "A"}', (None, None, None, A)),
    ('I compared them: {"verdict": "A"}', (None, None, None, A)),
    ('{"verdict": "A"} or {"verdict": "B"}', (None, None, None, None)),
    ('{"verdict": "A", "verdict": "B"}', (None, None, None, None)),
    ('{"first": {"verdict": "A"}, "second": {"verdict": "B"}}', (None, None, None, None)),
    ('{"\\u0076erdict": "A"}', (None, None, None, None)),
    ('{"verdict": true}', (None, None, None, None)),
    ('{"verdict": "A"', (None, None, None, None)),
    ('{"winner": "A"}', (None, None, None, None)),
    ("A", (None, None, None, None)),
    ("Verdict: A", (None, None, None, None)),
]


@pytest.mark.parametrize(("answer", "verdicts"), FORMS)
def test_verdicts_are_read_where_asked_for_or_beyond_doubt(answer: str, verdicts: tuple[object, ...]) -> None:
    read = tuple(read_verdict(answer, prompt, 2) for prompt in (TAG, BRACKETS, BOXED, JSON))
    assert read == verdicts


@pytest.mark.parametrize(
    ("answer", "prompt", "rating"),
    [
        ("Good. <rating>4.0</rating>", RATING, 4),
        ("Good. <rating>4/5</rating>", RATING, 4),
        ("Good. <rating>4 out of 5</rating>", RATING, 4),
        ("Good. <rating>**4**</rating>", RATING, 4),
        ("Good. <rating>4.5</rating>", RATING, None),
        ("Good. <rating>4/10</rating>", RATING, None),
        ("Rating: [[4]]", RATING, 4),
        ("Rating: [[8]]", RATING, None),
        ("[[4]]", RATING, None),
        ("<rating>4.0/5.0</rating>", RATING, 4),
        ("<rating>4/5.5</rating>", RATING, None),
        ("<rating>+4</rating>", RATING, 4),
        ("<rating>+2</rating>", header("pointwise", scale=(-2, 2)), 2),
        ("Rating: [[+4.0 / 5.0]]", RATING, 4),
        ('{"rating": 4}', RATING, 4),
        ('{"rating": 4.0, "reason": "good"}', RATING, 4),
        ('{"rating": true}', RATING, None),
        ("Rating: [[8]]", TEN, 8),
        ("[[8/10]]", TEN, 8),
        ("x[[3]] is wrong. Rating: [[2]]", TEN, 2),
        ("So it is x[[3]]", TEN, None),
        ("<rating>8</rating>", TEN, 8),
        ("[[0]]", TEN, None),
        ("<rating>4.5</rating>", header("pointwise", fractions=True), 4.5),
        ("<rating>-1</rating>", header("pointwise", scale=(-2, 2)), -1),
        ("\\boxed{4}", header("pointwise", verdict="boxed"), 4),
    ],
)
def test_ratings_are_read_on_the_scale_of_the_prompt(
    answer: str, prompt: Header, rating: float | None
) -> None:
    verdict = read_verdict(answer, prompt, 1)
    assert verdict == (None if rating is None else (rating,))
    if verdict:
        assert float(spell_verdict(verdict, prompt, (0,))) == rating


def test_rankings_are_read_from_json_and_with_words() -> None:
    order = (0.0, 1.0, 0.5)
    for form in ("tag", "json"):
        prompt = header("listwise", verdict=form)
        assert read_verdict('{"ranking": ["B", "C", "A"]}', prompt, 3) == order
        assert read_verdict("<ranking>Answer B > Answer C > A</ranking>。", prompt, 3) == order
        assert read_verdict('{"ranking": ["B", "C"]}', prompt, 3) is None


@pytest.mark.parametrize(
    ("said", "points", "stored"),
    [
        ("[[A>>B]]", 1.0, "4>>2"),
        ("[[A>B]]", 0.75, "4>2"),
        ("[[A=B]]", 0.5, "tie"),
        ("[[B>A]]", 0.25, "2>4"),
        ("[[B >> A]]", 0.0, "2>>4"),
        ("[[A<<B]]", 0.0, "2>>4"),
        ("[[A]]", None, None),
        ("[[A&gt;&gt;B]]", 1.0, "4>>2"),
        ("<verdict>B<<A</verdict>", 1.0, "4>>2"),
        ("<verdict>A&gt;B</verdict>", 0.75, "4>2"),
        ("<verdict>B < A</verdict>", 0.75, "4>2"),
    ],
)
def test_five_steps_are_read(said: str, points: float | None, stored: str | None) -> None:
    verdict = read_verdict(f"My final verdict is: {said}", FIVE, 2)
    assert verdict == (None if points is None else (points, 1 - points))
    if verdict:
        assert spell_verdict(verdict, FIVE, (4, 2)) == stored


def test_real_arena_hard_judgments_are_read(real_data: Path) -> None:
    """A label is read as published, except where the text does not end in it."""
    with gzip.open(real_data / "arena_hard_v0.1_judgments_sample.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = list(map(json.loads, lines))
    points = {"A>>B": 1.0, "A>B": 0.75, "A=B": 0.5, "B=A": 0.5, "B>A": 0.25, "B>>A": 0.0, "A<B": 0.25}
    read = 0
    for row in rows:
        verdict = read_verdict(row["judgment"], FIVE, 2)
        if verdict is not None:
            # The publishers read no label with a space in it.
            assert verdict[0] == points[row["score"] or row["judgment"][-7:-2].replace(" ", "")]
            read += 1
        elif row["score"] in points:
            last = list(re.finditer(r"\[\[[AB<>=]+\]\]", row["judgment"]))[-1]
            assert re.search(r"\w", row["judgment"][last.end() :])
    assert read > 0.7 * len(rows)


def test_real_mt_bench_ratings_are_read(real_data: Path) -> None:
    with gzip.open(real_data / "mt_bench_judgments_sample.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = list(map(json.loads, lines))
    prompt = header("pointwise", verdict="brackets", scale=(1, 10), fractions=True)
    ratings = [read_verdict(row["judgment"], prompt, 1) for row in rows]
    known = [(rating, row["score"]) for rating, row in zip(ratings, rows, strict=True) if rating]
    assert all(rating == (score,) for rating, score in known)
    assert len(known) > 0.9 * len(rows)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            "<verdict>A</verdict>\n\nThe first is right.",
            "its verdict does not end it, or has a form that the prompt does not ask for",
        ),
        ("<verdict>A</verdict> or <verdict>B</verdict>", "it has several verdicts"),
        ("<verdict>neither</verdict>", "its verdict is none that the prompt asks for"),
        ("<verdict>A</verdict><think>But", "it ends in a draft"),
        ("I cannot decide.", ""),
        ("", ""),
    ],
)
def test_why_an_answer_has_no_verdict_is_reported(answer: str, why: str) -> None:
    assert read_verdict(answer, TAG, 2) is None
    assert why_unread(answer, TAG) == why
    scored, _ = judged(table(good(1, 2)), lambda asked: answer)
    detail = scored.quarantine["detail"][0].as_py()
    assert detail.endswith(f"({why})") if why else not detail.endswith(")")


def test_judges_of_the_odd_server_are_read(real_data: Path) -> None:
    """Every form that its judge writes; its table is read without running it."""
    tree = ast.parse((real_data / "field" / "odd_chat_server.py").read_text(encoding="utf-8"))
    tables = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("JUDGES", "RATINGS")
    }
    # Not asked for by a prompt for tags, or followed by words (docs/judging.md).
    unread = {"brackets", "boxed", "trailing"}
    for name, answer in tables["JUDGES"].items():
        assert read_verdict(answer, TAG, 2) == (None if name in unread else A), name
    assert read_verdict(tables["JUDGES"]["brackets"], BRACKETS, 2) == A
    assert read_verdict(tables["JUDGES"]["bold_brackets"], BRACKETS, 2) == A
    assert read_verdict(tables["JUDGES"]["boxed"], BOXED, 2) == A
    assert read_verdict(tables["JUDGES"]["json"], JSON, 2) == A
    assert read_verdict(tables["JUDGES"]["arena"], FIVE, 2) == A
    ratings = {name: read_verdict(answer, RATING, 1) for name, answer in tables["RATINGS"].items()}
    assert ratings == {
        "rating_int": (4.0,),
        "rating_half": None,
        "rating_slash": (4.0,),
        "rating_zero": (4.0,),
        "rating_bracket": None,
    }
    halves = header("pointwise", fractions=True)
    assert read_verdict(tables["RATINGS"]["rating_half"], halves, 1) == (4.5,)
    assert read_verdict(tables["RATINGS"]["rating_bracket"], TEN, 1) == (8.0,)
