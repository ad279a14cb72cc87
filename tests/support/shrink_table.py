"""Fields of tiny configurations that `support.shrink` cannot give by their names, by model type."""

from __future__ import annotations

from typing import Any

BLT = {"hidden_size_global": 64}  # two vectors of 32 per patch
DOTS3 = {
    "num_key_value_heads": 4,
    "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_kv_lora_rank": 16, "swa_q_lora_rank": 16,
    "swa_head_dim": 16, "swa_qk_nope_head_dim": 8, "swa_v_head_dim": 8,
}  # fmt: skip
GEMMA4 = {"global_head_dim": 16}  # of layers that attend to all positions
GEMMA4_ASSISTANT = {"model_type": "gemma4_text", "hidden_size_per_layer_input": 0,
                    "vocab_size_per_layer_input": 0, "num_kv_shared_layers": 2, "num_hidden_layers": 2,
                    "layer_types": ["sliding_attention", "full_attention"]}  # fmt: skip
QWEN4 = {"indexer_n_heads": 16, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 4,
         "indexer_compress_ratio": 2, "hc_lowrank": 8}  # fmt: skip
ZAMBA = {"layers_block_type": ["linear_attention", "hybrid", "hybrid"], "num_hidden_layers": 3}
OVERRIDES: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"n_group": 2},
    "bamba": {"attn_layer_indices": [1]},
    "blt": {
        "encoder_hash_byte_group_vocab": 100, "encoder_config": BLT, "decoder_config": BLT,
        "global_config": {"hidden_size": 64, "num_attention_heads": 8},
    },
    "cohere_compass_text": {
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
        }
    },
    "dbrx": {"attn_config": {"rope_theta": 1e4, "clip_qkv": 8.0}, "ffn_config": {"hidden_size": 32}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "diffllama": {"attention_dropout": 0.0},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note": {
        "text_config": DOTS3,
        "vision_config": {"pyramid_num_routed": [0, 4], "adapter_in_dim": 32, "adapter_out_dim": 32},
        "audio_config": {"adapter_input_size": 32, "adapter_out_dim": 32},
    },
    "dots3_note_text": DOTS3,
    "emu3": {"vocabulary_map": {"<image>": 5}},
    "gemma3n_text": {"num_hidden_layers": 4, "num_kv_shared_layers": 2,
                     "layer_types": ["sliding_attention", "full_attention"] * 2},
    "gemma4": {"text_config": GEMMA4},
    "gemma4_assistant": {"text_config": GEMMA4_ASSISTANT},
    "gemma4_text": GEMMA4,
    "gemma4_unified": {"text_config": GEMMA4},
    "gemma4_unified_text": GEMMA4,
    "gemma4_unified_assistant": {
        "text_config": GEMMA4_ASSISTANT | {"model_type": "gemma4_unified_text"}
    },
    "got_ocr2": {},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "jamba": {"attn_layer_offset": 1, "attn_layer_period": 2},
    "kimi_linear": {"linear_head_dim": 8, "linear_num_heads": 4},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"expert_ffn_hidden_size": 24},
    "mamba2": {"num_heads": 8},
    "qwen4_exp": {"text_config": QWEN4},
    "qwen4_exp_text": QWEN4,
    "reformer": {
        "is_decoder": True, "axial_pos_shape": [8, 16], "axial_pos_embds_dim": [16, 16],
        "attn_layers": ["local", "lsh"], "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4,
        "num_buckets": 2,
    },
    "roc_bert": {"pronunciation_embed_dim": 8, "shape_embed_dim": 8, "shape_vocab_size": 300},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"attention_hidden_size": 64, "attention_head_dim": 16, **ZAMBA},
    "zamba2": {"attention_hidden_size": 64, "attention_head_dim": 16, "mamba_ngroups": 1,
               "n_mamba_heads": 8, **ZAMBA},
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip
