"""vLLM through pairkit, compared with direct `LLM.generate` on the same requests, in turn in one process.

    .venv-vllm/bin/python benchmarks/vllm_engine.py            # an environment with vLLM: see .ci/vllm
    .venv-vllm/bin/python benchmarks/vllm_engine.py --model Qwen/Qwen3-0.6B --prompts 512 --max-tokens 256

The requests are prompts of 50 to 150 tokens with six completions each, two at each of three temperatures. The
direct call gets all prompts with one `SamplingParams(n=2)` per temperature; pairkit's engine renders the
prompts, gives each completion its own seed, and stores every answer in its cache of calls. Without --model it
creates a Llama of two layers with random weights. Prints medians; the model is loaded once, and both run once
to warm up.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TEMPERATURES = (0.6, 0.8, 1.0)


def new_model(folder: Path) -> str:
    """Save a Llama of two layers with random weights; return its directory."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from pairkit.quickstart.model import tiny_tokenizer

    tiny_tokenizer().save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder), arguments.model or new_model(Path(folder) / "tiny"))


def compare(arguments: argparse.Namespace, folder: Path, model: str) -> None:
    """Time both, in turn, and print the medians."""
    from vllm import SamplingParams

    from pairkit.engines import open_engine
    from pairkit.engines.asking import complete
    from pairkit.engines.base import Request, Sampling
    from pairkit.engines.cache import Cache
    from pairkit.engines.recipe import EngineRecipe

    dice = np.random.default_rng(0)
    texts = [
        "".join(dice.choice(list("0123456789+="), dice.integers(50, 150))) for _ in range(arguments.prompts)
    ]
    settings = {"max_model_len": 1024, "enforce_eager": True}
    engine: Any = open_engine(EngineRecipe(engine="vllm", model=model, vllm=settings))
    llm = engine.llm
    cache = Cache(folder / "calls.sqlite")

    def ours(run: int) -> int:
        requests = [
            Request(
                [{"role": "user", "content": text}],
                tuple(
                    Sampling(temperature, 1.0, 1000 * run + 10 * number + copy, arguments.max_tokens)
                    for temperature in TEMPERATURES
                    for copy in range(2)
                ),
            )
            for number, text in enumerate(texts)
        ]
        return sum(completion.tokens for row in complete(engine, requests, cache) for completion in row)  # type: ignore

    def bare(run: int) -> int:
        conversations = [[{"role": "user", "content": text}] for text in texts]
        prompts = [
            {"prompt_token_ids": call.requests[0].prompt}
            for call in engine.calls([Request(turns, (Sampling(1.0, 1.0, 0, 1),)) for turns in conversations])
        ]
        params = [
            SamplingParams(
                n=2, temperature=temperature, seed=1000 * run + number, max_tokens=arguments.max_tokens
            )
            for number in range(len(prompts))
            for temperature in TEMPERATURES
        ]
        repeated = [prompt for prompt in prompts for _ in TEMPERATURES]
        outputs = llm.generate(repeated, params, use_tqdm=False)
        return sum(len(completion.token_ids) for output in outputs for completion in output.outputs)

    seconds: dict[str, list[float]] = {"LLM.generate": [], "pairkit": []}
    tokens: dict[str, list[int]] = {"LLM.generate": [], "pairkit": []}
    for run in range(arguments.runs + 1):
        for name, call in (("LLM.generate", bare), ("pairkit", ours)):
            begin = time.perf_counter()
            generated = call(run)
            if run:
                seconds[name].append(time.perf_counter() - begin)
                tokens[name].append(generated)
    engine.close()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {model}")
    print("| | s | tokens | tokens/s |\n|---|--:|--:|--:|")
    rates = {}
    for name in seconds:
        median = statistics.median(seconds[name])
        rates[name] = statistics.median(t / s for t, s in zip(tokens[name], seconds[name], strict=True))
        print(f"| {name} | {median:.2f} | {statistics.median(tokens[name]):,.0f} | {rates[name]:,.0f} |")
    print(f"time per token, pairkit over LLM.generate: {rates['LLM.generate'] / rates['pairkit']:.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": seconds, "tokens": tokens}))


if __name__ == "__main__":
    main()
