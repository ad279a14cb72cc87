"""A reward model in the place of a language model: an error, not an output head of random numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.online import recipe as online_recipe
from support.tiny import model_folder, random_sets, save_model, short_run, write_data
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairkit.engines.transformers import load_transformers
from pairkit.errors import ModelError
from pairkit.models.resolve import check_writes
from pairkit.online import checks
from pairkit.recipes import validate
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

SAYS = "is a reward model or a classifier"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("policy"), seed=0)


@pytest.fixture(scope="module")
def reward(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    AutoTokenizer.from_pretrained(policy).save_pretrained(folder)
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1).save_pretrained(folder)
    return folder


def recipe(data: Path, model: Path, **fields: Any) -> TrainRecipe:
    return validate(TrainRecipe, short_run(data, model, {"name": "dpo"}, max_length=32, **fields))


def test_it_does_not_generate(reward: Path) -> None:
    with pytest.raises(ModelError, match=SAYS):
        load_transformers(str(reward))


@pytest.mark.parametrize("as_reference", [False, True])
def test_it_is_no_policy_and_no_reference(
    as_reference: bool, policy: Path, reward: Path, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "data", random_sets(8))
    fields = {"reference": str(reward)} if as_reference else {}
    with pytest.raises(ModelError, match=SAYS):
        train(recipe(data, policy if as_reference else reward, **fields), tmp_path / "run")


@pytest.mark.parametrize("as_reference", [False, True])
def test_an_online_training_finds_it_before_anything_is_loaded(
    as_reference: bool, policy: Path, reward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_check_tokenizer", lambda recipe: pytest.fail("read a tokenizer"))
    fields = {"train": {"reference": str(reward)}} if as_reference else {}
    with pytest.raises(ModelError, match=SAYS):
        checks.check(online_recipe(policy if as_reference else reward, **fields))


def test_adapters_of_one_are_refused_too(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    data = write_data(tmp_path / "data", random_sets(8))
    base = model_folder(tmp_path / "base")
    fields = short_run(data, base, {"name": "reward_bt"}, max_steps=1, lora={"r": 2}, max_length=128)
    train(validate(TrainRecipe, fields), tmp_path / "run")
    adapters = tmp_path / "run" / "model"
    with pytest.raises(ModelError, match=SAYS):
        check_writes(str(adapters))
    with pytest.raises(ModelError, match=SAYS):
        load_transformers(str(adapters))
