"""Checkpoints of PairRM on disk or on the hub, in either of their two layouts.

    PairRM     config.json of llm-blender's ranker (`ranker_type: pairranker`, `model_name: the base model`);
               architecture and, unless it brings one, tokenizer are those of the base model
    PairRM-hf  config.json of DeBERTa with the ids of the prefixes (`source_prefix_id` ...), and a tokenizer

Both name their weights alike, in model.safetensors or pytorch_model.bin, which is read as weights only.

The tokenizer is read from its file as it is. transformers 5 rebuilds DeBERTa's from the vocabulary alone and
loses the normalizer of the file (NFKC and more), so that texts with "…" or "ﬁ" would get other ids than the
model was trained with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from tokenizers import AddedToken, Tokenizer

from pairkit.errors import ModelError
from pairkit.models.names import cannot_load
from pairkit.rankers.pairrm.model import PairRM
from pairkit.rankers.pairrm.text import CLS, FIRST, PAD, PREFIXES, SECOND, SEP, SOURCE, Limits

LIMITS = Limits(1224, 412)  # PairRM's own
PREFIX_IDS = {"source_prefix_id": SOURCE, "cand1_prefix_id": FIRST, "cand2_prefix_id": SECOND}
EMBEDDINGS = "pretrained_model.embeddings.word_embeddings.weight"
TOKENIZERS = ("tokenizer.json", "spm.model")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
LAYOUTS = (
    "pairkit reads llm-blender/PairRM (config.json with `ranker_type: pairranker`) and llm-blender/PairRM-hf "
    "(config.json with `source_prefix_id`), both over DeBERTa-v2 or v3"
)


class Checkpoint(NamedTuple):
    """A loaded checkpoint; `limits` are what it says of itself, PairRM's where it says nothing."""

    model: PairRM
    tokenizer: Tokenizer
    limits: Limits


def load(name: str, revision: str | None = None) -> Checkpoint:
    """The checkpoint of a hub id or a directory, on the CPU, in float32.

    Raises `ModelError` for one that cannot be read, that has another layout, or whose tokenizer and weights
    do not belong together.
    """
    said = _config(name, revision)
    if said.get("ranker_type") == "pairranker":
        base = str(said.get("model_name"))
        config = _config(base, None)
        config["n_tasks"] = said.get("n_tasks", 1)
        tokenizer = _tokenizer(name, revision) or _tokenizer(base, None)
    elif all(key in said for key in PREFIX_IDS):
        config, base, tokenizer = said, name, _tokenizer(name, revision)
    else:
        kind = said.get("ranker_type") or said.get("architectures") or said.get("model_type")
        raise ModelError(f"{name!r} is not a PairRM checkpoint (it is of {kind}): {LAYOUTS}")
    if config.get("model_type") != "deberta-v2":
        raise ModelError(f"{name!r} is built on a model of type {config.get('model_type')!r}: {LAYOUTS}")
    if not config.get("relative_attention"):
        raise ModelError(f"{name!r} is built on a model without relative attention: {LAYOUTS}")
    if tokenizer is None:
        raise ModelError(f"neither {name!r} nor {base!r} holds a tokenizer: {' or '.join(TOKENIZERS)}")
    _complete(tokenizer)
    _check_ids(name, tokenizer, said)
    weights = _weights(name, revision)
    _check_size(name, tokenizer.get_vocab_size(), len(weights.get(EMBEDDINGS, ())), exact=config is not said)
    model = _model(name, config, weights)
    limits = Limits(*(said.get(key) or default for key, default in zip(_LIMITS, LIMITS, strict=True)))
    return Checkpoint(model, tokenizer, limits)


_LIMITS = ("source_maxlength", "candidate_maxlength")


def _find(name: str, file: str, revision: str | None) -> Path | None:
    """A file of a directory or of a model on the hub, None where there is none of that name."""
    if Path(name).exists():
        path = Path(name) / file
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except LocalEntryNotFoundError as error:  # no network, and not in the cache
        raise cannot_load("model", name, error) from error
    except EntryNotFoundError:
        return None
    except Exception as error:  # any of a dozen types of httpx, the hub's client and its validators
        raise cannot_load("model", name, error) from error


def _config(name: str, revision: str | None) -> dict[str, Any]:
    path = _find(name, "config.json", revision)
    if path is None:
        raise cannot_load("model", name, FileNotFoundError("it has no config.json"))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise cannot_load("model", name, error) from error
    if not isinstance(content, dict):
        raise ModelError(f"{name!r}: config.json is no JSON object: {LAYOUTS}")
    return content


