"""Small real parts for tests: a built dataset, a tokenizer, models of a few thousand parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.files import sha256
from pairkit.schema import UNIDENTIFIED, identify, with_all_columns

TEXT = "the a red blue old new cat dog house tree runs sleeps sees finds under over near behind"
WORDS = TEXT.split()


def completion(text: str, rank: int | None = None, **fields: Any) -> dict[str, Any]:
    """Make a completion; what is not among `fields` is empty."""
    empty = {"model": "m", "score": None, "scores": [], "sampling": None, "metadata": None}
    return {
        **empty, "text": text, "rank": rank, "finish_reason": None, "origin": "source", **fields
    }  # fmt: skip


def candidate_sets(rows: list[tuple[str | list[dict[str, str]], list[dict[str, Any]]]]) -> pa.Table:
    """Make a table of `schema.SETS` from (prompt, completions)."""
    prompts = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p, _ in rows]
    columns = {
        "source": ["test"] * len(rows),
        "prompt": prompts,
        "completions": [completions for _, completions in rows],
        "metadata": ["{}"] * len(rows),
    }
    return identify(with_all_columns(pa.table(columns)).cast(UNIDENTIFIED), {})


def random_sets(count: int, completions: int = 4, seed: int = 0) -> pa.Table:
    """Make sets of random texts of 1 to 12 words, ranked; every other set ends with a noise completion."""
    random = np.random.default_rng(seed)

    def text() -> str:
        return " ".join(random.choice(WORDS, random.integers(1, 13)))

    rows: list[tuple[str | list[dict[str, str]], list[dict[str, Any]]]] = []
    for index in range(count):
        ranked = [completion(text(), rank + 1, score=float(-rank)) for rank in range(completions)]
        noise = [completion(text(), origin="noise", model="noise:token_swap")] if index % 2 else []
        rows.append((f"{index} {text()}", ranked + noise))
    return candidate_sets(rows)


def write_data(folder: Path, train: pa.Table, test: pa.Table | None = None, rejected: str = "policy") -> Path:
    """Write what the trainer reads of a directory that `pairkit build` wrote."""
    (folder / "data").mkdir(parents=True)
    pq.write_table(train, folder / "data" / "train-00000-of-00001.parquet")
    if test is not None:
        pq.write_table(test, folder / "data" / "test-00000-of-00001.parquet")
    files = {f"data/{path.name}": {"sha256": sha256(path)} for path in (folder / "data").iterdir()}
    manifest = {"schema_version": 1, "recipe": {"mine": {"rejected": rejected}}, "files": files}
    (folder / "pairkit.json").write_text(json.dumps(manifest))
    return folder


def model_folder(folder: Path, kind: str = "llama", template: str | None = None) -> Path:
    """Save a model with random weights and a byte-level tokenizer of 300 tokens."""
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    from pairkit.models.load import train_bpe

    tokenizer = train_bpe(iter([" ".join(WORDS)] * 3), 300)
    tokenizer.chat_template = template
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": len(tokenizer)}
    if kind == "llama":
        config: Any = LlamaConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=128, **special,
        )  # fmt: skip
    else:
        config = GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=128, **special)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def dice_model(folder: Path, sides: str, end: float = 0.2) -> Path:
    """Save a model that writes the characters of `sides`, each equally likely whatever precedes it.

    At temperature 1 it ends with probability `end` after each.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from pairkit.models.load import train_bpe

    tokenizer = train_bpe(iter([" ".join(WORDS)] * 3), 300)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=2048, tie_word_embeddings=False,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    logits = torch.full((len(tokenizer),), -100.0)
    written = [token for side in sides for token in tokenizer(side, add_special_tokens=False)["input_ids"]]
    logits[written] = float(np.log((1 - end) / len(sides)))
    logits[2] = float(np.log(end))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.zero_()
        # Every token embeds as the same unit vector, which the norm scales to length 4.
        model.model.embed_tokens.weight[:, 0] = 1
        model.lm_head.weight[:, 0] = logits / 4
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def short_run(data: Path, model: Path, loss: Any, **fields: Any) -> dict[str, Any]:
    """Make a recipe of four steps of seven sets in several micro-batches, with a checkpoint in the middle."""
    base = {
        "data": str(data), "model": str(model), "loss": loss, "sets_per_step": 7, "max_steps": 4,
        "max_length": 96, "optimizer": {"learning_rate": 1e-2}, "save_every": 2, "keep": 5,
        "eval_every": 2, "tokens_per_micro_batch": 300,
    }  # fmt: skip
    return base | fields


def save_model(folder: Path, seed: int) -> Path:
    """Save the tiny model of the quickstart with random weights from `seed`."""
    import torch
    from transformers import LlamaForCausalLM

    from pairkit.quickstart.model import save_start, tiny_config

    save_start(folder)
    torch.manual_seed(seed)
    LlamaForCausalLM(tiny_config()).save_pretrained(folder)
    return folder
