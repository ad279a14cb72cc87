"""Which passes a step makes."""

from __future__ import annotations

import numpy as np
import pytest

from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.training.step.passes import step_passes, usable_completions
from pairkit.training.tokens.token_set import Column, TokenSet


def token_sets(completions: int) -> list[TokenSet]:
    columns = tuple(
        Column(np.full(3 + index, 5, np.int32), 1 + index, -float(index), "source")
        for index in range(completions)
    )
    return [TokenSet(str(number), np.full(4, number, np.int32), columns) for number in range(3)]


@pytest.mark.parametrize(
    ("loss", "sampling", "shared", "scoring", "in_pass"),
    [
        ("dpo", "random", True, None, False),
        ("dpo", "worst", False, None, False),
        ("dpo", "all", True, None, False),
        ("dpo", "mc", True, None, True),
        ("dpo", "mc", False, "all", False),  # padded passes cannot draw for themselves
        ("sft", "mc", True, None, False),  # there is no choice
        ("wpo", "mc", True, "all", False),  # statistics per token
        ("bco", "random", True, "selected", False),
        ("bco", "mc", True, "all", False),  # the numbers of the draw serve the statistic
        ("dpo:0.8+bco:0.2", "max", True, "all", False),
        ("kto", "random", True, None, False),
    ],
)
def test_passes_follow_from_loss_sampler_and_packing(
    loss: str, sampling: str, shared: bool, scoring: str | None, in_pass: bool
) -> None:
    built = build(loss)
    usable = usable_completions(built, token_sets(4))
    settings = sampler_settings(built, {"sampling": sampling}, "worst")
    passes = step_passes(built, settings, usable, shared=shared)
    assert passes.scoring == scoring
    assert (passes.in_pass is not None) == in_pass
    assert passes.mismatched == (loss == "kto")
    selected = [item._replace(columns=item.columns[:2]) for item in usable]
    expected = {"all": usable, "selected": selected, None: []}[scoring]
    assert passes.scored(usable, selected) == expected


def test_sets_of_pairs_leave_no_choice() -> None:
    built = build("dpo")
    settings = sampler_settings(built, {"sampling": "mc"}, "worst")
    passes = step_passes(built, settings, usable_completions(built, token_sets(2)), shared=True)
    assert not passes.draws
    assert passes.in_pass is None
    assert passes.scoring is None


def test_only_the_preferred_completion_is_usable_for_sft() -> None:
    assert [item.columns for item in usable_completions(build("sft"), token_sets(3))] == [(0,)] * 3
    assert [item.columns for item in usable_completions(build("dpo"), token_sets(3))] == [(0, 1, 2)] * 3
