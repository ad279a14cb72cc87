"""What a saved model takes over from the checkpoint that it was trained from.

A tensor that training did not change is that of the checkpoint, bit by bit, and one that it did is in the
dtype that the tensor has there. Weights that transformers knows of and does not load (the heads of
multi-token prediction), the files of processors, values of dropout and the settings of generation are taken
over too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pairkit.files import read_json
from pairkit.models.names import is_path

FLOATS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}  # names of safetensors and of torch
INDEX = "model.safetensors.index.json"
PROCESSORS = (
    *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
    *("chat_template.json", "generation_config.json"),
)
# Vocabularies that the tokenizer's own file replaces, but that other programs read. Not lists of special
# tokens, because those of the trained tokenizer may differ.
VOCABULARIES = ("*.model", "*.tiktoken", "vocab.*", "merges.txt", "tekken.json")


class Original:
    """The checkpoint that a model was trained from: its directory, or its snapshot in the hub's cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Path] = {}  # tensor -> the file that holds it
        self.dtypes: Counter[str] = Counter()  # numbers by dtype; those of other types are left out
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  a file is no mapping
                    self.files[name] = path
                    piece = file.get_slice(name)
                    if piece.get_dtype() in FLOATS:
                        count = torch.Size(piece.get_shape()).numel()
                        self.dtypes[FLOATS[piece.get_dtype()]] += count

    @property
    def dtype(self) -> str | None:
        """The dtype of most of its numbers; None without safetensors of floating point."""
        return self.dtypes.most_common(1)[0][0] if self.dtypes else None

    def tensor(self, name: str) -> torch.Tensor | None:
        if name not in self.files:
            return None
        with safe_open(self.files[name], framework="pt") as file:
            return file.get_tensor(name)  # type: ignore[no-any-return]


def original_of(base: str, revision: str | None) -> Original | None:
    """Open the checkpoint of a directory or a hub id; None for a configuration file."""
    if base.endswith(".json"):
        return None
    if os.path.isdir(base):
        return Original(Path(base))
    paths = [_cached(base, name, revision) for name in ("config.json", *PROCESSORS)]
    return Original(paths[0].parent) if paths[0] else None


def _cached(name: str, file: str, revision: str | None) -> Path | None:
    """Return a file of a hub id, downloaded if it is not in the cache; None where it cannot be had."""
    if is_path(name):
        return None
    from transformers.utils import cached_file

    path = cached_file(
        name,
        file,
        revision=revision,
        # A model that is trained must not be lost because the hub is out of reach.
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(path) if path else None


def carry_tensors(
    folder: Path, original: Original | None, dtype: str | None, *, ignored: Iterable[str] = ()
) -> None:
    """Rewrite the weights that were saved to `folder`: file by file, each as large as a shard.

    Args:
        dtype: of all floating-point tensors; None: each as in the checkpoint, a new one as most of them are.
        ignored: patterns of the checkpoint's tensors that transformers does not load, which are added.
    """
    paths = sorted(folder.glob("*.safetensors"))
    files: dict[str, str] = {}  # tensor -> file name
    size = 0
    missing_names = _unloaded(paths, original, ignored)
    for path in paths:
        tensors = {name: _finished(name, value, original, dtype) for name, value in load_file(path).items()}
        if path == paths[-1] and original is not None:
            additions = {name: original.tensor(name) for name in missing_names}
            tensors |= {name: value for name, value in additions.items() if value is not None}
        save_file(tensors, path, metadata={"format": "pt"})
        files |= dict.fromkeys(tensors, path.name)
        size += sum(value.nbytes for value in tensors.values())
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX)
        index["metadata"]["total_size"] = size
        index["weight_map"] = dict(sorted(files.items()))
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _unloaded(paths: list[Path], original: Original | None, ignored: Iterable[str]) -> list[str]:
    patterns = [re.compile(pattern) for pattern in ignored]
    if original is None or not patterns:
        return []
    names: set[str] = set()
    for path in paths:
        with safe_open(path, framework="pt") as file:
            names |= set(file.keys())
    absent = sorted(original.files.keys() - names)
    return [name for name in absent if any(pattern.search(name) for pattern in patterns)]


def _finished(name: str, value: torch.Tensor, original: Original | None, dtype: str | None) -> torch.Tensor:
    if not value.is_floating_point():
        return value
    if dtype is not None:
        return value.to(getattr(torch, dtype))
    before = original.tensor(name) if original else None
    if before is None or str(before.dtype).removeprefix("torch.") not in FLOATS.values():
        return value.to(getattr(torch, original.dtype)) if original and original.dtype else value
    # Compared in the precision of the training, in which the checkpoint was loaded.
    if before.shape == value.shape and torch.equal(before.to(value.dtype), value):
        return before
    return value.to(before.dtype)


def carry_config(path: Path, before: Mapping[str, Any], dtype: str) -> None:
    """Write the checkpoint's values of dropout, which were 0 in training, and the dtype into a config.json.

    Args:
        before: the checkpoint's configuration.
        dtype: that of the saved weights.
    """
    config = read_json(path)
    text = json.dumps(_restored(config, before, dtype), indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def _restored(config: Mapping[str, Any], before: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    result = dict(config)
    for key, value in config.items():
        if key == "dtype" and isinstance(value, str):
            result[key] = dtype
        elif "drop" in key and isinstance(before.get(key), float):
            result[key] = before[key]
        elif isinstance(value, Mapping) and isinstance(before.get(key), Mapping):
            result[key] = _restored(value, before[key], dtype)
    return result


def carry_files(folder: Path, original: Original, *, tokenizer: bool) -> None:
    """Copy the files of processors and of generation, and vocabularies, that `folder` does not have.

    Args:
        tokenizer: whether the model has the checkpoint's tokenizer.
    """
    patterns = (*PROCESSORS, *(VOCABULARIES if tokenizer else ()))
    for path in sorted(original.folder.iterdir()):
        # That of generation is overwritten: it is the checkpoint's, as it was.
        absent = path.name == "generation_config.json" or not (folder / path.name).exists()
        if path.is_file() and absent and any(fnmatch(path.name, pattern) for pattern in patterns):
            shutil.copyfile(path, folder / path.name)
