"""The content of compare.json: every shared metric, of every setting and every pair of settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Any

from pairkit.errors import InputError
from pairkit.evaluation.compare.checks import check_alike
from pairkit.evaluation.compare.conclusions import shown
from pairkit.evaluation.compare.left_out import left_out, missing_of, notes_of
from pairkit.evaluation.compare.own import own_value
from pairkit.evaluation.compare.paired import difference
from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.holm import holm
from pairkit.version import __version__


def compare(settings: Sequence[Setting], allowed: Collection[str] = (), *, seed: int = 0) -> dict[str, Any]:
    """Compare every pair of settings by every metric that all share, as JSON values.

    With more than one pair, the p-values of a metric are corrected for their number (Holm). Raises
    `InputError` for runs that were not measured alike, that share no metric, or no prompt.
    """
    notes = check_alike(settings, allowed)
    names = [name for name in settings[0].metrics if all(name in setting.metrics for setting in settings[1:])]
    if not names:
        summary = "; ".join(f"{setting.name}: {', '.join(setting.metrics) or 'none'}" for setting in settings)
        raise InputError(f"the runs share no metric that has a value ({summary})")
    first = settings[0].runs[0].results
    metrics = [_metric(settings, name, seed) for name in names]
    return {
        "pairkit": __version__,
        "benchmark": first["benchmark"],
        "version": first["version"],
        "settings": [_setting(setting) for setting in settings],
        "metrics": metrics,
        "allowed": sorted(allowed),
        "notes": [*notes, *notes_of(settings, metrics)],
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
        difference(first, second, name, seed=seed)._asdict() | {"left_out": left_out(first, second, name)}
        for first, second in combinations(settings, 2)
    ]
    tested_pairs = [pair for pair in pairs if pair["p"] is not None]
    p_values = holm([pair["p"] for pair in tested_pairs])
    for pair, p in zip(tested_pairs, p_values, strict=True):
        pair["p_holm"] = p
    for pair in pairs:
        pair.setdefault("p_holm", None)
        pair["shown"] = shown(pair)
    return {
        "name": name,
        "unit": pairs[0]["unit"],
        "settings": [_own(setting, name, seed) for setting in settings],
        "pairs": pairs,
    }


def _own(setting: Setting, name: str, seed: int) -> dict[str, Any]:
    counts = Counter(missing_of(setting, name).values())
    return own_value(setting, name, seed=seed) | {"missing": dict(sorted(counts.items()))}
