"""Checkpoints of PairRM, on disk or on the hub, in either of their two layouts.

    PairRM     config.json of llm-blender's ranker (`ranker_type: pairranker`, `model_name: the base model`);
               the architecture, and the tokenizer if it has none of its own, are those of the base model
    PairRM-hf  config.json of DeBERTa with the ids of the prefixes (`source_prefix_id` ...), and a tokenizer

Both use the same weight names, in model.safetensors or in pytorch_model.bin, which is loaded with
weights_only.

The tokenizer is read directly from its file, because transformers 5 rebuilds DeBERTa's from the vocabulary
alone and loses the normalizer of the file (NFKC and more): texts with "…" or "ﬁ" would get other ids than the
model was trained with.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from tokenizers import AddedToken, Tokenizer

from pairkit.errors import ModelError
from pairkit.files import read_json
from pairkit.models.names import cannot_load
from pairkit.models.resolve import resolve
from pairkit.rankers.pairrm.model import PairRM
from pairkit.rankers.pairrm.text import CLS, FIRST, PAD, PREFIXES, SECOND, SEP, SOURCE, Limits

LIMITS = Limits(1224, 412)  # PairRM's own
LENGTHS = ("source_maxlength", "candidate_maxlength")  # of a config.json: the limits
RANKER = "pairranker"  # llm-blender's type of PairRM
PREFIX_IDS = {"source_prefix_id": SOURCE, "cand1_prefix_id": FIRST, "cand2_prefix_id": SECOND}
EMBEDDINGS = "pretrained_model.embeddings.word_embeddings.weight"
TOKENIZERS = ("tokenizer.json", "spm.model")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
LAYOUTS = (
    "pairkit reads llm-blender/PairRM (config.json with `ranker_type: pairranker`) and llm-blender/PairRM-hf "
    "(config.json with `source_prefix_id`), both over DeBERTa-v2 or v3"
)


class Checkpoint(NamedTuple):
    """A loaded checkpoint; `limits` are those of its config.json, otherwise those of PairRM."""

    model: PairRM
    tokenizer: Tokenizer
    limits: Limits


class Opened(NamedTuple):
    """A checkpoint without its weights.

    Attributes:
        name: a hub id or a directory.
        settings: its config.json.
        config: the configuration of the encoder; in the layout PairRM-hf it is `settings` itself.
    """

    name: str
    settings: dict[str, Any]
    config: dict[str, Any]
    tokenizer: Tokenizer
    limits: Limits


def load_pairrm_checkpoint(name: str, revision: str | None = None) -> Checkpoint:
    """Load the checkpoint of a hub id or a directory on the CPU, in float32.

    Raises `ModelError` for a checkpoint that cannot be read, that has another layout, or whose tokenizer does
    not belong to its weights.
    """
    parts = open_pairrm_checkpoint(name, revision)
    name, settings, config, tokenizer, limits = parts
    weights = _weights(name, revision)
    rows = len(weights.get(EMBEDDINGS, ()))
    # The layout PairRM has no ids to compare, so a tokenizer of another size is the only sign of a mismatch.
    _check_size(name, tokenizer.get_vocab_size(), rows, exact=config is not settings)
    return Checkpoint(_model(name, config, weights), tokenizer, limits)


def open_pairrm_checkpoint(name: str, revision: str | None = None) -> Opened:
    """Read all of a checkpoint but its weights. Raises `ModelError` as `load_pairrm_checkpoint` does."""
    place = resolve(name, revision, ask_hub=False)
    if place.adapters:
        raise ModelError(f"{name!r} holds adapters, not a PairRM checkpoint: {LAYOUTS}")
    name = place.base
    settings = read_settings(name, revision)
    if not is_pairrm(settings):
        kind = settings.get("ranker_type") or settings.get("architectures") or settings.get("model_type")
        raise ModelError(f"{name!r} is not a PairRM checkpoint (its type is {kind}): {LAYOUTS}")
    if settings.get("ranker_type") == RANKER:
        base = str(settings.get("model_name"))
        config = read_settings(base, None)
        config["n_tasks"] = settings.get("n_tasks", 1)
        # The layout PairRM may leave the tokenizer to its base model.
        tokenizer = read_tokenizer(name, revision) or read_tokenizer(base, None)
    else:
        config, base, tokenizer = settings, name, read_tokenizer(name, revision)
    check_encoder(name, config)
    if tokenizer is None:
        raise ModelError(f"no tokenizer in {name!r} or {base!r}: add {' or '.join(TOKENIZERS)}")
    add_prefixes(tokenizer)
    check_ids(name, tokenizer, settings)
    limits = Limits(*(settings.get(key) or default for key, default in zip(LENGTHS, LIMITS, strict=True)))
    return Opened(name, settings, config, tokenizer, limits)


def is_pairrm(settings: Mapping[str, Any]) -> bool:
    """Return whether a config.json is that of a PairRM, in either layout."""
    return settings.get("ranker_type") == RANKER or all(key in settings for key in PREFIX_IDS)


def check_encoder(name: str, config: Mapping[str, Any]) -> None:
    """Raise `ModelError` for the configuration of an encoder that `deberta.py` does not compute."""
    if config.get("model_type") != "deberta-v2":
        raise ModelError(f"{name!r} is built on a model of type {config.get('model_type')!r}: {LAYOUTS}")
    if not config.get("relative_attention"):
        raise ModelError(f"{name!r} is built on a model without relative attention: {LAYOUTS}")


def _find(name: str, file: str, revision: str | None) -> Path | None:
    """Return the path of a file in a directory or in a model on the hub, or None if it does not exist."""
    if os.path.exists(name):
        path = Path(name) / file
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except LocalEntryNotFoundError as error:  # no network, and the file is not in the cache
        raise cannot_load("model", name, error) from error
    except EntryNotFoundError:
        return None
    except Exception as error:  # a dozen types, of httpx, the hub's client and its validators
        raise cannot_load("model", name, error) from error


def read_settings(name: str, revision: str | None) -> dict[str, Any]:
    """Read a config.json. Raises `ModelError`."""
    path = _find(name, "config.json", revision)
    if path is None:
        raise cannot_load("model", name, FileNotFoundError("config.json is missing"))
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise cannot_load("model", name, error) from error
    if not isinstance(content, dict):
        raise ModelError(f"{name!r}: config.json is not a JSON object: {LAYOUTS}")
    return content


def read_tokenizer(name: str, revision: str | None) -> Tokenizer | None:
    """Read the tokenizer in a checkpoint's files, or return None if it has none."""
    for file in TOKENIZERS:
        path = _find(name, file, revision)
        if path is not None:
            try:
                if path.suffix == ".model":
                    return _from_sentencepiece(path)
                return Tokenizer.from_file(str(path))
            except Exception as error:  # tokenizers raises a bare Exception, protobuf its own types
                raise cannot_load("tokenizer", name, error) from error
    return None


