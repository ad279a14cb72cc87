"""Saving a PairRM as a checkpoint that the ranker `pairrm` and llm-blender read.

One that was trained from a checkpoint has the layout of that. Any other has the layout PairRM-hf, which needs
no base model next to it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from pairkit.models.carry import Original, carry_tensors, original_of
from pairkit.models.resolve import Place
from pairkit.rankers.pairrm.checkpoint import LENGTHS, TOKENIZERS
from pairkit.rankers.pairrm.text import CLS, PAD, SEP, UNK
from pairkit.training.pairrm.start import TrainedPairRM

WEIGHTS = "model.safetensors"
TOKENIZER_FILES = (*TOKENIZERS, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# What transformers 4, which llm-blender runs on, makes of a tokenizer.json: its own class for DeBERTa.
TOKENIZER_CONFIG = {
    "tokenizer_class": "DebertaV2Tokenizer",
    "do_lower_case": False,
    "bos_token": CLS,
    "cls_token": CLS,
    "eos_token": SEP,
    "sep_token": SEP,
    "pad_token": PAD,
    "unk_token": UNK,
    "mask_token": "[MASK]",
}


def save_pairrm(
    model: nn.Module, tokenizer: Any, folder: Path, place: Place, *, dtype: str | None = None, **_: Any
) -> None:
    """Save a model and its tokenizer to `folder`; takes what `models.save.save_files` does.

    Args:
        place: what the model was loaded from.
        dtype: of the saved weights; None: that of each tensor of the checkpoint, and what the model has if it
            started from something else.
    """
    assert isinstance(model, TrainedPairRM)
    folder.mkdir(parents=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    original = original_of(place.base, place.revision)
    carry_tensors(folder, None if model.is_new else original, dtype)
    settings = {**model.settings, **dict(zip(LENGTHS, model.limits, strict=True))}
    if "ranker_type" not in settings:  # llm-blender's own has no such field
        settings["torch_dtype"] = Original(folder).dtype
        settings.pop("dtype", None)  # the same by its new name
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    if not model.is_new and original is not None:
        # As they are, because a run adds no tokens. Without any the base model has the tokenizer.
        for path in _files(original.folder):
            shutil.copyfile(path, folder / path.name)
        return
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2) + "\n")


def _files(folder: Path) -> Iterator[Path]:
    return (path for name in TOKENIZER_FILES if (path := folder / name).is_file())
