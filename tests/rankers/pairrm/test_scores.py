"""Scores of the ranker pairrm, against PairRM written plainly: pair by pair, without padding."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.pairrm_runs import (
    Progress,
    close,
    plain_scores,
    run,
    sets,
)
from support.tiny import candidate_sets, completion

from pairkit.rankers import annotations
from pairkit.rankers.pairrm.ranker import PairRMRecipe, load_pairrm
from pairkit.rankers.pairrm.schedules import SCHEDULES, all_pairs, bubble, comparisons, tournament
from pairkit.recipes import validate
from pairkit.schema import check_sets


def test_scores_match_pair_by_pair_scoring(checkpoint: Path) -> None:
    table = sets()
    ours, counts = run(checkpoint, table)
    close(ours, plain_scores(checkpoint, table))
    per_set = [[s for s in row if s is not None] for row in ours]
    # Equal completions share their comparisons and are not compared with each other.
    distinct = [len(row) - (index % 3 == 0) for index, row in enumerate(per_set)]
    assert counts == {
        "completions": sum(map(len, per_set)), "comparisons": sum(n * (n - 1) for n in distinct),
        "identical": 4, "truncated": 0, "alone": 0,
    }  # fmt: skip
    assert all(abs(sum(row)) < 1e-5 for row in per_set)
    ranks = [one["rank"] for row in ranked(checkpoint, table) for one in row["completions"]]
    assert {1, 2, 3, None} <= set(ranks)


def ranked(model: Path, table: pa.Table) -> list[dict[str, Any]]:
    scored = load_pairrm(PairRMRecipe(model=str(model))).score(table, Progress())
    checked = check_sets(annotations.rank(scored.sets))
    return list(checked.to_pylist())


def test_scores_do_not_depend_on_other_sets(checkpoint: Path) -> None:
    """Truncated sets too: neither the batch nor other sets affect a score."""
    table = sets(10)
    limits = {"source_max_tokens": 20, "candidate_max_tokens": 12}
    together, counts = run(checkpoint, table, **limits)
    assert 0 < counts["truncated"] < counts["completions"]
    close(together, run(checkpoint, table, **limits, batch_tokens=1)[0])
    close(together, [run(checkpoint, table.slice(i, 1), **limits)[0][0] for i in range(10)])


def test_the_answer_is_scored_without_its_thought(checkpoint: Path) -> None:
    answers = ["the cat", "a dog ran", ""]
    said = ["<think>a dog</think>\nthe cat", "a cat\n</think>\n\na dog ran", "<think>the cat"]
    plain, thinking = (
        candidate_sets([("a bird", list(map(completion, texts)))]) for texts in (answers, said)
    )
    stripped, counts = run(checkpoint, thinking)
    assert stripped == run(checkpoint, plain)[0]
    assert (counts["thoughts_stripped"], counts["thoughts_unfinished"]) == (3, 1)
    whole, counts = run(checkpoint, thinking, thoughts="show")
    assert whole != stripped
    assert "thoughts_stripped" not in counts


def test_truncation_follows_the_model_card(checkpoint: Path) -> None:
    table = sets(5, seed=3)
    close(
        run(checkpoint, table, source_max_tokens=20, candidate_max_tokens=12)[0],
        plain_scores(checkpoint, table, (20, 12)),
    )


def test_sets_with_nothing_to_compare_are_scored(checkpoint: Path) -> None:
    noise = completion("red", origin="noise", model="noise:word_swap")
    table = candidate_sets(
        [
            ("a", []),
            ("b", [completion("dog")]),
            ("c", [noise]),
            ("d", [completion("dog"), completion("dog"), noise]),
        ]
    )
    for pairs, best in (("all", 0.0), ("bubble", 1.0), ("tournament", 0.0)):
        scores, counts = run(checkpoint, table, pairs=pairs)
        assert scores == [[], [best], [None], [best, best, None]]
        expected = {"completions": 3, "comparisons": 0, "identical": 1, "truncated": 0, "alone": 1}
        assert counts == expected
    nothing = load_pairrm(PairRMRecipe(model=str(checkpoint))).score(table.slice(0, 0), Progress())
    assert nothing.sets.num_rows == 0


def test_progress_moves_while_pairs_are_compared(checkpoint: Path) -> None:
    progress = Progress()
    load_pairrm(PairRMRecipe(model=str(checkpoint), batch_tokens=200)).score(sets(8), progress)
    assert len(progress.told) > 8


@pytest.mark.full
def test_bubble_and_tournament_find_the_best(checkpoint: Path) -> None:
    """They find the completion that beats all others, if a set has one."""
    table = sets(12)
    ranker = load_pairrm(PairRMRecipe(model=str(checkpoint)))
    distinct = {
        row["set_id"]: list(
            dict.fromkeys(one["text"] for one in row["completions"] if one["origin"] != "noise")
        )
        for row in table.to_pylist()
    }
    games = [
        (row["set_id"], a, b, candidate_sets([(row["prompt"], [completion(a), completion(b)])]))
        for row in table.to_pylist()
        for a, b in permutations(distinct[row["set_id"]], 2)
    ]
    scored = ranker.score(pa.concat_tables([game for *_, game in games]), Progress()).sets["completions"]
    margins = {
        (set_id, a, b): pair[0]["score"]
        for (set_id, a, b, _), pair in zip(games, scored.to_pylist(), strict=True)
    }
    for pairs in ("bubble", "tournament"):
        scores, counts = run(checkpoint, table, pairs=pairs)
        with_winner = 0
        for row, numbers in zip(table.to_pylist(), scores, strict=True):
            texts = [one["text"] for one in row["completions"] if one["origin"] != "noise"]
            unbeaten = {a for a in texts if all(margins[row["set_id"], a, b] > 0 for b in texts if b != a)}
            if unbeaten:
                with_winner += 1
                best = max(score for score in numbers if score is not None)
                assert {
                    text for text, score in zip(texts, numbers, strict=False) if score == best
                } == unbeaten
        assert with_winner > 6
        assert counts["comparisons"] == 2 * sum(len(texts) - 1 for texts in distinct.values())


def play(schedule: Any, strength: list[float]) -> tuple[list[float], list[list[tuple[int, int]]]]:
    """Run a schedule in which the stronger wins; return its scores and the pairs of each round."""
    rounds = []
    try:
        asked = next(schedule)
        while True:
            rounds.append(asked)
            asked = schedule.send([strength[i] - strength[j] for i, j in asked])
    except StopIteration as end:
        return end.value, rounds


def test_schedules_compare_the_documented_pairs() -> None:
    strength = [3.0, 1.0, 4.0, 1.5, 5.0]
    assert play(all_pairs([1, 2, 1]), [0.0, 3.0, 1.0]) == (
        [-7 / 4, 5 / 4, -3 / 4 + 0.0],
        [[(0, 1), (0, 2), (1, 2)]],
    )
    assert play(bubble([1] * 5), strength) == (
        [0.0, 0.0, 0.0, 0.0, 1.0], [[(0, 1)], [(0, 2)], [(2, 3)], [(2, 4)]],
    )  # fmt: skip
    # 4 survives the first round without a comparison and then has to beat 0; 2 survives the second.
    assert play(tournament([1] * 5), strength) == (
        [1.0, 0.0, 2.0, 0.0, 3.0], [[(0, 1), (2, 3)], [(4, 0)], [(2, 4)]],
    )  # fmt: skip
    assert play(tournament([1, 1]), [1.0, 1.0])[0] == [1.0, 0.0]  # after a tie, the first one survives
    for name, schedule in SCHEDULES.items():
        for distinct in range(1, 9):
            random = np.random.default_rng(distinct).permutation(distinct).astype(float).tolist()
            scores, rounds = play(schedule([1] * distinct), random)
            assert sum(map(len, rounds)) == comparisons(name, distinct)
            assert scores.index(max(scores)) == random.index(max(random))
            assert scores.count(max(scores)) == 1


def test_recipe_refuses_invalid_fields() -> None:
    assert validate(PairRMRecipe, {}).model == "llm-blender/PairRM-hf"
    for wrong in (
        {"pairs": "some"},
        {"batch_tokens": 0},
        {"source_max_tokens": 3},
        {"dtype": "int8"},
        {"x": 1},
    ):
        with pytest.raises(ValueError, match="recipe key"):
            validate(PairRMRecipe, wrong)
