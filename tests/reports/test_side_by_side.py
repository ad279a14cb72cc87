"""Texts side by side: which words are marked, and that all of each text is there."""

from __future__ import annotations

import re

from support.parsed_page import Page

from pairkit.reports.html import page
from pairkit.reports.side_by_side import Column, common_share, side_by_side

PROMPT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A color?"}]
FIRST, SECOND = "I like the color red most of all.", "I like the color dark blue most of all."


def cells(*texts: str) -> list[str]:
    """The bodies of the columns, as HTML."""
    drawn = side_by_side(PROMPT, [Column(str(n), text, "a note") for n, text in enumerate(texts)])
    return re.findall(r'a note</small>(?:<span class="text">)?(.*?)(?:</span>)?</div>', drawn, re.DOTALL)


def test_words_that_differ_are_marked_in_both_of_two_texts() -> None:
    assert cells(FIRST, SECOND) == [
        "I like the color <del>red</del> most of all.",
        "I like the color <ins>dark blue</ins> most of all.",
    ]


def test_of_several_texts_the_first_has_no_marks() -> None:
    first, second, third = cells(FIRST, SECOND, FIRST)
    assert (first, third) == (FIRST, FIRST)
    assert "<ins>dark blue</ins>" in second


def test_texts_with_hardly_a_word_in_common_have_no_marks() -> None:
    other = "Nothing here is alike, whatever one compares it with; nor is that."
    assert cells(FIRST, other) == [FIRST, other]
    assert common_share(FIRST, other) < 0.1
    assert common_share(FIRST, FIRST) == common_share("", "") == 1


def test_all_that_is_shown_is_text() -> None:
    drawn = side_by_side(
        [{"role": "<b>", "content": "<i>"}, {"role": "user", "content": None}],
        [Column("<name>", "", "<note>"), Column("long", "<p>" * 3000)],
    )
    shown = "".join(Page(page("t", [drawn])).text)
    for part in ("<b>", "<i>", "<name>", "<note>", "empty", "<p><p>", "… (9,000 characters)"):
        assert part in shown
