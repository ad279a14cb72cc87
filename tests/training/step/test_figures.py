"""The figures of a step and of an evaluation, against sums over completions in Python."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from support.processes import perturbed
from support.training import split_of, step_model, token_sets

from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.step.averages import Averages
from pairkit.training.step.evaluate import evaluate, evaluation, score_sets
from pairkit.training.step.figures import Figures
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.tokens.token_set import TokenSet

SETS = 7
BUDGETS = (10**6, 300, 1)


class Step(NamedTuple):
    """What a step did."""

    figures: dict[str, float]
    work: list[SetSelection]
    gradient: torch.Tensor


@pytest.fixture(scope="module")
def material(data: Path, model: Path) -> tuple[list[TokenSet], torch.nn.Module, torch.nn.Module]:
    """Some sets, a policy, and a reference that differs from it."""
    sets, network = token_sets(data, model)
    return sets, network, perturbed(network)


def step(material: Any, loss: Any, negatives: dict[str, Any], budget: int, folder: Path) -> Step:
    sets, network, live = material
    built = build(**loss) if isinstance(loss, dict) else build(loss)
    passes = step_model(built, network, budget, live if "token_kl" in built.needs else None)
    settings = sampler_settings(built, negatives, "policy")
    figures = Figures(built, settings)
    split = split_of(built, sets, live, folder)
    batch = prepare(passes, settings, split, range(SETS), draw_seeds(sets[:SETS], 0, 0), figures)
    network.zero_grad()
    work = passes.gradients(batch, Averages(), figures).work
    gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    return Step(figures.means(), work, gradient)


def sums_of(network: torch.nn.Module, item: TokenSet, **options: Any) -> Any:
    with torch.no_grad():
        return score(network, [SetSelection.all(item)], **options)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("budget", BUDGETS)
def test_log_ratios_and_logits_of_a_step_are_those_of_its_completions(
    tmp_path: Path, material: Any, budget: int
) -> None:
    """All negatives of all sets, of which there are different numbers."""
    _, network, live = material
    found, work, _ = step(material, "dpo", {"sampling": "all"}, budget, tmp_path)
    chosen, rejected, gaps, token_gaps = [], [], [], []
    for item in work:
        assert item.columns == tuple(range(len(item.tokens.columns)))
        policy, reference = (sums_of(one, item.tokens).policy for one in (network, live))
        ratios = (policy.sum - reference.sum)[0].tolist()
        lengths = [column.length for column in item.tokens.columns]
        each = [(ratio, ratio / length) for ratio, length in zip(ratios, lengths, strict=True)]
        chosen.append(each[0])
        rejected += each[1:]
        gaps += [each[0][0] - other for other, _ in each[1:]]
        token_gaps += [each[0][1] - other for _, other in each[1:]]
    expected = {
        "chosen_log_ratio": mean([ratio for ratio, _ in chosen]),
        "rejected_log_ratio": mean([ratio for ratio, _ in rejected]),
        "log_ratio_margin": mean(gaps),
        "chosen_log_ratio_per_token": mean([ratio for _, ratio in chosen]),
        "rejected_log_ratio_per_token": mean([ratio for _, ratio in rejected]),
        "log_ratio_margin_per_token": mean(token_gaps),
        "contrastive_logit": mean(gaps),
        "contrastive_logit_sd": statistics.pstdev(gaps),
        **{f"contrastive_logit_p{p}": float(np.percentile(gaps, p)) for p in (5, 25, 50, 75, 95)},
        "no_gradient": 0.0,
    }
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert expected["contrastive_logit_sd"] > 0.1


@pytest.mark.parametrize("loss", ["tdpo1", {"name": "alpha_dpo", "margin": "token_kl"}])
def test_divergences_of_a_step_are_sums_over_tokens(tmp_path: Path, material: Any, loss: Any) -> None:
    _, network, live = material
    found, work, _ = step(material, loss, {"sampling": "random"}, 300, tmp_path)
    chosen, rejected = [], []
    for item in work:
        passed = sums_of(network, item.tokens, want=frozenset({"token_kl"}), live=live)
        each = passed.policy.token_kl[0].tolist()
        chosen.append(each[0])
        rejected += [each[column] for column in item.columns[1:]]
    assert min(chosen) > 0
    assert found["kl_chosen"] == pytest.approx(mean(chosen), rel=1e-4)
    assert found["kl_rejected"] == pytest.approx(mean(rejected), rel=1e-4)


def probabilities(network: Any, live: Any, item: TokenSet, beta: float, first: int) -> list[float]:
    """Those of the sampler's candidates, from completion `first` on."""
    policy, reference = (sums_of(one, item).policy.sum[0].tolist() for one in (network, live))
    sizes = [beta * (own - other) for own, other in zip(policy, reference, strict=True)][first:]
    weights = [math.exp(size - max(sizes)) for size in sizes]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.default(
    "1000000-False-drawn in the pass", "300-True-scored before", "300-True-drawn in the pass"
)
@pytest.mark.parametrize("loss", ["mcpo", "mcpo+alpha_dpo"], ids=["drawn in the pass", "scored before"])
@pytest.mark.parametrize("included", [False, True])
@pytest.mark.parametrize("budget", BUDGETS[:2])
def test_the_candidates_of_a_step_are_those_of_its_draw(
    tmp_path: Path, material: Any, loss: str, included: bool, budget: int
) -> None:
    sets, network, live = material
    settings: dict[str, Any] = {"include_chosen": included, "beta": 0.5}
    keywords = settings if loss == "mcpo" else {"mcpo": settings}
    found, *_ = step(material, {"name": loss, **keywords}, {}, budget, tmp_path)
    effective = []
    for item in sets[:SETS]:
        given = probabilities(network, live, item, 0.5, 0 if included else 1)
        effective.append(math.exp(-sum(p * math.log(p) for p in given)))
    assert found["effective_candidates"] == pytest.approx(mean(effective), rel=1e-4)
    assert ("w_chosen" in found) == included
    if included:
        chosen = [probabilities(network, live, item, 0.5, 0)[0] for item in sets[:SETS]]
        assert found["w_chosen"] == pytest.approx(mean(chosen), rel=1e-4)


