"""Tokens that are added: one id each, rows made of the others, the same start, trained and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import candidate_sets, completion, model_folder, write_data
from support.training import recipe, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairkit.errors import RecipeError
from pairkit.models.new_tokens import NewTokens, fit_tokens
from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.run import train

ADD = ["<think>", "</think>"]
EMBEDDINGS = "model.embed_tokens.weight"
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def thoughts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chosen completions have the new tokens."""
    rows: list[Any] = [
        (f"{i} cat", [completion(f"<think>the red</think>dog {i}", 1), completion(f"blue {i}", 2)])
        for i in range(16)
    ]
    return write_data(
        tmp_path_factory.mktemp("thoughts") / "data", candidate_sets(rows[:12]), candidate_sets(rows[12:])
    )


def settings(data: Path, model: Path, **fields: Any) -> Any:
    return recipe(data, model, fields.pop("loss", "dpo"), tokens={"add": ADD}, **fields)


def test_a_new_token_is_one_id_in_a_completion(thoughts: Path, model: Path) -> None:
    size = len(AutoTokenizer.from_pretrained(model))
    planned = plan(settings(thoughts, model))
    assert planned.new_ids == [size, size + 1]
    for item in planned.train.sets:
        assert [int(np.sum(item.columns[0].ids == token)) for token in planned.new_ids] == [1, 1]
        assert planned.tokenizer.decode(item.columns[0].ids).strip().startswith("<think>the red</think>dog")


@pytest.mark.default("tdpo2")
@pytest.mark.parametrize("loss", ["dpo", "tdpo2"])
def test_a_run_starts_from_its_reference_and_saves_both(
    tmp_path: Path, thoughts: Path, model: Path, loss: str
) -> None:
    """Reference log-probs that are computed before, and a reference that runs next to the policy."""
    size = len(AutoTokenizer.from_pretrained(model))
    saved = train(settings(thoughts, model, loss=loss), tmp_path / "run")
    first, *_, last = read_metrics(tmp_path / "run", "eval")
    assert first["reward_margin"] == pytest.approx(0, abs=1e-5)
    assert first["reward_accuracy"] == 0.5
    assert last["loss"] < first["loss"]
    tokenizer, network = AutoTokenizer.from_pretrained(saved), AutoModelForCausalLM.from_pretrained(saved)
    assert tokenizer("<think>", add_special_tokens=False)["input_ids"] == [size]
    assert len(tokenizer) == network.config.vocab_size == size + 2
    start = weights(model)
    for name in (EMBEDDINGS, "lm_head.weight"):
        after, mean = weights(saved)[name], start[name].mean(0)
        assert after.shape[0] == size + 2
        assert (after[size:] - mean).abs().max() > 1e-3  # trained
        assert (after[size:] - mean).abs().max() < 0.1  # from there


def test_adapters_train_the_rows_of_new_tokens_and_no_others(
    tmp_path: Path, thoughts: Path, model: Path
) -> None:
    size, start = len(AutoTokenizer.from_pretrained(model)), weights(model)
    lora = {"r": 4, "merge": True}
    saved = weights(train(settings(thoughts, model, loss="tdpo2", lora=lora), tmp_path / "run"))
    first = read_metrics(tmp_path / "run", "eval")[0]
    assert first["reward_margin"] == pytest.approx(0, abs=1e-5)
    for name in (EMBEDDINGS, "lm_head.weight"):
        assert torch.equal(saved[name][:size], start[name])
        assert (saved[name][size:] - start[name].mean(0)).abs().max() > 1e-3
    with pytest.raises(RecipeError, match=r"lora\.merge must be true with tokens\.add"):
        settings(thoughts, model, lora={"r": 4})


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("padded", [0, 40])
def test_new_rows_are_the_mean_of_those_of_tokens(tmp_path: Path, tied: bool, padded: int) -> None:
    """Rows of a padded vocabulary are no tokens' and do not count."""
    network = AutoModelForCausalLM.from_pretrained(model_folder(tmp_path / "model"), tie_word_embeddings=tied)
    size = network.config.vocab_size
    network.resize_token_embeddings(size + padded, mean_resizing=False)
    with torch.no_grad():
        for rows in (network.get_input_embeddings().weight, network.get_output_embeddings().weight):
            rows[size:] = 1e3
    start = {name: value.clone() for name, value in network.state_dict().items()}
    fit_tokens(network, [size, size + 1], NewTokens(add=tuple(ADD)), seed=0)
    assert network.config.vocab_size == size + max(padded, 2)
    for name in (EMBEDDINGS, "lm_head.weight"):
        rows = network.state_dict()[name]
        assert torch.equal(rows[:size], start[name][:size])
        torch.testing.assert_close(rows[size : size + 2], start[name][:size].mean(0).expand(2, -1))
    assert (network.get_input_embeddings().weight is network.get_output_embeddings().weight) == tied


def test_normal_rows_are_spread_around_the_mean_by_the_seed(model: Path) -> None:
    def rows(seed: int) -> torch.Tensor:
        network = AutoModelForCausalLM.from_pretrained(model)
        size = network.config.vocab_size
        fit_tokens(network, list(range(size, size + 400)), NewTokens(add=("a",), resize="normal"), seed)
        return network.get_input_embeddings().weight.detach()[size:].double()

    one, two = rows(0), rows(1)
    assert torch.equal(one, rows(0))
    assert not torch.equal(one, two)
    start = weights(model)[EMBEDDINGS].double()
    assert (one.std(0) / (start.std(0) * 1e-9**0.5)).mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ({"add": ["the"]}, r"tokens.add: 'the' is token \d+ of the tokenizer already"),
        ({"add": ["<a>", "<a>"]}, "tokens.add has '<a>' twice"),
        ({"add": [" <a>"]}, "is empty or has white space at an end"),
        ({"add": []}, "'tokens.add'"),
    ],
)
def test_tokens_that_are_refused(data: Path, model: Path, tokens: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        plan(recipe(data, model, tokens=tokens))
