"""Every loss of the table: neither the token budget nor the number of processes changes what it trains to.

The losses are those of the table itself, so that a new one is included. The policy starts as the reference,
so that every log-ratio of the first step is rounding. Only `stats="official"` is left out: it is the code of a
paper that updates its statistics by every micro-batch (docs/losses.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from support.loss_cases import as_ids
from support.processes import SCRIPT, two_processes
from support.steps import Outcome, take_steps
from support.training import recipe
from transformers import AutoModelForCausalLM

from pairkit.files import write_json
from pairkit.losses import LOSSES
from pairkit.training.distributed.processes import ALONE
from pairkit.training.plan import plan
from pairkit.training.tokens.sets import TokenSet

WHOLE, FEW, SINGLE = 16384, 256, 64  # tokens per micro-batch: one pass per step, a few, one per set
STEPS = 10
TOLERANCE = 1e-5  # of the length of the first gradient, and of the way that the weights moved
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("alpha_dpo", {"margin_reduction": "sum"}),
    ("alpha_dpo", {"normalize": False, "stop_gradient": False}),
    ("alpha_dpo", {"stats": "dataset", "stats_every": 4}),
    ("alpha_dpo", {"margin": "token_kl"}),
    ("simpo", {"length_normalized": False}),
    ("cpo", {"nll_reduction": "sum"}),
    ("stapo", {"logit": "dpo"}),
    ("mcpo", {"sampling": "max", "negatives": 2}),
]
CASES = [*((name, {}) for name in LOSSES), *VARIANTS]
# One of each kind that may go wrong: a kink at the start, statistics of two kinds, a draw, token means.
OF_TWO = ("minor_dpo", "dpop", "alpha_dpo", "kto", "mcpo", "cpo")


@pytest.fixture(scope="module")
def start(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """The model, the sets by what a loss takes of them, and a folder for the reference's log-probs."""
    sets = {loss: list(plan(recipe(data, model, loss)).train.sets) for loss in ("dpo", "sft", "infonca")}
    return Start(AutoModelForCausalLM.from_pretrained(model).eval(), sets, tmp_path_factory.mktemp("every"))


class Start(NamedTuple):
    network: torch.nn.Module
    sets: dict[str, list[TokenSet]]
    folder: Path

    def steps(self, name: str, keywords: Mapping[str, Any], budget: int) -> Outcome:
        needs = LOSSES[name].needs
        like = "infonca" if "scores" in needs else "sft" if name == "sft" else "dpo"
        sets = self.sets[like]
        return take_steps(
            name, keywords, sets, self.network, self.folder, budget=budget, steps=STEPS, processes=ALONE
        )


def assert_same(one: Outcome, whole: Outcome) -> None:
    assert one.loss == pytest.approx(whole.loss, rel=1e-5, abs=1e-6)
    assert float(one.gradient.norm()) == pytest.approx(float(whole.gradient.norm()), rel=TOLERANCE)
    for here, there in ((one.gradient, whole.gradient), (one.moved, whole.moved)):
        assert float((here - there).norm()) < TOLERANCE * float(there.norm())
    torch.testing.assert_close(one.state, whole.state, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "keywords"), CASES, ids=as_ids(CASES))
def test_no_budget_changes_the_first_step_or_the_tenth(
    name: str, keywords: dict[str, Any], start: Start
) -> None:
    whole = start.steps(name, keywords, WHOLE)
    assert float(whole.gradient.norm()) > 0
    for budget in (FEW, SINGLE):
        assert_same(start.steps(name, keywords, budget), whole)
