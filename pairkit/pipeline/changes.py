"""What two builds have in common and what makes them different ones."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from pairkit.files import flat_keys

# What determines the bytes of a build: see `identity.identify_build`.
Identity = Mapping[str, Any]
# A hash per stage that asks a model, in order: see `identity.stage_keys`.
StageKeys = Mapping[str, str]


def differences(theirs: Identity, ours: Identity) -> list[str]:
    """Describe what makes two builds different, each difference in a few words."""
    before, now = flat_keys(theirs), flat_keys(ours)
    # Sorted, because the order of keys in a recipe's file is no difference.
    changed = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    # Hashes tell a person nothing, so each of these lines names what the hash is of.
    messages = {
        # It differs whenever another key does, and that one is listed.
        "recipe_hash": None,
        "input.fingerprint": "the input has other names or content",
        "input.model": "the model has other files",
    }
    for key in changed:
        if key.startswith("judge_prompts."):
            messages[key] = f"the judge's prompt {key.removeprefix('judge_prompts.')} has other words"
        elif key.startswith("input.ranking_models."):
            messages[key] = f"the model of {key.rpartition('.')[2]} has other files"
    lines = [messages.get(key, f"{key} is {now.get(key)!r}, was {before.get(key)!r}") for key in changed]
    return [line for line in lines if line is not None]


def summarize(theirs: Identity, ours: Identity) -> str:
    """Describe in a few words what changed: the keys of the recipe, else the other differences."""
    # Recipe first, because changed versions and hashes are often only its consequence.
    before, now = theirs["recipe"], ours["recipe"]
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return f"the recipe changed ({', '.join(keys)})" if keys else "; ".join(differences(theirs, ours))


def shared_stages(theirs: StageKeys, ours: StageKeys) -> list[str]:
    """Return the names of the first stages, as long as both builds have the same ones."""
    # Not strict, because one of the two may have further stages.
    pairs = zip(theirs.values(), ours.items(), strict=False)
    # Up to the first difference: what a later stage got from it was different as well.
    return [name for _, (name, _) in takewhile(lambda pair: pair[0] == pair[1][1], pairs)]
