"""Adapters on a model: put there from a directory or the hub, and merged into its weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from pairkit.errors import MissingExtraError, ModelError
from pairkit.models.names import cannot_load
from pairkit.models.reward_head import refuse_reward_adapters
from pairkit.progress import log

TIED = (  # what peft's warnings about adapters on tied embeddings begin with
    "Model has `tie_word_embeddings=True`",
    "Model with `tie_word_embeddings=True`",
    "Input and output embeddings are no longer tied",
)


def with_saved_adapters(
    model: nn.Module, name: str, *, revision: str | None = None, train: bool = False
) -> nn.Module:
    """Put the adapters of a directory or a hub id on a model, in place.

    Args:
        train: whether they are to be trained further; they have no dropout then, because two passes over one
            text have to agree.

    Raises:
        MissingExtraError: peft is not installed.
        ModelError: adapters that cannot be loaded, or that do not fit the model.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(
            f"the model {name!r} consists of adapters, which need peft: pip install 'pairkit[lora]'"
        ) from error
    network = cast("Any", model)
    try:
        config = _read_config(name, revision)
        refuse_reward_adapters(config.task_type, network, name)
        if train:
            config.inference_mode = False
            if hasattr(config, "lora_dropout"):
                config.lora_dropout = 0.0
        weights = peft.load_peft_weights(name, device="cpu", revision=revision)
        _fit_embeddings(network, weights)
        with quiet_peft():
            peft_model = peft.get_peft_model(network, config)
            missing = peft.set_peft_model_state_dict(peft_model, weights)
    except ModelError:
        raise
    except Exception as error:  # a dozen types: peft's, the hub's, torch's for shapes that do not fit
        raise cannot_load("model", name, error) from error
    if missing.unexpected_keys:
        raise ModelError(
            f"the adapters {name!r} do not fit their base model: it has no place for "
            f"{missing.unexpected_keys[0]} (one of {len(missing.unexpected_keys)})"
        )
    # Those that are not in the file would stay as they were made, which changes nothing silently.
    absent = [key for key in missing.missing_keys if "lora_" in key]
    if absent:
        raise ModelError(
            f"the adapters {name!r} are incomplete: {absent[0]} is missing (one of {len(absent)})"
        )
    return cast("nn.Module", peft_model)


def _read_config(name: str, revision: str | None) -> Any:
    """Read the configuration of adapters. Raises `ModelError` for one that names a module to import."""
    import peft

    config = peft.PeftConfig.from_pretrained(name, revision=revision)
    if getattr(config, "megatron_config", None) is not None:
        raise ModelError(
            f"the adapters {name!r} are for Megatron: their configuration names the module "
            f"{config.megatron_core!r}, which would be imported; remove megatron_config from it"
        )
    return config


def fresh_copy(model: nn.Module, name: str, *, revision: str | None = None) -> nn.Module:
    """Put adapters of the shape of those of `name` on a model without weights (on the meta device)."""
    import peft

    config = _read_config(name, revision)
    config.inference_mode = False
    if hasattr(config, "init_lora_weights"):
        config.init_lora_weights = True  # others take weights apart, and there are none
    with quiet_peft():
        return cast("nn.Module", peft.get_peft_model(cast("Any", model), config))


def merged(model: nn.Module) -> nn.Module:
    """Merge the adapters into the model's weights, in float32, and return the model without them.

    Where one matrix is both the embedding and the output head, adapters change one of the two uses, or each
    in its own way. Merged into the one matrix they would change the other use too, so that the two are untied
    if they differ after the merge; that is logged.
    """
    peft_model = cast("Any", model).float()
    base = peft_model.get_base_model()
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    tied = head is not None and _own_weight(embedding) is _own_weight(head)
    if tied:
        for layer in (embedding, head):
            # A copy for each that has adapters, because the merge adds to the weight in place.
            if hasattr(layer, "base_layer"):
                weight = layer.get_base_layer().weight
                layer.get_base_layer().weight = nn.Parameter(weight.detach().clone(), weight.requires_grad)
    before = getattr(base.config, "tie_word_embeddings", None)
    with quiet_peft():
        network = peft_model.merge_and_unload()
    if tied:
        network.config.tie_word_embeddings = before  # peft has set it by the copies
        _tie_again(network)
    return cast("nn.Module", network)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Hide peft's FutureWarnings about transformers 5, which a user can do nothing about, and long ones.

    Those are about adapters on tied embeddings, of which `with_adapters` and `merged` say what is done.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for message in TIED:
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield


def changes_one_use(model: nn.Module) -> bool:
    """Return whether embedding and head are one matrix, and adapters on them do not keep both uses equal."""
    network = cast("Any", model)
    base = network.get_base_model()
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    if head is None or _own_weight(embedding) is not _own_weight(head):
        return False
    # Rows of single tokens, which have a `token_adapter`, are those of both uses by themselves.
    wrapped = any(
        layer is not _innermost(layer) and not hasattr(layer, "token_adapter") for layer in (embedding, head)
    )
    return wrapped and not getattr(network.peft_config["default"], "ensure_weight_tying", False)


def _own_weight(layer: Any) -> Any:
    """Return the weight below whatever adapters wrap a layer in."""
    return _innermost(layer).weight


def _innermost(layer: Any) -> Any:
    while True:
        inner = getattr(layer, "base_layer", None) or getattr(layer, "original_module", None)
        if inner is None:
            return layer
        layer = inner


def _tie_again(network: Any) -> None:
    """Tie embedding and head if they are still equal; otherwise record in the config that they are not."""
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    if _equal(embedding.weight, head.weight):
        head.weight = embedding.weight
        return
    for config in (network.config, network.config.get_text_config()):
        config.tie_word_embeddings = False
    # transformers remembers the pairs from when the model was made, and would save one of each.
    network.all_tied_weights_keys = network.get_expanded_tied_weights_keys(all_submodels=True)
    log(
        "embedding and output head were one matrix, and the adapters changed them differently: the merged "
        "model has two (tie_word_embeddings: false)"
    )


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Return whether two matrices are equal up to rounding: adapters of both uses are multiplied in turn."""
    if first.shape != second.shape:
        return False
    return bool((first - second).abs().max() <= 4 * torch.finfo(torch.float32).eps * first.abs().max())


def _fit_embeddings(network: Any, weights: dict[str, torch.Tensor]) -> None:
    """Give the base model as many tokens as the adapters were trained with, where they hold an embedding."""
    embedding = network.get_input_embeddings()
    name = next(key for key, module in network.named_modules() if module is embedding)
    rows = {
        len(value)
        for key, value in weights.items()
        if f".{name}." in f".{key}" and key.endswith("weight") and "lora_" not in key and value.ndim == 2
    }
    if rows and rows != {embedding.weight.shape[0]}:
        network.resize_token_embeddings(max(rows), mean_resizing=False)
