"""The losses of reward models against plain loops, with ties, missing scores and masked completions."""

from __future__ import annotations

from itertools import permutations
from math import exp, log, prod

import pytest
import torch
from support.loss_cases import case, grid

from pairkit.errors import RecipeError
from pairkit.losses import Extras, Logps, LossOutput, build

NAN = float("nan")
# The second set has three completions, two of them tied; all of the third tie; the fourth ends in a tie.
REWARDS = [[1.2, -0.3, 0.4, 2.0], [0.5, 0.1, -1.0, 9.0], [0.3, 0.2, 0.1, 0.0], [1.0, 0.0, 0.5, -0.5]]
RANKS = [[1, 2, 3, 4], [1, 1, 2, 0], [1, 1, 1, 1], [1, 2, 3, 3]]
SCORES = [[9.0, 7.0, 7.5, 1.0], [3.0, 3.0, 1.0, NAN], [1.0, 1.0, 1.0, 1.0], [4.0, NAN, 2.0, 1.0]]
SIZES = [4, 3, 4, 4]


def called(name: str, scores: list[list[float]] | None = None, **keywords: float) -> LossOutput:
    rewards = grid(REWARDS)
    mask = torch.arange(4) < torch.tensor(SIZES)[:, None]
    logps = Logps(rewards, torch.full((4, 4), 5), mask)
    extras = Extras(ranks=torch.tensor(RANKS))
    return build(name, **keywords)(logps, None, None if scores is None else grid(scores), extras=extras)


def pairs(row: int) -> list[tuple[int, int]]:
    count = SIZES[row]
    return [(i, j) for i in range(count) for j in range(count) if RANKS[row][i] < RANKS[row][j]]


def test_bradley_terry_is_the_mean_over_pairs_of_different_rank() -> None:
    term = called("reward_bt").terms[0]
    expected = []
    for row, rewards in enumerate(REWARDS):
        losses = [log(1 + exp(rewards[j] - rewards[i])) for i, j in pairs(row)]
        expected.append(sum(losses) / len(losses) if losses else 0.0)
    assert term.values.tolist() == pytest.approx(expected)
    assert term.weights.tolist() == [1, 1, 0, 1]  # a set without a pair does not count


def test_margins_smoothing_and_centering_change_each_pair() -> None:
    """Differences of scores that contradict the ranks are 0, and so are all of a set with a missing score."""
    margin, smoothing, centering = 0.3, 0.1, 0.01
    term = called("reward_bt", SCORES, margin=margin, label_smoothing=smoothing, centering=centering).terms[0]
    expected = []
    for row, rewards in enumerate(REWARDS):
        losses = []
        for i, j in pairs(row):
            known = row != 3
            x = rewards[i] - rewards[j] - (margin * max(0.0, SCORES[row][i] - SCORES[row][j]) if known else 0)
            loss = (1 - smoothing) * log(1 + exp(-x)) + smoothing * log(1 + exp(x))
            losses.append(loss + centering * (rewards[i] + rewards[j]) ** 2)
        expected.append(sum(losses) / len(losses) if losses else 0.0)
    assert term.values.tolist() == pytest.approx(expected)


def test_plackett_luce_is_the_probability_of_the_ranking() -> None:
    """Over all orders, the probabilities add up to 1."""
    values = [1.2, -0.3, 0.4, 2.0]
    mask, length = torch.ones(1, 4, dtype=torch.bool), torch.full((1, 4), 5)
    total = 0.0
    for order in permutations(range(4)):
        ranks = torch.tensor([[order.index(column) + 1 for column in range(4)]])
        loss = build("reward_pl")(Logps(grid([values]), length, mask), extras=Extras(ranks=ranks)).losses
        weights = [exp(values[column]) for column in order]
        chance = prod(weight / sum(weights[place:]) for place, weight in enumerate(weights))
        assert float(loss) == pytest.approx(-log(chance))
        total += exp(-float(loss))
    assert total == pytest.approx(1.0)


def test_tied_completions_share_their_place() -> None:
    term = called("reward_pl").terms[0]
    first, second = (exp(x) for x in REWARDS[1][:2])
    whole = first + second + exp(REWARDS[1][2])
    assert float(term.values[1]) == pytest.approx(2 * log(whole) - log(first) - log(second))
    assert term.weights.tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("name", ["reward_bt", "reward_pl", "reward_mse"])
def test_what_is_masked_has_no_gradient(name: str) -> None:
    one = case(name).observed()
    leaf = one.leaves()["sum"]
    mask = torch.arange(4) < torch.tensor([4, 3, 2, 4])[:, None]
    one.of({"sum": leaf, "mask": mask})().losses.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert (leaf.grad[~mask] == 0).all()
    assert (leaf.grad[mask] != 0).any()


def test_of_two_completions_both_rankings_agree() -> None:
    assert called("reward_pl").terms[0].values[0] != called("reward_bt").terms[0].values[0]
    pair = case("reward_bt", completions=2)
    assert build("reward_pl")(pair.policy, extras=pair.extras).losses.tolist() == pytest.approx(
        pair().losses.tolist()
    )


def test_regression_counts_every_completion_alike() -> None:
    scores = [[value if value == value else 0.0 for value in row] for row in SCORES]
    term = called("reward_mse", scores).terms[0]
    expected = [
        sum((r - s) ** 2 for r, s in list(zip(rewards, row, strict=True))[:size])
        for rewards, row, size in zip(REWARDS, scores, SIZES, strict=True)
    ]
    assert term.values.tolist() == pytest.approx(expected)
    assert term.weights.tolist() == SIZES


def test_a_sum_trains_one_kind_of_model() -> None:
    assert build("reward_bt+reward_mse:0.1").trains == "reward"
    assert build("dpo+sft").trains == "policy"
    with pytest.raises(RecipeError, match="dpo trains a policy and reward_bt a reward model"):
        build("dpo+reward_bt")
