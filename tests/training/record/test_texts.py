"""What is seen of a text: repetition, variety, letters of another script."""

from __future__ import annotations

import pytest

from pairkit.training.record.texts import distinct_share, foreign_share, repeated_share, scripts_of


@pytest.mark.parametrize(
    ("text", "repeated", "distinct"),
    [
        ("", 0, 1),
        ("one two three", 0, 1),
        ("a b c d a b c d", 1 / 5, 1 / 2),  # abcd bcda cdab dabc abcd
        ("no " * 10, 6 / 7, 1 / 10),
        ("line one\nline two\n", 0, 3 / 4),
    ],
)
def test_repetition(text: str, repeated: float, distinct: float) -> None:
    assert repeated_share(text) == pytest.approx(repeated)
    assert distinct_share(text) == pytest.approx(distinct)


def test_scripts_are_those_of_letters() -> None:
    assert scripts_of(["What is 2 + 2?", "Ça va…"]) == {"LATIN"}
    assert scripts_of(["да", "是 的", "ﬁ ａ µ"]) == {"CYRILLIC", "CJK", "LATIN", "GREEK"}
    assert scripts_of(["1 + 1 = 2 ✓", ""]) == frozenset()


def test_characters_of_other_scripts_are_foreign() -> None:
    latin = scripts_of(["plain text"])
    assert foreign_share("", latin) == 0
    assert foreign_share("naïve 42 % ✓ — «x»", latin) == 0
    assert foreign_share("abcd是的", latin) == pytest.approx(2 / 6)
    assert foreign_share("abcd是的", latin | {"CJK"}) == 0