@pytest.mark.parametrize("sampling", ["random", "max", "worst", "all"])
def test_other_draws_have_no_probabilities(tmp_path: Path, material: Any, sampling: str) -> None:
    found, *_ = step(material, "dpo", {"sampling": sampling}, 300, tmp_path)
    assert not {"effective_candidates", "w_chosen"} & found.keys()


@pytest.mark.parametrize("negatives", [1, 2])
def test_a_set_that_draws_its_chosen_completion_has_no_gradient(
    tmp_path: Path, material: Any, negatives: int
) -> None:
    """Counted from the draw; with two negatives both have to be the chosen one."""
    settings = {"include_chosen": True, "replacement": True, "beta": 1e-3, "negatives": negatives}
    for budget in BUDGETS:
        found, work, _ = step(material, {"name": "mcpo", **settings}, {}, budget, tmp_path)
        still = [set(item.columns) == {0} for item in work]
        assert found["no_gradient"] == pytest.approx(mean([float(one) for one in still]))
        assert any(still) or negatives == 2
        assert not all(still)


def test_pairs_beyond_a_hinge_have_no_gradient(tmp_path: Path, material: Any) -> None:
    """A set of several pairs has none if all of them are beyond."""
    _, network, live = material
    settings = {"sampling": "random", "negatives": 2}
    found, work, _ = step(material, {"name": "hinge", "beta": 50.0}, settings, 300, tmp_path)
    still = []
    for item in work:
        policy, reference = (sums_of(one, item.tokens).policy.sum[0].tolist() for one in (network, live))
        ratios = [own - other for own, other in zip(policy, reference, strict=True)]
        drawn = [ratios[column] for column in item.columns[1:]]
        still.append(float(all(50 * (ratios[0] - other) > 1 for other in drawn)))
    assert 0 < mean(still) < 1, "choose another beta"
    assert found["no_gradient"] == pytest.approx(mean(still))


