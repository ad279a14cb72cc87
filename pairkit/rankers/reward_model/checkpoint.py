"""Reward models from a hub id or a directory, checked before they score anything."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pairkit.errors import ModelError
from pairkit.models.inference import Dtype, resolve_precision
from pairkit.models.names import cannot_load, refuse_kernels
from pairkit.models.resolve import Place, resolve
from pairkit.models.reward_head import quiet_report
from pairkit.models.tokenizer import open_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CLASS = "AutoModelForSequenceClassification"
# The class name in checkpoints of ArmoRM. pairkit implements it, because their code fails with transformers
# 5.
ARMORM = "LlamaForRewardModelWithGating"


def load_reward_checkpoint(
    name: str, revision: str | None, *, trust_remote_code: bool, dtype: Dtype, needs_template: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load model and tokenizer, which needs a chat template if the recipe has none.

    Adapters, as `peft` saves those of a reward model, are merged into their base model.
    Raises `ModelError`: see `load_reward_model`.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    place = resolve(name, revision)
    base, revision = place.base, place.revision
    settings = _config(base, revision)
    armorm = ARMORM in (settings.get("architectures") or ())
    if not trust_remote_code and not armorm:
        _refuse_remote_code(name, settings)
    where: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(base, **where)
        from_place, at = place.tokenizer()
        tokenizer = open_tokenizer(from_place, revision=at, trust_remote_code=trust_remote_code)
    except Exception as error:  # a dozen types: of transformers, the hub, the checkpoint's own code
        raise cannot_load("model", name, error) from error
    if not trust_remote_code:
        refuse_kernels(name, config)
    own_code = armorm or CLASS in (getattr(config, "auto_map", None) or {})
    if needs_template:
        _check_template(name, tokenizer)
    if place.adapters and not any("SequenceClassification" in kind for kind in config.architectures or ()):
        config.num_labels = 1  # the head comes with the adapters
    _check(name, config, own_code=own_code)
    precision, device = resolve_precision(dtype)
    if armorm:
        from pairkit.rankers.reward_model.armorm import ArmoRM

        open_model, where = partial(ArmoRM.from_pretrained, base), {"revision": revision}
    else:
        open_model = partial(AutoModelForSequenceClassification.from_pretrained, base)
    try:
        # The head that the base model of adapters lacks comes with them; of a whole model it is an error.
        with quiet_report():
            model, loading = open_model(config=config, dtype=precision, output_loading_info=True, **where)
    except Exception as error:  # as above
        raise cannot_load("model", name, error) from error
    missing = sorted(loading["missing_keys"])
    if place.adapters:
        model, missing = _with_adapters(model, place, missing)
        model = model.to(precision)
    if missing:
        raise ModelError(
            f"{name!r} is not a reward model: the weight {missing[0]!r} (one of {len(missing)}) is missing "
            "from its checkpoint and would be random; use a sequence-classification model, not one that "
            "generates text"
        )
    if armorm:
        model.use(tokenizer)
    return model.to(device).eval(), tokenizer


def _with_adapters(model: Any, place: Place, missing: list[str]) -> tuple[Any, list[str]]:
    """Merge the adapters of a reward model; return it, and which of the missing weights they lack too."""
    from pairkit.models.adapters import merged, with_saved_adapters

    for adapter in place.adapters:
        at = place.adapters_revision if adapter == place.top else None
        peft_model: Any = with_saved_adapters(model.float(), adapter, revision=at)
        # A new head is trained and saved as a whole.
        whole = peft_model.active_peft_config.modules_to_save or ()
        missing = [name for name in missing if name.split(".")[0] not in whole]
        model = merged(peft_model)
    return model, missing


def _config(name: str, revision: str | None) -> dict[str, Any]:
    """Read the checkpoint's config.json."""
    from transformers import PreTrainedConfig

    try:
        settings, _ = PreTrainedConfig.get_config_dict(name, revision=revision)
    except Exception as error:  # a dozen types: of transformers and the hub
        raise cannot_load("model", name, error) from error
    return settings  # type: ignore[no-any-return]


def _refuse_remote_code(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse a checkpoint with its own code, which transformers would silently load without that code."""
    if settings.get("auto_map"):
        raise ModelError(
            f"the model {name!r} has code of its own (for {', '.join(sorted(settings['auto_map']))}), which "
            "is not run by default: read the code, then set trust_remote_code=true"
        )


def _check_template(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {name!r} has no chat template, so conversations cannot be formatted for this "
            "model; use a reward model that has one, or set template.file to the model's template"
        )


def _check(name: str, config: Any, *, own_code: bool) -> None:
    if config.num_labels != 1 and not own_code:
        raise ModelError(
            f"{name!r} has {config.num_labels} logits, and pairkit cannot know which of them is the reward; "
            "use a reward model with one logit (num_labels: 1)"
        )
