"""An evaluation with vLLM: its offline engine answers, its server judges. Run with `pytest -m vllm`.

`.ci/vllm` makes an environment that has vLLM.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.alpaca import save
from support.tiny import WORDS
from support.vllm_server import vllm_server
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.evaluation.results import read_run
from pairkit.models.load import train_bpe

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
COUNT, ROOM = 12, 512
SETTINGS = f"vllm={{max_model_len: {ROOM}, enforce_eager: true, dtype: float32, gpu_memory_utilization: 0.1}}"
PROMPT = "<|im_start|>user\n{instruction} m: {output_1} M: {output_2}\n<|im_end|>"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes m and M, each more or less likely by what it was asked, and nothing else."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tokenizer = train_bpe(iter([" ".join(WORDS)] * 3), 300)
    # vLLM's server refuses a model without one.
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=ROOM,
            tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    letters = [tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "mM"]
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(8 if weight.dim() > 1 else 1)
        # One channel is large whatever the text, and keeps all tokens but the letters away.
        network.model.embed_tokens.weight[:, 0] = 3
        network.lm_head.weight[:, 0] = -10
        network.lm_head.weight[letters, 0] = 0
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[str]:
    with vllm_server(model, ROOM) as url:
        yield url


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)

    def rows(generator: str) -> list[dict[str, Any]]:
        return [
            {
                "instruction": f"Say {word}?",
                "output": " ".join(random.choice(WORDS, 6)),
                "generator": generator,
            }
            for word in WORDS[:COUNT]
        ]

    save(Path("reference.json"), rows("base"))
    save(Path("outputs.json"), rows("mine"))
    Path("prompt.txt").write_text(PROMPT)


def evaluate(out: str, *words: str) -> dict[str, Any]:
    shared = [
        "--reference",
        "reference.json",
        "--gamed",
        "none",
        "--judge-prompt",
        "prompt.txt",
        "--out",
        out,
    ]
    ended = CliRunner().invoke(app, ["eval", "alpaca_eval", *shared, *words])
    assert ended.exit_code == 0, (ended.output, ended.exception)
    results: dict[str, Any] = json.loads(Path(out, "results.json").read_text())
    assert results["missing"] == {}
    return results


def scores(out: str) -> np.ndarray:
    return read_run(Path(out)).measured["win_rate"].scores


def test_the_judge_through_vllms_server_says_what_transformers_says(model: Path, server: str) -> None:
    judge = ["--judge", "tiny", "judge.engine=openai", f"judge.base_url={server}"]
    results = evaluate("served", "--answers", "outputs.json", *judge)
    assert results["judge"]["engine"] == "openai"
    evaluate("local", "--answers", "outputs.json", "--judge", str(model))
    assert scores("served") == pytest.approx(scores("local"), abs=1e-3)
    # Probabilities that differ between prompts, so that the two could differ.
    assert scores("served").std() > 0.02

    # Greedy, each pair in both orders.
    both = ["--answers", "outputs.json", "--verdict", "both_orders", "judge.max_tokens=1"]
    evaluate("served-both", *both, *judge)
    evaluate("local-both", *both, "--judge", str(model))
    assert scores("served-both").tolist() == scores("local-both").tolist()


def test_the_offline_engine_answers_and_the_server_judges(model: Path, server: str) -> None:
    judge = ["--judge", "tiny", "judge.engine=openai", f"judge.base_url={server}"]
    answered = ["--model", str(model), "max_tokens=6", *judge]
    results = evaluate("vllm", "--engine", "vllm", SETTINGS, *answered)
    assert results["decoding"]["max_tokens"] == 6
    evaluate("transformers", *answered)
    ours, theirs = (
        [row["output"] for row in json.loads(Path(out, "model_outputs.json").read_text())]
        for out in ("vllm", "transformers")
    )
    assert ours == theirs
    assert len(set(ours)) > 1
    assert scores("vllm") == pytest.approx(scores("transformers"), abs=1e-3)
