"""The workload of the training benchmarks: a model with random weights, and texts of random tokens."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

NEGATIVES = 5
MAX_LENGTH = 1024
MAX_PROMPT = MAX_LENGTH * 7 // 8  # the trainer's default

# Llama's shape; "1b" is that of Llama 3.2 1B.
MODELS: dict[str, dict[str, Any]] = {
    "small": {
        "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
    "1b": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}  # fmt: skip


def token_sets(
    sets: int, vocabulary: int, lengths: str = "uniform"
) -> list[tuple[list[int], list[list[int]]]]:
    """Make prompts with completions: a chosen one and `NEGATIVES` others.

    Args:
        lengths: "uniform", prompts of 200 to 400 and completions of 50 to 300 tokens; or "ultrafeedback",
            those of real texts.
    """
    random = np.random.default_rng(0)
    sizes = _uniform(random) if lengths == "uniform" else _ultrafeedback(random)

    def ids() -> list[int]:
        size = next(sizes)
        return [int(i) for i in random.integers(3, vocabulary, size)]

    return [(ids(), [ids() for _ in range(1 + NEGATIVES)]) for _ in range(sets)]


def _uniform(random: np.random.Generator) -> Iterator[int]:
    """Yield sizes of a prompt, of its completions, of the next prompt, without end."""
    while True:
        yield int(random.integers(200, 401))
        for _ in range(1 + NEGATIVES):
            yield int(random.integers(50, 301))


def _ultrafeedback(random: np.random.Generator) -> Iterator[int]:
    """Yield the same of real pairs; for the other negatives those of rejected texts of other pairs.

    What exceeds `MAX_LENGTH` is cut here as the trainer cuts it, because all contenders have to get the same
    tokens.
    """
    rows = ultrafeedback_lengths()
    while True:
        prompt, *pair = rows[random.integers(len(rows))]
        others = (rows[i][2] for i in random.integers(len(rows), size=NEGATIVES - 1))
        prompt = min(prompt, MAX_PROMPT)
        yield prompt
        for size in (*pair, *others):
            yield max(1, min(size, MAX_LENGTH - prompt))


def ultrafeedback_lengths() -> list[tuple[int, int, int]]:
    """Count the tokens of prompt, chosen and rejected of 800 pairs, by a BPE of 8,192 trained on them."""
    from pairkit.models.load import train_bpe

    folder = os.environ.get("PAIRKIT_TEST_DATA")
    if not folder:
        raise SystemExit("--lengths ultrafeedback reads real rows: set PAIRKIT_TEST_DATA to their folder")
    path = Path(folder) / "ultrafeedback_binarized_trl_flat.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = [row[field] for row in rows for field in ("prompt", "chosen", "rejected")]
    tokenizer = train_bpe(iter(texts), 8192)
    sizes = [max(1, len(ids)) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    return list(zip(sizes[::3], sizes[1::3], sizes[2::3], strict=True))


def new_model(vocabulary: int, model: str = "small") -> Any:
    """Make a model with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            **MODELS[model],
            vocab_size=vocabulary,
            max_position_embeddings=MAX_LENGTH,
            tie_word_embeddings=True,
        )
    )


def save_model(folder: Path, vocabulary: int, model: str = "small", dtype: str = "float32") -> None:
    """Save the model, and a tokenizer of one word per token, for TRL."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    new_model(vocabulary, model).to(getattr(torch, dtype)).save_pretrained(folder)
    words = {f"t{i}": i for i in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="t0", eos_token="t2").save_pretrained(
        folder
    )
