"""The training run: what it writes, and that what it saves loads."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from support.tiny import candidate_sets, completion, model_folder, random_sets, write_data
from support.training import recipe, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairkit.files import sha256
from pairkit.models.load import load_model
from pairkit.training.output.entries import read_metrics
from pairkit.training.run import train


def test_metrics_and_the_run_directory(trained: Path, data: Path) -> None:
    out = trained
    first, middle, last = read_metrics(out, "eval")
    assert [line["step"] for line in (first, middle, last)] == [0, 2, 4]
    assert {"reward_accuracy", "reward_margin", "chosen_logp", "rejected_logp", "entropy"} <= set(first)
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-5)  # the policy is the reference
    assert first["reward_accuracy"] == pytest.approx(0.5)
    steps = read_metrics(out, "train")
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert {"grad_norm", "learning_rate", "tokens_per_second", "sets_per_second"} <= set(steps[0])
    assert list((out / "tensorboard").glob("events*"))
    record = json.loads((out / "run.json").read_text())
    assert record["plan"]["train_sets"] == {"used": 24, "refused": {}}
    assert record["data"] == sha256(data / "pairkit.json")
    assert yaml.safe_load((out / "recipe.yaml").read_text()) == record["recipe"]
    (start,) = record["starts"]
    assert start["device"].startswith("cpu: ")
    assert start["processes"] == 1
    assert start["versions"]["torch"] == torch.__version__
    assert start["versions"]["pairkit"] == importlib.metadata.version("pairkit")
    assert (out.parent / "reference").is_dir()
    assert (out / "refused.jsonl").read_text() == ""
    kept = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert kept == ["step-000002", "step-000003"]


@pytest.mark.full
def test_the_record_lists_each_different_start_of_a_run(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, record = tmp_path / "run", tmp_path / "run" / "run.json"
    train(recipe(data, model, max_steps=2, save_every=1), out)
    complete = record.read_bytes()
    monkeypatch.setattr("pairkit.training.output.directory.device_name", lambda _: "another")
    train(recipe(data, model, max_steps=2, save_every=1), out)
    assert record.read_bytes() == complete  # nothing was done
    for budget in (300, 400):
        shutil.rmtree(out / "model")
        train(recipe(data, model, max_steps=2, save_every=1, tokens_per_micro_batch=budget), out)
    content = json.loads(record.read_text())
    assert [start["device"].split(":")[0] for start in content["starts"]] == ["cpu", "another"]
    assert content["recipe"]["tokens_per_micro_batch"] == 400


def test_sets_that_are_not_used_are_counted_and_listed(tmp_path: Path, model: Path) -> None:
    tie = candidate_sets([("no choice", [completion("a", 1), completion("b", 1)])])
    folder = write_data(tmp_path / "data", pa.concat_tables([random_sets(3), tie]))
    train(recipe(folder, model, max_steps=1), tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["plan"]["train_sets"] == {"used": 3, "refused": {"no_choice": 1}}
    (line,) = map(json.loads, (tmp_path / "run" / "refused.jsonl").read_text().splitlines())
    assert (line["split"], line["set_id"], line["reason"]) == ("train", tie["set_id"][0].as_py(), "no_choice")


def test_the_saved_model_loads_and_generates(trained: Path) -> None:
    folder = trained / "model"
    tokenizer, loaded = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "old"}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    assert loaded.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] > ids["input_ids"].shape[1]
    assert (folder / "model.safetensors").is_file()


@pytest.mark.default("linear-shares1")
@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [0, 0.5, 1, 1, 1, 1, 1, 1]),
        ("linear", [0, 0.5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("cosine", [0, 0.5, *(0.5 * (1 + np.cos(np.pi * k / 6)) for k in range(6))]),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    tmp_path: Path, data: Path, model: Path, schedule: str, shares: list[float]
) -> None:
    """Eight steps, the first two of them warm-up."""
    optimizer = {"learning_rate": 1e-3, "schedule": schedule, "warmup": 0.25}
    train(recipe(data, model, "simpo", max_steps=8, optimizer=optimizer), tmp_path / "run")
    rates = [line["learning_rate"] for line in read_metrics(tmp_path / "run", "train")]
    assert rates == pytest.approx([1e-3 * share for share in shares])


def test_training_learns_the_preference_of_the_sets(tmp_path: Path, model: Path) -> None:
    """Chosen texts are "red", rejected ones "blue": held-out reward accuracy rises to (nearly) 1."""
    texts = [(str(i), "red " * (1 + i % 3), "blue " * (1 + i % 3)) for i in range(40)]
    rows = [(prompt, [completion(red, 1), completion(blue, 2)]) for prompt, red, blue in texts]
    folder = write_data(tmp_path / "data", candidate_sets(rows[:32]), candidate_sets(rows[32:]))
    train(recipe(folder, model, "mcpo", max_steps=20), tmp_path / "run")
    before, after = read_metrics(tmp_path / "run", "eval")
    assert before["reward_accuracy"] == pytest.approx(0.5)
    assert after["reward_accuracy"] > 0.95
    assert after["reward_margin"] > 0


def test_training_from_a_configuration_with_a_tokenizer_of_the_data(tmp_path: Path, data: Path) -> None:
    config = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
              "num_attention_heads": 2, "vocab_size": 5, "max_position_embeddings": 128}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    settings = {"tokenizer": "bpe:320", "max_steps": 1}
    one = train(recipe(data, tmp_path / "config.json", "dpo", **settings), tmp_path / "one")
    two = train(recipe(data, tmp_path / "config.json", "dpo", **settings), tmp_path / "two")
    assert AutoTokenizer.from_pretrained(one).vocab_size <= 320
    for name, value in weights(one).items():
        assert torch.equal(value, weights(two)[name])


def test_gradient_checkpointing_and_bf16(tmp_path: Path, data: Path, model: Path) -> None:
    plain = weights(train(recipe(data, model, max_steps=1), tmp_path / "plain"))
    less = weights(train(recipe(data, model, max_steps=1, gradient_checkpointing=True), tmp_path / "less"))
    for name, value in plain.items():
        torch.testing.assert_close(less[name], value, rtol=1e-5, atol=1e-6)
    half = train(recipe(data, model, max_steps=1, dtype="bfloat16", save_dtype="bfloat16"), tmp_path / "half")
    assert json.loads((half / "config.json").read_text())["dtype"] == "bfloat16"
    assert all(np.isfinite(line["loss"]) for line in read_metrics(tmp_path / "half", "train"))
    mixed = weights(train(recipe(data, model, max_steps=1, bf16=True), tmp_path / "mixed"))
    assert all(value.dtype == torch.float32 for value in mixed.values())
    assert any(not torch.equal(value, plain[name]) for name, value in mixed.items())
    first = read_metrics(tmp_path / "mixed", "train")[0]
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-6)  # policy and reference in one precision


def test_a_tokenizer_may_have_special_tokens_without_an_embedding(tmp_path: Path, data: Path) -> None:
    folder = model_folder(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(folder)
    assert len(tokenizer) > AutoModelForCausalLM.from_pretrained(folder).config.vocab_size
    train(recipe(data, folder, max_steps=1), tmp_path / "run")
    assert len(read_metrics(tmp_path / "run", "train")) == 1


def test_no_dropout_is_left_in_a_loaded_model(tmp_path: Path) -> None:
    """Whatever its configuration names it: two passes over one text agree in training mode too."""
    config = {"model_type": "roformer", "is_decoder": True, "vocab_size": 50, "hidden_size": 16,
              "embedding_size": 16,
              "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
              "hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    network = load_model(
        str(tmp_path / "config.json"), revision=None, dtype="float32", attention=None,
        trust_remote_code=False, vocabulary=50, seed=0,
    ).train()  # fmt: skip
    one, two = (network(input_ids=torch.arange(10)[None]).logits for _ in range(2))
    assert torch.equal(one, two)
