"""Values and gradients agree with TRL's trainers; where TRL computes something else, a test shows what."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from support.trl_reference import DRIVERS, Batch, Setting, Tokens, logps, make_setting, preference, unpaired
from support.trl_rows import ROWS, Row
from torch import Tensor

from pairkit.losses import Extras, Logps, Loss, LossOutput, WeightedSum, build

pytestmark = [
    # because TRL sets and reads a field that transformers has deprecated
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'. APIs here are unstable"),
]

LOSS_TYPES_WITHOUT_TWIN = {
    ("SFTTrainer", "dft"): "weighs each token by its own probability: neither a preference nor a sum"
}

OTHER_TRAINERS = {
    "base class": {"_BaseTrainer"},
    "reward model": {"RewardTrainer"},
    "sampled rewards": {"A2POTrainer", "AsyncGRPOTrainer", "GMPOTrainer", "GRPOTrainer", "RLOOTrainer"},
    "distillation from a teacher": {
        "AsyncDistillationTrainer", "DistillationTrainer", "GKDTrainer", "GOLDTrainer", "IWOPDTrainer",
        "SDFTTrainer", "SDPOTrainer", "ServerDistillationTrainer",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return make_setting(tmp_path_factory.mktemp("trl"))


def name_of(row: Row) -> str:
    parts = [row.loss, row.trainer.removesuffix("Trainer"), *loss_types(row), row.difference or "equal"]
    return "-".join(part.replace(" ", "_") for part in parts)


def loss_types(row: Row) -> list[str]:
    kinds = row.config.get("loss_type", [])
    return [kinds] if isinstance(kinds, str) else kinds


@pytest.mark.default(
    "alphapo-CPO-alphapo-equal", "hinge-TPO-hinge-no_reference", "orpo-ORPO-NLL_of_the_prompt_too",
    "ipo-DPO-ipo-equal", "exo-DPO-exo_pair-equal", "dpo_norm-DPO-sigmoid_norm-equal",
    "mcpo-DPO-sigmoid-equal", "sppo-DPO-sppo_hard-equal", "bco-DPO-bco_pair-no_shift",
    "hinge-DPO-hinge-equal", "aot-DPO-aot-equal", "sft-SFT-nll-equal",
    "kto-KTO-kto-KL_of_the_batch_shifted_by_one", "discopop-DPO-discopop-equal", "f_dpo-DPO-sigmoid-equal3",
    "hinge:0.7+exo+sft:0.1-DPO-hinge-exo_pair-sft-equal", "dpo-DPO-sigmoid-equal"
)  # fmt: skip
@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_agreement(setting: Setting, row: Row) -> None:
    batches = list(DRIVERS[row.trainer](setting, row.config))
    assert len(batches) == 2
    for batch in batches:
        if row.difference is None:
            assert_equal(objective(call(row, batch)), batch)
            continue
        assert relative_distance(objective(call(row, batch)), batch.loss) > 1e-3
        assert_equal(DIFFERENCES[row.difference](row, batch), batch)


@pytest.mark.default("3")
@pytest.mark.parametrize("desirable", [3, 6])
def test_kto_of_labeled_completions(setting: Setting, desirable: int) -> None:
    """One column and a label each, one label more frequent than the other: the mean is over all of them."""
    weights = {"beta": 0.3, "desirable_weight": 0.5, "undesirable_weight": 1.5}
    for batch in unpaired(setting, weights, desirable):
        policy, reference = one_column(batch.policy), one_column(batch.reference)
        extras = Extras(labels=batch.more["labels"], kl_baseline=kl_of_batch(batch))
        assert_equal(objective(build("kto", **weights)(policy, reference, extras=extras)), batch)


def test_trl_measures_the_kl_of_each_micro_batch(setting: Setting) -> None:
    """By the completion of the row before; pairkit fixes the partner of a prompt for the whole dataset."""
    baselines = []
    for batch in unpaired(setting, {}):
        matched = completions(batch.tokens)
        assert completions(batch.more["mismatched"]) == [matched[-1], *matched[:-1]]
        baselines.append(float(kl_of_batch(batch)))
    assert abs(baselines[0] - baselines[1]) > 0.1


@pytest.mark.parametrize("name", ["aot", "aot_unpaired", "sft"])
def test_trl_sorts_and_averages_within_a_micro_batch(setting: Setting, name: str) -> None:
    """Of two micro-batches TRL takes the mean; pairkit's value is that of all their pairs at once."""
    keywords = {} if name == "sft" else {"beta": 0.3}
    batches = list(preference(setting, {"loss_type": [name], **keywords}))
    expected = torch.stack([batch.loss for batch in batches]).mean()
    loss = build(name, **keywords)
    apart = torch.stack([objective(loss(batch.policy, batch.reference)) for batch in batches]).mean()
    together = loss(joined([b.policy for b in batches]), joined([b.reference for b in batches]))
    torch.testing.assert_close(apart, expected, rtol=1e-5, atol=0.0)
    assert relative_distance(objective(together), expected) > 1e-4  # ten times the tolerance


