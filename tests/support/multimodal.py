"""Tiny checkpoints of text and images, made of configurations, with a tokenizer and a processor's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from support.tiny import WORDS

TEXT: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 128,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}
QWEN_VISION = {
    "depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 16,
    "patch_size": 14, "num_position_embeddings": 16, "deepstack_visual_indexes": [],
}  # fmt: skip
QWEN_TOKENS = {
    "image_token_id": 299, "video_token_id": 298, "vision_start_token_id": 297, "vision_end_token_id": 296
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "Gemma3": {
        "text_config": TEXT | MIXED, "vision_config": VISION, "mm_tokens_per_image": 4,
        "image_token_index": 299, "boi_token_index": 298, "eoi_token_index": 297,
    },
    "Gemma4": {
        "text_config": TEXT | MIXED | {
            "global_head_dim": 8, "vocab_size_per_layer_input": 300, "hidden_size_per_layer_input": 4,
            "num_kv_shared_layers": 0,
        },
        "vision_config": VISION | {"head_dim": 8, "num_key_value_heads": 2}, "audio_config": None,
        "image_token_id": 299, "boi_token_id": 298, "eoi_token_id": 297,
    },
    "Qwen3_5": {
        "text_config": TEXT | {
            "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 2,
            "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 0],
                "partial_rotary_factor": 0.5,
            },
        },
        "vision_config": QWEN_VISION, **QWEN_TOKENS,
    },
    "Mistral3": {
        "text_config": TEXT | {"model_type": "mistral"},
        "vision_config": VISION | {"model_type": "pixtral", "head_dim": 8}, "image_token_index": 299,
    },
    "Llava": {
        "text_config": TEXT | {"model_type": "llama"},
        "vision_config": VISION | {"model_type": "clip_vision_model"}, "image_token_index": 299,
    },
}  # fmt: skip
FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "chat_template.json",
)


def multimodal_folder(folder: Path, kind: str, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Save a checkpoint of a kind with random weights."""
    from pairkit.models.load import train_bpe

    config = getattr(transformers, f"{kind}Config")(**KINDS[kind])
    torch.manual_seed(0)
    model = transformers.AutoModelForImageTextToText.from_config(config)
    model.to(dtype).save_pretrained(folder)
    train_bpe(iter([" ".join(WORDS)] * 3), 290).save_pretrained(folder)
    for name in FILES:
        (folder / name).write_text(json.dumps({"name": name}))
    return folder
