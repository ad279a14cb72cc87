"""Models and tokenizers, from the hub, from a directory, or from a configuration to start from scratch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from pairkit.errors import ModelError, RecipeError
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
    """A causal language model with dropout off, so that two passes over one text agree.

    Args:
        name: a hub id, a directory, or a configuration file (.json): that starts from random weights,
            drawn with `seed`.
        vocabulary: a model from scratch gets so many tokens, another one must have them.
        quantization: what transformers takes as `quantization_config`; not for a model from scratch.
        device: where the model is quantized; the CPU holds any other.

    Raises:
        ModelError: a model that cannot be loaded, or has fewer tokens than the tokenizer.
    """
    where = f"the model {name!r}"
    common: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    config = _config(name, revision, trust_remote_code)
    for part in (config, config.get_text_config()):
        for key, value in vars(part).items():
            if isinstance(value, float) and "drop" in key:
                setattr(part, key, 0.0)
    try:
        if name.endswith(".json"):
            config.vocab_size = vocabulary or config.vocab_size
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
    except Exception as error:  # as many types as below, and safetensors'
        raise cannot_load("model", name, error, _hint(name)) from error
    if vocabulary is not None and config.get_text_config().vocab_size < vocabulary:
        raise ModelError(
            f"{where} has {config.get_text_config().vocab_size} tokens, its tokenizer {vocabulary}: "
            "give the tokenizer that belongs to it with --tokenizer"
        )
    return model  # type: ignore[no-any-return]


def empty_model(
    name: str, *, revision: str | None, dtype: str, trust_remote_code: bool, vocabulary: int | None
) -> torch.nn.Module:
    """The model of `load_model` without its weights, on the meta device. Raises `ModelError`."""
    config = _config(name, revision, trust_remote_code)
    if name.endswith(".json"):
        config.vocab_size = vocabulary or config.vocab_size
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(  # type: ignore[no-any-return]
                config, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code
            )
    except Exception as error:  # as below
        raise cannot_load("model", name, error, _hint(name)) from error


def hub_commit(name: str, revision: str | None, trust_remote_code: bool) -> str | None:
    """The commit that a hub id stands for at present. Raises `ModelError`."""
    return getattr(_config(name, revision, trust_remote_code), "_commit_hash", None)


def positions(name: str, revision: str | None, trust_remote_code: bool) -> int | None:
    """How many tokens a text of the model may have, None where it sets no limit. Raises `ModelError`."""
    config = _config(name, revision, trust_remote_code).get_text_config()
    return getattr(config, "max_position_embeddings", None)


def _config(name: str, revision: str | None, trust_remote_code: bool) -> Any:
    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except Exception as error:  # of a dozen types: transformers', the hub's, of remote code
        raise cannot_load("model", name, error, _hint(name)) from error


def load_tokenizer(
    name: str, *, revision: str | None, trust_remote_code: bool, texts: Iterator[str]
) -> PreTrainedTokenizerFast:
    """A tokenizer with a chat template: its own, else `DEFAULT_TEMPLATE`, which is said.

    Args:
        name: a hub id, a directory, a configuration file beside a tokenizer, or "bpe:N", which trains one of
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
            other = "; --tokenizer names another, or trains one on the data: bpe:4096"
            raise cannot_load("tokenizer", name, error, other if Path(folder).is_dir() else "") from error
    ensure_chat_template(tokenizer, None if name.startswith("bpe:") else name)
    return tokenizer


def train_bpe(texts: Iterator[str], size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `size` tokens, three of them special, trained on `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, BOS, EOS],
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
        raise RecipeError(f"tokenizer {name!r}: write bpe:N with N of at least 300, such as bpe:4096")
    return int(size)


def _hint(name: str) -> str:
    config = Path(name) / "config.json"
    return f"; to start from random weights, give the file {config}" if config.is_file() else ""