def test_the_batches_distinguish_the_variants_of_dpo(setting: Setting) -> None:
    """Else sorting, weights, heads and divergences would agree with TRL whatever they did."""
    variants = ["dpo", "dpo_norm", "aot", "aot_unpaired", "ld_dpo", "wpo", "f_dpo"]
    keywords = {"f_dpo": {"divergence": "js"}}
    for batch in preference(setting, {}):
        losses = [build(name, beta=0.3, **keywords.get(name, {})) for name in variants]
        values = [objective(loss(batch.policy, batch.reference)) for loss in losses]
        for first, second in combinations(values, 2):
            assert relative_distance(first, second.detach()) > 1e-4


def test_every_loss_type_of_trl_has_a_row(setting: Setting) -> None:
    rows = {(row.trainer, kind) for row in ROWS for kind in loss_types(row)}
    assert rows | set(LOSS_TYPES_WITHOUT_TWIN) == trl_loss_types(setting)


def trl_loss_types(setting: Setting) -> set[tuple[str, str]]:
    """Return the types that the trainers allow, from a field's choices or the error for an unknown name."""
    from trl import KTOConfig
    from trl.experimental.cpo import CPOConfig
    from trl.experimental.online_dpo import OnlineDPOConfig
    from trl.experimental.tpo import TPOConfig

    types = {
        (config.__name__.replace("Config", "Trainer"), choice)
        for config in (KTOConfig, CPOConfig, OnlineDPOConfig, TPOConfig)
        for choice in config.__dataclass_fields__["loss_type"].metadata["choices"]
    }
    for trainer, nothing in (("DPOTrainer", ["none"]), ("SFTTrainer", "none")):
        with pytest.raises(ValueError, match=r"Should be one of|Supported values are") as refusal:
            next(DRIVERS[trainer](setting, {"loss_type": nothing}))
        types |= {(trainer, choice) for choice in re.findall(r"'(\w+)'", str(refusal.value))}
    return types


def test_every_trainer_of_trl_is_compared_or_has_another_objective() -> None:
    import trl

    sources = Path(trl.__file__).parent.rglob("*_trainer.py")
    trainers = {
        name for file in sources for name in re.findall(r"^class (\w+Trainer)\(", file.read_text(), re.M)
    }
    assert trainers == set(DRIVERS).union(*OTHER_TRAINERS.values())
    assert {row.trainer for row in ROWS} == set(DRIVERS)


def loss_of(row: Row, **changed: Any) -> Loss | WeightedSum:
    return build(row.loss, **(row.keywords | changed))


def call(
    row: Row, batch: Batch, loss: Loss | WeightedSum | None = None, reference: Logps | None = None
) -> LossOutput:
    scores = None if row.scores is None else torch.tensor([row.scores]).expand(len(batch.policy.sum), -1)
    return (loss or loss_of(row))(batch.policy, reference or batch.reference, scores)


def objective(output: LossOutput) -> Tensor:
    """Compute what the loop minimizes, for one batch."""
    values = [term.coefficient * term.values.sum() / term.weights.sum() for term in output.terms]
    return torch.stack(values).sum()


def relative_distance(value: Tensor, expected: Tensor) -> float:
    return float((value.detach() - expected).abs() / expected.abs())


def assert_equal(value: Tensor, batch: Batch) -> None:
    torch.testing.assert_close(value, batch.loss, rtol=1e-5, atol=0.0)
    value.backward()
    largest = max(float(gradient.abs().max()) for gradient in batch.gradients.values())
    assert largest > 1e-3
    for name, parameter in batch.model.named_parameters():
        rounding = 1e-6 * max(1.0, largest)
        torch.testing.assert_close(parameter.grad, batch.gradients[name], rtol=1e-4, atol=rounding)


def unsmoothed(row: Row, batch: Batch) -> Tensor:
    """DPOTrainer reads `label_smoothing` for robust, exo_pair and both aot only."""
    return objective(call(row, batch, loss_of(row, label_smoothing=0.0)))


def token_mean(row: Row, batch: Batch) -> Tensor:
    """TRL's ipo divides each log-ratio by the completion's length."""
    return objective(call(row, batch, loss_of(row, reduction="mean")))


