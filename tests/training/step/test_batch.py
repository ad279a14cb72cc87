"""A step: its draw, its passes, its gradient and the metrics of its pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.processes import perturbed
from support.training import network_of, recipe, split_of, start_of, step_model, token_sets

from pairkit.losses import LOSSES, build
from pairkit.losses.building import sampler_settings
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.probe import continues, packs
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.plan import plan
from pairkit.training.step.averages import Averages
from pairkit.training.step.evaluate import evaluate
from pairkit.training.step.examples import Split, examples
from pairkit.training.step.negatives import draw
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare

# One of each kind: pairs, sets, single completions, a draw under the policy, statistics of the batch, a live
# reference, statistics per token.
FEW = (
    "dpo", "simpo", "kto", "mcpo", "rnce", "infonca", "sft", "cpo", "beta_dpo", "aot",
    "tdpo2", "wpo", "ld_dpo",
)  # fmt: skip
SUM = "dpo:0.5+mcpo+bco:0.2+sft:0.1"


@pytest.mark.default("simpo", "sft", "tdpo2", "rnce", "dpo:0.5+mcpo+bco:0.2+sft:0.1")
@pytest.mark.parametrize(
    "loss",
    [*FEW, SUM, *(pytest.param(name, marks=pytest.mark.full) for name in LOSSES if name not in FEW)],
)
def test_micro_batches_do_not_change_the_gradient(tmp_path: Path, data: Path, model: Path, loss: str) -> None:
    """A whole step: draw, scoring pass, statistics, any number of gradient passes."""
    network = network_of(loss, model)
    sets = plan(recipe(data, start_of(loss, model), loss)).examples
    live = perturbed(network)
    results = []
    for budget in (10**6, 300, 1):
        network.zero_grad()
        built = build(loss)
        split = split_of(built, sets, live, tmp_path)
        passes = step_model(built, network, budget, live if "token_kl" in built.needs else None)
        settings = sampler_settings(built, {} if built.sampler else {"negatives": 2}, "random")
        rows = list(range(5))
        batch = prepare(passes, settings, split, rows, draw_seeds([sets[i] for i in rows], 0, 0))
        value = passes.gradients(batch, Averages()).value
        gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        results.append((value, gradient, built.state_dict()))
    (value, gradient, state), *others = results
    assert gradient.abs().max() > 0
    for other in others:
        assert other[0] == pytest.approx(value, rel=1e-4, abs=1e-6)
        torch.testing.assert_close(other[1], gradient, rtol=1e-3, atol=float(1e-5 * gradient.abs().max()))
        torch.testing.assert_close(other[2], state, rtol=1e-4, atol=1e-5)


@pytest.mark.default("True-beta_dpo-keywords2")
@pytest.mark.parametrize(
    ("bf16", "loss", "keywords"),
    [
        (False, "alpha_dpo", {}),
        (True, "alpha_dpo", {"length_normalized": False}),
        (True, "beta_dpo", {}),
        *(
            pytest.param(*case, marks=pytest.mark.full)
            for case in (
                (True, "alpha_dpo", {}),
                (False, "alpha_dpo", {"length_normalized": False}),
                (False, "beta_dpo", {}),
            )
        ),
    ],
)
def test_the_first_batch_that_counts_follows_the_first_update(
    tmp_path: Path, data: Path, model: Path, loss: str, keywords: dict[str, Any], bf16: bool
) -> None:
    """Before it, policy and reference differ by rounding alone, which batches of other shapes show."""
    sets, network = token_sets(data, model)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)  # large logits, so that they are rounded
    if bf16:
        network.forward = torch.autocast("cpu", torch.bfloat16)(network.forward)
    built = build(loss, **keywords)
    split, rows = split_of(built, sets, network, tmp_path), list(range(12))

    def steps() -> float:
        passes = step_model(built, network, 200)
        settings = sampler_settings(built, {}, "worst")
        batch = prepare(passes, settings, split, rows, draw_seeds([sets[i] for i in rows], 0, 0))
        network.zero_grad()
        passes.gradients(batch, Averages())
        return float(built.state_dict()["steps"])

    assert steps() == 0
    torch.optim.AdamW(network.parameters(), lr=1e-3).step()
    assert steps() == 1


@pytest.mark.default("amapo")
@pytest.mark.parametrize("loss", ["amapo", "wpo", "sft+alpha_dpo"])
def test_metrics_are_those_of_the_pairs_of_the_batch(
    tmp_path: Path, data: Path, model: Path, loss: str
) -> None:
    """Sets of different sizes, every pair of them: any number of micro-batches gives the same means."""
    sets, network = token_sets(data, model)
    assert len({len(item.columns) for item in sets[:7]}) > 1
    means = []
    for budget in (10**6, 300, 1):
        built = build(loss)
        passes = step_model(built, network, budget)
        batch = prepare(
            passes,
            sampler_settings(built, {}, "all"),
            split_of(built, sets, perturbed(network), tmp_path),
            range(7),
            draw_seeds(sets[:7], 0, 0),
        )
        averages = Averages()
        passes.gradients(batch, averages)
        means.append(averages.means())
    assert {"pair_weight", "adaptive_margin"} & means[0].keys()
    assert means[1] == pytest.approx(means[0], rel=1e-4, abs=1e-5)
    assert means[2] == pytest.approx(means[0], rel=1e-4, abs=1e-5)


@pytest.mark.default("dpo-random-1", "dpo-mc-3", "bco-random-2", "tdpo2-random-1")
@pytest.mark.parametrize(
    ("loss", "sampling", "passes"),
    [
        ("dpo", "random", 1),
        ("dpo:0.8+simpo+sft:1.0", "random", 1),  # one pass serves all parts
        ("dpo", "mc", 3),  # prompts and chosen; the others without gradient; the drawn ones
        ("bco", "random", 2),  # the statistic of the batch
        ("dpo:0.8+bco:0.2+sft:1.0", "random", 2),
        ("dpo:0.8+bco:0.2+amapo", "mc", 2),  # the numbers of the draw serve the statistics
        ("kto", "random", 2),
        ("tdpo2", "random", 1),
    ],
)
def test_a_step_passes_the_model_as_often_as_it_must(
    tmp_path: Path, data: Path, model: Path, loss: str, sampling: str, passes: int
) -> None:
    """One micro-batch: the gradient pass, and a scoring pass where the draw or a statistic needs it."""
    sets, network = token_sets(data, model)
    built, live = build(loss), perturbed(network)
    split = split_of(built, sets[:6], live, tmp_path)
    # Before counting, because the probes pass too.
    assert packs(network, live)
    assert continues(network)
    calls = {"policy": 0, "live": 0}
    for name, module in (("policy", network), ("live", live)):
        module.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    step = step_model(built, network, 10**6, live if "token_kl" in built.needs else None)
    settings = sampler_settings(built, {}, sampling)
    batch = prepare(step, settings, split, range(6), draw_seeds(sets[:6], 0, 0))
    step.gradients(batch, Averages())
    assert calls == {"policy": passes, "live": 1 if loss == "tdpo2" else 0}


def test_the_draw_follows_the_current_policy(data: Path, model: Path) -> None:
    """max and min pick the completions whose log-ratio, scored by hand, is largest and smallest."""
    sets, network = token_sets(data, model)
    reference = [np.linspace(-40, -10, len(item.columns)).astype(np.float32) for item in sets]
    for sampling, pick in (("max", np.argmax), ("min", np.argmin)):
        loss = build("mcpo", sampling=sampling)
        settings = sampler_settings(loss, {}, "policy")
        seeds = draw_seeds(sets, 0, 0)
        scoring = step_model(loss, network, 500).scoring(frozenset())
        split = Split(sets, reference)
        every = [SetSelection.all(item) for item in sets]
        usable = examples(split, range(len(sets)), every)
        work, _ = draw(loss, settings, usable, seeds, scoring(every))
        for item, sums in zip(work, reference, strict=True):
            policy = score(network, [SetSelection.all(item.tokens)]).policy
            ratios = policy.sum[0].detach().numpy() - sums
            assert item.columns == (0, 1 + int(pick(ratios[1:])))
    assert all(not p.grad.any() for p in network.parameters() if p.grad is not None)


def test_evaluation_is_the_mean_over_all_pairs(data: Path, model: Path) -> None:
    sets, network = token_sets(data, model)
    reference = [np.zeros(len(item.columns), np.float32) for item in sets]
    dpo = build("dpo")
    results = [evaluate(step_model(dpo, network, budget), Split(sets, reference)) for budget in (300, 10**6)]
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    margins, losses = [], []
    for item in sets:
        every = score(network, [SetSelection.all(item)]).policy.sum[0].detach().double()
        margins += (0.1 * (every[0] - every[1:])).tolist()
        losses += torch.nn.functional.softplus(-0.1 * (every[0] - every[1:])).tolist()
    assert results[0]["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert results[0]["reward_margin"] == pytest.approx(np.mean(margins), rel=1e-4)
    assert results[0]["reward_accuracy"] == pytest.approx(np.mean(np.array(margins) > 0))
