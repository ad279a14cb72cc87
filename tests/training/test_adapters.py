"""A directory of adapters as the model or the reference of a run; other vocabularies, which are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from support.grids import some
from support.tiny import model_folder
from support.training import recipe, weights

from pairkit.errors import ModelError, RecipeError
from pairkit.models.resolve import resolve
from pairkit.training.cost.dry_run import estimate
from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.run import train

# Of peft, where it loads.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(scope="module")
def adapters(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of adapters; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "lora"
    train(recipe(data, model, lora={"r": 4}), out)
    return out


@pytest.fixture(scope="module")
def whole(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, saved as a whole model."""
    return train(
        recipe(data, model, lora={"r": 4, "merge": True}), tmp_path_factory.mktemp("runs") / "merged"
    )


@pytest.mark.full
@pytest.mark.parametrize("loss", [pytest.param("dpo", marks=pytest.mark.full), "tdpo2"])
def test_all_weights_are_trained_over_merged_adapters(
    tmp_path: Path, data: Path, adapters: Path, whole: Path, loss: str
) -> None:
    """As over the whole model, of a run and of its model/."""
    expected = weights(train(recipe(data, whole, loss), tmp_path / "whole" / "run"))
    for name in (adapters, adapters / "model"):
        saved = train(recipe(data, name, loss), tmp_path / name.name / "run")
        for key, value in weights(saved).items():
            torch.testing.assert_close(value, expected[key], msg=key)


def test_a_reference_of_adapters_is_the_merged_model(
    tmp_path: Path, data: Path, model: Path, adapters: Path, whole: Path
) -> None:
    logps = []
    for name in (adapters, whole):
        out = tmp_path / name.name / "run"
        train(recipe(data, model, reference=str(name), max_steps=1), out)
        (file,) = (out.parent / "reference").iterdir()
        logps.append(pq.read_table(file).sort_by("tokens")["logp"].to_numpy())
    assert abs(logps[0] - logps[1]).max() < 1e-4


@pytest.mark.parametrize("loss", some(lambda loss: loss == "tdpo2", ["dpo", "tdpo2"]))
def test_adapters_are_continued(tmp_path: Path, data: Path, model: Path, adapters: Path, loss: str) -> None:
    dropping = Path(shutil.copytree(adapters / "model", tmp_path / "dropping"))
    config = json.loads((dropping / "adapter_config.json").read_text()) | {"lora_dropout": 0.25}
    (dropping / "adapter_config.json").write_text(json.dumps(config))
    settings = recipe(data, dropping, loss, lora={"continue_adapters": True}, save_every=2)
    saved = train(settings, tmp_path / "run")
    before, after = (
        load_file(folder / "adapter_model.safetensors") for folder in (adapters / "model", saved)
    )
    assert before.keys() == after.keys()
    assert not torch.equal(
        *(values["base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"] for values in (before, after))
    )
    configs = [json.loads((folder / "adapter_config.json").read_text()) for folder in (dropping, saved)]
    assert [config["lora_dropout"] for config in configs] == [0.25, 0.25]
    # Over the same base model, so that peft and vLLM load them as those of before.
    assert resolve(str(saved)).base == resolve(str(adapters)).base == str(model)
    # The reference is the model that training starts from, adapters included.
    first, *_, last = read_metrics(tmp_path / "run", "eval")
    assert first["reward_margin"] == pytest.approx(0, abs=1e-5)
    assert last["loss"] != first["loss"]


def test_a_dry_run_counts_the_adapters_that_are_continued(data: Path, adapters: Path) -> None:
    counted = estimate(plan(recipe(data, adapters, lora={"continue_adapters": True})))["parameters"]
    fresh = estimate(plan(recipe(data, adapters, lora={"r": 4, "merge": True})))["parameters"]
    assert counted == fresh
    assert 0 < counted["trained"] < counted["parameters"]


def test_settings_that_do_not_fit_are_refused(
    tmp_path: Path, data: Path, model: Path, adapters: Path
) -> None:
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (
            adapters,
            {"r": 4},
            "fresh ones over them would fit to no saved model; set lora.continue_adapters=true",
        ),
        (adapters, {"continue_adapters": True, "r": 4}, r"lora\.r is that of the adapters .*; leave it out"),
        (
            model,
            {"continue_adapters": True},
            "lora.continue_adapters=true, but the model .* is a whole model",
        ),
    ]
    for name, lora, message in cases:
        with pytest.raises(RecipeError, match=message):
            train(recipe(data, name, lora=lora), tmp_path / "run")
    with pytest.raises(ModelError, match="cannot be merged into four bits: export it as a whole model first"):
        train(recipe(data, adapters, lora={"base": "nf4", "merge": True}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_adapters_of_another_base_model_are_refused(tmp_path: Path, data: Path, adapters: Path) -> None:
    copied = tmp_path / "adapters"
    shutil.copytree(adapters / "model", copied)
    config = json.loads((copied / "adapter_config.json").read_text())
    other = model_folder(tmp_path / "gpt2", kind="gpt2")
    (copied / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(other)}))
    with pytest.raises(ModelError, match=r"the model '.*adapters' cannot be loaded: "):
        train(recipe(data, copied), tmp_path / "run")
    config["base_model_name_or_path"] = str(adapters / "model")
    weights_file = copied / "adapter_model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:100])
    (copied / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"the model '.*adapters' cannot be loaded: "):
        train(recipe(data, copied), tmp_path / "run")


def other_vocabulary(folder: Path) -> Path:
    from pairkit.models.load import train_bpe

    model_folder(folder)
    train_bpe(iter(["quite other words that make quite other tokens"] * 5), 300).save_pretrained(folder)
    return folder


def test_a_reference_or_tokenizer_of_another_vocabulary_is_refused(
    tmp_path: Path, data: Path, model: Path
) -> None:
    other = other_vocabulary(tmp_path / "other")
    message = (
        r"the reference '.*other' has another vocabulary: token \d+ is '.*' there and '.*' in the tokenizer"
    )
    with pytest.raises(ModelError, match=message):
        train(recipe(data, model, reference=str(other)), tmp_path / "run")
    with pytest.raises(ModelError, match=r"the model '.*' has another vocabulary: .*; leave --tokenizer out"):
        train(recipe(data, model, tokenizer=str(other)), tmp_path / "run")
    with pytest.raises(ModelError, match=r"the model '.*' has another vocabulary: .*; leave --tokenizer out"):
        train(recipe(data, model, tokenizer="bpe:310"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_added_tokens_and_renamed_special_ones_are_no_other_vocabulary(
    tmp_path: Path, data: Path, model: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    tokenizer.save_pretrained(tmp_path / "more")
    assert plan(recipe(data, model, tokenizer=str(tmp_path / "more"))).train.sets
    copy = model_folder(tmp_path / "copy")
    assert plan(recipe(data, model, reference=str(copy))).train.sets
