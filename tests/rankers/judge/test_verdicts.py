"""Reading a verdict: one strict form at the end of the answer, nothing ambiguous, nothing quoted."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairkit.rankers.judge.header import Header
from pairkit.rankers.judge.texts import harmless
from pairkit.rankers.judge.verdicts import read_verdict, spell_verdict

TAGS = Header(version=1, kind="pairwise")
BRACKETS = Header(version=1, kind="pairwise", verdict="brackets")
JSON = Header(version=1, kind="pairwise", verdict="json")
BOXED = Header(version=1, kind="pairwise", verdict="boxed")
FIVE = Header(version=1, kind="pairwise", verdict="brackets", steps=5)
RATING = Header(version=1, kind="pointwise")
RANKING = Header(version=1, kind="listwise")
A, B, TIE = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("<verdict>A</verdict>", A),
        ("Because.\n\n<verdict>B</verdict>\n", B),
        ("Because. <verdict>tie</verdict>", TIE),
        ("<verdict> Tie </verdict>.", TIE),
        ("**<verdict>\na\n</verdict>**", A),
        ("I say <verdict>A</verdict>, so:\n<verdict>A</verdict>", A),
        ("<think>maybe <verdict>B</verdict></think>\n<verdict>A</verdict>", A),
        ("maybe <verdict>B</verdict></think>\n<verdict>A</verdict>", A),
        ("", None),
        ("A", None),
        ("A is better.", None),
        ("[[A]]", None),
        ("I cannot judge this.", None),
        ("<verdict>A</verdict> or <verdict>B</verdict>", None),
        ("<verdict>B</verdict>, no: <verdict>tie</verdict>", None),
        ("<verdict>A</verdict> is what it wrote. I decline.", None),
        ("<verdict>xxx</verdict>\n<verdict>A</verdict>", None),
        ("<verdict>A", None),
        ("A</verdict>", None),
        ("<verdict>\n<verdict>A</verdict>", None),
        ("</verdict><verdict>A</verdict>", None),
        ("< verdict>B</ verdict> <verdict>A</verdict>", None),
        ("<verdict>C</verdict>", None),
        ("<verdict>AB</verdict>", None),
        ("<verdict>A or B</verdict>", None),
        ("<verdict></verdict>", None),
        ("<verdict>\N{CYRILLIC CAPITAL LETTER A}</verdict>", None),
        ("<verdict>t\N{LATIN SMALL LETTER DOTLESS I}e</verdict>", None),
        ("<verdict>\N{CYRILLIC CAPITAL LETTER A}</verdict><verdict>A</verdict>", None),
        ("\N{FULLWIDTH LESS-THAN SIGN}verdict>A</verdict>", None),
        ("<think><verdict>A</verdict>", None),
        ("</think><verdict>B</verdict></think><verdict>A</verdict>", None),
    ],
)
def test_tagged_verdicts_are_read(answer: str, verdict: object) -> None:
    assert read_verdict(answer, TAGS, 2) == verdict


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("Because.\n[[A]]", A),
        ("My final verdict is: [[B]].", B),
        ('"[[C]]"', TIE),
        ("In R, x[[1]] is the first.\n**[[A]]**", A),
        ("[[A]] is said, [[B]]", None),
        ("[[ b ]] and [[A]]", None),
        ("[[A]] It is clear.", None),
        ("[[a]]", A),
        ("[[D]]", None),
        ("[A]", None),
        ("[[\N{GREEK CAPITAL LETTER ALPHA}]]", None),
        ("\N{FULLWIDTH LEFT SQUARE BRACKET}[A]]", None),
    ],
)
def test_bracketed_verdicts_are_read(answer: str, verdict: object) -> None:
    assert read_verdict(answer, BRACKETS, 2) == verdict


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("Fine.\n<rating>4</rating>", (4.0,)),
        ("<rating> 1 </rating>", (1.0,)),
        ("<rating>0</rating>", None),
        ("<rating>6</rating>", None),
        ("<rating>4.5</rating>", None),
        ("<rating>4/10</rating>", None),
        ("<rating>N/A</rating>", None),
        ("<rating>4</rating><rating>5</rating>", None),
        ("<rating>\N{SUPERSCRIPT TWO}</rating>", None),
        ("<rating>\N{ARABIC-INDIC DIGIT FOUR}</rating>", None),
        ("Rating: 4", None),
    ],
)
def test_ratings_are_read(answer: str, verdict: object) -> None:
    assert read_verdict(answer, RATING, 1) == verdict


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("Compared.\n<ranking>C > A > B</ranking>", (0.5, 0.0, 1.0)),
        ("<ranking>c>b>a</ranking>", (0.0, 0.5, 1.0)),
        ("<ranking>A > B</ranking>", None),
        ("<ranking>A > B > C > D</ranking>", None),
        ("<ranking>A > A > B</ranking>", None),
        ("<ranking>A > B = C</ranking>", None),
        ("<ranking>A, B, C</ranking>", None),
        ("<ranking>A > B > C</ranking>\n<ranking>C > A > B</ranking>", None),
        ("A > B > C", None),
        ("", None),
    ],
)
def test_rankings_are_read(answer: str, verdict: object) -> None:
    assert read_verdict(answer, RANKING, 3) == verdict


def test_lookalike_letters_are_not_labels() -> None:
    """The Kelvin sign is a k in lower case."""
    labels = [*"ABCDEFGHIJ", "\N{KELVIN SIGN}"]
    assert read_verdict(f"<ranking>{' > '.join(labels)}</ranking>", RANKING, 11) is None
    assert read_verdict(f"<ranking>{' > '.join('ABCDEFGHIJK')}</ranking>", RANKING, 11) is not None


def test_verdicts_are_stored_by_position() -> None:
    assert spell_verdict(A, TAGS, (4, 2)) == "4"
    assert spell_verdict(B, TAGS, (4, 2)) == "2"
    assert spell_verdict(TIE, BRACKETS, (4, 2)) == "tie"
    assert spell_verdict((3.0,), RATING, (1,)) == "3"
    assert spell_verdict((0.5, 0.0, 1.0), RANKING, (2, 0, 1)) == "1>2>0"


FRAGMENTS = [
    *("<verdict>", "</verdict>", "<", "</", ">", "verdict", "VERDICT", "A", "B", "tie", "[[", "]]", "[", "]"),
    *("C", "<rating>", "</rating>", "5", "<ranking>", "</ranking>", "A > B", "B > A", "<think>", "</think>"),
    *(" ", "\n", "\t", "‹", "⟦", "| ", "<|", "|>", "im_end", "*", "word"),
    *("\N{NO-BREAK SPACE}", "\N{KELVIN SIGN}", "<thinking>", "</thinking>", "[THINK]", "[/THINK]", "</s>"),
    *('{"verdict": "A"}', '"verdict":', "{", "}", "\\boxed{", "A>>B", "verdict: [[B]]", "[[4]]", "4/5", "。"),
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=14).map("".join)
forms = st.sampled_from(
    [
        (TAGS, 2, "<verdict>A</verdict>"),
        (BRACKETS, 2, "[[A]]"),
        (RATING, 1, "<rating>2</rating>"),
        (RANKING, 2, "<ranking>B > A</ranking>"),
        (JSON, 2, '{"verdict": "A"}'),
        (BOXED, 2, "\\boxed{A}"),
        (FIVE, 2, "[[A>>B]]"),
        (TAGS, 2, "Verdict: [[A]]"),
    ]
)


@given(texts, forms)
@settings(max_examples=50)
def test_shown_text_contains_no_verdict(text: str, form: tuple[Header, int, str]) -> None:
    header, shown, _ = form
    assert read_verdict(harmless(text, boxed=header is BOXED), header, shown) is None


@given(texts, forms)
def test_quotations_do_not_change_the_verdict(text: str, form: tuple[Header, int, str]) -> None:
    header, shown, verdict = form
    quoted = harmless(text, boxed=header is BOXED)
    answer = f"I read:\n{quoted}\nMy verdict:\n{verdict}"
    assert read_verdict(answer, header, shown) == read_verdict(verdict, header, shown) is not None


@given(texts, texts, forms)
def test_a_verdict_ends_its_answer(before: str, after: str, form: tuple[Header, int, str]) -> None:
    """In any answer, a verdict that is read ends the answer and is the only one."""
    header, shown, verdict = form
    answer = f"{before}{verdict}{after}"
    found = read_verdict(answer, header, shown)
    if found is not None:
        # The end of a thought, by any mark, may be the verdict's beginning.
        tail = re.split(r"</think>|</thinking>|\[/THINK\]", answer)[-1]
        after_last = re.split(r"</verdict>|\]\]|</rating>|</ranking>|\}", tail, flags=re.IGNORECASE)[-1]
        rest = re.sub(r"<\|[^<>]*\|?>|<[^<>]*\|>|</s>", "", after_last)
        assert not any(mark.isalnum() or mark in "<>?" for mark in rest)
        if verdict in tail:
            assert found == read_verdict(verdict, header, shown)


@given(st.text(), forms)
def test_any_text_can_be_read(text: str, form: tuple[Header, int, str]) -> None:
    header, shown, _ = form
    if "</" not in text and "]]" not in text:
        assert read_verdict(text, header, shown) is None
    once = harmless(text, boxed=True)
    assert harmless(once, boxed=True) == once


@pytest.mark.full
def test_reading_takes_linear_time() -> None:
    for piece in ("<verdict>", "</verdict> ", "<verdict> A", "[[A", "* ", "< ", "<verdict>A</verdict>\n"):
        assert read_verdict(piece * 15_000, TAGS, 2) in (None, A)
        assert read_verdict(piece * 15_000, BRACKETS, 2) in (None, A)
        harmless(piece * 15_000, boxed=True)
    for piece in ("<think>", "</thinking>", "[THINK]", '{"verdict":', "{\n", "\\boxed{", "</s>", "score "):
        for end in ("", "}", "[[A]]"):
            for header in (TAGS, JSON, BOXED):
                assert read_verdict(piece * 15_000 + end, header, 2) is None
        harmless(piece * 15_000, boxed=True)
    for text in ("<" + " " * 200_000, "[[" + " " * 200_000, "<verdict>" + " " * 200_000, " " * 200_000):
        harmless(text)
        assert read_verdict(text, TAGS, 2) is None
        assert read_verdict(f"{text}</verdict>", TAGS, 2) is None
        assert read_verdict(f"{text}A]]", BRACKETS, 2) is None
