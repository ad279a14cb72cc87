"""Labels, the two games of a prompt, and what both versions make of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support.arena import KEYS, LABELS, PROMPTS

from pairkit.evaluation.answers import Question
from pairkit.evaluation.arena_hard.games import Game, battles_of, game_of, games_table, judge_counts, scored
from pairkit.evaluation.arena_hard.labels import Version, label_of, read_label, without_labels, won_by
from pairkit.evaluation.arena_hard.scores import elo_of
from pairkit.evaluation.results import VERDICTS

QUESTIONS = [Question(key, (prompt,)) for key, prompt in zip(KEYS, PROMPTS, strict=True)]
GAMES = [
    game_of(key, place, label)
    for key, both in zip(KEYS, LABELS, strict=True)
    for place, label in enumerate(both)
]


@pytest.mark.parametrize(
    ("version", "ends", "score", "missing"),
    [("0.1", (4, 2, 7), 38.461538, {}), ("2.0", (4, 2, 6), 41.666667, {"q2": "no_verdict"})],
)
def test_the_small_vector(version: Version, ends: tuple[int, ...], score: float, missing: Any) -> None:
    found = scored(QUESTIONS, GAMES, version)
    assert battles_of(found.games) == ends
    assert 100 * np.nansum(found.points * found.battles) / found.battles.sum() == pytest.approx(score)
    assert found.missing == missing
    assert found.halves == (version == "0.1")
    assert found.points[:2] == pytest.approx([1, 1 / 2])


def test_a_prompt_without_any_verdict_is_missing_with_its_reason() -> None:
    games = [game_of("q0", place, None, reason="too_long") for place in (0, 1)]
    for version in ("0.1", "2.0"):
        found = scored(QUESTIONS, games, version)
        assert found.missing == {"q0": "too_long"}
        assert np.isnan(found.points).all()
    # One stored game of two is none of v2.0's.
    assert scored(QUESTIONS, [GAMES[0]], "2.0").missing == {"q0": "no_verdict"}
    assert battles_of(scored(QUESTIONS, [GAMES[0]], "0.1").games).wins == 3


def test_battles_have_no_order_and_drop_no_prompt() -> None:
    games = [Game("q0", None, "model_b", points=1.0)] * 3 + [Game("q0", None, "model_a", points=0.0)]
    found = scored(QUESTIONS, games, "2.0")
    assert (found.points[0], found.battles[0], found.halves) == (0.75, 4, 0)
    assert not judge_counts(games)


def test_the_judges_biases_are_counted_by_place() -> None:
    counts = judge_counts(GAMES)
    # In (B>>A, A>B) the model wins and then wins shown first; in (A>>B, B>>A) it loses both.
    assert counts == {
        "questions": 8,
        "unanswered": 1,
        "first_wins": 3,
        "second_wins": 2,
        "ties": 2,
        "swapped": 3,
        "same": 3,
        "flips": 0,
    }
    flipped = judge_counts([game_of("q0", 0, "A>B"), game_of("q0", 1, "A>>B")])
    assert (flipped["flips"], flipped["same"], flipped["first_wins"]) == (1, 0, 2)


def test_games_are_rows_of_verdicts() -> None:
    table = games_table(GAMES, "mine", {"q0": "base"})
    assert table.schema.names == [*VERDICTS.names, "battles"]
    rows = table.to_pylist()
    assert rows[0] | {"answer": None} == {
        "prompt_id": "q0", "model": "mine", "reference": "base", "game": 0, "turn": 1, "answer": None,
        "verdict": "B>>A", "points": 1.0, "reason": None, "battles": 3,
    }  # fmt: skip
    assert (rows[5]["points"], rows[5]["reason"]) == (None, "no_verdict")


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("My final verdict is tie: [[A=B]].", "A=B", "A=B"),
        ("[[A>>B]] ... so [[A>>B]]", "A>>B", "A>>B"),
        ("[[A>B]], no: [[B>A]]", None, "B>A"),
        ("[[A<B]]", "B>A", "B>A"),
        ("[[B=A]] [[A<<B]]", None, "B>>A"),
        ("[[A>>A]]", None, None),
        ("[[a>b]]", None, "A>B"),
        ("[A>B]", None, "A>B"),
        ("x[A] then [B<<A]", None, "A>>B"),
        ("[[A > B]]", None, None),
        ("[[A>B]] in array [A]", "A>B", "A>B"),
        ("", None, None),
    ],
)
def test_verdicts_are_read_as_each_version_does(text: str, old: str | None, new: str | None) -> None:
    assert read_label(text, "0.1") == old
    assert read_label(text, "2.0") == new


def test_every_label_and_its_mirror_are_worth_the_same() -> None:
    mirror = str.maketrans("AB<>", "BA><")
    for label in ("A>>B", "A>B", "A=B", "B>A", "B>>A"):
        reversed_form = label[::-1]
        assert label_of(reversed_form.translate(str.maketrans("<>", "><"))) == label
        swapped = label_of(label.translate(mirror).translate(str.maketrans("<>", "><")))
        assert swapped is not None
        assert won_by(swapped) == (1 - won_by(label).first, won_by(label).battles)
    assert label_of("A==B") is label_of("") is label_of(None) is None


@pytest.mark.parametrize("quoted", ["[[A>>B]]", "[[b=a]]", "[A>B]", "[a<<b]", "[[AB]]", "[[A]]"])
def test_no_version_reads_a_quoted_label(quoted: str) -> None:
    shown, found = without_labels(f"Say {quoted} at the end.")
    assert found
    assert read_label(shown, "0.1") is read_label(shown, "2.0") is None
    assert without_labels("a[0], list[A] and [link](A)") == ("a[0], list[A] and [link](A)", False)


def test_elo_is_the_score_in_other_units() -> None:
    assert elo_of(0.5) == 1000
    assert 1 / (1 + 10 ** ((1000 - elo_of(0.3)) / 400)) == pytest.approx(0.3)
    assert math.isclose(elo_of(0.3) + elo_of(0.7), 2000)
