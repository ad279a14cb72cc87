"""What a loss needs to know before any pass: heads for ld_dpo, mismatched completions for kto."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.grids import grid
from support.processes import perturbed
from support.tiny import model_folder, random_sets, write_data
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM

from pairkit.errors import InputError
from pairkit.losses import Logps, build
from pairkit.losses.building import sampler_settings
from pairkit.training.distributed.processes import ALONE, CPU
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.reference_cache import reference_sums
from pairkit.training.logprobs.selection import SetSelection, Sums
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import examples, mismatch, partners, split_for
from pairkit.training.step.objective import apply, inputs
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.step.term_weights import term_weights, total
from pairkit.training.tokens.token_set import Column, TokenSet


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory, model: Path) -> list[TokenSet]:
    data = write_data(tmp_path_factory.mktemp("data") / "sets", random_sets(12))
    return plan(TrainRecipe(data=str(data), model=str(model), max_length=96)).train.sets


def log_prob(network: torch.nn.Module, prompt: np.ndarray, completion: np.ndarray) -> float:
    """Compute the log-prob of one completion token by token from the full logits."""
    ids = torch.from_numpy(np.concatenate([prompt, completion])).long()
    with torch.no_grad():
        each = log_softmax(network(ids[None]).logits[0].double(), dim=-1)
    at = torch.arange(len(prompt) - 1, len(ids) - 1)
    return float(each[at, ids[at + 1]].sum())


def test_heads_are_the_log_probs_of_the_first_tokens(
    tmp_path: Path, sets: list[TokenSet], model: Path
) -> None:
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    computed: list[int] = []

    def compute(wanted: list[TokenSet]) -> Sums:
        computed.append(len(wanted))
        return reference_sums(wanted, tmp_path / "s", lambda: network, tokens_per_micro_batch=500)

    split = split_for(build("ld_dpo").needs, sets, compute)
    work = [SetSelection.all(item) for item in sets]
    every = examples(split, range(len(sets)), work)
    reference = every.reference_logps(CPU)
    assert reference is not None
    assert reference.head_sum is not None
    assert reference.chosen_head is not None
    for row, item in enumerate(sets):
        chosen = item.columns[0].ids
        for column, (ids, *_) in enumerate(item.columns):
            shorter = min(len(chosen), len(ids))
            for values, text in ((reference.chosen_head, chosen), (reference.head_sum, ids)):
                expected = log_prob(network, item.prompt, text[:shorter])
                assert values[row, column].item() == pytest.approx(expected, rel=1e-5)
            whole = log_prob(network, item.prompt, ids)
            assert reference.sum[row, column].item() == pytest.approx(whole, rel=1e-5)
    assert computed == [2 * len(sets)]
    live = score(network, work, want=frozenset({"head_sum"})).policy
    for name in ("head_sum", "chosen_head"):
        torch.testing.assert_close(getattr(live, name), getattr(reference, name), rtol=1e-5, atol=1e-4)


@pytest.mark.default("False-sft", "True-dpo")
@pytest.mark.parametrize(
    ("include_chosen", "other"),
    grid(
        lambda chosen, other: chosen == (other in ("rrhf", "dpo")),
        [False, True],
        ["sft", "pro", "rrhf", "dpo"],
    ),
)
def test_ld_dpo_does_not_change_the_other_parts_of_a_sum(
    tmp_path: Path, sets: list[TokenSet], model: Path, other: str, include_chosen: bool
) -> None:
    """Its heads belong to pairs, next to whole sets in one pass."""
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)  # the policy is not the reference
    reference = AutoModelForCausalLM.from_pretrained(model).eval()

    def objective(name: str) -> float:
        loss = build(name)
        split = split_for(
            loss.needs,
            sets,
            lambda some: reference_sums(some, tmp_path / "s", lambda: reference, tokens_per_micro_batch=500),
        )
        step_model = StepModel(loss, network, None, 500, ALONE)
        negatives = {"sampling": "random", "negatives": 3, "include_chosen": include_chosen}
        settings = sampler_settings(loss, negatives, "random")
        rows = range(len(sets))
        batch = prepare(step_model, settings, split, rows, draw_seeds(sets, 0, 0))
        return step_model.gradients(batch, Averages()).value

    both = objective(f"ld_dpo+{other}")
    assert both == pytest.approx(objective("ld_dpo") + objective(other), rel=1e-5)


def test_the_reference_point_is_the_mean_log_ratio_of_mismatched_completions(
    tmp_path: Path, sets: list[TokenSet], model: Path
) -> None:
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    reference = perturbed(network)

    def compute(wanted: list[TokenSet]) -> Sums:
        return reference_sums(wanted, tmp_path / "s", lambda: reference, tokens_per_micro_batch=500)

    loss = build("kto")
    split = split_for(loss.needs, sets, compute, seed=3, max_length=96)
    assert split.mismatched is not None
    rows = [1, 4, 5, 7]
    settings = {"negatives": 1, "sampling": "random"}
    step = StepModel(loss, network, None, 500, ALONE)
    prepare(step, settings, split, rows, draw_seeds([sets[i] for i in rows], 0, 0))
    ratios = [
        log_prob(network, item.prompt, column.ids) - log_prob(reference, item.prompt, column.ids)
        for item in (split.mismatched.sets[i] for i in rows)
        for column in item.columns
    ]
    assert len(ratios) == 8  # the best and the last completion of each partner
    expected = max(0.0, float(np.mean(ratios)))
    assert float(loss.state_dict()["kl_baseline"]) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    swapped = StepModel(build("kto"), reference, None, 500, ALONE)
    others = split_for(
        loss.needs, sets, lambda wanted: reference_sums(
            wanted, tmp_path / "t", lambda: network, tokens_per_micro_batch=500
        ), seed=3, max_length=96,
    )  # fmt: skip
    prepare(swapped, settings, others, rows, draw_seeds([sets[i] for i in rows], 0, 0))
    other = float(swapped.loss.state_dict()["kl_baseline"])
    assert max(expected, other) > 0  # one of the two directions is above 0
    assert other == pytest.approx(max(0.0, -float(np.mean(ratios))), rel=1e-4, abs=1e-6)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.integers(0, 5))
def test_a_partner_has_another_prompt(prompts: list[int], seed: int) -> None:
    made = [
        TokenSet(
            str(i),
            np.full(3 + prompt, prompt, np.int32),
            tuple(Column(np.full(9, 100 + i, np.int32), 1, None, "source") for _ in range(2 + i % 2)),
        )
        for i, prompt in enumerate(prompts)
    ]
    if len(set(prompts)) == 1:
        with pytest.raises(InputError, match="the same prompt"):
            mismatch(made, seed=seed, max_length=10)
        return
    found = mismatch(made, seed=seed, max_length=10)
    for item, own in zip(found, made, strict=True):
        assert np.array_equal(item.prompt, own.prompt)
        partner = made[int(item.columns[0].ids[0]) - 100]
        assert not np.array_equal(partner.prompt, own.prompt)
        assert len(item.columns) == 2
        assert all(len(column.ids) == 10 - len(own.prompt) for column in item.columns)
    again = mismatch(made, seed=seed, max_length=10)
    assert all(np.array_equal(a.columns[0].ids, b.columns[0].ids) for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize("other", [0, 1234, 1999])
def test_partners_are_found_in_one_pass_over_the_order(other: int) -> None:
    """Nearly all sets share a prompt: two comparisons per set, not as many as there are sets."""
    compared = 0

    class Prompt(bytes):
        __hash__ = bytes.__hash__

        def __ne__(self, to: object) -> bool:
            nonlocal compared
            compared += 1
            return bytes.__ne__(self, to)

    class Ids(list[int]):
        def tobytes(self) -> bytes:
            return Prompt(self)

    made = [
        TokenSet(str(i), Ids([i == other]), (Column(np.full(2, i, np.int32), 1, None, "source"),))
        for i in range(2000)
    ]
    found = mismatch(made, seed=0, max_length=10)
    assert compared <= 2 * len(made)
    drawn = [int(item.columns[0].ids[0]) for item in found]
    assert [i for i, partner in enumerate(drawn) if partner != other] == [other]


@given(st.lists(st.integers(0, 2), min_size=2, max_size=9).filter(lambda prompts: len(set(prompts)) > 1))
def test_a_partner_is_the_next_one_of_another_prompt(prompts: list[int]) -> None:
    found = dict(partners(list(range(len(prompts))), [bytes([prompt]) for prompt in prompts]))
    for i, prompt in enumerate(prompts):
        following = [j % len(prompts) for j in range(i + 1, i + len(prompts))]
        assert found[i] == next(j for j in following if prompts[j] != prompt)


def test_inputs_hold_scores_ranks_and_labels() -> None:
    """Noise ranks below all and has no score; labels come from tokenizing, whatever the score."""

    def columns(*pairs: tuple[int | None, float | None]) -> tuple[Column, ...]:
        return tuple(Column(np.ones(2, np.int32), rank, score, "source") for rank, score in pairs)

    prompt = np.ones(2, np.int32)
    work = [
        SetSelection(TokenSet("a", prompt, columns((1, 0.9), (3, 0.2), (None, None))), (0, 2, 1)),
        SetSelection(TokenSet("b", prompt, columns((1, 0.0)), label=False), (0,)),
        SetSelection(TokenSet("c", prompt, columns((1, 1.0)), label=True), (0,)),
        SetSelection(TokenSet("d", prompt, columns((1, 0.0), (2, -1.0))), (0,)),
    ]
    mask = torch.tensor([[True] * 3, *([[True, False, False]] * 3)])
    found = inputs(work, Logps(torch.zeros(4, 3), mask.long(), mask), None)
    assert found.ranks.tolist()[0] == [1, 4, 3]
    assert found.scores[0, [0, 2]].tolist() == pytest.approx([0.9, 0.2])
    assert found.scores[0, 1].isnan()
    assert found.labels.tolist() == [True, False, True, True]


def test_sft_next_to_kto_skips_undesirable_completions() -> None:
    """kto+sft on two good and a bad completion: sft's token mean is over the good ones' 2 and 5 tokens."""
    labels, lengths = [True, False, True], [2, 3, 5]
    work = [
        SetSelection(
            TokenSet(
                str(i),
                np.ones(1, np.int32),
                (Column(np.ones(n, np.int32), 1, float(label), "source"),),
                label,
            ),
            (0,),
        )
        for i, (label, n) in enumerate(zip(labels, lengths, strict=True))
    ]
    sums = torch.tensor([[-4.0], [-6.0], [-3.0]], requires_grad=True)
    policy = Logps(sums, torch.tensor(lengths)[:, None], torch.ones(3, 1, dtype=torch.bool))
    loss = build("kto:0.5+sft")
    kto, sft = apply(loss, inputs(work, policy, policy.detach()), None).terms
    assert kto.weights.tolist() == [1.0, 1.0, 1.0]
    assert (sft.values.tolist(), sft.weights.tolist()) == ([4.0, 3.0], [2.0, 5.0])
    assert term_weights(loss, work, policy.detach(), [{}, {}]) == [3.0, 7.0]
    bad = policy.rows(torch.tensor([1]))
    none = apply(loss, inputs(work[1:2], bad, bad), None)
    assert none.terms[1].values.tolist() == []
    total(none.terms, [3.0, 7.0]).backward()
    assert sums.grad is not None
    assert sums.grad.isfinite().all()
