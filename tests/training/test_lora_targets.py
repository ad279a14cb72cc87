"""The default targets of adapters: every linear layer that is one by what it returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import model_folder
from support.training import recipe
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, FalconConfig, Llama4TextConfig, PhimoeConfig

from pairkit.errors import ModelError
from pairkit.models.plain_linear import not_plain
from pairkit.recipes import validate
from pairkit.training.logprobs.mode import set_training
from pairkit.training.logprobs.rows import check_rows
from pairkit.training.lora import Lora, with_adapters
from pairkit.training.run import train

SMALL = {
    "vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
EXPERTS = {
    "intermediate_size": 16,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}
MODELS: dict[str, Callable[[], Any]] = {
    "phimoe": lambda: PhimoeConfig(**SMALL, **EXPERTS, max_position_embeddings=128),
    "llama4": lambda: Llama4TextConfig(**SMALL, **EXPERTS, intermediate_size_mlp=16, head_dim=8),
    "falcon": lambda: FalconConfig(**SMALL, new_decoder_architecture=False, alibi=False),
}
ROUTERS = {"phimoe": 2, "llama4": 2, "falcon": 0}  # one per layer; Falcon's own class is plain


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(MODELS[name]()).eval()  # type: ignore[no-any-return]


def adapted(model: nn.Module) -> set[str]:
    return {name.partition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's, of transformers 5
@pytest.mark.parametrize("name", list(MODELS))
def test_the_default_targets_are_all_linear_layers_but_routers_and_head(name: str) -> None:
    model = made(name)
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    routers = [path for path in linear if path.endswith("router")]
    assert len(routers) == ROUTERS[name]
    assert not_plain(model) == routers
    with torch.device("meta"):
        assert not_plain(AutoModelForCausalLM.from_config(MODELS[name]())) == routers
    tuned = with_adapters(model, Lora(), 0)
    expected = {f"base_model.model.{path}" for path in linear if path not in routers and path != "lm_head"}
    assert adapted(tuned) == expected != set()
    set_training(tuned)
    check_rows(tuned)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("excluded", [["v_proj"], r".*\.v_proj"])
def test_what_a_recipe_excludes_is_excluded_too(excluded: Any) -> None:
    tuned = with_adapters(made("phimoe"), validate(Lora, {"exclude_modules": excluded}), 0)
    names = {path.rpartition(".")[2] for path in adapted(tuned)}
    assert names == {"q_proj", "k_proj", "o_proj"}
    set_training(tuned)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_router_that_is_named_is_refused() -> None:
    tuned = with_adapters(made("phimoe"), Lora(targets=["q_proj", "router"]), 0)
    with pytest.raises(ModelError, match=r"name those to adapt with lora\.targets"):
        set_training(tuned)


def test_looking_for_targets_samples_nothing() -> None:
    class Sampling(nn.Linear):
        def forward(self, states: Tensor) -> Any:
            return torch.rand(2), states

    model = nn.Sequential(Sampling(2, 2), nn.Linear(2, 2))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    assert not_plain(model) == ["0"]
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_phi_moe_trains_with_adapters_and_is_loaded_again(data: Path, tmp_path: Path) -> None:
    import peft

    folder = model_folder(tmp_path / "model")  # for its tokenizer
    made("phimoe").save_pretrained(folder)
    asked = recipe(data, folder, lora={"r": 4}, max_steps=2)
    trained = train(asked, tmp_path / "run")
    settings = json.loads((trained / "adapter_config.json").read_text(encoding="utf-8"))
    assert [name.rpartition(".")[2] for name in settings["exclude_modules"]] == ["router", "router"]
    base = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)("the cat", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        before = base(ids).logits
        again = peft.PeftModel.from_pretrained(base, str(trained)).eval()
        assert not torch.allclose(again(ids).logits, before, atol=1e-6)
