"""Markdown that untrusted text cannot break out of."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml

from pairkit.dataset.markdown import cell, fence
from pairkit.progress import shown

PARSER = MarkdownIt().enable("table")


@given(st.text())
def test_a_fence_contains_any_text(text: str) -> None:
    tokens = PARSER.parse(f"before\n\n{fence(text)}\n\nafter")
    assert [token.type for token in tokens].count("fence") == 1
    assert [token.type for token in tokens[-3:]] == ["paragraph_open", "inline", "paragraph_close"]
    assert tokens[-2].content == "after"


@given(st.text())
def test_a_cell_is_one_line_without_markup(text: str) -> None:
    page = PARSER.render(f"| a |\n|---|\n| {cell(text)} |\n")
    inside = re.search(r"<tbody>\s*<tr>\s*<td>(.*)</td>\s*</tr>\s*</tbody>", page, re.S)
    assert inside is not None
    assert inside.group(1) == escapeHtml(shown(" ".join(text.split())))
