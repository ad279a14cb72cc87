"""A tiny ArmoRM with random weights, laid out as RLHFlow/ArmoRM-Llama3-8B-v0.1 is."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from support.tiny import WORDS
from transformers import LlamaConfig

from pairkit.models.load import train_bpe
from pairkit.rankers.reward_model.armorm import ArmoRM

SPECIAL = ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
# Llama 3's.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content }}<|eot_id|>{% endfor %}"
)
OBJECTIVES = 5


def save(folder: Path, *, template: str = TEMPLATE) -> Path:
    """Save the checkpoint; its config.json names its own code, as the published one does."""
    tokenizer = train_bpe(iter([" ".join(WORDS)] * 3), 300)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    tokenizer.chat_template = template
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=512, num_labels=OBJECTIVES, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, num_objectives=OBJECTIVES, gating_hidden_dim=8, gating_n_hidden=3,
        gating_temperature=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = ArmoRM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.normal_(std=0.4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text())
    said["architectures"] = ["LlamaForRewardModelWithGating"]
    said["auto_map"] = {"AutoModelForSequenceClassification": "modeling_custom.LlamaForRewardModelWithGating"}
    (folder / "config.json").write_text(json.dumps(said))
    (folder / "modeling_custom.py").write_text("raise AssertionError('the code of the checkpoint ran')\n")
    return folder
