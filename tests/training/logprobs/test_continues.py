"""Whether completions can pass on the keys of their prompts, and what a step does where they cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.architectures import select_all, sets
from support.shrink import VOCABULARY
from support.tiny_class import build, plain_sums
from torch import nn

from pairkit.losses import build as build_loss
from pairkit.losses.building import sampler_settings
from pairkit.training.distributed.processes import ALONE
from pairkit.training.logprobs.probe import continues, packs
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare

# Attention that is two calls per layer; layers that are run in cycles, all of one index.
TWICE = ["diffllama", "hrm_text"]


def model_of(case: str) -> nn.Module:
    model, reason = build(case)
    assert model is not None, reason
    return model.eval()


@pytest.mark.filterwarnings("default")  # a class may warn of anything
@pytest.mark.parametrize("case", TWICE)
def test_a_class_that_attends_twice_per_layer_packs_but_does_not_continue(case: str) -> None:
    model = model_of(case)
    assert packs(model)
    assert not continues(model)


def test_llama_continues() -> None:
    assert continues(model_of("llama"))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("case", "in_pass"), [("llama", True), ("diffllama", False)])
def test_a_step_draws_by_the_log_probs_that_the_model_has(case: str, in_pass: bool) -> None:
    """`max` takes the completion of the largest log-ratio, which a wrong log-prob would change."""
    model, items = model_of(case), sets(((3, 5, 1), (6, 4, 2), (9, 1, 7, 3)), VOCABULARY)
    work = select_all(items)
    with torch.no_grad():
        rows = plain_sums(model, work)
    expected = {item.set_id: sums for item, sums in zip(items, rows, strict=True)}
    loss = build_loss("mcpo", sampling="max")
    settings = sampler_settings(loss, {}, "random")
    split = Split(items, [np.zeros(len(item.columns), np.float32) for item in items])
    step_model = StepModel(loss, model, None, 64, ALONE)
    batch = prepare(step_model, settings, split, range(len(items)), draw_seeds(items, 0, 0))
    assert (batch.draw is not None) == in_pass
    result = step_model.gradients(batch, Averages())
    for item in result.work:
        others = expected[item.tokens.set_id][1 : len(item.tokens.columns)]
        assert item.columns[1] == 1 + int(others.argmax())
