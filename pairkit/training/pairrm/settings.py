"""What a recipe may not set when it trains a PairRM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairkit.models.chat.settings import TemplateSettings
from pairkit.rankers.pairrm.text import EDGES

TEXT = EDGES + 1  # tokens of the shortest text: what is around it, and one
TEXTS = "the ranker's own form of texts is used"


def check_settings(name: str, fields: Mapping[str, Any]) -> None:
    """Refuse what would have no effect on a PairRM, or is not made for it.

    Args:
        name: the loss.
        fields: those of a recipe.

    Raises:
        ValueError: such a field is set, or a length is too short for any text.
    """
    for field, least in (("max_length", 3 * TEXT), ("max_prompt_length", TEXT)):
        if fields[field] is not None and fields[field] < least:
            raise ValueError(
                f"{field} must be at least {least} with {name}, which reads three texts of {TEXT} tokens or "
                f"more, got {fields[field]}"
            )
    tokenizer, scratch = fields["tokenizer"], fields["model"].endswith(".json")
    best = fields["keep_best"]
    new_tokenizer = tokenizer is not None and tokenizer.startswith("bpe:")
    useless = {
        "lora": (fields["lora"], "all of its weights are trained"),
        "shard": (fields["shard"], "the model is whole in every process"),
        "compile": (fields["compile"], "its attention is computed by pairkit itself"),
        "attention": (fields["attention"], "its attention is computed by pairkit itself"),
        "share_prompts=false": (not fields["share_prompts"], "no prompt is shared, set or not"),
        "reference": (fields["reference"], "a PairRM has no reference"),
        "trust_remote_code": (fields["trust_remote_code"], "no code of a repository is run"),
        "tokens.add": (fields["tokens"], "its tokenizer is that of the encoder, with PairRM's prefixes"),
        "tokenizer": (tokenizer and not scratch, "a model has its own; it is for a configuration file"),
        f"tokenizer={tokenizer}": (new_tokenizer, "it must be that of a DeBERTa-v2 or v3"),
        "negatives": (fields["negatives"], "it takes every pair of different ranks; see pairs_per_set"),
        "expand": (fields["expand"], "every pair is an example of its own already"),
        "template": (fields["template"] != TemplateSettings(), TEXTS),
        "thoughts=mask": (fields["thoughts"] == "mask", "use thoughts=train or thoughts=strip"),
        "assistant_turns=all": (fields["assistant_turns"] == "all", "no token is scored"),
        "eval.generate": (fields["eval"].generate, "a PairRM generates nothing"),
        "record": (fields["record"].asked, "a PairRM has no log-probs and writes nothing"),
        f"keep_best={best}": (best and "logp" in best, "a PairRM has no log-probs"),
        "router_aux_loss": (fields["router_aux_loss"] is not None, "it is for policies only"),
    }
    for field, (value, reason) in useless.items():
        if value:
            raise ValueError(f"{field} cannot be set with {name}: {reason}")
