"""Recipes, sets and models for tests of training, all on the tiny data of `support.tiny`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import pairrm_training
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from pairkit.losses import build
from pairkit.recipes import validate
from pairkit.training.distributed.processes import ALONE
from pairkit.training.kinds import KINDS
from pairkit.training.logprobs import probe
from pairkit.training.logprobs.reference_cache import reference_sums
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split, split_for
from pairkit.training.tokens.token_set import TokenSet


def recipe(data: Path, model: Path, loss: str | dict[str, Any] = "dpo", **fields: Any) -> TrainRecipe:
    """Four steps of eight sets."""
    base = {
        "data": str(data), "model": str(model), "loss": loss, "sets_per_step": 8, "max_steps": 4,
        "max_length": 96, "optimizer": {"learning_rate": 1e-2, "warmup": 0.25},
    }  # fmt: skip
    return validate(TrainRecipe, base | fields)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a saved model, or its adapters, as they are in the file."""
    whole = folder / "model.safetensors"
    return load_file(whole if whole.is_file() else folder / "adapter_model.safetensors")


def network_of(loss: Any, model: Path) -> torch.nn.Module:
    """The model that a loss trains, as a run loads it, in the mode of use."""
    built = build(loss) if isinstance(loss, str) else loss
    name = str(start_of(built, model))
    settings: dict[str, Any] = {"dtype": "float32", "revision": None, "trust_remote_code": False}
    load = KINDS[built.trains].load
    network: torch.nn.Module = load(name, **settings, attention=None, vocabulary=None, seed=0)
    tokenizer = SimpleNamespace(pad_token_id=0)  # all that a reward model asks for; a PairRM has its ids
    KINDS[built.trains].finish(network, tokenizer, (96, None))
    return network.eval()


def start_of(loss: Any, model: Path) -> Path:
    """What a loss starts from: `model`, or a tiny PairRM next to it."""
    trains = (build(loss) if isinstance(loss, str) else loss).trains
    return pairrm_training.beside(model) if trains == "pairrm" else model


def patch_kind(patch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Replace something of how policies are trained."""
    patch.setitem(KINDS, "policy", replace(KINDS["policy"], **fields))


def try_once(patch: pytest.MonkeyPatch) -> None:
    """Let a plain Llama of one configuration be tried once, and not by every run: a tenth of a small one.

    What is tried does not depend on weights; tests/training/logprobs/ tries each model.
    """
    for name in ("check_rows", "_refusal"):
        patch.setattr(probe, name, _remembered(getattr(probe, name)))


def _remembered(real: Callable[[torch.nn.Module], Any]) -> Callable[[torch.nn.Module], Any]:
    results: dict[str, Any] = {}

    def call(model: torch.nn.Module) -> Any:
        if type(model) is not LlamaForCausalLM:  # nor one with adapters
            return real(model)
        config = model.config.to_dict()
        config.pop("_name_or_path", None)
        key = f"{config} {model.dtype}"
        if key not in results:
            results[key] = real(model)
        return results[key]

    return call


def token_sets(data: Path, model: Path) -> tuple[list[TokenSet], torch.nn.Module]:
    """The training sets, tokenized, and the model."""
    return list(plan(recipe(data, model)).train.sets), AutoModelForCausalLM.from_pretrained(model).eval()


def step_model(loss: Any, network: torch.nn.Module, budget: int = 10**6, live: Any = None) -> StepModel:
    """The models of a step in one process."""
    return StepModel(build(loss) if isinstance(loss, str) else loss, network, live, budget, ALONE)


def split_of(loss: Any, sets: list[TokenSet], live: torch.nn.Module, folder: Path) -> Split:
    """Everything that the loss needs to know of the sets, the reference computed by `live`."""

    def compute(wanted: list[TokenSet]) -> Any:
        return reference_sums(wanted, folder / "sums.parquet", lambda: live, tokens_per_micro_batch=10**6)

    return split_for(loss.needs, sets, compute, seed=0, max_length=96)
