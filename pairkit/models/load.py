"""Models and tokenizers: from the hub, from a directory, or from a configuration to start from scratch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from pairkit.errors import ModelError, RecipeError
from pairkit.models.adapters import merged, with_saved_adapters
from pairkit.models.dropout import without_dropout
from pairkit.models.multimodal import auto_class, freeze_other_parts
from pairkit.models.names import cannot_load, refuse_kernels
from pairkit.models.resolve import Place, resolve
from pairkit.models.reward_head import complete_head, quiet_report, refuse_reward_model, with_one_logit
from pairkit.models.tokenizer import ensure_chat_template, open_tokenizer
from pairkit.progress import log, shell_quoted

# The parts of a model that are made in a loop, and more of them than any has.
_PARTS = ("layers", "layer", "experts", "blocks")
MOST_PARTS = 10_000
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
    last_adapters: bool = True,
    reward: bool = False,
) -> torch.nn.Module:
    """Load a causal language model, or a reward model, with dropout off.

    Without dropout two passes over one text agree: a scoring pass and a gradient pass, policy and reference.
    Of a checkpoint with images or sound all parts are loaded, and those outside of the text part are frozen.

    Args:
        name: what `resolve` finds: a hub id, a directory of a model, of adapters (merged into their base) or
            of a run, or a configuration file (.json), which starts from random weights.
        vocabulary: how many tokens a model from scratch gets, and any other must have at least.
        seed: of random weights.
        quantization: `quantization_config` of transformers; not for a model from scratch.
        device: where a quantized model is loaded; any other is loaded on the CPU.
        last_adapters: false leaves the adapters of `name` to the caller: what they were trained on is loaded.
        reward: whether it is loaded as a reward model, with the head of its checkpoint or one of the seed.

    Raises:
        MissingExtraError: adapters without peft.
        ModelError: a model that cannot be loaded, has fewer tokens than the tokenizer, or is no reward model
            and cannot become one.
    """
    place = resolve(name, revision)
    adapters = place.adapters if last_adapters else place.adapters[:-1]
    if adapters and quantization is not None:
        raise ModelError(
            f"the model {name!r} consists of adapters, which cannot be merged into four bits: export it as a "
            f"whole model first (pairkit export {shell_quoted(name)} --merge --out DIR), or set "
            "lora.continue_adapters=true"
        )
    config = read_config(place, trust_remote_code)
    without_dropout(config)
    common: dict[str, Any] = {"trust_remote_code": trust_remote_code, "attn_implementation": attention}
    if reward:
        with_one_logit(config, name)
    else:
        refuse_reward_model(config, name)
    loader = AutoModelForSequenceClassification if reward else auto_class(config)
    loading: dict[str, Any] = {}
    try:
        if name.endswith(".json"):
            _set_vocabulary(config, vocabulary)
            # Right before the weights are made, so that nothing in between changes them.
            torch.manual_seed(seed)
            model: torch.nn.Module = loader.from_config(config, dtype=getattr(torch, dtype), **common)
        else:
            with quiet_report() if reward else nullcontext():
                model, loading = loader.from_pretrained(
                    place.base,
                    config=config,
                    revision=place.revision,
                    # Merged in float32, whatever the precision afterwards.
                    dtype=torch.float32 if adapters else getattr(torch, dtype),
                    quantization_config=quantization,
                    device_map=None if quantization is None else {"": device},
                    output_loading_info=True,
                    **common,
                )
    except Exception as error:  # any of a dozen types: transformers', the hub's, safetensors'
        raise cannot_load("model", place.base, error, _hint(place.base)) from error
    if reward and complete_head(model, loading.get("missing_keys", ()), name, seed) and not adapters:
        log(f"{name}: has no reward head; one is made from seed {seed}")
    model = _merged(model, place, adapters, dtype)
    freeze_other_parts(model)
    size = cast("Any", model).config.get_text_config().vocab_size  # that of adapters may be larger
    if vocabulary is not None and size < vocabulary:
        raise ModelError(
            f"the model {name!r} has {size} tokens, but its tokenizer has {vocabulary}; "
            "pass the tokenizer that belongs to the model with --tokenizer"
        )
    return model


def load_for_generation(
    name: str, revision: str | None, *, dtype: str = "auto", trust_remote_code: bool = False
) -> Any:
    """Load a model with all of its parts, adapters merged in.

    Args:
        dtype: of its weights; "auto" is that of its files.

    Raises:
        MissingExtraError: adapters without peft.
        ModelError: a model that cannot be loaded.
    """
    place = resolve(name, revision)
    config = read_config(place, trust_remote_code)
    refuse_reward_model(config, name)
    try:
        model = auto_class(config).from_pretrained(
            place.base, revision=place.revision, dtype=dtype, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # as in load_model
        raise cannot_load("model", place.base, error, _hint(place.base)) from error
    return _merged(model, place, place.adapters, str(model.dtype).removeprefix("torch."))


def _merged(model: Any, place: Place, adapters: tuple[str, ...], dtype: str) -> Any:
    for adapter in adapters:
        # The revision that a caller gives is that of what the name itself points to.
        revision = place.adapters_revision if adapter == place.top else None
        model = merged(with_saved_adapters(model.float(), adapter, revision=revision))
    # A merge leaves the base model frozen.
    return model.to(getattr(torch, dtype)).requires_grad_(True) if adapters else model


def empty_model(
    name: str,
    *,
    revision: str | None,
    dtype: str,
    trust_remote_code: bool,
    vocabulary: int | None,
    reward: bool = False,
) -> torch.nn.Module:
    """Make the model of `load_model` without its weights, on the meta device. Raises `ModelError`."""
    place = resolve(name, revision)
    config = read_config(place, trust_remote_code)
    if name.endswith(".json"):
        _set_vocabulary(config, vocabulary)
    if reward:
        with_one_logit(config, name)
    else:
        refuse_reward_model(config, name)
    loader = AutoModelForSequenceClassification if reward else auto_class(config)
    try:
        # On the meta device tensors have shapes only, so that a model of any size takes no memory.
        with torch.device("meta"):
            model: torch.nn.Module = loader.from_config(
                config, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code
            )
    except Exception as error:  # as in load_model
        raise cannot_load("model", place.base, error, _hint(place.base)) from error
    freeze_other_parts(model)
    return model


def hub_commit(name: str, revision: str | None, trust_remote_code: bool) -> str | None:
    """Return the commit that a hub id points to now. Raises `ModelError`."""
    return getattr(read_config(resolve(name, revision), trust_remote_code), "_commit_hash", None)


def positions(name: str, revision: str | None, trust_remote_code: bool) -> int | None:
    """Return how many tokens the model accepts per text, None without a limit. Raises `ModelError`."""
    config = read_config(resolve(name, revision), trust_remote_code).get_text_config()
    # A decoder of speech counts them by another name; XLNet has -1 for "no limit".
    most = getattr(config, "max_position_embeddings", None) or getattr(config, "max_target_positions", None)
    return most if most and most > 0 else None


def _set_vocabulary(config: Any, vocabulary: int | None) -> None:
    """Give a model from scratch as many tokens as its tokenizer has, also in the text part of others."""
    for part in (config, config.get_text_config()):
        if vocabulary is not None and hasattr(part, "vocab_size"):
            part.vocab_size = vocabulary


def read_config(place: Place, trust_remote_code: bool) -> Any:
    """Read the configuration of a model, adapters left out. Raises `ModelError`."""
    try:
        config = AutoConfig.from_pretrained(
            place.base, revision=place.revision, trust_remote_code=trust_remote_code
        )
        _check_config(config)
    except Exception as error:  # any of a dozen types: transformers', the hub's, of remote code
        raise cannot_load("model", place.base, error, _hint(place.base)) from error
    if not trust_remote_code:
        refuse_kernels(place.base, config)
    return config


def _check_config(config: Any) -> None:
    """Raise `ValueError` for what transformers takes, and what then never ends or cannot be saved."""
    kinds = config.architectures
    if kinds is not None and not (isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds)):
        raise ValueError(f"architectures is {kinds!r:.80}, no list of names")
    content = config.to_dict()
    json.dumps(content, ensure_ascii=False, default=str).encode()  # half a character cannot be encoded
    for key, value in content.items():
        if key.endswith(_PARTS) and isinstance(value, int) and value > MOST_PARTS:
            raise ValueError(f"{key} is {value:.3g}, more than {MOST_PARTS:,}")


def load_tokenizer(
    name: str,
    *,
    revision: str | None,
    trust_remote_code: bool,
    texts: Iterator[str],
    needs_template: bool = True,
) -> PreTrainedTokenizerFast:
    """Load a tokenizer with a chat template: its own, else `DEFAULT_TEMPLATE`, which is printed.

    Args:
        name: what `resolve` finds (adapters have a tokenizer of their own, or that of their base model), a
            configuration file next to a tokenizer, or "bpe:N", which trains one of N tokens on `texts`.
        needs_template: whether a tokenizer without a template gets one.

    Raises:
        ModelError: a tokenizer that cannot be loaded.
        RecipeError: "bpe:N" without a number, or with one that does not hold the 256 bytes.
    """
    if name.startswith("bpe:"):
        tokenizer = train_bpe(texts, _bpe_size(name))
    else:
        folder = str(Path(name).parent) if name.endswith(".json") else name
        folder, revision = resolve(folder, revision).tokenizer()
        try:
            tokenizer = open_tokenizer(folder, revision=revision, trust_remote_code=trust_remote_code)
        except Exception as error:  # as above, and of tokenizers
            other = "; choose another with --tokenizer, or train one on the data with --tokenizer bpe:4096"
            raise cannot_load("tokenizer", folder, error, other if Path(folder).is_dir() else "") from error
    if needs_template:
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
