"""What the training of a PairRM starts from: a checkpoint of it, a DeBERTa encoder, or a configuration file.

The last two get a head from the seed, and an embedding for each prefix that the tokenizer lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2Model

from pairkit.errors import ModelError
from pairkit.files import read_json
from pairkit.models.names import cannot_load
from pairkit.models.resolve import resolve
from pairkit.progress import log
from pairkit.rankers.pairrm.checkpoint import (
    EMBEDDINGS,
    LIMITS,
    PREFIX_IDS,
    TOKENIZERS,
    add_prefixes,
    check_encoder,
    check_ids,
    is_pairrm,
    load_pairrm_checkpoint,
    open_pairrm_checkpoint,
    read_settings,
    read_tokenizer,
)
from pairkit.rankers.pairrm.model import PairRM
from pairkit.rankers.pairrm.text import ANY, SEP, Limits

# Dropout of the head in llm-blender's training; it is off in pairkit's, and a field that its model reads.
HEAD = {"n_tasks": 1, "drop_out": 0.05}
ADVICE = (
    "--loss pairrm trains a PairRM checkpoint (llm-blender/PairRM-hf), a DeBERTa-v2 or v3 encoder "
    "(microsoft/deberta-v3-base), or a configuration file (.json) of one"
)


class Start(NamedTuple):
    """A start without its weights and its tokenizer.

    Attributes:
        settings: its config.json.
        config: the configuration of the encoder.
        checkpoint: whether it is a PairRM already.
    """

    settings: dict[str, Any]
    config: dict[str, Any]
    limits: Limits
    checkpoint: bool


class TrainedPairRM(PairRM):
    """A PairRM with what its checkpoint needs besides weights: `settings`, its config.json, and limits."""

    def __init__(self, start: Start, rows: int) -> None:
        super().__init__(DebertaV2Config.from_dict({**start.config, "vocab_size": rows}))
        self.settings, self.limits, self.is_new = dict(start.settings), start.limits, not start.checkpoint

    def gradient_checkpointing_enable(self, _: Mapping[str, Any]) -> None:
        """Recompute the activations of each layer in backward."""
        self.recompute = True


def read_start(name: str, revision: str | None) -> Start:
    """Read what `name` is.

    Args:
        name: what `resolve` finds.

    Raises:
        ModelError: what cannot be read, or is neither a PairRM nor a DeBERTa with relative positions.
    """
    place = resolve(name, revision)
    if place.adapters:
        raise ModelError(f"the model {name!r} consists of adapters: {ADVICE}")
    path = Path(place.base)
    settings = _read_file(path) if path.is_file() else read_settings(place.base, place.revision)
    if is_pairrm(settings) and not path.is_file():
        checkpoint = open_pairrm_checkpoint(place.base, place.revision)
        return Start(checkpoint.settings, checkpoint.config, checkpoint.limits, checkpoint=True)
    if settings.get("model_type") != "deberta-v2":
        raise ModelError(f"the model {name!r} is of type {settings.get('model_type')!r}: {ADVICE}")
    check_encoder(name, settings)
    settings = {**settings, **HEAD}
    return Start(settings, settings, LIMITS, checkpoint=False)


def tokenizer_of(name: str, revision: str | None, other: str | None = None) -> Tokenizer:
    """Read the tokenizer that belongs to `name`, with PairRM's prefixes.

    Args:
        other: where the tokenizer of a configuration file is, if not next to it.

    Raises:
        ModelError: there is none, or it is not DeBERTa's.
    """
    place = resolve(name, revision)
    path = Path(place.base)
    if not path.is_file() and is_pairrm(read_settings(place.base, place.revision)):
        return open_pairrm_checkpoint(place.base, place.revision).tokenizer
    folder = other or (str(path.parent) if path.is_file() else place.base)
    tokenizer = read_tokenizer(folder, None if other else place.revision)
    if tokenizer is None:
        remedy = f"add {' or '.join(TOKENIZERS)} of a DeBERTa-v2 or v3"
        remedy += ", or name one with --tokenizer" if path.is_file() else ""
        raise ModelError(f"no tokenizer in {folder!r}: {remedy}")
    add_prefixes(tokenizer)
    check_ids(folder, tokenizer, {})
    return tokenizer


def with_ids(settings: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Return a configuration of a DeBERTa as that of a PairRM in the layout PairRM-hf."""
    ids = {**PREFIX_IDS, "cand_prefix_id": ANY, "sep_token_id": SEP}
    return {
        **settings,
        **{key: tokenizer.token_to_id(token) for key, token in ids.items()},
        "vocab_size": tokenizer.get_vocab_size(),
        "architectures": ["DebertaV2PairRM"],
    }


def empty_pairrm(name: str, *, revision: str | None, vocabulary: int | None, **_: Any) -> nn.Module:
    """Make the model of `load_trained` on the meta device; takes what `models.load.empty_model` does."""
    rows = _rows(name, revision, vocabulary)
    with torch.device("meta"):
        return TrainedPairRM(read_start(name, revision), rows)


def load_trained(
    name: str, *, revision: str | None, dtype: str, seed: int, vocabulary: int | None, **_: Any
) -> nn.Module:
    """Load the model to train on the CPU; takes what `models.load.load_model` does.

    The encoder is in `dtype`; the head is in float32, because a loss takes differences of what it gives.

    Args:
        vocabulary: how many tokens the model of a configuration file gets.

    Raises:
        ModelError: a model that cannot be loaded, or is neither a PairRM nor a DeBERTa.
    """
    start, place = read_start(name, revision), resolve(name, revision)
    if start.checkpoint:
        weights = load_pairrm_checkpoint(place.base, place.revision).model.state_dict()
    else:
        # All random numbers at once, so that nothing that is loaded before them changes them.
        torch.manual_seed(seed)
        weights = TrainedPairRM(start, _rows(name, revision, vocabulary)).state_dict()
        if not name.endswith(".json"):
            _fill_encoder(weights, place.base, place.revision)
            log(f"{name}: is not a PairRM yet; its head is made from seed {seed}")
    with torch.device("meta"):
        model = TrainedPairRM(start, len(weights[EMBEDDINGS]))
    model.load_state_dict(weights, assign=True)
    model.materialize()
    model.pretrained_model.to(getattr(torch, dtype))
    return model.requires_grad_(True).eval()


def _rows(name: str, revision: str | None, vocabulary: int | None) -> int:
    """Return how many embeddings a model has: one per token, as llm-blender makes it."""
    if name.endswith(".json") and vocabulary is not None:
        return vocabulary
    return tokenizer_of(name, revision).get_vocab_size()


def _fill_encoder(weights: dict[str, Tensor], base: str, revision: str | None) -> None:
    """Replace random weights by those of an encoder; rows of tokens that it does not have stay random."""
    try:
        encoder, report = DebertaV2Model.from_pretrained(
            base,
            revision=revision,
            dtype=torch.float32,
            trust_remote_code=False,  # the class is transformers' own
            output_loading_info=True,
        )
    except Exception as error:  # any of a dozen types: transformers', the hub's, safetensors'
        raise cannot_load("model", base, error) from error
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{base!r}: has no weight {missing[0]!r} (one of {len(missing)}): {ADVICE}")
    for key, value in encoder.state_dict().items():
        name = f"pretrained_model.{key}"
        shared = min(len(weights[name]), len(value)) if name == EMBEDDINGS else None
        weights[name][:shared] = value[:shared]


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise cannot_load("model", str(path), error) from error
