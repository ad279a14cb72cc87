"""What a run is made of, by content: a path stays the same when what is there is replaced."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pairkit.errors import InputError
from pairkit.hashing import Stamp, sha256_of, stamp
from pairkit.models.load import hub_commit
from pairkit.models.names import FILES
from pairkit.models.resolve import ADAPTER_CONFIG, resolve
from pairkit.training.recipe import TrainRecipe

# Per part of a run, the sha256 of each of its files; of what is on the hub, its commit.
Content = Mapping[str, Mapping[str, str]]
# Code that comes with a model decides what it computes as much as its weights do.
WEIGHTS = ("*.safetensors", "*.bin", "*.index.json", "config.json", ADAPTER_CONFIG, "*.py")
TOKENIZER = (
    *FILES["tokenizer"],
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "*.tiktoken",
    "chat_template*",
    "*.py",
)
# What a person calls a part, and the field of the recipe that names another one.
PARTS = {
    "model": ("the model", "model"),
    "tokenizer": ("the tokenizer", "tokenizer"),
    "reference": ("the reference model", "reference"),
    "data": ("the dataset", "data"),
}
_COMMIT = "commit"


def content_of(recipe: TrainRecipe, data: Mapping[str, str]) -> Content:
    """Hash what decides a run besides its recipe. Weights are read whole, several files at a time.

    Args:
        data: the sha256 of each file of the dataset that is read.

    Raises `ModelError` for a model that cannot be found, `OSError` for a file that cannot be read.
    """
    files = _files(recipe)
    # All parts in one call, so that the few files of one are read next to the many of another.
    hashes = sha256_of((path for part in files.values() for path in part.values()), "hashing the weights")
    content = {
        part: {name: hashes[path] for name, path in part_files.items()} for part, part_files in files.items()
    }
    for part, name in _models(recipe).items():
        content[part] |= _commits(name, recipe.revision_of(name), recipe.trust_remote_code)
    content["tokenizer"] |= _tokenizer_commit(recipe)
    return {**content, "data": dict(data)}


class Unwritten:
    """The files that a run reads, which nobody may write to between their hashing and the end of reading."""

    def __init__(self, recipe: TrainRecipe, data: Sequence[Path]) -> None:
        self._recipe, self._data = recipe, data
        self._stamps = self._now()

    def check(self) -> None:
        """Raise `InputError` for a file that was written to, removed or added, whatever it holds now."""
        if path := self._changed():
            raise InputError(
                f"{path}: was written to while the run was reading it; run the same command again, once "
                "nobody writes there"
            )

    def check_content(self, content: Content) -> None:
        """Raise `InputError` where what was written to since has another content than `content`."""
        # Hashes only where a stamp differs, because they take seconds per model.
        if self._changed() and (
            lines := differences(content, content_of(self._recipe, content["data"]), set())
        ):
            raise InputError(
                f"not saved: {'; '.join(lines)}; put back what was there, and the same command continues, or "
                "use --on-existing delete"
            )

    def _changed(self) -> Path | None:
        now = self._now()
        return next(
            (path for path in {**self._stamps, **now} if self._stamps.get(path) != now.get(path)), None
        )

    def _now(self) -> dict[Path, Stamp]:
        paths = [*self._data, *(path for part in _files(self._recipe).values() for path in part.values())]
        stamps = {}
        for path in paths:
            with suppress(FileNotFoundError):  # and so one of those that differ
                stamps[path] = stamp(path)
        return stamps


def differences(before: Content, now: Content, recipe_fields: set[str]) -> list[str]:
    """Describe each part whose content is another, naming its files.

    Args:
        recipe_fields: fields of the recipe that differ; what they name need not be equal.
    """
    lines = []
    for part, (what, field) in PARTS.items():
        theirs, ours = before.get(part, {}), now.get(part, {})
        names = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
        if names and field not in recipe_fields and not (part == "tokenizer" and "model" in recipe_fields):
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            descriptions = (name if name in ours else f"{name} is gone" for name in names[:3])
            lines.append(f"{what} was changed since ({', '.join(descriptions)}{more})")
    return lines


def _models(recipe: TrainRecipe) -> dict[str, str]:
    models = {"model": recipe.model}
    # The model as its own reference is read, and hashed, once.
    if recipe.reference not in (None, recipe.model):
        models["reference"] = str(recipe.reference)
    return models


def _files(recipe: TrainRecipe) -> dict[str, dict[str, Path]]:
    """Return the files on disk that decide a run, by part and name."""
    files = {part: _weights(name, recipe.revision_of(name)) for part, name in _models(recipe).items()}
    return {**files, "tokenizer": _tokenizer(recipe)}


def _weights(name: str, revision: str | None) -> dict[str, Path]:
    """Return the files on disk that decide what a model computes, by names that are equal in any place."""
    place = resolve(name, revision)
    if os.path.isfile(place.base):
        return {Path(place.base).name: Path(place.base)}
    files = _in_folder(Path(place.base), WEIGHTS)
    for number, adapters in enumerate(place.adapters, 1):
        paths = _in_folder(Path(adapters), WEIGHTS)
        files |= {f"adapters {number}: {file}": path for file, path in paths.items()}
    return files


def _in_folder(folder: Path, patterns: tuple[str, ...]) -> dict[str, Path]:
    return {path.name: path for kind in patterns for path in sorted(folder.glob(kind)) if path.is_file()}


def _commits(name: str, revision: str | None, trust_remote_code: bool) -> dict[str, str]:
    """Return the commits of what comes from the hub: a name and a branch stay, a commit names a content."""
    place = resolve(name, revision)
    commits = {}
    if not os.path.exists(place.base):
        commits[_COMMIT] = hub_commit(name, revision, trust_remote_code)
    for number, adapters in enumerate(place.adapters, 1):
        if not Path(adapters).exists():
            last = place.adapters_revision if adapters == place.top else None
            commits[f"adapters {number}: {_COMMIT}"] = _cached_commit(adapters, [ADAPTER_CONFIG], last)
    return {key: commit for key, commit in commits.items() if commit is not None}


def _tokenizer(recipe: TrainRecipe) -> dict[str, Path]:
    """Return the files on disk of the tokenizer and its template; none of one that is trained on the data."""
    name, _ = _tokenizer_place(recipe)
    place = Path(name)
    return _in_folder(place.parent if place.is_file() else place, TOKENIZER) if place.exists() else {}


def _tokenizer_commit(recipe: TrainRecipe) -> dict[str, str]:
    name, revision = _tokenizer_place(recipe)
    if os.path.exists(name) or name.startswith("bpe:"):
        return {}
    commit = _cached_commit(name, FILES["tokenizer"], revision)
    return {} if commit is None else {_COMMIT: commit}


def _tokenizer_place(recipe: TrainRecipe) -> tuple[str, str | None]:
    name = recipe.tokenizer or recipe.model
    if name.startswith("bpe:"):
        return name, None
    return resolve(name, recipe.revision_of(name)).tokenizer()


def _cached_commit(name: str, files: tuple[str, ...] | list[str], revision: str | None) -> str | None:
    """Return the commit of the first of these files that a repository of the hub has; None without any."""
    from transformers.utils import cached_file
    from transformers.utils.hub import extract_commit_hash

    for file in files:
        path = cached_file(
            name, file, revision=revision, _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False, _raise_exceptions_for_gated_repo=False,
        )  # fmt: skip
        if path is not None:
            return extract_commit_hash(str(path), None)  # type: ignore[no-any-return]
    return None