def _tokenizer(name: str, revision: str | None) -> Tokenizer | None:
    """The tokenizer in a checkpoint's files, None where it has no such file."""
    for file in TOKENIZERS:
        path = _find(name, file, revision)
        if path is not None:
            try:
                return (
                    _from_sentencepiece(path) if path.suffix == ".model" else Tokenizer.from_file(str(path))
                )
            except Exception as error:  # tokenizers raises Exception itself, protobuf its own
                raise cannot_load("tokenizer", name, error) from error
    return None


def _from_sentencepiece(path: Path) -> Tokenizer:
    """DeBERTa-v2's SentencePiece model, converted as transformers 4 does when it loads the base model."""
    from transformers.convert_slow_tokenizer import DebertaV2Converter

    ids: dict[str, int] = {}
    converter = DebertaV2Converter(
        SimpleNamespace(
            vocab_file=str(path), do_lower_case=False, split_by_punct=False, convert_tokens_to_ids=ids.get
        )
    )
    ids |= {piece.piece: index for index, piece in enumerate(converter.proto.pieces)}
    tokenizer: Tokenizer = converter.converted()
    tokenizer.add_special_tokens(["[UNK]", "[MASK]"])
    return tokenizer


def _complete(tokenizer: Tokenizer) -> None:
    """Adds the prefixes that are missing, as llm-blender does; batches are not the tokenizer's business."""
    tokenizer.add_tokens([AddedToken(prefix, special=False, normalized=True) for prefix in PREFIXES])
    tokenizer.no_truncation()
    tokenizer.no_padding()


def _check_ids(name: str, tokenizer: Tokenizer, said: Mapping[str, Any]) -> None:
    for token in (CLS, SEP, PAD):
        if tokenizer.token_to_id(token) is None:
            raise ModelError(f"the tokenizer of {name!r} has no {token}: it is not DeBERTa's")
    for key, token in PREFIX_IDS.items():
        given, found = said.get(key), tokenizer.token_to_id(token)
        if given is not None and given != found:
            raise ModelError(
                f"{name!r}: config.json has {key} {given}, but {token} is {found} to the tokenizer: "
                "they are not of one checkpoint"
            )


def _check_size(name: str, tokens: int, rows: int, *, exact: bool) -> None:
    """Whether there are rows for all tokens; in the layout PairRM, which names no ids, for no others."""
    if rows < tokens or (exact and rows != tokens):
        raise ModelError(
            f"{name!r}: the tokenizer has {tokens} tokens and the weights {rows or 'no'} embeddings: "
            f"they are not of one PairRM checkpoint; {LAYOUTS}"
        )


def _model(name: str, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> PairRM:
    from transformers import DebertaV2Config

    rows = len(weights[EMBEDDINGS])
    with torch.device("meta"):
        model = PairRM(DebertaV2Config.from_dict({**config, "vocab_size": rows}))
    expected = set(model.state_dict())
    given = {key for key in weights if not key.endswith("position_ids")}  # a constant that old files hold
    odd = sorted(expected ^ given)
    if odd:
        problem = "lacks" if odd[0] in expected else "has, beside those of a PairRM,"
        raise ModelError(f"{name!r} {problem} the weight {odd[0]!r} (one of {len(odd)}): {LAYOUTS}")
    for key, wanted in model.state_dict().items():
        if weights[key].shape != wanted.shape:
            problem = f"has the shape {list(weights[key].shape)}, by config.json it is {list(wanted.shape)}"
            raise ModelError(f"{name!r}: the weight {key!r} {problem}")
    model.load_state_dict({key: weights[key].float() for key in expected}, assign=True)
    model.materialize()
    return model.eval()


def _weights(name: str, revision: str | None) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    for file in WEIGHTS:
        path = _find(name, file, revision)
        if path is not None:
            try:
                if path.suffix == ".bin":
                    weights = torch.load(path, map_location="cpu", weights_only=True)
                else:
                    weights = load_file(path)
            except Exception as error:  # pickle's, zipfile's, safetensors' own
                raise cannot_load("model", name, error) from error
            if isinstance(weights, dict):
                return weights
            raise ModelError(f"{name!r}: {file} holds no weights by name")
    raise ModelError(f"{name!r} holds no weights: {' or '.join(WEIGHTS)}")
