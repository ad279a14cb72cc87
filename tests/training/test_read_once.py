"""What a run has hashed is what it loads, whoever writes to its files in between."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from support.damage import flip
from support.tiny import model_folder, random_sets, write_data
from support.training import patch_kind, recipe

from pairkit.errors import InputError
from pairkit.models.load import load_model
from pairkit.training import models, plan
from pairkit.training.distributed.processes import ALONE
from pairkit.training.output.checkpoint import checkpoints
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.training.tokens.tokenize import token_batches


@pytest.fixture
def made(tmp_path: Path) -> TrainRecipe:
    write_data(tmp_path / "data", random_sets(24), random_sets(8, seed=1))
    model_folder(tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "other")
    return recipe(
        tmp_path / "data",
        tmp_path / "model",
        reference=str(tmp_path / "other"),
        max_steps=2,
        trackers=[],
    )


def in_place(path: Path) -> None:
    """Change a file and keep its size and times."""
    about = path.stat()
    flip(path, 0.9)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def by_rename(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    in_place(copy)
    copy.replace(path)


def before(function: Callable[..., Any], act: Callable[[], None]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        act()
        return function(*arguments, **named)

    return call


@pytest.mark.default("other-by_rename")
@pytest.mark.parametrize(("name", "write"), [("model", in_place), ("other", by_rename)])
def test_weights_that_are_replaced_before_they_are_loaded_are_refused(
    name: str, write: Any, made: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / name / "model.safetensors"
    original = weights.read_bytes()

    def replace() -> None:
        if weights.read_bytes() == original:
            write(weights)

    patch_kind(monkeypatch, load=before(load_model, replace))
    with pytest.raises(InputError, match=rf"{name}/model\.safetensors: was written to while"):
        train(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not sum(pq.read_metadata(path).num_rows for path in tmp_path.glob("reference/*.parquet"))
    monkeypatch.undo()
    assert train(made, tmp_path / "run").is_dir()


def test_weights_that_are_put_back_after_they_were_loaded_are_refused(
    made: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hashes are right again, and the weights in memory are not."""
    weights = tmp_path / "model" / "model.safetensors"

    def others(*arguments: Any, real: Any = load_model, **named: Any) -> Any:
        in_place(weights)
        try:
            return real(*arguments, **named)
        finally:
            in_place(weights)

    patch_kind(monkeypatch, load=others)
    with pytest.raises(InputError, match=r"model\.safetensors: was written to while"):
        train(made, tmp_path / "run")


@pytest.mark.default("model/tokenizer.json")
@pytest.mark.parametrize("file", ["data/data/train-00000-of-00001.parquet", "model/tokenizer.json"])
def test_what_tokens_are_made_of_may_not_change_meanwhile(
    file: str, made: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are stored under its hashes, for other runs too."""
    path = tmp_path / file
    write = path.read_bytes()
    patch_kind(monkeypatch, tokens=before(token_batches, lambda: path.write_bytes(write) and None))
    with pytest.raises(InputError, match="was written to while"):
        train(made, tmp_path / "run")
    assert not [each for each in (tmp_path / "tokens").rglob("*") if each.is_file()]
    monkeypatch.undo()
    assert train(made, tmp_path / "run").is_dir()


def test_loaded_weights_are_not_those_of_the_file_any_more(made: TrainRecipe, tmp_path: Path) -> None:
    """On a CPU they are the mapped file: one that is written to in place later would change frozen ones."""
    model = models.policy(plan.plan(made), ALONE)
    loaded = {name: value.clone() for name, value in model.state_dict().items()}
    path = tmp_path / "model" / "model.safetensors"
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())
    assert any(value.any() for value in loaded.values())
    os.truncate(path, 0)  # reading a mapped part that is gone would end the process
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())


def test_a_model_is_not_saved_over_other_weights(
    made: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What training leaves as it is comes from the model's files, when the trained model is saved."""
    weights, run = tmp_path / "model" / "model.safetensors", tmp_path / "run"
    made = made.model_copy(update={"save_every": 1})
    with monkeypatch.context() as patch:
        patch.setattr("pairkit.training.run.to_save", before(models.to_save, lambda: in_place(weights)))
        with pytest.raises(InputError, match=r"not saved: the model was changed since \(model\.safetensors"):
            train(made, run)
    assert not (run / "model").exists()
    assert checkpoints(run / "checkpoints")
    in_place(weights)
    assert train(made, run).is_dir()
