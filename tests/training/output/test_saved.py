"""What a saved model has of its checkpoint: dtype, dropout, generation, vocabularies, other weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import model_folder
from support.training import recipe
from transformers import AutoModelForCausalLM

from pairkit.models.carry import INDEX, carry_tensors, original_of
from pairkit.training.export.model import export_model
from pairkit.training.run import train


def rewritten(folder: Path, change: Any) -> Path:
    path = folder / "model.safetensors"
    save_file({name: change(name, value) for name, value in load_file(path).items()}, path, {"format": "pt"})
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "base")


def dtypes(folder: Path) -> set[torch.dtype]:
    return {value.dtype for value in load_file(folder / "model.safetensors").values()}


def test_the_dtype_is_that_of_the_files_by_default_and_is_announced(
    tmp_path: Path, data: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(base, lambda name, value: value.to(torch.bfloat16))
    saved = train(recipe(data, base, max_steps=1), tmp_path / "run")
    assert dtypes(saved) == {torch.bfloat16}
    assert json.loads((saved / "config.json").read_text())["dtype"] == "bfloat16"
    line = f"saved in bfloat16, the dtype of {base}; save_dtype=float32 keeps float32"
    assert capsys.readouterr().err.count(line) == 1
    assert AutoModelForCausalLM.from_pretrained(saved).dtype == torch.bfloat16


def test_save_dtype_sets_it(tmp_path: Path, data: Path, base: Path) -> None:
    rewritten(base, lambda name, value: value.to(torch.bfloat16))
    saved = train(recipe(data, base, max_steps=1, save_dtype="float32"), tmp_path / "run")
    assert dtypes(saved) == {torch.float32}
    assert json.loads((saved / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft, where it loads
def test_save_dtype_holds_for_adapters_too(tmp_path: Path, data: Path, base: Path) -> None:
    settings = recipe(data, base, max_steps=1, lora={"r": 4}, save_dtype="bfloat16")
    saved = load_file(train(settings, tmp_path / "run") / "adapter_model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.bfloat16}
    whole = export_model(tmp_path / "run", tmp_path / "whole", merge=True).folder
    assert dtypes(whole) == {torch.bfloat16}  # the recipe's, again


def test_each_tensor_keeps_its_own_dtype(tmp_path: Path, data: Path, base: Path) -> None:
    rewritten(base, lambda name, value: value if "norm" in name else value.to(torch.bfloat16))
    saved = load_file(train(recipe(data, base, max_steps=1), tmp_path / "run") / "model.safetensors")
    assert {name: value.dtype for name, value in saved.items()} == {
        name: torch.float32 if "norm" in name else torch.bfloat16 for name in saved
    }


def test_weights_in_bfloat16_of_a_float32_checkpoint_are_exact_where_nothing_moved(
    tmp_path: Path, data: Path, base: Path
) -> None:
    settings = recipe(data, base, max_steps=1, dtype="bfloat16", optimizer={"learning_rate": 1e-30})
    saved = train(settings, tmp_path / "run")
    before, after = (load_file(folder / "model.safetensors") for folder in (base, saved))
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.full
def test_from_scratch_it_is_that_of_the_training(tmp_path: Path, data: Path, base: Path) -> None:
    config = base / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float16"}))
    saved = train(recipe(data, config, max_steps=1), tmp_path / "run")
    assert dtypes(saved) == {torch.float32}
    assert json.loads((saved / "config.json").read_text())["dtype"] == "float32"


def test_dropout_is_zero_in_training_and_restored(tmp_path: Path, data: Path) -> None:
    base = model_folder(tmp_path / "gpt2", kind="gpt2")
    config = json.loads((base / "config.json").read_text()) | {"attn_pdrop": 0.25}
    config.pop("embd_pdrop")  # the default of the class, 0.1
    (base / "config.json").write_text(json.dumps(config))
    for model in (base, base / "config.json"):
        saved = train(recipe(data, model, max_steps=1), tmp_path / f"run-{model.suffix}")
        after = json.loads((saved / "config.json").read_text())
        assert (after["attn_pdrop"], after["resid_pdrop"], after["embd_pdrop"]) == (0.25, 0.1, 0.1)


def test_files_of_generation_and_vocabularies_survive(tmp_path: Path, data: Path, base: Path) -> None:
    # Settings that transformers itself would refuse to write, though many published models have them.
    generation = json.dumps({"do_sample": False, "temperature": 0.6, "eos_token_id": [2, 5]})
    (base / "generation_config.json").write_text(generation)
    (base / "tokenizer.model").write_bytes(b"sentences")
    (base / "training_args.bin").write_bytes(b"not ours")
    saved = train(recipe(data, base, max_steps=1), tmp_path / "run")
    assert (saved / "generation_config.json").read_text() == generation
    assert (saved / "tokenizer.model").read_bytes() == b"sentences"
    assert not (saved / "training_args.bin").exists()
    hashes = json.loads((saved / "hashes.json").read_text())
    assert {path.name for path in saved.iterdir()} - {"hashes.json"} == hashes.keys()


@pytest.mark.full
def test_vocabularies_of_another_tokenizer_are_not_taken_over(tmp_path: Path, data: Path, base: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(base, other)
    (base / "tokenizer.model").write_bytes(b"sentences")
    saved = train(recipe(data, base, max_steps=1, tokenizer=str(other)), tmp_path / "run")
    assert not (saved / "tokenizer.model").exists()


def test_weights_that_are_not_loaded_are_carried_and_the_index_is_right(tmp_path: Path, base: Path) -> None:
    extra = torch.arange(4, dtype=torch.bfloat16)
    path = base / "model.safetensors"
    save_file(load_file(path) | {"mtp.head.weight": extra, "other.weight": extra + 1}, path, {"format": "pt"})
    model = AutoModelForCausalLM.from_pretrained(base)
    model.save_pretrained(tmp_path / "saved", max_shard_size="10KB")
    carry_tensors(tmp_path / "saved", original_of(str(base), None), None, ignored=[r"^mtp.*"])
    files = sorted((tmp_path / "saved").glob("*.safetensors"))
    assert len(files) > 1
    index = json.loads((tmp_path / "saved" / INDEX).read_text())
    held = {name: path.name for path in files for name in load_file(path)}
    assert held == index["weight_map"]
    assert set(held) == set(load_file(path)) - {"other.weight"}
    carried = load_file(tmp_path / "saved" / held["mtp.head.weight"])["mtp.head.weight"]
    assert torch.equal(carried, extra)
    values = [value for path in files for value in load_file(path).values()]
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in values)
