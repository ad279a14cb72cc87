"""The message of a commit: what a push changes, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairkit.hub.repository import Difference
from pairkit.version import __version__

_COUNTS = ("sets", "completions", "pairs")
_METRICS = ("loss", "reward_accuracy")


def summarize(now: Mapping[str, Any], before: Mapping[str, Any] | None, changes: Difference) -> str:
    """Describe a push in one line, from its manifest and that of the push before.

    >>> first = {"counts": {"train": {"sets": 9, "pairs": 8}, "test": {"sets": 1, "pairs": 1}}}
    >>> second = {"counts": {"train": {"sets": 19, "pairs": 8}, "test": {"sets": 1, "pairs": 1}}}
    >>> files = Difference(["data/train-1"], ["README.md", "pairkit.json"], [], [])
    >>> summarize(second, first, files).partition(": ")[2]
    'sets 10 -> 20; 1 file new, 2 changed'
    """
    parts = [", ".join(_numbers(now, before)), _files(changes)]
    return f"Push with pairkit {__version__}: {'; '.join(filter(None, parts))}"


def state(manifest: Mapping[str, Any]) -> str:
    """Describe what is published in one line, such as a note in a collection."""
    return ", ".join(_numbers(manifest, None))


def _numbers(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
    """List the numbers that differ from `before`; all of them if there is none."""
    ours, theirs = _measured(now), _measured(before or {})
    if not theirs:
        return [_alone(name, value) for name, value in ours.items()]
    return [
        f"{name} {_shown(theirs.get(name))} -> {_shown(ours.get(name))}"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]


def _measured(manifest: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that describe a dataset or a model, by name."""
    if "counts" in manifest:
        splits = [manifest["counts"][name] for name in ("train", "test") if name in manifest["counts"]]
        # What is on the hub may be of another version, with other counts.
        names = [what for what in _COUNTS if all(what in split for split in splits)]
        return {what: sum(split[what] for split in splits) for what in names if splits}
    if "plan" not in manifest:
        return {}
    held_out = manifest.get("metrics", {}).get("held_out", {})
    metrics = {f"held-out {name}": held_out[name] for name in _METRICS if name in held_out}
    return {"steps": manifest["plan"]["steps"], **metrics}


def _alone(name: str, value: float) -> str:
    return f"{_shown(value)} {name}" if isinstance(value, int) else f"{name} {_shown(value)}"


def _shown(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _files(changes: Difference) -> str:
    counts = {"new": len(changes.new), "changed": len(changes.changed), "deleted": len(changes.deleted)}
    entries = [(name, number) for name, number in counts.items() if number]
    return ", ".join(
        f"{number:,} {'' if place else 'file ' if number == 1 else 'files '}{name}"
        for place, (name, number) in enumerate(entries)
    )
