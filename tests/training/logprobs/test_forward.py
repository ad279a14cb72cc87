"""From sets of tokens to statistics: equal to full logits in float32, with one chunk or many."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.architectures import (
    ARCHITECTURES,
    PADDED,
    assert_same,
    gradients,
    naive,
    select_all,
    sets,
    statistics_of,
    tiny,
)
from support.grids import grid

from pairkit.training.logprobs.forward import score, score_all
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import PASS_STATISTICS, SetSelection

PACKING = [name for name in ARCHITECTURES if name not in PADDED]
LAYOUTS, CHUNKS = ("block", "segments", "padded"), (5, 60, 1000)
# Learned positions, two kinds of windows, experts: how a block of the attention mask is made differs.
BLOCKS = ("GPT2", "Gemma2", "Mistral-window", "Mixtral")


def is_default(architecture: str, *case: Any) -> bool:
    return (
        architecture == "Llama"
        or case == ("segments", 5)
        or (case == ("block", 60) and architecture in BLOCKS)
    )


@pytest.mark.default(
    "Llama-padded-5", "Llama-block-1000", "Llama-segments-60", "GPT2-block-60", "Mistral-window-segments-5",
    "Gemma2-block-60", "Mixtral-segments-5", "MiniCPM3-segments-5", "Gemma3Text-segments-5",
    "Phi-segments-5"
)  # fmt: skip
@pytest.mark.parametrize(
    ("architecture", "layout", "chunk"),
    grid(is_default, PACKING, LAYOUTS, CHUNKS),
    indirect=["layout", "chunk"],
)
def test_statistics_and_gradients_equal_full_logits(
    architecture: str, layout: str, chunk: int, messages: list[str]
) -> None:
    model, live = tiny(architecture), tiny(architecture, seed=1)
    work = select_all(sets())
    expected = naive(model, work, live)
    scored = score(model, work, want=PASS_STATISTICS, live=live)
    assert_same(statistics_of(scored), expected)
    assert_same(gradients(model, statistics_of(scored)), gradients(model, expected), 3e-5)
    assert all(p.grad is None for p in live.parameters())
    assert messages == []


@pytest.mark.parametrize("attention", ["eager", pytest.param("sdpa", marks=pytest.mark.full)])
@pytest.mark.parametrize("architecture", ["Llama", "Mistral-window", "Gemma3Text", "GPT2", "Olmo2", "Phi3"])
def test_packed_equals_separate_whatever_the_model_attends_with(architecture: str, attention: str) -> None:
    model = tiny(architecture, attn_implementation=attention)
    expected = {"sum": naive(model, select_all(sets()))["sum"]}
    found = {"sum": score(model, select_all(sets())).policy.sum}
    assert_same(found, expected)
    assert_same(gradients(model, found), gradients(model, expected), 3e-5)
    assert packs(model)
    assert model.config._attn_implementation == attention


@pytest.mark.default("GptOss-5")
@pytest.mark.parametrize(
    ("architecture", "chunk"),
    grid(lambda name, chunk: chunk == 5 and name != "Qwen3Next", PADDED, CHUNKS),
    indirect=["chunk"],
)
def test_a_model_that_cannot_pack_is_padded_and_named_once(
    architecture: str, chunk: int, messages: list[str]
) -> None:
    model, live = tiny(architecture), tiny(architecture, seed=1)
    work = select_all(sets())
    expected = naive(model, work, live)
    scored = score(model, work, want=PASS_STATISTICS, live=live)
    assert_same(statistics_of(scored), expected)
    assert_same(gradients(model, statistics_of(scored)), gradients(model, expected))
    score(model, work)
    assert len(messages) == 1
    assert PADDED[architecture] in messages[0]
    assert "falling back to padded batches" in messages[0]


def test_a_prompt_passes_once() -> None:
    model, work = tiny(), select_all(sets())
    seen: list[torch.Size] = []
    assert packs(model)
    handle = model.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].shape), with_kwargs=True
    )
    scored = score(model, work)
    handle.remove()
    tokens = sum(len(item.prompt) + sum(len(c.ids) for c in item.columns) for item in sets())
    assert seen == [torch.Size([1, tokens])]
    assert scored.tokens == tokens


def test_only_requested_statistics_are_returned() -> None:
    model, live = tiny(), tiny(seed=1)
    plain = score(model, select_all(sets()))
    assert statistics_of(plain).keys() == {"sum"}
    with_live = score(model, select_all(sets()), live=live)
    assert statistics_of(with_live).keys() == {"sum", "reference"}
    torch.testing.assert_close(plain.policy.sum, with_live.policy.sum)
    for name in PASS_STATISTICS - {"token_kl"}:
        names = statistics_of(score(model, select_all(sets()), want=frozenset({name}))).keys()
        assert names == {"sum", name} | ({"chosen_head"} if name == "head_sum" else set())
    both = score(model, select_all(sets()), want=frozenset({"head_sum"}), live=live)
    assert statistics_of(both).keys() == {
        "sum", "head_sum", "chosen_head", "reference", "reference_head_sum", "reference_chosen_head",
    }  # fmt: skip


def test_only_sums_and_token_kl_have_a_gradient(chunk: int) -> None:
    scored = score(tiny(), select_all(sets()), want=PASS_STATISTICS, live=tiny(seed=1))
    with_gradient = {name for name, value in statistics_of(scored).items() if value.requires_grad}
    assert with_gradient == {"sum", "head_sum", "chosen_head", "token_kl"}


def test_token_kl_is_0_for_a_model_and_itself_and_positive_for_others(chunk: int) -> None:
    model, work = tiny(), select_all(sets())
    same = score(model, work, want=frozenset({"token_kl"}), live=model).policy.token_kl
    other = score(model, work, want=frozenset({"token_kl"}), live=tiny(seed=1)).policy
    assert same is not None
    assert other.token_kl is not None
    assert same.abs().max() < 1e-6
    assert (other.token_kl[other.mask] > 0.01).all()
    assert (other.token_kl[~other.mask] == 0).all()


def test_statistics_that_cannot_be_computed_are_refused(chunk: int) -> None:
    model, work = tiny(), select_all(sets())
    with pytest.raises(ValueError, match="token_kl needs an online reference model"):
        score(model, work, want=frozenset({"token_kl"}))
    with pytest.raises(ValueError, match="unknown statistics \\['kl'\\]"):
        next(score_all(model, work, 100, want=frozenset({"kl", "entropy"})))
    with pytest.raises(ValueError, match="the model has 67 tokens and the reference 70"):
        score(model, work, want=frozenset({"token_kl"}), live=tiny(vocab_size=70))
    assert score(model, work, live=tiny(vocab_size=70)).reference is not None  # its sums need no such thing


def test_a_set_scored_in_parts_has_the_prefix_sums_of_the_whole(layout: str) -> None:
    model, live, work = tiny(), tiny(seed=1), select_all(sets())
    with torch.no_grad():
        whole = statistics_of(score(model, work, want=PASS_STATISTICS, live=live))
    for budget in (1, 30, 10**6):
        parts = {name: torch.zeros_like(value) for name, value in whole.items()}
        for rows, scored in score_all(model, work, budget, want=PASS_STATISTICS, live=live):
            for name, values in statistics_of(scored).items():
                assert not values.requires_grad
                for (position, columns), row in zip(rows, values, strict=True):
                    parts[name][position, list(columns)] = row[: len(columns)]
        assert_same(parts, whole)


def test_completions_may_be_selected_in_any_order(layout: str) -> None:
    model = tiny()
    work = [
        SetSelection(item, columns)
        for item, columns in zip(sets(), [(2, 0), (1,), (0, 0), (3, 2, 1)], strict=True)
    ]
    assert_same(
        statistics_of(score(model, work, want=PASS_STATISTICS - {"token_kl"})),
        naive(model, work),
    )


@pytest.mark.parametrize("trained", ["head", "body"])
def test_a_frozen_part_gets_no_gradient_and_the_rest_its_own(trained: str, chunk: int) -> None:
    model, work = tiny("Phi"), select_all(sets())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("lm_head") == (trained == "head"))
    found, expected = statistics_of(score(model, work)), {"sum": naive(model, work)["sum"]}
    assert_same(gradients(model, found), gradients(model, expected))
