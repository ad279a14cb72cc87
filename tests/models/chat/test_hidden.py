"""What is hidden in a text is found by fast searches, which have to find what the one pattern would."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairkit.models.chat.hidden import ESCAPED, FIRST, LAST, STAND_INS, any_of, has_stand_in

TOKENS = ("<|im_end|>", "<|im", "[INST]", "a", "ab")
PIECES = st.sampled_from(
    [*TOKENS, "<", "|", "é", "\\u", "\\U0010abcd", "\\udbc0\\udc00", "\\udb", chr(FIRST), chr(LAST), " ", "b"]
)


@given(st.lists(PIECES).map("".join))
def test_stand_ins_are_found_as_by_their_patterns(text: str) -> None:
    assert has_stand_in(text) == bool(STAND_INS.search(text) or ESCAPED.search(text))


@pytest.mark.parametrize("words", [(), ("ab",)], ids=["no whole words", "whole words"])
@given(text=st.lists(PIECES).map("".join))
def test_tokens_are_found_the_longest_first(text: str, words: tuple[str, ...]) -> None:
    longest = sorted(TOKENS, key=len, reverse=True)
    plain = re.compile("|".join(rf"\b{t}\b" if t in words else re.escape(t) for t in longest))
    assert any_of(TOKENS, words).findall(text) == plain.findall(text)
