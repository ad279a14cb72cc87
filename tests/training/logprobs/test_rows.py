"""Models that are refused before they are trained, and the mode in which the others are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from support.architectures import assert_same, gradients, naive, select_all, sets, tiny
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PhimoeConfig
from transformers.modeling_outputs import CausalLMOutput

from pairkit.errors import ModelError
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.mode import set_training
from pairkit.training.logprobs.probe import packs, pad
from pairkit.training.logprobs.rows import check_rows


class Changed(nn.Module):
    """A model whose states before the output head are changed by a function of them and of the mask."""

    def __init__(self, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self._change = tiny(), change
        self.config = self.network.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **others: Any) -> Any:
        states = self.network.model(input_ids, attention_mask=attention_mask).last_hidden_state
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return CausalLMOutput(logits=self.network.lm_head(self._change(states, mask)))


def sees_later(states: Tensor, mask: Tensor) -> Tensor:
    return states + 0.01 * (states * mask[..., None]).sum(dim=1, keepdim=True)


def counts_positions(states: Tensor, mask: Tensor) -> Tensor:
    return states * (1 + 0.01 * mask.shape[1])


def samples(states: Tensor, mask: Tensor) -> Tensor:
    return states + 0.01 * torch.rand_like(states)


def fails(states: Tensor, mask: Tensor) -> Tensor:
    raise ValueError("expected pixel_values.\nSee the documentation.")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (sees_later, "is not a causal language model: a later token changes its log-probs of earlier ones; "),
        (counts_positions, "cannot be trained in batches: padding after a text changes its log-probs; "),
        (samples, "cannot be trained: two passes over one text give other log-probs; "),
        (fails, r"cannot be trained: it fails on a plain text \(ValueError: expected pixel_values\); "),
    ],
)
def test_a_model_that_computes_something_else_is_refused_in_one_line(
    change: Callable[[Tensor, Tensor], Tensor], line: str
) -> None:
    for use in (check_rows, packs, pad):
        with pytest.raises(ModelError, match=f"^[A-Za-z]+ {line}[a-z ]+$"):
            use(Changed(change))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's, of transformers 5
def test_a_router_that_takes_no_adapters_is_refused_by_the_class_and_with_targets() -> None:
    """Phi-3.5-MoE's router is a linear layer that returns a tuple, to which adapters cannot add."""
    config = PhimoeConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=4,
    )  # fmt: skip

    def adapted(targets: Any) -> nn.Module:
        settings = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=targets)
        return peft.get_peft_model(AutoModelForCausalLM.from_config(config), settings)  # type: ignore[arg-type]

    set_training(adapted(["q_proj", "v_proj"]))
    message = r"^PhimoeForCausalLM cannot be trained: it fails .* with lora.targets, such as "
    for use in (set_training, check_rows):
        with pytest.raises(ModelError, match=message):
            use(adapted("all-linear"))


def test_a_model_that_computes_what_it_should_is_not_refused() -> None:
    check_rows(Changed(lambda states, mask: 2 * states))
    check_rows(tiny("Mixtral").bfloat16())


def test_diverged_weights_are_left_to_the_step() -> None:
    model = tiny()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    check_rows(model)
    set_training(model)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_router_with_noise_computes_in_training_what_it_computes_in_use(noise: float) -> None:
    model = tiny("Mixtral", router_jitter_noise=noise)
    work = select_all(sets())
    expected = {"sum": naive(model, work)["sum"]}
    right = gradients(model, expected)
    set_training(model)
    found = {"sum": score(model, work).policy.sum}
    assert_same(found, expected)
    assert_same(gradients(model, found), right, 3e-5)
    blocks = [module.training for name, module in model.named_modules() if name.endswith("mlp")]
    assert blocks == [noise == 0] * 2
    assert all(layer.training for layer in model.model.layers)  # they recompute in training only


def test_a_model_that_is_another_one_in_training_is_refused() -> None:
    class Trained(nn.Linear):
        gradient_checkpointing = False

        def forward(self, states: Tensor) -> Tensor:
            return super().forward(states) * (2 if self.training else 1)

    model = tiny()
    head = Trained(16, 67, bias=False)
    head.weight = model.lm_head.weight
    model.lm_head = head
    with pytest.raises(ModelError, match="its log-probs in training are not those that it has in use"):
        set_training(model)


def test_states_are_those_of_the_last_positions_where_a_class_returns_all() -> None:
    """As ProphetNet, TrOCR and Whisper do, which drop `logits_to_keep` without an error."""

    class Whole(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network, self.config = network, network.config

        def get_output_embeddings(self) -> nn.Module:
            return self.network.lm_head

        def forward(self, logits_to_keep: int = 0, **inputs: Any) -> Any:
            return self.network(**inputs)

    work = select_all(sets())
    for model in (Whole(tiny()), Changed(lambda states, mask: states)):
        expected = {"sum": naive(model, work)["sum"]}
        found = {"sum": score(model, work).policy.sum}
        assert_same(found, expected)
        assert_same(gradients(model, found), gradients(model, expected))
