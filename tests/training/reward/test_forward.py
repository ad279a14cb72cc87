"""Rewards of packed sets, each prompt once, are those of `AutoModelForSequenceClassification` by itself."""

from __future__ import annotations

import pytest
import torch
from support.architectures import select_all, sets
from support.rewards import naive_rewards, tiny_reward
from torch import Tensor, nn

from pairkit.errors import TrainingError
from pairkit.training.logprobs.forward import score_all
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.reward.check import check_rewards
from pairkit.training.reward.forward import score_rewards

NAMES = ["Llama", "Qwen2", "Qwen3", "Mistral", "Mistral-window", "Gemma2"]
OTHERS = ["GPT2", "Phi3", "Mixtral", "Gemma3Text"]
LONG = ((130, 5), (3, 5, 1), (40, 2, 61))  # more tokens than a block of small sets has


def gradients(model: nn.Module, value: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def weighted(rewards: list[Tensor]) -> Tensor:
    """A number in which every reward has another weight."""
    return torch.stack(
        [((i + 1.0) * row * torch.arange(1, len(row) + 1)).sum() for i, row in enumerate(rewards)]
    ).sum()


@pytest.mark.default("Llama-padded", "Llama-packed", "Mistral-window-packed", "Gemma2-padded")
@pytest.mark.parametrize("shared", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("name", [*NAMES, *(pytest.param(n, marks=pytest.mark.full) for n in OTHERS)])
def test_values_and_gradients_are_those_of_separate_passes(name: str, shared: bool) -> None:
    model = tiny_reward(name)
    assert packs(model)
    work = select_all(sets())
    expected = naive_rewards(model, work)
    by_hand = gradients(model, weighted(expected))
    policy = score_rewards(model, work, shared=shared).policy
    found = [row[mask] for row, mask in zip(policy.sum, policy.mask, strict=True)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    ours_by_name = gradients(model, weighted(found))
    assert ours_by_name.keys() == by_hand.keys()
    for key, theirs in by_hand.items():
        scale = float(theirs.abs().max()) or 1.0
        torch.testing.assert_close(ours_by_name[key] / scale, theirs / scale, rtol=0, atol=1e-5, msg=key)


def test_long_sets_attend_in_segments_of_their_own() -> None:
    model = tiny_reward("Llama")
    model.config.max_position_embeddings = 256
    work = [SetSelection(item, tuple(range(len(item.columns)))[::-1]) for item in sets(LONG)]
    policy = score_rewards(model, work).policy
    for row, mask, theirs in zip(policy.sum, policy.mask, naive_rewards(model, work), strict=True):
        torch.testing.assert_close(row[mask], theirs, rtol=1e-5, atol=1e-5)


def test_sets_that_exceed_the_budget_are_scored_in_parts() -> None:
    model = tiny_reward("Qwen3")
    work = select_all(sets())
    found: dict[tuple[int, int], float] = {}
    for rows, scored in score_all(model, work, 8, through=score_rewards):
        for (position, columns), row in zip(rows, scored.policy.sum.tolist(), strict=True):
            found |= {(position, c): value for c, value in zip(columns, row, strict=False)}
    with torch.no_grad():
        expected = naive_rewards(model, work)
    assert len(found) == sum(map(len, expected))
    for (position, column), value in found.items():
        assert value == pytest.approx(float(expected[position][column]), rel=1e-5, abs=1e-5)


def test_a_reward_has_no_statistics_and_no_reference() -> None:
    model, work = tiny_reward(), select_all(sets())
    with pytest.raises(ValueError, match="entropy"):
        score_rewards(model, work, want=frozenset({"entropy"}))
    with pytest.raises(ValueError, match="reference"):
        score_rewards(model, work, live=model)


def test_padding_that_ends_a_conversation_is_noticed() -> None:
    """transformers would read the reward one token too early: the saved model would be another one."""
    model = tiny_reward()
    items = sets()
    check_rewards(model, items, torch.float32)
    model.config.pad_token_id = int(items[0].columns[0].ids[-1])
    with pytest.raises(TrainingError, match="set 0, completion 1: its reward is"):
        check_rewards(model, items, torch.float32)
