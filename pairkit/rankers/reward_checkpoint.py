"""Reward models from a hub id or a directory, and what keeps one from being used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pairkit.errors import ModelError
from pairkit.pretrained import cannot_load
from pairkit.rankers.precision import Dtype, choose

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CLASS = "AutoModelForSequenceClassification"


def load(
    name: str, revision: str | None, *, trust_remote_code: bool, dtype: Dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer. Raises `ModelError`: see `reward_model.load`."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    if not trust_remote_code:
        _refuse_remote_code(name, revision)
    where: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(name, **where)
        tokenizer = AutoTokenizer.from_pretrained(name, **where)
    except Exception as error:  # of a dozen types: transformers', the hub's, the checkpoint's own code's
        raise cannot_load("model", name, error) from error
    own_code = CLASS in (getattr(config, "auto_map", None) or {})
    _check(name, config, tokenizer, own_code=own_code)
    precision, device = choose(dtype)
    try:
        model, said = AutoModelForSequenceClassification.from_pretrained(
            name, config=config, dtype=precision, output_loading_info=True, **where
        )
    except Exception as error:  # as above
        raise cannot_load("model", name, error) from error
    missing = sorted(said["missing_keys"])
    if missing:
        raise ModelError(
            f"{name!r} is no reward model: its checkpoint lacks {missing[0]!r} (one of {len(missing)}), "
            "which would be random numbers; a model that generates text cannot score"
        )
    return model.to(device).eval(), tokenizer


def _refuse_remote_code(name: str, revision: str | None) -> None:
    """transformers would load a class of its own where it has one, and leave out what the code adds."""
    from transformers import PreTrainedConfig

    try:
        said, _ = PreTrainedConfig.get_config_dict(name, revision=revision)
    except Exception as error:  # of a dozen types: transformers', the hub's
        raise cannot_load("model", name, error) from error
    if said.get("auto_map"):
        raise ModelError(
            f"the model {name!r} brings code of its own (for {', '.join(sorted(said['auto_map']))}), which "
            "is not run unless asked for: read it, then set trust_remote_code=true"
        )


def _check(name: str, config: Any, tokenizer: PreTrainedTokenizerBase, *, own_code: bool) -> None:
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {name!r} has no chat template, so how the model wants a conversation written "
            "is not known; use a reward model that has one, or save its tokenizer with a `chat_template`"
        )
    if config.num_labels != 1 and not own_code:
        raise ModelError(
            f"{name!r} gives {config.num_labels} logits: which of them is the reward is not known; use a "
            "reward model with one logit (num_labels: 1)"
        )
