"""The protocols of the ranker `judge`, and the verdicts they record, with a scripted judge."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.candidates import candidate_set, column, completion, noise, table, texts
from support.judges import (
    Asked,
    ScriptedJudge,
    by_text,
    fair,
    good,
    judged,
    ranks,
    says,
    worth,
)

from pairkit import schema
from pairkit.rankers.base import Ranker
from pairkit.rankers.judge.ranker import Judge, load_judge
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.judge.statistics import judge_rates

PROTOCOLS = ("iterative", "round_robin", "pointwise", "listwise")


def test_a_judge_is_a_ranker() -> None:
    ranker: Ranker = load_judge(JudgeRecipe(model="m"), ScriptedJudge(fair(worth)).ask, seed=0)
    assert isinstance(ranker, Judge)
    assert ranker.name == "judge"
    assert list(ranker.prompts) == ["mcpo"]
    assert len(ranker.prompts["mcpo"].sha256) == 64


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("both_orders", [True, False])
def test_a_fair_judge_orders_every_set(protocol: str, both_orders: bool) -> None:
    sets = table(good(3, 1, 4, 2), good(2, 5), good(1, 2, 3, prompt="Who?"))
    fields = {} if protocol == "pointwise" else {"both_orders": both_orders}
    scored, _ = judged(sets, fair(worth), protocol, **fields)
    assert not scored.quarantine.num_rows
    for found in ranks(scored.sets):
        best = max(found, key=worth)
        assert found[best] == 1
        assert list(found.values()).count(1) == 1
        if protocol != "iterative":  # which says of the others only whom they lost to
            order = sorted(found, key=worth, reverse=True)
            assert [found[text] for text in order] == list(range(1, len(found) + 1))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("both_orders", [True, False])
def test_the_number_of_questions_is_known_before_they_are_asked(protocol: str, both_orders: bool) -> None:
    fields = {} if protocol == "pointwise" else {"both_orders": both_orders}
    sizes = (6, 4, 2, 1)
    sets = table(*(good(*range(1, size + 1), prompt=f"{size} texts?") for size in sizes))
    scored, _ = judged(sets, fair(worth), protocol, **fields)
    recipe = JudgeRecipe.model_validate({"model": "m", "protocol": protocol, **fields})
    assert scored.counts["questions"] == sum(map(recipe.questions, sizes))


def test_the_iterative_winner_stays() -> None:
    """K - 1 comparisons, each in both orders; a loser is one level below the completion that beat it."""
    sets = table(*(good(1, 2, 3, 4, 5, 6, prompt=f"Question {number}?") for number in range(20)))
    scored, engine = judged(sets, fair(worth))
    assert scored.counts["questions"] == len(engine.asked) == 20 * 5 * 2
    found = by_text(scored.sets)
    lost: dict[str, list[str]] = {}
    for row in scored.verdicts.to_pylist():
        one, other = (f"good {position + 1}" for position in row["shown"])
        loser = other if row["verdict"] == str(row["shown"][0]) else one
        winner = one if loser == other else other
        assert worth(winner) > worth(loser)
        assert found[row["set_id"], winner] == found[row["set_id"], loser] + 1  # type: ignore[operator]
        lost.setdefault(row["set_id"], []).append(loser)
    for losers in lost.values():  # each but the winner loses once, in both orders
        assert Counter(losers) == {f"good {number}": 2 for number in range(1, 6)}
    assert all(found[set_id, "good 6"] == 0 for set_id in lost)
    first = {engine.asked[number].texts[0] for number in range(20)}
    assert len(first) > 3  # they meet in random order


@given(st.lists(st.integers(1, 4), min_size=2, max_size=6), st.integers(0, 3))
@settings(max_examples=20)
def test_equal_completions_share_the_first_rank(values: list[int], seed: int) -> None:
    """Different texts of equal worth: all of the most worth share the first rank."""
    sets = table(candidate_set(*(completion(f"{n} good {value}") for n, value in enumerate(values))))
    scored, _ = judged(sets, fair(worth), seed=seed)
    (found,) = ranks(scored.sets)
    best = max(values)
    assert {text for text, rank in found.items() if rank == 1} == {
        text for text in found if worth(text) == best
    }


def test_contradicting_orders_are_a_tie() -> None:
    """A judge that always prefers the first text decides nothing, and the statistics show its bias."""
    sets = table(*(good(1, 2, 3, prompt=f"{number}?") for number in range(10)))
    for protocol in ("iterative", "round_robin", "listwise"):
        say = fair(lambda text: 0.0) if protocol == "listwise" else lambda asked: says(asked, "A")
        scored, _ = judged(sets, say, protocol)
        assert all(rank == 1 for found in ranks(scored.sets) for rank in found.values())
        rates = {rate.name: rate for rate in judge_rates(scored.counts)}
        assert rates["order_bias"].share.mean == rates["flip_rate"].share.mean == 1
        assert rates["consistency"].share.mean == rates["tie_rate"].share.mean == 0
        assert rates["order_bias"].share.low > 0.5


def test_without_both_orders_one_order_is_sampled() -> None:
    sets = table(*(good(1, 2, prompt=f"{number}?") for number in range(40)))
    scored, engine = judged(sets, lambda asked: says(asked, "A"), both_orders=False)
    assert len(engine.asked) == 40
    assert scored.counts["swapped"] == 0
    won = [found["good 1"] == 1 for found in ranks(scored.sets)]
    assert 8 < sum(won) < 32
    assert {rate.name for rate in judge_rates(scored.counts)} == {
        "parse_failure_rate",
        "unanswered_rate",
        "order_bias",
        "tie_rate",
    }


def test_round_robin_compares_every_pair() -> None:
    sets = table(good(1, 2, 3, 4))
    scored, engine = judged(sets, fair(worth), "round_robin")
    shown = Counter(asked.texts for asked in engine.asked)
    assert len(shown) == 12
    assert set(shown.values()) == {1}
    (scores,) = column(scored.sets, "score")
    assert scores == sorted(scores)
    assert sum(scores) == pytest.approx(0, abs=1e-8)
    assert all(np.isfinite(scores))


def test_aspects_are_named_scores_and_the_score_is_their_mean() -> None:
    values = {"helpfulness": 5, "honesty": 1, "instruction following": 4, "truthfulness": 2}

    def say(asked: Asked) -> str:
        (aspect,) = [name for name in values if f"aspect alone: {name}." in asked.question]
        return f"<rating>{values[aspect] if 'good' in asked.texts[0] else 1}</rating>"

    sets = table(candidate_set(completion("good 1"), completion("bad"), noise("odd")))
    scored, engine = judged(sets, say, "pointwise")
    assert len(engine.asked) == 8
    ((first, second, third),) = scored.sets["completions"].to_pylist()
    assert first["scores"] == [
        {"name": "judge", "value": 3.0},
        {"name": "judge.helpfulness", "value": 5.0},
        {"name": "judge.honesty", "value": 1.0},
        {"name": "judge.instruction_following", "value": 4.0},
        {"name": "judge.truthfulness", "value": 2.0},
    ]
    assert (first["score"], second["score"], third["score"]) == (3.0, 1.0, None)
    assert third["scores"] == []
    rows = scored.verdicts.to_pylist()
    assert Counter(row["aspect"] for row in rows) == dict.fromkeys(
        ("helpfulness", "honesty", "instruction_following", "truthfulness"), 2
    )
    assert {tuple(row["shown"]) for row in rows} == {(0,), (1,)}
    scored, engine = judged(sets, say, "pointwise", aspects=("honesty",))
    assert len(engine.asked) == 2


def test_a_list_is_shown_in_one_order_and_its_reverse() -> None:
    sets = table(*(good(*range(1, 8), prompt=f"{number}?") for number in range(6)))
    scored, engine = judged(sets, fair(worth), "listwise")
    orders = [asked.texts for asked in engine.asked]
    assert len(orders) == 12
    assert all(orders.count(order[::-1]) == 1 for order in orders)
    assert len(set(orders)) == 12  # each set in an order of its own
    assert column(scored.sets, "score") == [[number / 6 for number in range(7)]] * 6
    too_many = table(candidate_set(*(completion(f"text {n}") for n in range(27))), good(1, 2))
    scored, _ = judged(too_many, fair(worth), "listwise")
    assert scored.quarantine["reason"].to_pylist() == ["too_many_completions"]
    assert scored.sets.num_rows == 1


def test_noise_and_copies_are_not_asked_about() -> None:
    sets = table(
        candidate_set(
            completion("good 1"),
            completion("good 2"),
            completion(""),
            completion("good 1"),
            noise("good 9"),
        ),
        good(1),
        candidate_set(completion("good 3"), completion("good 3")),
        candidate_set(),
    )
    scored, engine = judged(sets, fair(worth))
    assert len(engine.asked) == 4
    ((one, two, three, four, five), *rest) = column(scored.sets, "score")
    assert two == 0 > one == four
    assert three in (-1, -2)
    assert five is None
    assert rest == [[None], [None, None], []]
    assert scored.counts["sets"] == 1
    scored, engine = judged(sets, fair(worth), "pointwise", aspects=("honesty",))
    assert len(engine.asked) == 5
    assert column(scored.sets, "score") == [[1, 2, 1, 1, None], [1], [3, 3], []]
    assert texts(scored.sets) == texts(sets)


def test_previous_ranks_and_scores_are_replaced() -> None:
    before = [completion("good 1", 9.0, rank=1), completion("good 2", 1.0, rank=2)]
    before[0]["scores"] = [{"name": "judge", "value": 9.0}, {"name": "other", "value": 1.5}]
    scored, _ = judged(table(candidate_set(*before)), fair(worth))
    assert column(scored.sets, "rank") == [[None, None]]
    assert column(scored.sets, "score") == [[-1, 0]]
    assert column(scored.sets, "scores")[0][0] == [
        {"name": "judge", "value": -1.0},
        {"name": "other", "value": 1.5},
    ]


def test_verdicts_record_question_and_answer() -> None:
    sets = table(good(1, 2))
    scored, _ = judged(sets, fair(worth))
    rows = sorted(scored.verdicts.to_pylist(), key=lambda row: row["shown"])
    hashes = [schema.short_hash("good 1"), schema.short_hash("good 2")]
    ranker = load_judge(JudgeRecipe(model="m"), ScriptedJudge(fair(worth)).ask, seed=0)
    assert rows[0] == {
        "set_id": sets["set_id"][0].as_py(),
        "protocol": "iterative",
        "aspect": None,
        "shown": [0, 1],
        "texts": hashes,
        "verdict": "1",
        "attempt": 0,
        "answer": "My explanation.\n\n<verdict>B</verdict>",
        "finish_reason": "stop",
        "prompt_hash": ranker.prompts["mcpo"].sha256[:16],
    }
    assert rows[1]["shown"] == [1, 0]
    assert rows[1]["texts"] == hashes[::-1]
    assert rows[1]["verdict"] == "1"


@pytest.mark.parametrize(
    ("forward", "backward", "same", "flips"),
    [
        ("A", "B", 1, 0),
        ("tie", "tie", 1, 0),
        ("A", "A", 0, 1),
        ("B", "B", 0, 1),
        ("A", "tie", 0, 0),
        ("tie", "B", 0, 0),
    ],
)
def test_two_orders_agree_differ_or_win_against_each_other(
    forward: str, backward: str, same: int, flips: int
) -> None:
    """A tie in one order is another verdict, but no other winner."""

    def say(asked: Asked) -> str:
        return says(asked, forward if asked.texts[0] == "good 1" else backward)

    scored, _ = judged(table(good(1, 2)), say)
    counts = scored.counts
    assert (counts["swapped"], counts["same"], counts["flips"]) == (1, same, flips)
