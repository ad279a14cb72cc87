"""Adapters: what trains, what the reference is, what is saved, and that a stopped run resumes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from support.grids import some
from support.training import weights
from transformers import AutoConfig, AutoModelForCausalLM

from pairkit.errors import ModelError, RecipeError
from pairkit.models.adapters import merged
from pairkit.recipes import validate
from pairkit.training.logprobs import probe
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.loop import train_steps
from pairkit.training.lora import AdaptersOff, Lora, four_bits, with_adapters
from pairkit.training.output.checkpoint import checkpoints
from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.training.step.batch import StepModel


def recipe(data: Path, model: Path, **fields: Any) -> TrainRecipe:
    base: dict[str, Any] = {
        "data": str(data), "model": str(model), "loss": "dpo", "sets_per_step": 4, "max_steps": 4,
        "max_length": 96, "optimizer": {"learning_rate": 1e-2}, "lora": {"r": 4},
    }  # fmt: skip
    return validate(TrainRecipe, base | fields)


def test_only_adapters_train_and_fresh_ones_change_nothing(data: Path, model: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    work = [SetSelection(item, (0, 1)) for item in plan(recipe(data, model)).train.sets]
    with torch.no_grad():
        before = score(network, work).policy.sum
    adapted = with_adapters(network, Lora(r=4), seed=0)
    assert probe.packs(adapted)
    after = score(adapted, work).policy.sum
    torch.testing.assert_close(after, before)
    after.sum().backward()
    names = {name for name, p in adapted.named_parameters() if p.grad is not None}
    assert names == {name for name, _ in adapted.named_parameters() if "lora_" in name}
    assert any("q_proj" in name for name in names)
    assert not any("lm_head" in name for name in names)


def test_with_adapters_off_it_is_the_base_model(data: Path, model: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    work = [SetSelection(item, (0, 1)) for item in plan(recipe(data, model)).train.sets]
    with torch.no_grad():
        before = score(network, work).policy.sum
    adapted = with_adapters(network, Lora(r=4), seed=0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    scored = score(adapted, work, want=frozenset({"token_kl"}), live=AdaptersOff(adapted))
    assert scored.reference is not None
    torch.testing.assert_close(scored.reference.sum, before)
    assert (scored.policy.sum - before).abs().max() > 0.1
    assert scored.policy.token_kl is not None
    assert (scored.policy.token_kl > 0).all()
    torch.testing.assert_close(
        score(merged(adapted), work).policy.sum, scored.policy.sum, rtol=1e-4, atol=1e-4
    )


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft, where it loads
@pytest.mark.parametrize("loss", some(lambda loss: loss == "tdpo2", ["dpo", "mcpo", "tdpo2"]))
def test_adapters_are_saved_or_merged(tmp_path: Path, data: Path, model: Path, loss: str) -> None:
    alone = train(recipe(data, model, loss=loss), tmp_path / "adapters")
    whole = train(recipe(data, model, loss=loss, lora={"r": 4, "merge": True}), tmp_path / "merged")
    assert (alone / "adapter_model.safetensors").is_file()
    assert not (alone / "model.safetensors").exists()
    assert (whole / "model.safetensors").is_file()
    one, other = read_metrics(tmp_path / "adapters", "eval"), read_metrics(tmp_path / "merged", "eval")
    assert one == other
    assert one[-1]["loss"] != one[0]["loss"]
    from peft import AutoPeftModelForCausalLM

    adapted = AutoPeftModelForCausalLM.from_pretrained(alone).merge_and_unload().state_dict()
    start = weights(model)
    for name, value in weights(whole).items():
        torch.testing.assert_close(adapted[name], value)
    assert any(not torch.equal(value, start[name]) for name, value in weights(whole).items())


def test_a_checkpoint_holds_what_trains_and_a_stopped_run_resumes(
    tmp_path: Path, data: Path, model: Path
) -> None:
    merge = {"r": 4, "merge": True}
    train(recipe(data, model, lora=merge), tmp_path / "whole")
    train(recipe(data, model, lora=merge, save_every=2), tmp_path / "run")
    (checkpoint,) = checkpoints(tmp_path / "run" / "checkpoints")
    saved = torch.load(checkpoint / "model.pt", weights_only=True)
    assert saved
    assert all("lora_" in name for name in saved)
    for path in (tmp_path / "run" / "model").iterdir():
        path.unlink()
    (tmp_path / "run" / "model").rmdir()
    train(recipe(data, model, lora=merge, save_every=2), tmp_path / "run")
    expected = weights(tmp_path / "whole" / "model")
    for name, value in weights(tmp_path / "run" / "model").items():
        assert torch.equal(value, expected[name]), name


def test_lora_settings_that_are_refused(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match=r"lora.targets \['nothing'\]: "):
        train(recipe(data, model, lora={"targets": ["nothing"]}), tmp_path / "targets")
    with pytest.raises(RecipeError, match=r"lora\.merge must be true when training from a config"):
        recipe(data, model / "config.json", tokenizer="bpe:300")
    with pytest.raises(RecipeError, match=r"lora\.r"):
        recipe(data, model, lora={"r": 0})
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(RecipeError, match=r"pip install 'pairkit\[lora\]'"):
        train(recipe(data, model), tmp_path / "peft")
    assert not (tmp_path / "peft").exists()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft, where it loads
def test_adapters_on_four_bits(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their base model, the reference, what is saved, and that a run resumes."""
    content = recipe(data, model, loss="mcpo", lora={"r": 4, "base": "nf4"}, save_every=3)
    used = []

    def steps(settings: TrainRecipe, step_model: StepModel, *others: Any) -> Any:
        kinds = {type(module).__name__ for module in step_model.model.modules()}
        used.append("Linear4bit" in kinds)
        return train_steps(settings, step_model, *others)

    monkeypatch.setattr("pairkit.training.run.train_steps", steps)
    saved = train(content, tmp_path / "adapters")
    first, *_, last = read_metrics(tmp_path / "adapters", "eval")
    assert first["reward_margin"] == pytest.approx(0, abs=1e-4)  # of the same four bits
    assert last["loss"] != first["loss"]
    (last_checkpoint,) = checkpoints(tmp_path / "adapters" / "checkpoints")
    assert all("lora_" in name for name in torch.load(last_checkpoint / "model.pt", weights_only=True))
    expected = load_file(saved / "adapter_model.safetensors")
    shutil.rmtree(saved)
    adapters = load_file(train(content, tmp_path / "adapters") / "adapter_model.safetensors")
    assert all(torch.equal(adapters[name], value) for name, value in expected.items())

    merging = recipe(data, model, loss="mcpo", lora={"r": 4, "base": "nf4", "merge": True})
    whole = weights(train(merging, tmp_path / "merged"))
    assert used == [True] * 3
    from peft import AutoPeftModelForCausalLM

    adapted = AutoPeftModelForCausalLM.from_pretrained(saved).merge_and_unload().state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(adapted[name], value)