def without_reference(row: Row, batch: Batch) -> Tensor:
    """CPO and TPO have the losses of DPO on a reference that gives every completion log-prob 0."""
    uniform = dataclasses.replace(batch.reference, sum=torch.zeros_like(batch.reference.sum))
    return objective(call(row, batch, reference=uniform))


def unshifted(row: Row, batch: Batch) -> Tensor:
    """TRL has no running mean of the rewards: delta stays what it is at the start, 0."""
    return objective(call(row, batch, loss_of(row).eval()))


def unclamped(row: Row, batch: Batch) -> Tensor:
    """The weight of a pair is the product of its completions', which TRL does not hold at 1."""
    assert batch.policy.alignment is not None
    weights = batch.policy.alignment.sum(dim=1).exp().detach()
    assert 0 < (weights > 1).sum() < len(weights)
    return (call(row, batch).losses * weights / weights.clamp(max=1)).mean()


def nll_by_token(row: Row, batch: Batch) -> Tensor:
    """The NLL of the chosen completions is a mean over their tokens in TRL, here a sum per completion."""
    weight = row.keywords["nll_weight"]
    return objective(call(row, batch, loss_of(row, nll_weight=0.0))) + weight * sft(batch.policy)


def nll_by_default(row: Row, batch: Batch) -> Tensor:
    """`cpo_alpha` is 1 unless it is given."""
    return objective(call(row, batch)) + sft(batch.policy)


def nll_of_gold(row: Row, batch: Batch) -> Tensor:
    """TPO's likelihood term is of a third completion."""
    gold = logps(batch.model, batch.more["gold"], columns=1)
    return objective(call(row, batch, loss_of(row, nll_weight=0.0))) + row.keywords["nll_weight"] * sft(gold)


def nll_of_prompt(row: Row, batch: Batch) -> Tensor:
    """The likelihood term of ORPO is a mean over the tokens of prompts and chosen completions."""
    half = len(batch.tokens.ids) // 2
    chosen = [part[:half] for part in batch.tokens]
    whole = batch.tokens._make([*chosen[:2], chosen[1].bool()])
    completions = -batch.policy.mean[:, 0].mean()
    return objective(call(row, batch)) - completions + sft(logps(batch.model, whole, columns=1))


def half(row: Row, batch: Batch) -> Tensor:
    """The mean is over completions, of which a pair has two."""
    return objective(call(row, batch)) / 2


def baseline_of_batch(row: Row, batch: Batch) -> Tensor:
    """z0 is of the prompts of this micro-batch, each with the completion of the row before it."""
    loss = loss_of(row)
    policy, reference = mismatched(batch)
    loss.parts[0][1].observe(policy, reference)
    return objective(call(row, batch, loss))


DIFFERENCES: dict[str, Callable[[Row, Batch], Tensor]] = {
    "label smoothing ignored": unsmoothed,
    "mean over tokens": token_mean,
    "no reference": without_reference,
    "no shift": unshifted,
    "weights above 1": unclamped,
    "mean NLL per token": nll_by_token,
    "NLL by default": nll_by_default,
    "NLL of a third completion": nll_of_gold,
    "NLL of the prompt too": nll_of_prompt,
    "mean over completions": half,
    "KL of the batch shifted by one": baseline_of_batch,
}


def sft(policy: Logps) -> Tensor:
    return objective(build("sft")(policy))


def mismatched(batch: Batch) -> tuple[Logps, Logps]:
    """Policy and reference on the rows of TRL's KL estimate, one per row of its batch."""
    tokens = batch.more["mismatched"]
    policy, reference = (logps(model, tokens, columns=1) for model in (batch.model, batch.reference_model))
    return policy, reference


def kl_of_batch(batch: Batch) -> Tensor:
    """TRL's z0: their mean log-ratio, at least 0."""
    policy, reference = mismatched(batch)
    baseline = (policy.sum - reference.sum).mean().clamp(min=0).detach()
    assert baseline > 0
    return baseline


def completions(tokens: Tokens) -> list[list[int]]:
    return [ids[scored].tolist() for ids, _, scored in zip(*tokens, strict=True)]


def one_column(pairs: Logps) -> Logps:
    """The completions of pairs as sets of one, in the order of TRL's batch."""
    return Logps(**{name: value.T.reshape(-1, 1) for name, value in pairs.tensors().items()})


def joined(parts: list[Logps]) -> Logps:
    return Logps(**{name: torch.cat([part.tensors()[name] for part in parts]) for name in parts[0].tensors()})
