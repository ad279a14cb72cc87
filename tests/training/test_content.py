"""A run continues only with the weights, tokenizer, data and reference that it began with."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.damage import flip, rewrite
from support.tiny import model_folder, random_sets, write_data
from support.training import recipe

from pairkit.errors import ExistingOutputError, InputError
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train


def run_of(folder: Path, **fields: Any) -> TrainRecipe:
    names = {"model": "model", "reference": "reference"} | fields
    absolute = {key: str(folder / name) for key, name in names.items() if name is not None}
    return recipe(
        folder / "data", Path(absolute.pop("model")), max_steps=2, save_every=1, trackers=[], **absolute
    )


def unfinished(made: TrainRecipe, out: Path) -> None:
    """A run that was killed after its last checkpoint."""
    train(made, out)
    shutil.rmtree(out / "model")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a reference of its own, and what it is made of next to it."""
    folder = tmp_path_factory.mktemp("content")
    write_data(folder / "data", random_sets(24), random_sets(8, seed=1))
    model_folder(folder / "model")
    shutil.copytree(folder / "model", folder / "reference")
    unfinished(run_of(folder), folder / "run")
    return folder


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights": (
        lambda at: flip(at / "model/model.safetensors", 0.9),
        "the model was changed since (model.safe",
    ),
    "configuration": (
        lambda at: rewrite(at / "model/config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'),
        "the model was changed since (config.json)",
    ),
    "code": (
        lambda at: (at / "model/modeling.py").write_text(""),
        "the model was changed since (modeling.py)",
    ),
    "tokenizer": (
        lambda at: [swap_tokens(at / f"{of}/tokenizer.json") for of in ("model", "reference")],
        "the tokenizer was changed since (tok",
    ),
    "template": (
        lambda at: (at / "model/chat_template.jinja").write_text("{{ messages }}"),
        "the tokenizer was changed since (chat_template.jinja)",
    ),
    "reference": (
        lambda at: flip(at / "reference/model.safetensors", 0.9),
        "the reference model was changed since (model.safetensors)",
    ),
    "data": (
        lambda at: replace_data(at / "data/data/train-00000-of-00001.parquet"),
        "the dataset was changed since (data/train-00000-of-00001.parquet)",
    ),
    "held-out data": (
        lambda at: replace_data(at / "data/data/test-00000-of-00001.parquet"),
        "the dataset was changed since (data/test-00000-of-00001.parquet)",
    ),
}


def swap_tokens(path: Path) -> None:
    """Swap the ids of two tokens."""
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    one, two = list(vocabulary)[-2:]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    path.write_text(json.dumps(content))


def replace_data(path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(random_sets(24, seed=9), path)


@pytest.mark.default("weights", "template", "data")
@pytest.mark.parametrize("name", CHANGES)
def test_a_run_of_which_something_changed_is_not_continued(name: str, stopped: Path, tmp_path: Path) -> None:
    change, message = CHANGES[name]
    # In place, because the paths are a part of the recipe.
    kept = tmp_path / "kept"
    shutil.copytree(stopped, kept)
    try:
        change(stopped)
        with pytest.raises(ExistingOutputError) as caught:
            # Changed data is refused before, unless it is allowed.
            train(run_of(stopped), stopped / "run", allow_changed_data=True)
        assert message in str(caught.value)
        # Code may belong to either, and is run for both.
        assert str(caught.value).count("changed since") == 1 + (name == "code")
        assert "--on-existing delete" in str(caught.value)
    finally:
        shutil.rmtree(stopped)
        shutil.copytree(kept, stopped)
    assert train(run_of(stopped), stopped / "run").is_dir()
    shutil.rmtree(stopped / "run" / "model")


@pytest.mark.full
def test_a_run_over_adapters_is_not_continued_with_others(tmp_path: Path) -> None:
    model_folder(tmp_path / "model")
    write_data(tmp_path / "data", random_sets(24))
    first = recipe(
        tmp_path / "data", tmp_path / "model", "sft", max_steps=1, trackers=[], lora={"merge": False}
    )
    train(first, tmp_path / "first")
    adapters = tmp_path / "first" / "model"
    made = run_of(tmp_path, model="first/model", reference=None)
    unfinished(made, tmp_path / "run")
    for path, name in (
        (adapters / "adapter_model.safetensors", "adapters 1: adapter_model.safetensors"),
        (tmp_path / "model" / "model.safetensors", "model.safetensors"),
    ):
        flip(path, 0.9)
        with pytest.raises(ExistingOutputError) as caught:
            train(made, tmp_path / "run")
        assert f"the model was changed since ({name})" in str(caught.value)
        flip(path, 0.9)
    train(made, tmp_path / "run")


def test_a_run_from_a_configuration_is_not_continued_with_another(tmp_path: Path) -> None:
    write_data(tmp_path / "data", random_sets(24))
    model_folder(tmp_path / "model")
    shutil.copy(tmp_path / "model" / "config.json", tmp_path / "own.json")
    made = recipe(
        tmp_path / "data", tmp_path / "own.json", "simpo", tokenizer="bpe:300", max_steps=1, trackers=[]
    )
    unfinished(made, tmp_path / "run")
    rewrite(tmp_path / "own.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05')
    with pytest.raises(ExistingOutputError, match=r"the model was changed since \(own.json\)"):
        train(made, tmp_path / "run")


def test_a_note_in_the_model_card_changes_no_run(stopped: Path) -> None:
    (stopped / "model" / "README.md").write_text("# A note")
    assert train(run_of(stopped), stopped / "run").is_dir()
    shutil.rmtree(stopped / "run" / "model")


def test_a_run_of_an_earlier_version_resumes_and_states_what_is_not_known(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(stopped / "run", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    content = record.pop("content")
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    train(run_of(stopped), tmp_path / "run")
    assert "begun by a version that recorded no hashes" in " ".join(capsys.readouterr().err.split())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["content"] == content


@pytest.mark.full
def test_log_probs_of_other_weights_of_equal_size_and_time_are_not_taken(tmp_path: Path) -> None:
    """They would make dpo start elsewhere than at ln 2, where policy and reference are equal."""
    write_data(tmp_path / "data", random_sets(24))
    weights = model_folder(tmp_path / "model") / "model.safetensors"
    about = weights.stat()
    made = run_of(tmp_path, reference=None)
    train(made, tmp_path / "one")
    other = {name: value + 0.1 * torch.randn_like(value) for name, value in load_file(weights).items()}
    save_file(other, weights, metadata={"format": "pt"})
    os.utime(weights, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert weights.stat().st_size == about.st_size
    train(made, tmp_path / "two")
    assert len(list((tmp_path / "reference").glob("*.parquet"))) == 2
    for name in ("one", "two"):
        first = next(entry for entry in read_metrics(tmp_path / name, "train"))
        assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)


@pytest.mark.full
def test_a_flipped_bit_in_stored_log_probs_is_found(tmp_path: Path) -> None:
    write_data(tmp_path / "data", random_sets(24))
    model_folder(tmp_path / "model")
    made = run_of(tmp_path, reference=None)
    train(made, tmp_path / "one")
    (store,) = (tmp_path / "reference").glob("*.parquet")
    for place in (0.1, 0.3, 0.5, 0.7):
        flip(store, place)
        with pytest.raises(InputError, match="corrupt reference log-prob cache"):
            train(made, tmp_path / "two")
        flip(store, place)
    train(made, tmp_path / "two")
