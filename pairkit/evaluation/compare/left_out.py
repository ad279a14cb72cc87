"""The prompts that a comparison has no score of, by reason: never fewer in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.compare.sides import scored
from pairkit.evaluation.report.scores import is_part

# Why a run has no score of a prompt that another one has.
_ABSENT = "not_in_run"


def missing_of(setting: Setting, metric: str) -> dict[str, str]:
    """Return why some run of a setting has no score, by prompt, of those that any run was asked."""
    prompts = _asked([setting], metric)
    return _lacking(setting, metric, prompts)


def left_out(first: Setting, second: Setting, metric: str) -> dict[str, Any]:
    """Return how many prompts of either setting are not common ones, and why, by setting and reason."""
    prompts = _asked([first, second], metric)
    lacking = [_lacking(setting, metric, prompts) for setting in (first, second)]
    counts = [dict(sorted(Counter(reasons.values()).items())) for reasons in lacking]
    return {"prompts": len(lacking[0].keys() | lacking[1].keys()), "first": counts[0], "second": counts[1]}


def _asked(settings: Sequence[Setting], metric: str) -> dict[str, None]:
    runs = [run for setting in settings for run in setting.runs]
    return dict.fromkeys(prompt for run in runs for prompt in run.measured[metric].prompt_ids)


def _lacking(setting: Setting, metric: str, prompts: Mapping[str, None]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for run in setting.runs:
        missing = run.missing.get(metric, {})
        for prompt in prompts.keys() - set(scored(run.measured[metric])):
            reasons.setdefault(prompt, missing.get(prompt, _ABSENT))
    return reasons


def notes_of(settings: Sequence[Setting], metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences on the prompts that are left out, and on metrics that only some runs have."""
    # Those of categories have lost the same prompts as their metric.
    whole = [metric for metric in metrics if not is_part(metric["name"])] or metrics
    by_sentence: dict[str, list[str]] = {}
    for metric in whole:
        for sentence in (*map(_of_pair, metric["pairs"]), *map(_of_seeds, metric["settings"])):
            if sentence:
                by_sentence.setdefault(sentence, []).append(metric["name"])
    notes = [f"{', '.join(names)}: {sentence}" for sentence, names in by_sentence.items()]
    return [*notes, *_not_shared(settings)]


def _of_pair(pair: Mapping[str, Any]) -> str:
    missing = pair["left_out"]
    if not missing["prompts"]:
        return ""
    sides = ((pair["first"], missing["first"]), (pair["second"], missing["second"]))
    summary = "; ".join(
        f"{name}: {', '.join(f'{count:,} {reason}' for reason, count in reasons.items())}"
        for name, reasons in sides
        if reasons
    )
    own = ""
    if of_own_prompts(pair):
        own = (
            f"; each value is of the setting's own prompts ({pair['first_n']:,} and {pair['second_n']:,}), "
            "so that a part of the difference may be the prompts"
        )
    return (
        f"{pair['first']} and {pair['second']} both have a score of {pair['n']:,} of "
        f"{pair['n'] + missing['prompts']:,} prompts ({summary}){own}"
    )


def of_own_prompts(pair: Mapping[str, Any]) -> bool:
    """Whether the values of a pair are of other prompts than the common ones."""
    return bool(pair["first_n"] != pair["n"] or pair["second_n"] != pair["n"])


def _of_seeds(entry: Mapping[str, Any]) -> str:
    if not entry["seeds"] or not entry["missing"]:
        return ""
    summary = ", ".join(f"{count:,} {reason}" for reason, count in entry["missing"].items())
    return f"not all seeds of {entry['name']} have a score of every prompt ({summary})"


def _not_shared(settings: Sequence[Setting]) -> list[str]:
    names = list(dict.fromkeys(name for setting in settings for name in setting.metrics))
    notes = []
    for name in names:
        having = [setting.name for setting in settings if name in setting.metrics]
        if len(having) < len(settings):
            notes.append(f"{name} is not compared, because only {', '.join(having)} of the settings has it")
    return notes
