"""Reward models from a hub id or a directory, and what keeps one from being used."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pairkit.errors import ModelError
from pairkit.models.inference import Dtype, choose
from pairkit.models.names import cannot_load

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CLASS = "AutoModelForSequenceClassification"
# What checkpoints of ArmoRM call their class. pairkit has it: their code does not run with transformers 5.
ARMORM = "LlamaForRewardModelWithGating"


def load(
    name: str, revision: str | None, *, trust_remote_code: bool, dtype: Dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer. Raises `ModelError`: see `reward_model.load`."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    said = _said(name, revision)
    armorm = ARMORM in (said.get("architectures") or ())
    if not trust_remote_code and not armorm:
        _refuse_remote_code(name, said)
    where: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(name, **where)
        tokenizer = AutoTokenizer.from_pretrained(name, **where)
    except Exception as error:  # of a dozen types: transformers', the hub's, the checkpoint's own code's
        raise cannot_load("model", name, error) from error
    own_code = armorm or CLASS in (getattr(config, "auto_map", None) or {})
    _check(name, config, tokenizer, own_code=own_code)
    precision, device = choose(dtype)
    if armorm:
        from pairkit.rankers.reward_model.armorm import ArmoRM

        opened, where = partial(ArmoRM.from_pretrained, name), {"revision": revision}
    else:
        opened = partial(AutoModelForSequenceClassification.from_pretrained, name)
    try:
        model, found = opened(config=config, dtype=precision, output_loading_info=True, **where)
    except Exception as error:  # as above
        raise cannot_load("model", name, error) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"{name!r} is no reward model: its checkpoint lacks {missing[0]!r} (one of {len(missing)}), "
            "which would be random numbers; a model that generates text cannot score"
        )
    if armorm:
        model.use(tokenizer)
    return model.to(device).eval(), tokenizer


def _said(name: str, revision: str | None) -> dict[str, Any]:
    """The checkpoint's config.json."""
    from transformers import PreTrainedConfig

    try:
        said, _ = PreTrainedConfig.get_config_dict(name, revision=revision)
    except Exception as error:  # of a dozen types: transformers', the hub's
        raise cannot_load("model", name, error) from error
    return said  # type: ignore[no-any-return]


def _refuse_remote_code(name: str, said: Mapping[str, Any]) -> None:
    """transformers would load a class of its own where it has one, and leave out what the code adds."""
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
