"""What a run is made of, by content: a path stays the same when what is there is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pairkit.hashing import sha256_of
from pairkit.models.load import hub_commit
from pairkit.models.names import FILES
from pairkit.models.resolve import ADAPTER_CONFIG, resolve
from pairkit.training.recipe import TrainRecipe

# Per part of a run, the sha256 of each of its files; of what is on the hub, its commit.
Content = Mapping[str, Mapping[str, str]]
WEIGHTS = ("*.safetensors", "*.bin", "*.index.json", "config.json", ADAPTER_CONFIG, "*.py")
TOKENIZER = (
    *FILES["tokenizer"],
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "spiece.model",
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
    models = {"model": recipe.model}
    if recipe.reference not in (None, recipe.model):
        models["reference"] = str(recipe.reference)
    files = {part: _weights(name, recipe.revision_of(name)) for part, name in models.items()}
    files["tokenizer"] = _tokenizer(recipe)
    hashes = sha256_of((path for part in files.values() for path in part.values()), "hashing the weights")
    content = {part: {name: hashes[path] for name, path in named.items()} for part, named in files.items()}
    for part, name in models.items():
        content[part] |= _commits(name, recipe.revision_of(name), recipe.trust_remote_code)
    content["tokenizer"] |= _tokenizer_commit(recipe)
    return {**content, "data": dict(data)}


def differences(before: Content, now: Content, renamed: set[str]) -> list[str]:
    """Describe each part whose content is another, naming its files.

    Args:
        renamed: fields of the recipe that differ; what they name need not be equal.
    """
    lines = []
    for part, (what, field) in PARTS.items():
        theirs, ours = before.get(part, {}), now.get(part, {})
        changed = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
        if changed and field not in renamed and not (part == "tokenizer" and "model" in renamed):
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            named = (name if name in ours else f"{name} is gone" for name in changed[:3])
            lines.append(f"{what} was changed since ({', '.join(named)}{more})")
    return lines


def _weights(name: str, revision: str | None) -> dict[str, Path]:
    """Return the files on disk that decide what a model computes, by names that are equal in any place."""
    place = resolve(name, revision)
    if Path(place.base).is_file():
        return {Path(place.base).name: Path(place.base)}
    files = _in_folder(Path(place.base), WEIGHTS)
    for number, adapters in enumerate(place.adapters, 1):
        found = _in_folder(Path(adapters), WEIGHTS)
        files |= {f"adapters {number}: {file}": path for file, path in found.items()}
    return files


def _in_folder(folder: Path, patterns: tuple[str, ...]) -> dict[str, Path]:
    return {path.name: path for kind in patterns for path in sorted(folder.glob(kind)) if path.is_file()}


def _commits(name: str, revision: str | None, trust_remote_code: bool) -> dict[str, str]:
    """Return the commits of what comes from the hub: a name and a branch stay, a commit names a content."""
    place = resolve(name, revision)
    commits = {}
    if not Path(place.base).exists():
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
    if Path(name).exists() or name.startswith("bpe:"):
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
        found = cached_file(
            name, file, revision=revision, _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False, _raise_exceptions_for_gated_repo=False,
        )  # fmt: skip
        if found is not None:
            return extract_commit_hash(str(found), None)  # type: ignore[no-any-return]
    return None
