"""The whole way with a real chat model: log-probs of real replies, step 0, adapters, export, generation."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

import pairkit

pytestmark = pytest.mark.chat_model
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def written(prompt: list[dict[str, Any]]) -> str:
    """A prompt in ChatML, by hand: the default system turn, the turns, the header of the answer."""
    turns = [] if prompt[0]["role"] == "system" else [("system", SYSTEM)]
    turns += [(message["role"], message["content"]) for message in prompt]
    return (
        "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + "<|im_start|>assistant\n"
    )


def log_probs(folder: Path, sets: list[dict[str, Any]]) -> list[list[float]]:
    """Summed log-probs by transformers and tokenizers alone, one text per pass, summed in float64."""
    encoder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    sums: list[list[float]] = []
    for row in sets:
        start = encoder.encode(written(row["prompt"]), add_special_tokens=False).ids
        sums.append([])
        for item in row["completions"]:
            ids = start + encoder.encode(item["text"] + "<|im_end|>", add_special_tokens=False).ids
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            sums[-1].append(sum(logits[i - 1, ids[i]].item() for i in range(len(start), len(ids))))
    return sums


def evaluations(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "eval"]


def test_log_probs_of_real_replies_are_those_of_transformers(smollm2: Path, real_pairs: Path):
    sets = next(pairkit.load(real_pairs).tables("test")).slice(0, 8)
    ours = pairkit.score(smollm2, sets)["logps"].to_pylist()
    for row, expected in zip(ours, log_probs(smollm2, sets.to_pylist()), strict=True):
        assert row == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("budget", [512, 4096])
def test_step_0_measures_nothing(smollm2: Path, real_pairs: Path, tmp_path: Path, budget: int):
    fields: dict[str, Any] = {"tokens_per_micro_batch": budget, "sets_per_step": 2, "eval_limit": 6}
    recipe = {
        "data": str(real_pairs),
        "model": str(smollm2),
        "loss": "dpo",
        "trackers": [],
        "max_steps": 1,
        **fields,
    }
    pairkit.train(recipe, tmp_path / "run")
    first = evaluations(tmp_path / "run")[0]
    assert first["step"] == 0
    assert first["reward_accuracy"] == 0.5
    assert first["reward_margin"] == 0
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-7)


def test_adapters_merge_export_reload_and_generate(smollm2: Path, real_pairs: Path, tmp_path: Path):
    run = tmp_path / "run"
    fields: dict[str, Any] = {"sets_per_step": 4, "max_steps": 3, "eval_limit": 4, "trackers": []}
    optimizer = {"learning_rate": 2e-4, "warmup": 0}
    recipe = {
        "data": str(real_pairs),
        "model": str(smollm2),
        "loss": "dpo",
        "lora": {},
        "optimizer": optimizer,
    }
    pairkit.train({**recipe, **fields}, run)
    command = [
        sys.executable,
        "-m",
        "pairkit",
        "export",
        str(run),
        "--merge",
        "--out",
        str(tmp_path / "merged"),
    ]
    subprocess.run(command, check=True)
    sets = next(pairkit.load(real_pairs).tables("test")).slice(0, 4)
    by_adapters = pairkit.score(run / "model", sets)["logps"].to_pylist()
    by_merged = pairkit.score(tmp_path / "merged", sets)["logps"].to_pylist()
    before = pairkit.score(smollm2, sets)["logps"].to_pylist()
    for adapter, whole, old in zip(by_adapters, by_merged, before, strict=True):
        assert adapter == pytest.approx(whole, abs=5e-3)
        assert adapter != pytest.approx(old, abs=5e-2)
    generate = {"model": str(tmp_path / "merged"), "max_tokens": 24, "samples": [{"temperature": 0}]}
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "What is the capital of France?"}\n')
    built = pairkit.build(
        {
            "source": {"name": "files", "path": str(prompts)},
            "test_fraction": 0,
            "generate": generate,
            "mine": {"require_choice": False},
        },
        tmp_path / "built",
    )
    (row,) = next(built.tables("train")).to_pylist()
    assert "Paris" in row["completions"][0]["text"]
