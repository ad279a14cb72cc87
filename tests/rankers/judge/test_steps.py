"""Verdicts of five steps and ratings of other scales, from the prompt to the scores."""

from __future__ import annotations

import math
from pathlib import Path

from support.candidates import column, table
from support.judges import Asked, good, judged, worth


def steps(asked: Asked) -> str:
    """Say by how much the first text is better."""
    margin = worth(asked.texts[0]) - worth(asked.texts[1])
    sign = "=" if not margin else (">>" if abs(margin) > 1 else ">")
    return f"Compared.\n\n[[{f'A{sign}B' if margin >= 0 else f'B{sign}A'}]]"


def test_five_steps_are_parts_of_a_game() -> None:
    """The scores of two completions are where the likelihood of w of 2 games and of the prior is highest."""
    sets = table(good(1, 2, prompt="slightly"), good(1, 3, prompt="much"), good(2, 2.0, prompt="equal"))
    scored, _ = judged(sets, steps, "round_robin", prompt="five_steps")
    slightly, much, equal = column(scored.sets, "score")
    for (low, high), won in ((slightly, 1.5), (much, 2.0)):
        assert math.isclose(low, -high)
        # The derivative by s of: won log sigmoid(2s) + (2 - won) log sigmoid(-2s) + the prior
        chance, even = 1 / (1 + math.exp(-2 * high)), 1 / (1 + math.exp(-high))
        assert abs(won - 2 * chance + 0.5 - even) < 1e-6
    assert much[1] > slightly[1] > 0
    assert equal[0] == equal[1] or equal == [None, None]
    assert set(scored.verdicts["verdict"].to_pylist()) >= {"1>0", "1>>0"}
    assert scored.counts["first_wins"] == scored.counts["second_wins"] == 2


def test_the_winner_stays_with_five_steps() -> None:
    scored, _ = judged(table(good(2, 5, 1, 4)), steps, "iterative", prompt="five_steps")
    ((_, best, *_),) = column(scored.sets, "score")
    assert [best] == [max(score for row in column(scored.sets, "score") for score in row)] == [0.0]
    assert scored.counts["flips"] == 0


def test_ratings_of_another_scale_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "ten.txt"
    path.write_text(
        "version: 1\nkind: pointwise\nverdict: json\nscale: [1, 10]\nfractions: true\n--- user ---\n"
        '{question} {answer} Write a JSON object such as {"reason": "...", "rating": 7.5}.'
    )

    def say(asked: Asked) -> str:
        return (
            f'```json\n{{"reason": "it is {asked.texts[0]}", "rating": {worth(asked.texts[0]) + 0.5}}}\n```'
        )

    scored, _ = judged(table(good(2, 9)), say, "pointwise", aspects=(str(path),))
    assert column(scored.sets, "score") == [[2.5, 9.5]]
    assert sorted(scored.verdicts["verdict"].to_pylist()) == ["2.5", "9.5"]
    lost, _ = judged(table(good(2, 10)), say, "pointwise", aspects=(str(path),))
    assert lost.quarantine["reason"].to_pylist() == ["unparsable_verdict"]