def _from_sentencepiece(path: Path) -> Tokenizer:
    """Convert DeBERTa-v2's SentencePiece model as transformers 4 does when it loads the base model."""
    from transformers.convert_slow_tokenizer import DebertaV2Converter

    ids: dict[str, int] = {}
    converter = DebertaV2Converter(
        SimpleNamespace(
            vocab_file=str(path), do_lower_case=False, split_by_punct=False, convert_tokens_to_ids=ids.get
        )
    )
    # Filled after the converter exists, because the ids are known only from its pieces.
    ids |= {piece.piece: index for index, piece in enumerate(converter.proto.pieces)}
    tokenizer: Tokenizer = converter.converted()
    tokenizer.add_special_tokens(["[UNK]", "[MASK]"])
    return tokenizer


def add_prefixes(tokenizer: Tokenizer) -> None:
    """Add missing prefixes as llm-blender does; turn off truncation and padding, which text.py does."""
    tokenizer.add_tokens([AddedToken(prefix, special=False, normalized=True) for prefix in PREFIXES])
    tokenizer.no_truncation()
    tokenizer.no_padding()


def check_ids(name: str, tokenizer: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Raise `ModelError` for a tokenizer that lacks tokens of DeBERTa, or gives other ids than `settings`."""
    for token in (CLS, SEP, PAD):
        if tokenizer.token_to_id(token) is None:
            raise ModelError(f"the tokenizer of {name!r} has no token {token}, so it is not DeBERTa's")
    for key, token in PREFIX_IDS.items():
        number, actual = settings.get(key), tokenizer.token_to_id(token)
        if number is not None and number != actual:
            raise ModelError(
                f"{name!r}: {key} is {number} in config.json, but the tokenizer's id of {token} is "
                f"{actual}: use the tokenizer that belongs to this checkpoint"
            )


def _check_size(name: str, tokens: int, rows: int, *, exact: bool) -> None:
    """Check that every token has an embedding, and if `exact`, that every embedding has a token."""
    if rows < tokens or (exact and rows != tokens):
        raise ModelError(
            f"{name!r}: the tokenizer has {tokens} tokens, but the weights have {rows or 'no'} embeddings, "
            f"so they do not belong to the same PairRM checkpoint: {LAYOUTS}"
        )


def _model(name: str, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> PairRM:
    from transformers import DebertaV2Config

    rows = len(weights[EMBEDDINGS])
    # Without memory, because random weights would be replaced at once.
    with torch.device("meta"):
        model = PairRM(DebertaV2Config.from_dict({**config, "vocab_size": rows}))
    keys = set(model.state_dict())
    # Old files also hold position_ids, a constant that transformers no longer saves.
    present = {key for key in weights if not key.endswith("position_ids")}
    differences = sorted(keys ^ present)
    if differences:
        key, count = differences[0], len(differences)
        problem = "is missing from" if key in keys else "does not belong to a PairRM, but is in"
        raise ModelError(f"the weight {key!r} (one of {count}) {problem} {name!r}: {LAYOUTS}")
    for key, weight in model.state_dict().items():
        if weights[key].shape != weight.shape:
            raise ModelError(
                f"{name!r}: the weight {key!r} has shape {list(weights[key].shape)}, but config.json implies "
                f"{list(weight.shape)}: use the config.json that belongs to these weights"
            )
    # In float32 whatever the file has, because `use` decides about precision.
    model.load_state_dict({key: weights[key].float() for key in keys}, assign=True)
    model.materialize()
    return model.eval()


def _weights(name: str, revision: str | None) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    for file in WEIGHTS:
        path = _find(name, file, revision)
        if path is not None:
            try:
                if path.suffix == ".bin":
                    # A pickle may run code; with weights_only it cannot.
                    weights = torch.load(path, map_location="cpu", weights_only=True)
                else:
                    weights = load_file(path)
            except Exception as error:  # types of pickle, zipfile and safetensors
                raise cannot_load("model", name, error) from error
            if isinstance(weights, dict):
                return weights
            raise ModelError(f"{name!r}: {file} is not a mapping from names to weights: {LAYOUTS}")
    raise ModelError(f"no weights in {name!r}: add {' or '.join(WEIGHTS)}")
