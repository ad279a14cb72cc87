"""What two builds have in common and what makes them different ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from pairkit.recipes.differences import flat_keys
from pairkit.schema import short_hash

# What determines the bytes of a build: see `identity.identify_build`.
Identity = Mapping[str, Any]
# A hash per stage that asks a model, in order: see `identity.stage_keys`.
StageKeys = Mapping[str, str]


def hashed(identity: Identity) -> str:
    """Hash what is built, so that two builds have the same hash if `differences` finds none."""
    flat = flat_keys(identity)
    return short_hash({key: value for key, value in flat.items() if value is not None})


def differences(theirs: Identity, ours: Identity) -> list[str]:
    """Describe what makes two builds different, each difference in a few words."""
    before, now = flat_keys(theirs), flat_keys(ours)
    # Sorted, because the order of keys in a recipe's file is no difference.
    keys = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    # Hashes tell a person nothing, so each of these lines names what the hash is of.
    messages = {
        # It differs whenever another key does, and that one is listed.
        "recipe_hash": None,
        "input.fingerprint": "the input has other names or content",
        "input.model": "the model has other files",
        "input.dedup_model": "the model of dedup has other files",
    }
    for key in keys:
        if key.startswith("judge_prompts."):
            messages[key] = f"the judge's prompt {key.removeprefix('judge_prompts.')} has other words"
        elif key.startswith("input.ranking_models."):
            messages[key] = f"the model of {key.rpartition('.')[2]} has other files"
        elif key.startswith("input.ranking_files."):
            messages[key] = f"the file {key.removeprefix('input.ranking_files.')} of rank has other content"
        elif key.startswith("input.benchmarks."):
            messages[key] = f"the benchmark {key.removeprefix('input.benchmarks.')} has other prompts"
        elif key.startswith("input.models."):
            messages[key] = f"the model {key.removeprefix('input.models.')} has other files"
        elif key.startswith("input.templates."):
            messages[key] = f"the chat template of {key.removeprefix('input.templates.')} has other content"
    lines = []
    for key in keys:
        if key in messages:
            lines.append(messages[key])
        else:
            lines += _changed_parts(key, before.get(key), now.get(key))
    return [line for line in lines if line is not None]


def _changed_parts(key: str, before: Any, now: Any) -> list[str]:
    """Describe what differs at a key: of lists of blocks (models, sources, rankers), the fields that do."""
    lists = isinstance(before, Sequence) and isinstance(now, Sequence) and len(before) == len(now)
    if not lists or not all(isinstance(block, Mapping) for block in [*before, *now]):
        return [f"{key} is {now!r}, was {before!r}"]
    lines = []
    for index, blocks in enumerate(zip(before, now, strict=True)):
        theirs, ours = map(flat_keys, blocks)
        for name in sorted(theirs | ours):
            if theirs.get(name) != ours.get(name):
                lines += _changed_parts(f"{key}.{index}.{name}", theirs.get(name), ours.get(name))
    return lines


def summarize(theirs: Identity, ours: Identity) -> str:
    """Describe in a few words what changed: the fields of the recipe, else the other differences."""
    # Recipe first, because changed versions and hashes are often only its consequence.
    fields = list(_changed_fields(theirs["recipe"], ours["recipe"]))
    return f"the recipe changed ({', '.join(fields)})" if fields else "; ".join(differences(theirs, ours))


def _changed_fields(theirs: Mapping[str, Any], ours: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the fields that differ, in order; a block that only one of the two has is one name."""
    for key in sorted(theirs.keys() | ours.keys()):
        before, now = theirs.get(key), ours.get(key)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            yield from _changed_fields(before, now, f"{prefix}{key}.")
        elif before != now:
            yield f"{prefix}{key}"


def shared_stages(theirs: StageKeys, ours: StageKeys) -> list[str]:
    """Return the names of the first stages, as long as both builds have the same ones."""
    # Not strict, because one of the two may have further stages.
    pairs = zip(theirs.values(), ours.items(), strict=False)
    # Up to the first difference: what a later stage got from it was different as well.
    return [name for _, (name, _) in takewhile(lambda pair: pair[0] == pair[1][1], pairs)]
