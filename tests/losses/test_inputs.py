"""Inputs of a loss: what is missing is named, and other shapes are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.loss_cases import PAIR_LOSSES, TABLE, Case, case, in_case, variants

from pairkit.errors import InputError
from pairkit.losses import LOSSES, Logps, build


def without(one: Case, need: str) -> Case:
    """Remove everything that fills this need."""
    for kind in need.split("|"):
        if kind in ("reference", "scores"):
            one = replace(one, **{kind: None})
        elif kind in ("ranks", "labels"):
            one = replace(one, extras=replace(one.extras, **{kind: None}))
        else:
            one = replace(one, policy=replace(one.policy, **{kind: None}))
    return one


def test_missing_inputs_are_named() -> None:
    cases = [(name, keywords) for name in TABLE for keywords in needing(name)]
    needs = [(name, keywords, need) for name, keywords in cases for need in build(name, **keywords).needs]
    assert len(needs) > 40
    for name, keywords, need in needs:
        if need != "kl_baseline":  # which the loss keeps itself
            with in_case(name, keywords), pytest.raises(InputError) as error:
                without(case(name, **keywords), need)()
            assert str(error.value).startswith(f"{name} needs {need.replace('|', ' or ')}: ")


def needing(name: str) -> list[dict[str, str]]:
    """Return the keywords that change what a loss needs."""
    return [{}, *({key: value} for key, value in LOSSES[name].needs_with)]


def test_nothing_else_is_needed() -> None:
    """Inputs that the function names but `needs` does not may be omitted, with any keywords."""
    for name in TABLE:
        for keywords in variants(name):
            with in_case(name, keywords):
                one = case(name, **keywords)
                needed = {kind for need in one.loss.needs for kind in need.split("|")}
                for kind in {"scores", "ranks", "labels"} - needed:
                    one = without(one, kind)
                assert one().losses.isfinite().all()


def test_heads_of_the_reference_are_needed_too() -> None:
    one = case("ld_dpo")
    assert one.reference
    with pytest.raises(InputError, match="ld_dpo needs head_sum"):
        replace(one, reference=replace(one.reference, head_sum=None))()


def test_ranks_replace_scores() -> None:
    one = without(case("pro"), "scores")
    assert one().losses.isfinite().all()
    with pytest.raises(InputError, match="pro needs scores or ranks"):
        without(one, "ranks")()


def test_other_shapes_are_refused() -> None:
    for name in TABLE:
        with in_case(name):
            other_shapes_are_refused(name)


def other_shapes_are_refused(name: str) -> None:
    one = case(name, sets=3)
    longer = case(name, sets=4)
    wrong = [
        replace(one, **{kind: getattr(longer, kind)})
        for kind in ("reference", "scores")
        if getattr(one, kind) is not None
    ]
    wrong += [
        replace(one, extras=replace(one.extras, **{kind: getattr(longer.extras, kind)}))
        for kind in ("ranks", "labels")
        if getattr(one.extras, kind) is not None
    ]
    for other in wrong:
        with pytest.raises(InputError, match=f"{name}: (reference|scores|ranks|labels) has shape"):
            other()


def test_a_pairwise_loss_takes_two_completions() -> None:
    for name in [*PAIR_LOSSES, "kto"]:
        with in_case(name), pytest.raises(ValueError, match="pair"):
            case(name, completions=3)()


def test_bad_log_probs_are_refused() -> None:
    ones = torch.ones(1, 2)
    with pytest.raises(ValueError, match=r"Logps\.length has shape \(1, 3\), but sum has \(1, 2\)"):
        Logps(ones, torch.ones(1, 3), ones.bool())
    with pytest.raises(ValueError, match="float32 or float64"):
        Logps(ones.bfloat16(), ones.int(), ones.bool())
    with pytest.raises(ValueError, match="mask must be bool"):
        Logps(ones, ones.int(), ones)
    with pytest.raises(ValueError, match=r"\[sets, completions\]"):
        Logps(ones[0], ones[0].int(), ones[0].bool())
