"""Tiny models of every architecture, sets of tokens for them, and their statistics from full logits.

Shapes: B sets, K completions of the set that has the most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from pairkit.training.logprobs import head, target_logp
from pairkit.training.logprobs.selection import Scored, SetSelection
from pairkit.training.tokens.token_set import Column, TokenSet

VOCABULARY = 67
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PLAIN = {name: value for name, value in SMALL.items() if name not in ("num_key_value_heads", "head_dim")}
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
MIXED = ["sliding_attention", "full_attention"]
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": SMALL,
    "GPT2": GPT2 | NO_DROPOUT,
    "GPTNeoX": PLAIN,
    "Gemma2": SMALL | {"final_logit_softcapping": 2.0, "sliding_window": 3, "layer_types": MIXED},
    "Gemma3Text": SMALL | {"final_logit_softcapping": 2.0, "sliding_window": 3, "layer_types": MIXED},
    "Qwen2": SMALL,
    "Qwen3": SMALL,
    "Mistral": SMALL | {"sliding_window": None},
    "Mistral-window": SMALL | {"sliding_window": 4},
    "Phi3": SMALL,
    "Phi": PLAIN,
    "Cohere": SMALL | {"logit_scale": 0.25},
    "Granite": SMALL | {"logits_scaling": 4.0},
    "Olmo2": SMALL,
    "Mixtral": SMALL | {"num_local_experts": 3, "num_experts_per_tok": 2},
    "HyperCLOVAX": SMALL | {"logits_scaling": 4.0},
    "MiniCPM3": PLAIN | {"q_lora_rank": 8, "kv_lora_rank": 8, "dim_model_base": 4},
    "FalconH1": SMALL | {"lm_head_multiplier": 0.5, "mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8},
    "Qwen3Next": SMALL | {"layer_types": ["linear_attention", "full_attention"], "num_experts": 3,
                          "num_experts_per_tok": 2, "moe_intermediate_size": 8,
                          "shared_expert_intermediate_size": 8},
    "GptOss": SMALL | {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 3},
}  # fmt: skip
PADDED = {  # which cannot attend over packed sequences, and the printed reason
    "FalconH1": "it has layers of hybrid",
    "Qwen3Next": "it has layers of linear_attention",
    "GptOss": "packed attention does not support s_aux",
}
COUNTS = ((3, 5, 1), (6, 4), (2,), (9, 1, 7, 3))  # tokens of each completion of each set


def tiny(architecture: str = "Llama", seed: int = 0, **fields: Any) -> nn.Module:
    """Make a model of random weights, large enough for logits of the size of a trained model's."""
    config = getattr(transformers, f"{architecture.partition('-')[0]}Config")(
        **ARCHITECTURES[architecture] | fields
    )
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
            elif name.endswith("bias"):
                parameter.normal_()
    return model.eval()  # type: ignore[no-any-return]


def sets(counts: tuple[tuple[int, ...], ...] = COUNTS, vocabulary: int = VOCABULARY) -> list[TokenSet]:
    """Make random prompts of 2 to 5 tokens, and completions of the given numbers of tokens."""
    random = np.random.default_rng(0)

    def ids(count: int) -> Any:
        return random.integers(3, vocabulary, count).astype(np.int32)

    return [
        TokenSet(str(i), ids(2 + i % 4), tuple(Column(ids(n), None, None, "source") for n in row))
        for i, row in enumerate(counts)
    ]


def masked(items: list[TokenSet], seed: int = 0) -> list[TokenSet]:
    """Mask tokens at random, beginnings, ends and middles, but never all; some completions have no mask."""
    random = np.random.default_rng(seed)

    def mask(column: Column) -> Column:
        scored = random.random(len(column.ids)) < 0.5
        scored[random.integers(len(scored))] = True
        return column if random.integers(3) == 0 else column._replace(scored=scored)

    return [item._replace(columns=tuple(map(mask, item.columns))) for item in items]


def select_all(items: list[TokenSet]) -> list[SetSelection]:
    return [SetSelection.all(item) for item in items]