@pytest.mark.parametrize("loss", ["mcpo", "tdpo1", "hinge"])
def test_figures_change_no_gradient(tmp_path: Path, material: Any, loss: str) -> None:
    sets, network, live = material
    built = build(loss)
    with_figures = step(material, loss, {"sampling": "mc"}, 300, tmp_path).gradient
    passes = step_model(built, network, 300, live if "token_kl" in built.needs else None)
    settings = sampler_settings(built, {"sampling": "mc"}, "policy")
    split = split_of(built, sets, live, tmp_path)
    network.zero_grad()
    passes.gradients(prepare(passes, settings, split, range(SETS), draw_seeds(sets[:SETS], 0, 0)), Averages())
    plain = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    assert torch.equal(with_figures, plain)


def test_an_evaluation_has_the_figures_of_all_its_pairs(tmp_path: Path, material: Any) -> None:
    """Next to the same metrics as without them; probabilities with the chosen completion's own."""
    sets, network, live = material
    built = build("mcpo", beta=0.5)
    passes = step_model(built, network, 300)
    split = split_of(built, sets, live, tmp_path)
    plain = evaluate(passes, split)
    settings = sampler_settings(built, {}, "policy")
    scored = score_sets(passes, split, passes.want | {"entropy"})
    given = evaluation(passes, scored, Figures(built, settings))
    assert {name: given[name] for name in plain} == plain
    gaps, chosen, effective = [], [], []
    for item in sets:
        policy, reference = (sums_of(one, item).policy.sum[0].tolist() for one in (network, live))
        ratios = [own - other for own, other in zip(policy, reference, strict=True)]
        gaps += [ratios[0] - other for other in ratios[1:]]
        chosen.append(probabilities(network, live, item, 0.5, 0)[0])
        others = probabilities(network, live, item, 0.5, 1)
        effective.append(math.exp(-sum(p * math.log(p) for p in others)))
    assert given["log_ratio_margin"] == pytest.approx(mean(gaps), rel=1e-4)
    assert given["contrastive_logit_p50"] == pytest.approx(statistics.median(gaps), rel=1e-3)
    assert given["w_chosen"] == pytest.approx(mean(chosen), rel=1e-4)
    assert given["effective_candidates"] == pytest.approx(mean(effective), rel=1e-4)
    assert given["no_gradient"] == 0


def test_without_a_reference_there_are_no_log_ratios(tmp_path: Path, material: Any) -> None:
    sets, network, live = material
    built = build("simpo")
    passes, split = step_model(built, network, 300), split_of(built, sets, live, tmp_path)
    settings = sampler_settings(built, {}, "policy")
    given = evaluation(passes, score_sets(passes, split, passes.want), Figures(built, settings))
    assert not [name for name in given if "log_ratio" in name or "kl" in name]
    assert given["contrastive_logit"] == pytest.approx(given["reward_margin"] / built.beta)


def test_a_reference_next_to_the_policy_gives_divergences_and_leaves_the_loss(
    tmp_path: Path, material: Any
) -> None:
    """Of a loss without one, and of one that takes stored log-probs."""
    sets, network, live = material
    for name in ("simpo", "dpo"):
        built = build(name)
        passes, split = step_model(built, network, 300), split_of(built, sets, live, tmp_path)
        settings = sampler_settings(built, {}, "policy")
        scored = score_sets(passes, split, frozenset({"token_kl"}), reference=live)
        assert (scored.reference is None) == (name == "simpo")
        given = evaluation(passes, scored, Figures(built, settings))
        plain = evaluate(passes, split)
        assert {key: given[key] for key in plain if key != "entropy"} == pytest.approx(
            {key: value for key, value in plain.items() if key != "entropy"}, rel=1e-4, abs=1e-5
        )
        chosen = [
            sums_of(network, item, want=frozenset({"token_kl"}), live=live).policy.token_kl[0, 0].item()
            for item in sets
        ]
        assert given["kl_chosen"] == pytest.approx(mean(chosen), rel=1e-4)
        assert "chosen_log_ratio" in given
