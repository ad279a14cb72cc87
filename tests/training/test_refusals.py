"""Runs that are refused or fail: existing directories, recipes, data, models, memory."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import candidate_sets, completion, model_folder, random_sets, write_data
from support.training import recipe

from pairkit.errors import ExistingOutputError, InputError, ModelError, RecipeError
from pairkit.training.plan import plan
from pairkit.training.run import train


@pytest.mark.default(
    "800-reason0-try --tokens-per-micro-batch 400, ", "40-reason2-the longest text has 71 tokens: try max_le"
)
@pytest.mark.parametrize(
    ("budget", "reason", "remedy"),
    [
        (800, torch.OutOfMemoryError("CUDA out of memory"), "try --tokens-per-micro-batch 400, "),
        pytest.param(
            800,
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "try --tokens-per-micro-batch 400",
            marks=pytest.mark.full,
        ),
        (40, torch.OutOfMemoryError("CUDA out of memory"), "the longest text has 71 tokens: try max_le"),
    ],
)
def test_a_run_that_does_not_fit_names_what_to_lower(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch,
    budget: int, reason: Exception, remedy: str,
) -> None:  # fmt: skip
    def full(*_: Any) -> None:
        raise reason

    with monkeypatch.context() as patched:
        patched.setattr("pairkit.training.run.train_steps", full)
        with pytest.raises(ModelError) as error:
            train(recipe(data, model, tokens_per_micro_batch=budget), tmp_path / "run")
    assert f"out of memory with {budget} tokens per micro-batch ({reason}); {remedy}" in str(error.value)
    train(recipe(data, model, max_steps=1, tokens_per_micro_batch=300), tmp_path / "run")


def test_another_error_of_torch_is_not_mistaken_for_too_little_memory(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: Any) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("pairkit.training.run.train_steps", wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(recipe(data, model), tmp_path / "run")


def test_existing_runs(tmp_path: Path, data: Path, model: Path) -> None:
    out = tmp_path / "run"
    train(recipe(data, model, max_steps=1), out)
    stamp = (out / "model" / "config.json").stat().st_mtime_ns
    train(recipe(data, model, max_steps=1), out)
    assert (out / "model" / "config.json").stat().st_mtime_ns == stamp
    with pytest.raises(ExistingOutputError, match=r"with other settings: sets_per_step 8 -> 2\. Choose"):
        train(recipe(data, model, max_steps=1, sets_per_step=2), out)
    other = recipe(data, model, {"name": "dpo", "beta": 0.2}, max_steps=1, optimizer={"warmup": 0.25})
    with pytest.raises(
        ExistingOutputError,
        match=r"settings: loss.beta None -> 0.2; optimizer.learning_rate 0.01 -> 5e-07\. Choose",
    ):
        train(other, out)
    train(
        recipe(data, model, max_steps=1, tokens_per_micro_batch=99, keep=7), out
    )  # neither affects the result
    with pytest.raises(ExistingOutputError, match="on-existing"):
        train(recipe(data, model, max_steps=1), out, on_existing="raise")
    train(recipe(data, model, max_steps=2), out, on_existing="delete")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(ExistingOutputError, match="was not created by this command"):
        train(recipe(data, model), tmp_path / "mine", on_existing="delete")


def test_bad_recipes(data: Path, model: Path) -> None:
    for fields, message in [
        ({"loss": "dpoo"}, "did you mean 'dpo'"),
        ({"loss": {"name": "dpo", "beta": -1}}, "dpo.beta must be in (0, inf)"),
        ({"loss": {"beta": 1}}, "has no name"),
        ({"negatives": {"sampling": "hard"}}, "value of negatives.sampling"),
        (
            {"loss": {"name": "mcpo", "sampling": "min"}, "negatives": {"sampling": "max"}},
            "negatives.sampling and loss.sampling conflict: set only one",
        ),
        (
            {"loss": {"name": "rnce+sft", "rnce": {"negatives": 2}}, "negatives": {"negatives": 2}},
            "negatives.negatives and loss.negatives conflict: set only one",
        ),
        ({"loss": "mcpo", "negatives": {"sampling": "worst"}}, "unknown value of negatives.sampling"),
        ({"max_prompt_length": 96}, "leave room for a completion"),
        ({"set_per_step": 3}, "did you mean 'sets_per_step'"),
        ({"optimizer": {"lr": 3}}, "optimizer.lr"),
    ]:
        with pytest.raises(RecipeError) as error:
            recipe(data, model, **({"loss": "dpo"} | fields))
        assert message in str(error.value)


def test_bad_data_and_models(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="not a built dataset"):
        train(recipe(tmp_path, model), tmp_path / "a")
    unranked = candidate_sets([("x", [completion("a"), completion("b")]), ("y", [completion("c")])])
    with pytest.raises(InputError, match="2 sets unranked"):
        train(recipe(write_data(tmp_path / "unranked", unranked), model), tmp_path / "b")
    single = candidate_sets([("x", [completion("a", 1)])])
    with pytest.raises(InputError, match="1 sets no_choice"):
        train(recipe(write_data(tmp_path / "single", single), model), tmp_path / "c")
    with pytest.raises(InputError, match="it has: test, train"):
        train(recipe(data, model, train_split="validation"), tmp_path / "d")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # else it tries for 20 s
    with pytest.raises(ModelError, match="check the name and the network"):
        train(recipe(data, Path("nobody/nothing"), tokenizer="bpe:400"), tmp_path / "e0")
    with pytest.raises(ModelError, match="cannot be loaded"):
        train(recipe(data, tmp_path / "nowhere"), tmp_path / "e")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text((model / "config.json").read_text())
    with pytest.raises(ModelError, match="start from random weights"):
        train(recipe(data, tmp_path / "empty", tokenizer=str(model)), tmp_path / "f")
    with pytest.raises(RecipeError, match="bpe:N"):
        train(recipe(data, model, tokenizer="bpe:12"), tmp_path / "g")
    with pytest.raises(ModelError, match="leave --tokenizer out, so that the model's own is used"):
        train(recipe(data, model, tokenizer="bpe:400"), tmp_path / "h")
    # Without a tokenizer of its own, a model can only be too small.
    shutil.copytree(model, tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(ModelError, match="the tokenizer that belongs to the model"):
        train(recipe(data, tmp_path / "bare", tokenizer="bpe:400"), tmp_path / "h")
    for left in "abcdefgh":
        assert not (tmp_path / left).exists()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_text_longer_than_the_models_positions_is_refused(tmp_path: Path, kind: str) -> None:
    """The actual lengths count, not the limit of the recipe."""
    long = [("x", [completion("red " * 60, 1), completion("blue", 2)])]
    folder = write_data(tmp_path / "data", random_sets(8), candidate_sets(long))
    small = model_folder(tmp_path / "model", kind)
    with pytest.raises(
        ModelError, match=r"has \d+ tokens with its completion, .* only 128 positions; set max_l"
    ):
        plan(recipe(folder, small, max_length=1000))
    assert plan(recipe(folder, small, max_length=128)).longest == 128
    assert plan(recipe(folder, small, max_length=1000, eval_split="none")).longest < 128
