"""Checkpoints of PairRM: both layouts, their tokenizers, and those that are refused."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import pairrm_model
from support.pairrm_runs import (
    CONFIG,
    EMBEDDINGS,
    LAYOUTS,
    REAL_LIMITS,
    SAFETENSORS,
    TOKENIZER,
    close,
    run,
    sets,
)

from pairkit.errors import ModelError
from pairkit.rankers.pairrm.checkpoint import load_pairrm_checkpoint
from pairkit.rankers.pairrm.ranker import PairRMRecipe, load_pairrm


def test_layouts_and_file_formats_give_the_same_scores(tmp_path: Path, checkpoint: Path) -> None:
    table = sets(4)
    expected, _ = run(checkpoint, table)
    for layout in LAYOUTS:
        for binary in (False, True):
            folder = pairrm_model.save(tmp_path / f"{layout}-{binary}", layout, binary=binary)
            close(run(folder, table)[0], expected, tolerance=1e-6)  # memory alignment differs


def test_limits_are_the_checkpoints(tmp_path: Path, checkpoint: Path) -> None:
    assert load_pairrm_checkpoint(str(checkpoint)).limits == REAL_LIMITS
    folder = pairrm_model.save(tmp_path / "short", "PairRM", source_maxlength=20, candidate_maxlength=12)
    table = sets(5, seed=3)
    limits = {"source_max_tokens": 20, "candidate_max_tokens": 12}
    close(run(folder, table)[0], run(checkpoint, table, **limits)[0], tolerance=1e-6)


def change(folder: Path, file: str = "config.json", **fields: Any) -> None:
    said = json.loads((folder / file).read_text()) | fields
    (folder / file).write_text(json.dumps({key: value for key, value in said.items() if value is not None}))


def without(folder: Path, name: str) -> None:
    weights = load_file(folder / SAFETENSORS)
    (folder / SAFETENSORS).unlink()
    save_file({key: value for key, value in weights.items() if key != name}, folder / SAFETENSORS)


class Trap:
    """An object whose unpickling runs code."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("the checkpoint's code ran",))


def trap(folder: Path) -> None:
    (folder / SAFETENSORS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"head_layer.1.weight": Trap()}))


def one_row_more(folder: Path) -> None:
    weights = load_file(folder / SAFETENSORS)
    weights[EMBEDDINGS] = torch.cat([weights[EMBEDDINGS], weights[EMBEDDINGS][:1]])
    save_file(weights, folder / SAFETENSORS)


def another_size(folder: Path) -> None:
    weights = load_file(folder / SAFETENSORS)
    weights["head_layer.1.bias"] = torch.zeros(5)
    save_file(weights, folder / SAFETENSORS)


# Name of the case -> layout, damage to the folder, message.
BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "another model": (
        "PairRM-hf", lambda f: change(f, source_prefix_id=None), "is not a PairRM checkpoint (its type is",
    ),
    "another ranker": (
        "PairRM", lambda f: change(f, ranker_type="summareranker"), "its type is summareranker",
    ),
    "another base": (
        "PairRM-hf", lambda f: change(f, model_type="roberta"), "a model of type 'roberta'",
    ),
    "no base": (
        "PairRM", lambda f: change(f, model_name=str(f / "none")), "no such file or directory",
    ),
    "a weight too few": (
        "PairRM-hf", lambda f: without(f, "head_layer.4.bias"),
        "the weight 'head_layer.4.bias' (one of 1) is missing from",
    ),
    "a layer too many": (
        "PairRM-hf", lambda f: change(f, num_hidden_layers=1), "does not belong to a PairRM, but is in",
    ),
    "no embeddings": ("PairRM", lambda f: without(f, EMBEDDINGS), "the weights have no embeddings"),
    "more embeddings than tokens": ("PairRM", one_row_more, "embeddings, so they do not belong to the same"),
    "a shape": (
        "PairRM-hf", another_size, "'head_layer.1.bias' has shape [5], but config.json implies [32]",
    ),
    "no relative attention": (
        "PairRM-hf", lambda f: change(f, relative_attention=False), "without relative attention",
    ),
    "no weights": (
        "PairRM-hf", lambda f: (f / SAFETENSORS).unlink(), "no weights in ",
    ),
    "a torn file": ("PairRM-hf", lambda f: (f / SAFETENSORS).write_bytes(b"x" * 9), "cannot be loaded"),
    "no config": ("PairRM-hf", lambda f: (f / CONFIG).unlink(), "the directory contains no config.json"),
    "a torn config": ("PairRM-hf", lambda f: (f / CONFIG).write_text("{"), "cannot be loaded"),
    "a list as config": ("PairRM-hf", lambda f: (f / CONFIG).write_text("[]"), "not a JSON object"),
    "no tokenizer": (
        "PairRM-hf", lambda f: (f / TOKENIZER).unlink(), "add tokenizer.json or spm.model",
    ),
    "a torn tokenizer": (
        "PairRM-hf", lambda f: (f / TOKENIZER).write_text("{}"), "cannot be loaded",
    ),
    "another tokenizer": (
        "PairRM-hf", lambda f: change(f, cand1_prefix_id=3),
        "cand1_prefix_id is 3 in config.json, but the tokenizer's id of <|candidate1|>",
    ),
    "code in the weights": ("PairRM", trap, "cannot be loaded"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_invalid_checkpoints_are_refused(tmp_path: Path, kind: str) -> None:
    layout, spoil, message = BROKEN[kind]
    folder = pairrm_model.save(tmp_path / "model", layout)
    spoil(folder)
    with pytest.raises(ModelError, match=re.escape(message)):
        load_pairrm(PairRMRecipe(model=str(folder)))


def test_unknown_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"'llm-blender/none' cannot be loaded.*check the name"):
        load_pairrm(PairRMRecipe(model="llm-blender/none"))


def test_sentencepiece_tokenizers_are_converted(tmp_path: Path, checkpoint: Path) -> None:
    """microsoft/deberta-v3-large has only spm.model."""
    folder = pairrm_model.save(tmp_path / "model", "PairRM")
    base = tmp_path / "model-base"
    (base / "tokenizer.json").unlink()
    pairrm_model.save_sentencepiece(base)
    found = load_pairrm_checkpoint(str(folder)).tokenizer
    expected = load_pairrm_checkpoint(str(checkpoint)).tokenizer
    for text in ("<|candidate|>the red dog, 3 cats", "<|source|>", "[MASK] Ω unknown  old"):
        assert found.encode(text).ids == expected.encode(text).ids
    close(run(folder, sets(2))[0], run(checkpoint, sets(2))[0], tolerance=1e-6)


def test_the_normalizer_of_the_file_is_kept(checkpoint: Path) -> None:
    tokenizer = load_pairrm_checkpoint(str(checkpoint)).tokenizer
    assert tokenizer.encode("ﬁnd…").ids == tokenizer.encode("find...").ids
