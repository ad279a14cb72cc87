"""Differences in words: both texts can be put together again, and no word is marked without need."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from pairkit.reports import word_diff as module
from pairkit.reports.word_diff import WordDiff, word_diff


def compared(first: str, second: str) -> WordDiff:
    diff = word_diff(first, second)
    assert "".join(text for kind, text in diff.segments if kind != "added") == first
    assert "".join(text for kind, text in diff.segments if kind != "removed") == second
    kinds = [kind for kind, _ in diff.segments]
    assert all(before != after for before, after in pairwise(kinds))
    assert all(text for _, text in diff.segments)
    return diff


@pytest.mark.parametrize(
    ("first", "second", "segments"),
    [
        ("", "", []),
        ("", "a b", [("added", "a b")]),
        ("a b", "", [("removed", "a b")]),
        ("a\u2028b", "a\u2028b", [("same", "a\u2028b")]),
        ("the cat sat", "the big cat sat", [("same", "the "), ("added", "big "), ("same", "cat sat")]),
        # A sentence that was written anew is not cut at each space.
        ("one two three", "four five six", [("removed", "one two three"), ("added", "four five six")]),
        ("a  b", "a b", [("same", "a"), ("removed", "  "), ("added", " "), ("same", "b")]),
        # Each character of a script without spaces is a word, and so is each sign.
        (
            "我喜欢猫。",
            "我喜欢狗。",
            [("same", "我喜欢"), ("removed", "猫"), ("added", "狗"), ("same", "。")],
        ),
        ("x=1", "x+1", [("same", "x"), ("removed", "="), ("added", "+"), ("same", "1")]),
        ("né\x00\u202e", "ne\x00\u202e", [("removed", "né"), ("added", "ne"), ("same", "\x00\u202e")]),
    ],
)
def test_segments(first: str, second: str, segments: list[tuple[str, str]]) -> None:
    assert compared(first, second) == (segments, True)


def longest(first: str, second: str) -> int:
    """Return the length of the longest common subsequence, by the book."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = 0
        for place, other in enumerate(second, 1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]


@pytest.mark.parametrize("table", [1, 40, 1 << 24])
def test_as_many_words_as_can_be_are_the_same(table: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A small table is cut at the middle row again and again; a small limit of masks drops them all the time.
    monkeypatch.setattr(module, "_TABLE", table)
    monkeypatch.setattr(module, "_MASK_BYTES", table)
    drawn = random.Random(table)
    for _ in range(300):
        first, second = ("".join(drawn.choices("+-*/", k=drawn.randrange(14))) for _ in range(2))
        diff = compared(first, second)
        assert diff.exact
        assert sum(len(text) for kind, text in diff.segments if kind == "same") == longest(first, second)


def test_long_texts_are_compared_by_anchors_and_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1000)
    monkeypatch.setattr(module, "_TABLE", 64)
    monkeypatch.setattr(module, "_WINDOW", 8)
    drawn = random.Random(0)
    words = [str(drawn.randrange(150)) for _ in range(400)]
    other = ["new" if drawn.random() < 0.05 else word for word in words]
    diff = compared(" ".join(words), " ".join(other))
    assert not diff.exact
    changed = sum(len(text.split()) for kind, text in diff.segments if kind == "added")
    assert other.count("new") <= changed < 2 * other.count("new")
    # Blocks that changed places have no order in common; nothing is lost all the same.
    compared(" ".join(words[200:] + words[:200]), " ".join(words))


@pytest.mark.parametrize(
    ("first", "second", "exact"),
    [
        ("x " * 300_000, "x " * 200_000, True),
        ("x" * 2_000_000, "x" * 2_000_001, True),
        ("x y " * 40_000, "y x " * 40_000 + "z", False),
        (" " * 1_000_000, "\n" * 1_000_000, True),
        ("\u202e\u0301" * 100_000, "\u0301\u202e" * 100_000, False),
    ],
)
def test_megabytes_end(first: str, second: str, exact: bool) -> None:
    assert compared(first, second).exact == exact