def naive(model: nn.Module, work: list[SetSelection], live: nn.Module | None = None) -> dict[str, Tensor]:
    """Compute every statistic, `[B, K]` each, one completion at a time, from full logits.

    In float32, or in float64 of a model that is.
    """
    most = max(len(item.columns) for item in work)
    blank = torch.zeros(len(work), most, dtype=next(model.parameters()).dtype)
    prefixes = ("head_sum", "chosen_head", "reference_head_sum", "reference_chosen_head")
    names = ("sum", *prefixes, "token_kl", "alignment", "entropy", "reference")
    rows: dict[str, list[list[Tensor]]] = {name: [] for name in names}
    for item in work:
        chosen: dict[str, Tensor] = {}
        for name in rows:
            rows[name].append([])
        for c in item.columns:
            completion = item.tokens.columns[c].ids
            ids = torch.from_numpy(np.concatenate([item.tokens.prompt, completion])).long()
            at = torch.arange(len(item.tokens.prompt), len(ids))
            if (mask := item.tokens.columns[c].scored) is not None:
                at = at[torch.from_numpy(mask)]
            logp = log_softmax(model(input_ids=ids[None]).logits[0].to(blank.dtype), dim=-1)[at - 1]
            per_token = {"sum": logp.gather(1, ids[at, None])[:, 0]}
            if live is not None:
                with torch.no_grad():
                    logits = live(input_ids=ids[None]).logits[0].to(blank.dtype)
                    reference = log_softmax(logits, dim=-1)[at - 1]
                per_token["reference"] = reference.gather(1, ids[at, None])[:, 0]
                per_token["token_kl"] = (reference.exp() * (reference - logp)).sum(dim=-1)
            chosen = chosen or per_token
            count = min(len(chosen["sum"]), len(per_token["sum"]))
            for name, prefix in (("sum", ""), ("reference", "reference_")):
                if name in per_token:
                    per_token[f"{prefix}head_sum"] = per_token[name][:count]
                    per_token[f"{prefix}chosen_head"] = chosen[name][:count]
            sums = {name: values.sum() for name, values in per_token.items()}
            sums["entropy"] = -(logp.exp() * logp).sum(dim=-1).mean()
            sums["alignment"] = (per_token["sum"] - logp.exp().square().sum(dim=-1).log()).mean()
            for name, value in sums.items():
                rows[name][-1].append(value)
    return {
        name: torch.stack([torch.stack([*row, *blank[0, len(row) :]]) for row in values])
        for name, values in rows.items()
        if values[0]
    }


def statistics_of(scored: Scored) -> dict[str, Tensor]:
    """Return the same statistics by the same names, of a pass."""
    statistics = {
        name: value for name, value in scored.policy.tensors().items() if name not in ("length", "mask")
    }
    if scored.entropy is not None:
        statistics["entropy"] = scored.entropy
    if scored.reference is not None:
        statistics["reference"] = scored.reference.sum
        for name in ("head_sum", "chosen_head"):
            if (values := getattr(scored.reference, name)) is not None:
                statistics[f"reference_{name}"] = values
    return statistics


def gradients(model: nn.Module, statistics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradients of a weighted sum of all that has one, with another weight for each completion."""
    total = torch.zeros(())
    for name, factor in {"sum": 0.1, "head_sum": 0.3, "chosen_head": 0.15, "token_kl": 0.2}.items():
        if name in statistics:
            values = statistics[name]
            weights = torch.arange(values.numel()).view(values.shape) % 7 - 2.5
            total = total + factor * (weights * values).sum()
    model.zero_grad()
    total.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(
    found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5, *, rounding: float = 0.0
) -> None:
    """Compare values by name, each by its largest number; `rounding` is a share of the largest of all.

    Some gradients, of the biases of keys most of all, are small differences of large numbers: they cannot be
    more exact than those are.
    """
    assert found.keys() == expected.keys()
    scales = {name: float(value.detach().abs().max()) for name, value in expected.items()}
    least = rounding * max(scales.values())
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name],
            value,
            rtol=tolerance,
            atol=tolerance * scales[name] + least,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def few_logits(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Limit the logits of a chunk of tokens, and of a slice of the vocabulary."""
    monkeypatch.setattr(head, "CHUNK_LOGITS", count)
    monkeypatch.setattr(target_logp, "SLICE_LOGITS", {"cpu": count, "cuda": count})
    monkeypatch.setattr(target_logp, "KEPT_LOGITS", count)
