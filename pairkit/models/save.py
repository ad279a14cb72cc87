"""Saving a model, or only its adapters, as a directory that transformers, peft and vLLM load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from pairkit.models.carry import Original, carry_config, carry_files, carry_tensors, original_of
from pairkit.models.load import load_for_generation, read_config
from pairkit.models.resolve import Place, resolve
from pairkit.progress import log

SHARD = "5GB"  # of one file; a file is in memory while it is written


def save_files(
    model: nn.Module,
    tokenizer: Any,
    folder: Path,
    place: Place,
    *,
    dtype: str | None = None,
    own_tokenizer: bool = True,
    trust_remote_code: bool = False,
) -> None:
    """Save a model and its tokenizer to `folder`, with what its checkpoint has and training did not change.

    Args:
        place: what the model was loaded from.
        dtype: of the saved weights; None: that of each tensor of the checkpoint, and what the model has if it
            started from random weights. Adapters stay as they were trained.
        own_tokenizer: whether the tokenizer is the checkpoint's.
    """
    network: Any = model
    if hasattr(network, "peft_config"):
        _save_adapters(network, folder, place, dtype, trust_remote_code)
    else:
        _save_whole(network, folder, place, dtype, own_tokenizer, trust_remote_code)
    tokenizer.save_pretrained(folder)


def _save_whole(
    network: Any, folder: Path, place: Place, dtype: str | None, own_tokenizer: bool, trust_remote_code: bool
) -> None:
    model_dtype = str(network.dtype).removeprefix("torch.")
    # The commit that was loaded, because a branch of the hub may have moved since.
    original = original_of(place.base, getattr(network.config, "_commit_hash", None) or place.revision)
    before = read_config(place, trust_remote_code).to_dict()
    has_file = original is not None and (original.folder / "generation_config.json").is_file()
    generation = getattr(network, "generation_config", None)  # a reward model has none
    if has_file and generation is not None:
        # The file itself is copied below: transformers refuses to write settings that it would not make,
        # though many published ones are of that kind.
        network.generation_config = type(generation)()
    network.save_pretrained(folder, max_shard_size=SHARD)
    if generation is not None:
        network.generation_config = generation  # because a model may be saved while it is trained
    patterns = getattr(network, "_keys_to_ignore_on_load_unexpected", None) or ()
    carry_tensors(folder, original, dtype or _dtype(original, before, model_dtype, place), ignored=patterns)
    saved_dtype = Original(folder).dtype or model_dtype
    carry_config(folder / "config.json", before, saved_dtype)
    if original is not None:
        carry_files(folder, original, tokenizer=own_tokenizer)
    if saved_dtype != model_dtype and dtype is None:
        log(
            f"saved in {saved_dtype}, the dtype of {place.base}; save_dtype={model_dtype} keeps {model_dtype}"
        )


def _dtype(original: Original | None, before: dict[str, Any], model_dtype: str, place: Place) -> str | None:
    """Return the dtype of a checkpoint without safetensors; None where each tensor has its own."""
    if original is not None and original.dtype:
        return None
    config_dtype = str(before.get("dtype") or model_dtype).removeprefix("torch.")
    # A configuration to start from names the dtype of some other model.
    return model_dtype if place.base.endswith(".json") else config_dtype


def _save_adapters(
    network: Any, folder: Path, place: Place, dtype: str | None, trust_remote_code: bool
) -> None:
    rows = network.get_input_embeddings().weight.shape[0]
    before = read_config(place, trust_remote_code).get_text_config().vocab_size
    if place.adapters:
        # Those that are continued have no dropout in training; what is saved has what it had.
        config = network.active_peft_config
        saved_config = type(config).from_pretrained(place.top, revision=place.adapters_revision)
        config.lora_dropout = saved_config.lora_dropout
    # Decided here, because peft would ask the hub, and warns where it decides.
    network.save_pretrained(folder, save_embedding_layers=rows != before)
    if dtype is not None:
        carry_tensors(folder, None, dtype)


@contextmanager
def whole_model(name: str, revision: str | None) -> Iterator[tuple[str, str | None]]:
    """Yield a name and a revision that any program loads: adapters are merged into a temporary directory.

    Raises:
        MissingExtraError: adapters without peft.
        ModelError: a model that cannot be loaded.
    """
    from pairkit.models.tokenizer import open_tokenizer

    place = resolve(name, revision)
    if not place.adapters:
        yield place.base, place.revision
        return
    tokenizer, at = place.tokenizer()
    with TemporaryDirectory(prefix="pairkit-") as folder:
        save_files(
            load_for_generation(name, revision),
            open_tokenizer(tokenizer, revision=at),
            Path(folder),
            place,
            own_tokenizer=tokenizer == place.base,
        )
        yield folder, None
