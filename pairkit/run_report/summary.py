"""The first section of the page: what the settings are, in what they differ, and where they ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pairkit.recipes.differences import flat_keys
from pairkit.reports.canvas import list_colors
from pairkit.reports.html import Html, badge, details, paragraph, section, table, text, tiles
from pairkit.reports.html import settings as list_settings
from pairkit.run_report.find import Setting
from pairkit.run_report.series import Colors, series

# What has no log-probs, in words.
NOUNS = {"reward": "a reward model", "pairrm": "a PairRM"}
TILE = 7  # characters of a number that a tile has room for
OPEN = 12  # settings that differ, up to which their table is not folded


class Last(NamedTuple):
    """A number of the last evaluation, or step, and how it is written."""

    kind: str
    key: str
    title: str
    written: Callable[[float], str]


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _plain(value: float) -> str:
    # Of small ones fewer digits, because their zeros take room.
    return f"{value:.4g}" if abs(value) >= 0.01 else f"{value:.2g}"


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


LAST = (
    Last("eval", "loss", "held-out loss", _plain),
    Last("eval", "reward_accuracy", "held-out pairs in the right order", _share),
    Last("eval", "reward_margin", "held-out reward margin", _signed),
    Last("generate", "accuracy", "accuracy on eval.generate", _share),
    Last("sample", "own_entropy", "entropy of own samples, nats", _plain),
    Last("eval", "kl_chosen", "KL to the reference, nats", _plain),
    Last("train", "loss", "loss of the last step", _plain),
)
SPEED = Last("train", "tokens_per_second", "tokens per second, median", lambda value: f"{value:,.0f}")


def overview(title: str, settings: Sequence[Setting], colors: Colors, anchor: str) -> Html:
    """Show the settings, in what they differ, and their last numbers."""
    headers = ["setting", "loss", "learning rate", "steps", "sets per step", "seeds"]
    flat = {setting.name: _used(setting) for setting in settings}
    rows = [
        [
            text(setting.name),
            text(_loss(setting.first.recipe["loss"])),
            text(float(flat[setting.name].get("optimizer.learning_rate") or 0)),
            text(_steps(setting)),
            text(setting.first.recipe["sets_per_step"]),
            text(", ".join(str(run.recipe["seed"]) for run in setting.runs)),
        ]
        for setting in settings
    ]
    # What somebody has set, and of the loss's defaults the one by which losses differ most.
    keys = [key for setting in settings for key in flat_keys(setting.first.recipe)]
    shown = dict.fromkeys([*keys, "loss.beta"])
    blocks = [
        list_colors([(setting.name, colors[setting.name], False) for setting in settings]),
        table(headers, rows, numeric=(2, 3, 4)),
        *_last(settings),
        *_not_policies(settings),
        *_warnings(settings),
        _differences(flat, shown),
    ]
    return section(title, *blocks, anchor=anchor)


def _steps(setting: Setting) -> str:
    """Return the steps that a setting has taken, each number of its seeds once, and of how many."""
    counts = [f"{run.taken} of {run.planned}" if run.unfinished else f"{run.taken}" for run in setting.runs]
    return ", ".join(dict.fromkeys(counts))


def _warnings(settings: Sequence[Setting]) -> list[Html]:
    """Say which runs have not ended, which steps were skipped, and what a run has warned of."""
    sentences = []
    for setting in settings:
        for run in setting.runs:
            name = setting.name if len(setting.runs) == 1 else f"{setting.name}, {run.folder.name}"
            if run.unfinished:
                steps = f"{run.taken} of {run.planned} steps"
                sentences.append(f"{name} has taken {steps}: it is still trained, or has stopped.")
            # The metric counts from the first step on.
            if skips := int(np.nanmax(run.column("train", "skipped").values, initial=0)):
                sentences.append(
                    f"{name}: {skips:,} skipped steps, of a loss or gradients that were not finite."
                )
            sentences += [f"{name}, step {entry['step']}: {entry.get('says')}" for entry in run.warnings]
    return [Html(f'<p class="note">{badge("note", "flat")} {text(sentence)}</p>') for sentence in sentences]


def _last(settings: Sequence[Setting]) -> list[Html]:
    """Show the last numbers that there are: of one run as tiles, of several in a table."""
    values = {number: [_value(setting, number) for setting in settings] for number in (*LAST, SPEED)}
    cells = {number: texts for number, texts in values.items() if any(texts)}
    if not cells:
        return []
    # What is longer, as with the deviation over seeds, breaks a tile into lines.
    if len(settings) == 1 and all(len(texts[0]) <= TILE for texts in cells.values()):
        return [tiles({number.title: texts[0] for number, texts in cells.items()})]
    rows = [[text(number.title), *map(text, texts)] for number, texts in cells.items()]
    headers = ["at the end", *(setting.name for setting in settings)]
    return [table(headers, rows, numeric=range(1, len(headers)))]


def _value(setting: Setting, number: Last) -> str:
    """Return a number of a setting as text, with its deviation over seeds; "" where there is none."""
    values = series(setting, number.kind, number.key)
    if values is None or not len(values.steps):
        return ""
    finite = values.numbers[np.isfinite(values.numbers)]
    mean = float(values.mean[-1])
    if number is SPEED and len(finite):
        return number.written(float(np.median(finite)))
    if not np.isfinite(mean):
        return "not finite"
    spread = "" if values.deviation is None else number.written(float(values.deviation[-1])).lstrip("+")
    value = f"{number.written(mean)} ± {spread}" if spread else number.written(mean)
    # A run that is still trained has no number of its end yet, and may have one of its start alone.
    step = values.steps[-1]
    return value if step == setting.first.taken else f"{value} (step {step})"


def _not_policies(settings: Sequence[Setting]) -> list[Html]:
    return [
        paragraph(
            f"{setting.name} trains {NOUNS[setting.first.trains]}, which has no log-probs of completions: "
            "figures about them do not exist for it."
        )
        for setting in settings
        if setting.first.trains != "policy"
    ]


def _used(setting: Setting) -> dict[str, Any]:
    """Return the settings of the recipe, and every keyword of the loss with the value that it had."""
    return flat_keys(setting.first.recipe) | flat_keys({"loss": setting.loss})


def _differences(flat: Mapping[str, Mapping[str, object]], shown: Iterable[str]) -> Html:
    """Show which of some settings differ, folded where they are many; of one run all that it has."""
    if len(flat) == 1:
        ((_, used),) = flat.items()
        values = {key: _text(used[key]) for key in shown if key in used}
        return details("All settings", list_settings(values))
    different = [key for key in shown if len({str(recipe.get(key)) for recipe in flat.values()}) > 1]
    if not different:
        return paragraph("Their settings are the same.")
    cells = [[text(key), *(text(_text(recipe.get(key))) for recipe in flat.values())] for key in different]
    block = table(["settings that differ", *flat], cells)
    return block if len(different) <= OPEN else details(f"Settings that differ ({len(different)})", block)


def _text(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _loss(loss: Mapping[str, object]) -> str:
    """Return a loss with the keywords that are set."""
    keywords = [f"{key} {_text(value)}" for key, value in flat_keys(loss).items() if key != "name"]
    return f"{loss['name']} ({', '.join(keywords)})" if keywords else str(loss["name"])
