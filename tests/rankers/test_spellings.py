"""Marks of thoughts are looked for by how they begin: the same are found as by the whole pattern."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pairkit.rankers import spellings

PIECES = (
    *("<", ">", "</", "think", "seed:think", "  ", "\n", "x", "ſ", "analysis", "Analysis", "assistantfinal"),
    *("to=self<|message|>", "TO=SELF<|MESSAGE|>", "tO=self<|message|>", "[THINK]", "[/think]"),
    *("◁think▷", "◁/think▷", "<|channel>thought", "<channel|>", "<|channel|>analysis<|message|>"),
    *("<|end|>", "<|eom|>", "<|start|>assistant", "<|START_THINKING|>", "<|END_THINKING|>"),
    *("<|begin_of_thought|>", "<|end_of_thought|>", "<|inner_prefix|>", "<|INNER_suffix|>"),
    *("<unused94>thought", "<unused95>", "think>", "<think>"),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=9).map("".join)


@given(TEXTS)
def test_the_same_marks_are_found_as_by_the_whole_pattern(text: str) -> None:
    expected = [(mark.span(), mark.groupdict()) for mark in spellings._MARK.finditer(text)]
    assert [(mark.span(), mark.groupdict()) for mark in spellings.find_marks(text)] == expected


def test_every_family_begins_as_marks_are_looked_for() -> None:
    for opening, closing in spellings._FAMILIES:
        for text in (opening, opening.upper(), opening.lower(), closing.replace("\\", "")):
            assert spellings._BEGINNING.match(text), text
