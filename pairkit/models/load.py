"""Models and tokenizers: from the hub, from a directory, or from a configuration to start from scratch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from pairkit.errors import ModelError, RecipeError
from pairkit.models.dropout import without_dropout
from pairkit.models.names import cannot_load
from pairkit.models.tokenizer import ensure_chat_template, open_tokenizer

PAD, BOS, EOS = "<pad>", "<s>", "</s>"


def load_model(
    name: str,
    *,
    revision: str | None,
    dtype: str,
    attention: str | None,
    trust_remote_code: bool,
    vocabulary: int | None,
    seed: int,
    quantization: Any = None,
    device: torch.device | None = None,
) -> torch.nn.Module:
    """Load a causal language model, with dropout off.

    Without dropout two passes over one text agree: a scoring pass and a gradient pass, policy and reference.


    Args:
        name: a hub id, a directory, or a configuration file (.json), which starts from random weights.
        vocabulary: how many tokens a model from scratch gets, and any other must have at least.
        seed: of random weights.
        quantization: `quantization_config` of transformers; not for a model from scratch.
        device: where a quantized model is loaded; any other is loaded on the CPU.

    Raises:
        ModelError: a model that cannot be loaded, or has fewer tokens than the tokenizer.
    """
    where = f"the model {name!r}"
    common: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    config = _config(name, revision, trust_remote_code)
    without_dropout(config)
    try:
        if name.endswith(".json"):
            _set_vocabulary(config, vocabulary)
            # Right before the weights are made, so that nothing in between changes them.
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(
                config, dtype=getattr(torch, dtype), attn_implementation=attention, **common
            )
        else:
            model = AutoModelForCausalLM.from_pretrained(
                name,
                config=config,
                revision=revision,
                dtype=getattr(torch, dtype),
                attn_implementation=attention,
                quantization_config=quantization,
                device_map=None if quantization is None else {"": device},
                **common,
            )
    except Exception as error:  # any of a dozen types: transformers', the hub's, safetensors'
        raise cannot_load("model", name, error, _hint(name)) from error
    if vocabulary is not None and config.get_text_config().vocab_size < vocabulary:
        raise ModelError(
            f"{where} has {config.get_text_config().vocab_size} tokens, but its tokenizer has {vocabulary}; "
            "pass the tokenizer that belongs to the model with --tokenizer"
        )
    return model  # type: ignore[no-any-return]


def empty_model(
    name: str, *, revision: str | None, dtype: str, trust_remote_code: bool, vocabulary: int | None
) -> torch.nn.Module:
    """Make the model of `load_model` without its weights, on the meta device. Raises `ModelError`."""
    config = _config(name, revision, trust_remote_code)
    if name.endswith(".json"):
        _set_vocabulary(config, vocabulary)
    try:
        # On the meta device tensors have shapes only, so that a model of any size takes no memory.
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(  # type: ignore[no-any-return]
                config, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code
            )
    except Exception as error:  # as in load_model
        raise cannot_load("model", name, error, _hint(name)) from error


def hub_commit(name: str, revision: str | None, trust_remote_code: bool) -> str | None:
    """Return the commit that a hub id points to now. Raises `ModelError`."""
    return getattr(_config(name, revision, trust_remote_code), "_commit_hash", None)


def positions(name: str, revision: str | None, trust_remote_code: bool) -> int | None:
    """Return how many tokens the model accepts per text, None without a limit. Raises `ModelError`."""
    config = _config(name, revision, trust_remote_code).get_text_config()
    # A decoder of speech counts them by another name; XLNet has -1 for "no limit".
    most = getattr(config, "max_position_embeddings", None) or getattr(config, "max_target_positions", None)
    return most if most and most > 0 else None


def _set_vocabulary(config: Any, vocabulary: int | None) -> None:
    """Give a model from scratch as many tokens as its tokenizer has, also in the text part of others."""
    for part in (config, config.get_text_config()):
        if vocabulary is not None and hasattr(part, "vocab_size"):
            part.vocab_size = vocabulary


def _config(name: str, revision: str | None, trust_remote_code: bool) -> Any:
    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except Exception as error:  # any of a dozen types: transformers', the hub's, of remote code
        raise cannot_load("model", name, error, _hint(name)) from error


def load_tokenizer(
    name: str, *, revision: str | None, trust_remote_code: bool, texts: Iterator[str]
) -> PreTrainedTokenizerFast:
    """Load a tokenizer with a chat template: its own, else `DEFAULT_TEMPLATE`, which is printed.

    Args:
        name: a hub id, a directory, a configuration file next to a tokenizer, or "bpe:N", which trains one of
            N tokens on `texts`.

    Raises:
        ModelError: a tokenizer that cannot be loaded.
        RecipeError: "bpe:N" without a number, or with one that does not hold the 256 bytes.
    """
    if name.startswith("bpe:"):
        tokenizer = train_bpe(texts, _bpe_size(name))
    else:
        folder = str(Path(name).parent) if name.endswith(".json") else name
        try:
            tokenizer = open_tokenizer(folder, revision=revision, trust_remote_code=trust_remote_code)
        except Exception as error:  # as above, and of tokenizers
            other = "; choose another with --tokenizer, or train one on the data with --tokenizer bpe:4096"
            raise cannot_load("tokenizer", name, error, other if Path(folder).is_dir() else "") from error
    ensure_chat_template(tokenizer, None if name.startswith("bpe:") else name)
    return tokenizer


def train_bpe(texts: Iterator[str], size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of `size` tokens, three of them special, on `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, BOS, EOS],  # PAD is token 0
        # Every byte, because later texts have bytes that this data lacks.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS, name_or_path=f"bpe:{size}"
    )


def _bpe_size(name: str) -> int:
    size = name.removeprefix("bpe:")
    if not size.isdigit() or int(size) < 300:
        raise RecipeError(
            f"cannot parse tokenizer {name!r}: expected bpe:N with N at least 300, such as bpe:4096"
        )
    return int(size)


def _hint(name: str) -> str:
    config = Path(name) / "config.json"
    return f"; to start from random weights, pass the file {config}" if config.is_file() else ""