@pytest.mark.full
def test_four_bits_are_another_reference(tmp_path: Path, data: Path, model: Path) -> None:
    """Its log-probs are not those of the full-precision model."""
    for lora in ({"r": 4}, {"r": 4, "base": "nf4"}):
        train(recipe(data, model, lora=lora, max_steps=1), tmp_path / str(len(lora)))
    files = sorted((tmp_path / "reference").iterdir())
    assert len(files) == 2
    one, two = (pq.read_table(file).sort_by("tokens")["logp"].to_numpy() for file in files)
    assert 0 < abs(one - two).max() < 1


def test_four_bits_that_are_refused(data: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quantized = {"r": 4, "base": "nf4", "merge": True}
    with pytest.raises(
        RecipeError, match=r"lora\.base needs pretrained weights, but --model is a config file"
    ):
        recipe(data, model / "config.json", tokenizer="bpe:300", lora=quantized)
    monkeypatch.setattr("pairkit.training.lora.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"pip install 'pairkit\[qlora\]'"):
        four_bits(torch.float32)


@pytest.mark.default("fields3-False", "fields1-True")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"targets": ["embed_tokens", "q_proj"]}, True, marks=pytest.mark.full),
        ({"targets": ["lm_head"]}, True),
        ({"modules_to_save": ["embed_tokens"]}, True),
        ({"targets": ["embed_tokens"], "ensure_weight_tying": True}, False),
        ({"trainable_token_indices": [7, 9]}, False),
        pytest.param({}, False, marks=pytest.mark.full),
    ],
)
def test_adapters_on_tied_embeddings_are_said_in_one_line(
    tmp_path: Path, data: Path, model: Path, fields: dict[str, Any], said: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One as training starts, one of the merge; without peft's warnings, which would be errors here."""
    tied = Path(shutil.copytree(model, tmp_path / "tied"))
    config = AutoConfig.from_pretrained(model, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(tied)
    settings = recipe(data, tied, loss="sft", max_steps=2, lora={"r": 4, "merge": True, **fields})
    train(settings, tmp_path / "run")
    err = capsys.readouterr().err
    assert err.count("are one matrix, and the adapters change one of its two uses") == said
    assert err.count("were one matrix, and the adapters changed them differently") == said
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model").config.tie_word_embeddings != said


def test_adapters_of_a_model_without_weights_take_no_memory(model: Path) -> None:
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    adapted = with_adapters(network, Lora(r=65_536), 0)
    assert all(parameter.is_meta for parameter in adapted.parameters())
    assert any(65_536 in parameter.shape for parameter in adapted.parameters())
