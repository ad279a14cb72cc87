"""Fields of `peft.LoraConfig`: passed through, refused with the reason, and exact where training starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.grids import some
from support.training import recipe, weights
from transformers import AutoModelForCausalLM

from pairkit.errors import ModelError, RecipeError
from pairkit.training.cost.dry_run import estimate
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.lora import Lora, with_adapters
from pairkit.training.output.checkpoint import checkpoints
from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.run import train

FIELDS: dict[str, dict[str, Any]] = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "head": {"modules_to_save": ["lm_head"]},
    "ranks": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}},
    "tokens": {"trainable_token_indices": [3, 4]},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "parameters": {"targets": ["q_proj"], "target_parameters": ["mlp.gate_proj.weight"]},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
}
QUICK = ("dora", "pissa")
# peft's, of transformers 5, and of methods whose adapters change the base
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.mark.default("tokens", "ranks", "pissa", "dora")
@pytest.mark.parametrize("name", FIELDS)
def test_adapters_start_from_the_reference_and_off_are_the_base(data: Path, model: Path, name: str) -> None:
    lora = Lora(r=4, **FIELDS[name])
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    work = [SetSelection(item, (0, 1)) for item in plan(recipe(data, model)).train.sets[:6]]
    with torch.no_grad():
        before = score(network, work, shared=False).policy.sum
        adapted = with_adapters(network, lora, seed=0)
        torch.testing.assert_close(score(adapted, work, shared=False).policy.sum, before, rtol=0, atol=1e-4)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
        on = score(adapted, work, shared=False).policy.sum
        assert (on - before).abs().max() > 1e-3
        with adapted.disable_adapter():  # type: ignore[operator]
            off = score(adapted, work, shared=False).policy.sum
    assert torch.allclose(off, before, rtol=0, atol=1e-4) != lora.changes_base


@pytest.mark.full
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in FIELDS]
)
def test_a_run_with_a_live_reference_starts_at_margin_0_and_saves_what_it_trained(
    tmp_path: Path, data: Path, model: Path, name: str
) -> None:
    """tdpo2 runs the reference next to the policy: the adapters off, or a model of its own."""
    lora = {"r": 4, **FIELDS[name]}
    saved = train(recipe(data, model, "tdpo2", lora=lora, save_every=2), tmp_path / "run")
    first, *_, last = read_metrics(tmp_path / "run", "eval")
    assert first["reward_margin"] == pytest.approx(0, abs=1e-5)
    assert first["reward_accuracy"] == 0.5
    assert last["loss"] != first["loss"]
    from peft import AutoPeftModelForCausalLM

    loaded = AutoPeftModelForCausalLM.from_pretrained(saved).merge_and_unload().state_dict()
    whole = train(recipe(data, model, "tdpo2", lora={**lora, "merge": True}), tmp_path / "merged")
    for key, value in weights(whole).items():
        torch.testing.assert_close(loaded[key], value, rtol=1e-4, atol=1e-5)

    assert checkpoints(tmp_path / "run" / "checkpoints")
    shutil.rmtree(saved)
    train(recipe(data, model, "tdpo2", lora=lora, save_every=2), tmp_path / "run")
    again = AutoPeftModelForCausalLM.from_pretrained(saved).merge_and_unload().state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in again.items())


@pytest.mark.default("head", "parameters", "tokens")
@pytest.mark.parametrize("name", some(lambda name: name not in ("gaussian", "olora", "orthogonal"), FIELDS))
def test_a_dry_run_counts_what_trains(data: Path, model: Path, name: str) -> None:
    lora = {"r": 4, **FIELDS[name]}
    counted = estimate(plan(recipe(data, model, lora=lora)))["parameters"]
    adapted = with_adapters(AutoModelForCausalLM.from_pretrained(model), Lora(**lora), seed=0)
    assert counted["trained"] == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def test_fields_reach_peft(model: Path) -> None:
    lora = Lora(r=4, targets=["q_proj"], layers_to_transform=[0], rank_pattern={"q_proj": 2}, use_rslora=True)
    adapted = with_adapters(AutoModelForCausalLM.from_pretrained(model), lora, seed=0)
    trained = {name: p.shape for name, p in adapted.named_parameters() if p.requires_grad}
    assert {name.split(".")[-4] for name in trained} == {"q_proj"}
    assert {min(shape) for shape in trained.values()} == {2}
    config = adapted.peft_config["default"]
    assert config.use_rslora
    assert config.layers_to_transform == [0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"use_doro": True},
            r"unknown recipe key 'lora.use_doro'; did you mean 'lora.use_dora'\? Known: .*lora.r",
        ),
        ({"lora_dropout": 0.1}, "lora.lora_dropout cannot be set: there is no dropout, because two passes"),
        ({"target_modules": ["q_proj"]}, "lora.target_modules cannot be set: write lora.targets"),
        ({"bias": "all"}, "lora.bias cannot be set: with biases of the base model trained"),
        ({"layer_replication": [[0, 1]]}, "lora.layer_replication cannot be set"),
        ({"task_type": "SEQ_CLS"}, "lora.task_type cannot be set: pairkit sets it"),
        (
            {"init_lora_weights": False},
            "the first step would not start from the reference; expected one of true",
        ),
        ({"init_lora_weights": "eva"}, "lora.init_lora_weights='eva': it is not offered"),
        ({"init_lora_weights": "pissa_niter_4"}, "is random, .* set lora.merge=true"),
        ({"lora_bias": True, "merge": True}, "lora.lora_bias=true cannot be merged"),
    ],
)
def test_fields_that_are_refused(data: Path, model: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(data, model, lora=fields)


def test_neutral_values_and_what_peft_itself_refuses(data: Path, model: Path) -> None:
    assert recipe(data, model, lora={"lora_dropout": 0, "bias": "none"}).lora == Lora(
        lora_dropout=0, bias="none"
    )
    network = AutoModelForCausalLM.from_pretrained(model)
    with pytest.raises(ModelError, match="lora: `layers_to_transform` cannot be used"):
        with_adapters(network, Lora(layers_to_transform=[0]), seed=0)
