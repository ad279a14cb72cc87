"""A tiny model of any causal class of transformers, and what transformers alone makes of texts with it.

Without pytest, because benchmarks take models from here too.
"""

from __future__ import annotations

import torch
from support.shrink import shrink
from support.shrink_table import OVERRIDES
from torch import Tensor, nn
from torch.nn.functional import log_softmax
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForMultimodalLM

from pairkit.training.logprobs.selection import SetSelection


def build(case: str) -> tuple[nn.Module | None, str]:
    """Make a tiny model of random weights, large enough for logits of the size of a trained model's.

    Args:
        case: a model type, or one with a switch, such as "bert is_decoder=true".

    Returns:
        No model, and the reason, where transformers cannot make one here.
    """
    model_type, _, switch = case.partition(" ")
    overrides = dict(OVERRIDES.get(model_type, {}))
    if switch:
        overrides[switch.removesuffix("=true")] = True
    try:
        config = shrink(CONFIG_MAPPING[model_type], overrides)
        multimodal = type(config) in AutoModelForMultimodalLM._model_mapping
        torch.manual_seed(0)
        model = (AutoModelForMultimodalLM if multimodal else AutoModelForCausalLM).from_config(config)
    except Exception as error:  # whatever a class does with a configuration
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # The class of a checked configuration's error is that of the check: the reason comes after it.
        reason = lines[1] if lines[0].startswith("Class validation") else lines[0]
        return None, reason.partition(". ")[0].rstrip(".")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and parameter.std() < 0.05:
                parameter.normal_(0, 0.16)
            elif parameter.ndim == 1 and parameter.abs().max() < 0.1:  # biases, attention sinks
                parameter.normal_(0, 0.5)
    return model, ""


def plain_sums(model: nn.Module, work: list[SetSelection]) -> Tensor:
    """Compute log-probs of completions with transformers alone, `[B, K]`: each text by itself."""
    most = max(len(item.columns) for item in work)
    device = next(model.parameters()).device
    rows = []
    for item in work:
        prompt = torch.from_numpy(item.tokens.prompt).long().to(device)
        sums = []
        for completion in item.completions:
            targets = torch.from_numpy(completion).long().to(device)
            # No mask and no padding, because there is nothing to mask.
            logits = model(input_ids=torch.cat([prompt, targets])[None], use_cache=False).logits[0]
            logp = log_softmax(logits.float(), dim=-1)[len(prompt) - 1 : -1]
            sums.append(logp.gather(1, targets[:, None]).sum())
        rows.append(torch.stack([*sums, *torch.zeros(most - len(sums), device=device)]))
    return torch.stack(rows)
