"""Every pair as an example of its own: `expand: pairs`."""

from __future__ import annotations

import json
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.processes import perturbed
from support.training import recipe, split_of, token_sets, weights

from pairkit.errors import RecipeError
from pairkit.losses import build
from pairkit.training.cost.report import report
from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.run import train
from pairkit.training.step.examples import Split
from pairkit.training.step.pairs import PairSets, as_pairs
from pairkit.training.tokens.token_set import TokenSet

PAIRS = 84  # of 24 sets of four ranked completions, every other one with noise too


def in_pairs(sets: list[TokenSet]) -> PairSets:
    return PairSets(sets, np.array([len(item.columns) for item in sets]))


def test_each_negative_of_a_set_makes_one_pair(data: Path, model: Path) -> None:
    sets, _ = token_sets(data, model)
    alone = sets[0]._replace(columns=sets[0].columns[:1], label=False)
    pairs = in_pairs([*sets, alone])
    assert len(pairs) == PAIRS + 1
    assert len({item.set_id for item in pairs}) == PAIRS + 1
    expected = [(item.columns[0], other) for item in sets for other in item.columns[1:]]
    assert [item.columns for item in pairs[:PAIRS]] == expected
    assert pairs[PAIRS] is alone  # a labeled completion stays as it is


@pytest.mark.default("tdpo1", "kto")
@pytest.mark.parametrize("loss", ["dpo", "ld_dpo", "kto", "tdpo1", "simpo"])
def test_what_is_known_of_the_sets_is_that_of_their_pairs(
    tmp_path: Path, data: Path, model: Path, loss: str
) -> None:
    """Against the same computed for the pairs, as if they were sets of the data."""
    sets, network = token_sets(data, model)
    live, built, pairs = perturbed(network), build(loss), in_pairs(sets[:6])
    looked_up = as_pairs(split_of(built, sets[:6], live, tmp_path), pairs)
    computed = split_of(built, list(pairs), live, tmp_path / "again")
    for name in ("reference", "heads"):
        here, there = getattr(looked_up, name), getattr(computed, name)
        assert (here is None) == (there is None)
        for one, two in zip(here or [], there or [], strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5)
    check_mismatched(looked_up, pairs, loss)


def check_mismatched(split: Split, pairs: PairSets, loss: str) -> None:
    """The prompt is that of the pair; the completions are of another prompt."""
    assert (split.mismatched is None) == (loss != "kto")
    if split.mismatched is None:
        return
    assert len(split.mismatched.sets) == len(pairs)
    assert split.mismatched.reference is not None
    for pair, other, sums in zip(pairs, split.mismatched.sets, split.mismatched.reference, strict=True):
        assert np.array_equal(pair.prompt, other.prompt)
        assert len(sums) == len(other.columns)


def test_an_epoch_takes_each_pair_once_in_k_minus_1_times_the_steps(data: Path, model: Path) -> None:
    fields = {"max_steps": None, "sets_per_step": 6}
    plain, expanded = (plan(recipe(data, model, **fields, **more)) for more in ({}, {"expand": "pairs"}))
    assert (plain.order.step_count, expanded.order.step_count) == (4, 14)
    taken = list(chain(*(expanded.order.step_sets(step) for step in range(14))))
    assert sorted(taken) == list(range(PAIRS))
    owners = [
        {expanded.examples[i].set_id.split("/")[0] for i in expanded.order.step_sets(step)}
        for step in range(14)
    ]
    assert sum(map(len, owners)) > 70  # shuffled: the pairs of a set are in different steps
    shown = report(expanded)
    assert shown["steps"] == 14
    assert shown["train_sets"] == {"used": 24, "refused": {}, "pairs": PAIRS}
    assert shown["negatives"] == {}
    tokens = sum(len(one.prompt) + sum(len(c.ids) for c in one.columns) for one in expanded.examples)
    assert shown["tokens"]["a_step"] == round(tokens / 14)


def flat(model: Path) -> torch.Tensor:
    return torch.cat([value.flatten().double() for _, value in sorted(weights(model).items())])


@pytest.mark.full
@pytest.mark.parametrize(
    ("loss", "other"),
    [
        ("dpo", "dpo"),
        pytest.param("kto", "kto", marks=pytest.mark.full),
        ("rnce", {"name": "dpo", "beta": 0.01}),
    ],
)
def test_all_pairs_in_one_step_are_those_of_sampling_all(
    tmp_path: Path, data: Path, model: Path, loss: str, other: Any
) -> None:
    """Another way to the same gradient: each set with all its pairs. rnce takes a pair as a set of two."""
    optimizer = {"learning_rate": 0.1, "epsilon": 0.1, "warmup": 0, "max_grad_norm": 0}
    fields = {"max_steps": 1, "optimizer": optimizer}
    expanded = recipe(data, model, loss, expand="pairs", sets_per_step=PAIRS, **fields)
    together = recipe(data, model, other, negatives={"sampling": "all"}, sets_per_step=24, **fields)
    for name, settings in (("expanded", expanded), ("together", together)):
        train(settings, tmp_path / name)
    start, one, two = (
        flat(path) for path in (model, tmp_path / "expanded" / "model", tmp_path / "together" / "model")
    )
    assert float((one - two).norm()) < 1e-5 * float((one - start).norm())
    (line,) = read_metrics(tmp_path / "expanded", "train")
    assert line["drawn_source"] + line["drawn_noise"] == PAIRS


@pytest.mark.full
def test_a_resumed_run_of_pairs_ends_in_the_same_bytes(tmp_path: Path, data: Path, model: Path) -> None:
    settings = recipe(data, model, "beta_dpo", expand="pairs", save_every=2, keep=9)
    whole, out = tmp_path / "whole", tmp_path / "again"
    train(settings, whole)
    shutil.copytree(whole, out)
    shutil.rmtree(out / "model")
    train(settings, out)
    assert torch.equal(flat(out / "model"), flat(whole / "model"))
    plan_of_run = json.loads((out / "run.json").read_text())["plan"]
    assert plan_of_run["train_sets"]["pairs"] == PAIRS


@pytest.mark.parametrize(
    ("loss", "fields", "message"),
    [
        ("sft", {}, "expand=pairs needs negatives, but sft takes"),
        ("dpo", {"negatives": {"sampling": "mc"}}, "so that none is sampled: remove negatives.sampling"),
        ({"name": "mcpo", "negatives": 2}, {}, "so that none is sampled: remove loss.negatives"),
    ],
)
def test_settings_that_pairs_leave_nothing_to_are_refused(
    data: Path, model: Path, loss: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(data, model, loss, expand="pairs", **fields)
