"""The transformers engine, compared with `generate` of transformers on the same prompts, by turns.

    python benchmarks/transformers_engine.py --model DIR                # or a Hub id of a small chat model
    python benchmarks/transformers_engine.py --model DIR --prompts 64 --max-tokens 256

The prompts are questions of 20 to 80 tokens in the chat template, with six completions each, two at each of
three temperatures. `generate` gets them as people write it: batches of --batch rows, sorted by length, padded
on the left, one temperature at a time. pairkit's engine divides them itself. A token is one that a completion
has, its end included; medians of --runs.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from typing import Any

import torch

from pairkit.engines.base import Request, Sampling
from pairkit.engines.transformers import TransformersEngine, load_transformers, stop_tokens

TEMPERATURES = (0.6, 0.8, 1.0)
EACH = 2  # completions per prompt and temperature


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64, help="rows per call of generate")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    engine = load_transformers(arguments.model)
    prompts = [ids(engine, number) for number in range(arguments.prompts)]
    contenders = {"generate": theirs, "pairkit": ours}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(arguments.runs):
        for name, contender in contenders.items():
            started = time.perf_counter()
            tokens = contender(engine, prompts, arguments)
            rates[name].append(tokens / (time.perf_counter() - started))
            print(f"{name}: {rates[name][-1]:.1f} tokens/s, {tokens:,} tokens", flush=True)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, {engine.model.dtype}")
    print(f"| tokens per second | {medians['generate']:.1f} | {medians['pairkit']:.1f} | ", end="")
    print(f"{medians['pairkit'] / medians['generate']:.2f} x |")


def ids(engine: TransformersEngine, number: int) -> list[int]:
    """Return a prompt's tokens; the prompts differ in length."""
    terms = " + ".join(str(100 + number * term) for term in range(1, 2 + number % 8))
    text = engine.tokenizer.apply_chat_template(
        [{"role": "user", "content": f"Explain how to add {terms}."}],
        tokenize=False,
        add_generation_prompt=True,
    )
    found: list[int] = engine.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def ours(engine: TransformersEngine, prompts: list[list[int]], arguments: argparse.Namespace) -> int:
    """Generate with pairkit's engine; return the number of tokens."""
    requests = [
        Request(
            prompt,
            tuple(
                Sampling(temperature, 1.0, 1000 * number + 10 * place + copy, arguments.max_tokens)
                for place, temperature in enumerate(TEMPERATURES)
                for copy in range(EACH)
            ),
        )
        for number, prompt in enumerate(prompts)
    ]
    tokens = 0
    for number, call in enumerate(engine.calls(requests)):
        engine.submit(number, call)
        for _, results in engine.collect():
            tokens += sum(completion.tokens for group in results for completion in group)
    return tokens


def theirs(engine: TransformersEngine, prompts: list[list[int]], arguments: argparse.Namespace) -> int:
    """Generate with `model.generate`; return the number of tokens up to the first end of each."""
    stops = torch.tensor(stop_tokens(engine.model, engine.chat))
    tokens = 0
    for temperature in TEMPERATURES:
        rows = sorted((prompt for prompt in prompts for _ in range(EACH)), key=len)
        for start in range(0, len(rows), arguments.batch):
            tokens += generated(
                engine.model, rows[start : start + arguments.batch], temperature, stops, arguments
            )
    return tokens


def generated(
    model: Any, rows: list[list[int]], temperature: float, stops: torch.Tensor, arguments: argparse.Namespace
) -> int:
    """Run `generate` on rows of tokens, and count what it generated."""
    width = max(map(len, rows))
    padded = torch.tensor([[int(stops[0])] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    with torch.no_grad():
        output = model.generate(
            input_ids=padded,
            attention_mask=mask,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=arguments.max_tokens,
            eos_token_id=stops.tolist(),
            pad_token_id=int(stops[0]),
        )
    ended = torch.isin(output[:, width:], stops)
    # What follows a row's first end token is padding.
    lengths = torch.where(ended.any(dim=1), ended.int().argmax(dim=1) + 1, ended.shape[1])
    return int(lengths.sum())


if __name__ == "__main__":
    main()
