"""A configuration of any model class of transformers, made tiny by the names of its fields.

Nothing here knows an architecture: what a name means is the same wherever transformers uses it. Windows,
softcaps and patterns of layers are kept and made small enough to matter for a text of a dozen tokens; every
dropout is switched on, because a run has to switch it off.
"""

from __future__ import annotations

from typing import Any

VOCABULARY = 300
SIZES: dict[str, Any] = {
    # widths
    "hidden_size": 32, "d_model": 32, "n_embd": 32, "dim": 32, "embedding_size": 32, "emb_dim": 32,
    "word_embed_proj_dim": 32, "attention_hidden_size": 32, "lru_width": 32, "hidden_dim": 32,
    # between the projections of an MLP
    "intermediate_size": 48, "ffn_dim": 48, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "d_inner": 48,
    "n_inner": 48, "ffn_hidden_size": 48, "feed_forward_size": 48, "dim_ff": 48, "dff": 48,
    "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24, "mlp_hidden_size": 48,
    "expert_intermediate_size": 24, "shared_intermediate_size": 24, "intermediate_size_mlp": 48,
    # layers
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2,
    "decoder_layers": 2, "num_encoder_layers": 2, "num_decoder_layers": 2,
    "first_k_dense_replace": 1, "num_nextn_predict_layers": 0,
    # heads
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4,
    "num_key_value_heads": 2, "num_kv_heads": 2, "head_dim": 8, "attention_head_dim": 8, "kv_channels": 8,
    "d_kv": 8, "attention_head_size": 8, "dim_head": 8, "rotary_dim": 4,
    # latent attention
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "qk_head_dim": 16, "index_n_heads": 16, "index_head_dim": 16, "index_topk": 4,
    # experts
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4,
    "num_experts_per_tok": 2, "num_experts_per_token": 2, "moe_topk": 2, "moe_top_k": 2, "moe_k": 2,
    "n_shared_experts": 1, "num_shared_experts": 1, "n_group": 1, "topk_group": 1, "zero_expert_num": 1,
    # recurrent layers
    "state_size": 8, "ssm_state_size": 8, "mamba_d_state": 8, "mamba_d_ssm": 64, "mamba_n_heads": 8,
    "mamba_d_head": 8, "mamba_n_groups": 1, "n_groups": 1, "mamba_num_heads": 8, "mamba_head_dim": 8,
    "mamba_headdim": 8, "n_mamba_heads": 2, "time_step_rank": 4, "mamba_dt_rank": 4, "chunk_size": 4,
    "mamba_chunk_size": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    # what a text of a dozen tokens reaches
    "sliding_window": 4, "attention_chunk_size": 8, "window_size": 4, "attention_window_size": 4,
    "final_logit_softcapping": 3.0, "attn_logit_softcapping": 3.0, "logits_soft_cap": 3.0,
    # texts
    "vocab_size": VOCABULARY, "max_position_embeddings": 128, "n_positions": 128, "n_ctx": 128,
    "max_seq_len": 128, "max_sequence_length": 128, "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
}  # fmt: skip
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
NOISE = 0.1  # dropout and router jitter
SET_ALWAYS = {"head_dim", "num_key_value_heads"}  # also where the default is None: the class needs a number


def shrink(config_class: type, overrides: dict[str, Any] | None = None) -> Any:
    """Make a tiny configuration; `overrides` are fields that a size by name cannot give, nested as it is."""
    given = overrides or {}
    # Some classes have no valid default: their nested fields are needed for a first look.
    default = config_class(**{name: value for name, value in given.items() if "model_type" in str(value)})
    parts = {name: getattr(default, name, None) for name in getattr(config_class, "sub_configs", {})}
    fields: dict[str, Any] = {}
    for name, value in vars(default).items():
        if name in parts:
            continue
        if name in SIZES and (value is not None or name in SET_ALWAYS):
            fields[name] = SIZES[name]
        elif name in SPECIAL:
            fields[name] = SPECIAL[name]
        elif isinstance(value, float) and ("drop" in name or "jitter" in name):
            fields[name] = NOISE
    if "kv_lora_rank" in vars(default) and "num_key_value_heads" in fields:
        fields["num_key_value_heads"] = fields["num_attention_heads"]  # latent attention shares no heads
    # Some configurations derive the kinds of layers from other fields, as a property.
    if isinstance(kinds := vars(default).get("layer_types"), list):
        fields["layer_types"] = _one_of_each(kinds)
        layers = next(n for n in ("num_hidden_layers", "n_layer", "num_layers") if hasattr(default, n))
        fields[layers] = len(fields["layer_types"])
    for name, part in parts.items():
        if part is not None:
            fields[name] = shrink(type(part), given.get(name))
    return config_class(**(fields | {k: v for k, v in given.items() if k not in parts}))


def _one_of_each(kinds: list[str]) -> list[str]:
    """Keep the first layer of every kind, at least two layers."""
    kept = list(dict.fromkeys(kinds))
    return kept if len(kept) > 1 else kept * 2
