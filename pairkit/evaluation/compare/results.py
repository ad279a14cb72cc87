"""The content of compare.json: every shared metric, of every setting and every pair of settings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

from pairkit import __version__
from pairkit.errors import InputError
from pairkit.evaluation.compare.checks import check_alike
from pairkit.evaluation.compare.paired import difference, mean_over_seeds
from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.holm import holm

_LEVEL = 0.05


def compare(settings: Sequence[Setting], allowed: Collection[str] = (), *, seed: int = 0) -> dict[str, Any]:
    """Compare every pair of settings by every metric that all share, as JSON values.

    With more than one pair, the p-values of a metric are corrected for their number (Holm). Raises
    `InputError` for runs that were not measured alike, that share no metric, or no prompt.
    """
    notes = check_alike(settings, allowed)
    shared = [
        name for name in settings[0].metrics if all(name in setting.metrics for setting in settings[1:])
    ]
    if not shared:
        listed = "; ".join(f"{setting.name}: {', '.join(setting.metrics) or 'none'}" for setting in settings)
        raise InputError(f"the runs share no metric that has a value ({listed})")
    first = settings[0].runs[0].results
    return {
        "pairkit": __version__,
        "benchmark": first["benchmark"],
        "version": first["version"],
        "settings": [_setting(setting) for setting in settings],
        "metrics": [_metric(settings, name, seed) for name in shared],
        "allowed": sorted(allowed),
        "notes": [*notes, *_fewer(settings)],
        "seed": seed,
    }


def _setting(setting: Setting) -> dict[str, Any]:
    return {
        "name": setting.name,
        # Names only, because the folders of a machine tell a reader nothing.
        "runs": [run.path.name for run in setting.runs],
        "models": [run.results["model"] for run in setting.runs],
    }


def _metric(settings: Sequence[Setting], name: str, seed: int) -> dict[str, Any]:
    pairs = [
        difference(first, second, name, seed=seed)._asdict() for first, second in combinations(settings, 2)
    ]
    known = [pair for pair in pairs if pair["p"] is not None]
    adjusted = holm([pair["p"] for pair in known])
    for pair, p in zip(known, adjusted, strict=True):
        pair["p_holm"] = p
    for pair in pairs:
        pair.setdefault("p_holm", None)
        pair["shown"] = _shown(pair)
    return {
        "name": name,
        "unit": pairs[0]["unit"],
        "settings": [_own(setting, name) for setting in settings],
        "pairs": pairs,
    }


def _own(setting: Setting, name: str) -> dict[str, Any]:
    """Return a setting's metric on all its own prompts; of several seeds the mean, with their spread."""
    entries: list[dict[str, Any]] = [
        next(entry for entry in run.results["metrics"] if entry["name"] == name) for run in setting.runs
    ]
    if len(entries) == 1:
        return entries[0] | {"name": setting.name, "seeds": None}
    values = [entry["value"] for entry in entries]
    # The mean of the values themselves, because the runs may have different prompts without a score.
    mean = mean_over_seeds(setting, name)._asdict() | {"value": fmean(values)}
    return mean | {"name": setting.name, "seeds": {"values": values, "sd": stdev(values)}}


def _shown(pair: dict[str, Any]) -> str | None:
    """Return which setting is shown to have the higher value, or None."""
    p = pair["p_holm"]
    if p is None or p >= _LEVEL:
        return None
    return str(pair["first"] if pair["value"] > 0 else pair["second"])


def _fewer(settings: Sequence[Setting]) -> list[str]:
    counts = {setting.name: min(run.results["prompts"] for run in setting.runs) for setting in settings}
    if len(set(counts.values())) == 1:
        return []
    listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return [f"the runs have different numbers of prompts ({listed}); differences are on common prompts"]
