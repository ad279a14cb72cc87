"""Figure 25: what the models write to the same prompts, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from json import dumps
from typing import Any, NamedTuple

from pairkit.reports.canvas import captioned
from pairkit.reports.html import join
from pairkit.reports.side_by_side import Column, common_share, side_by_side
from pairkit.run_report.find import Setting
from pairkit.run_report.samples import NO_SAMPLES
from pairkit.run_report.series import Colors, Figure, Row, caption

COUNT = 8  # prompts
TITLE = "Samples to the same prompts"
NO_COMMON = "its samples are of other prompts than those of the settings before it"
ADVICE = "compare runs with the same held-out sets"

# Set, number of the sample, and prompt: sets of other data may have the same ids.
Key = tuple[str, int, str]


class Written(NamedTuple):
    """What a model wrote: a name for its column, and its samples."""

    setting: str
    name: str
    step: int
    samples: Mapping[Key, Mapping[str, Any]]


def samples_side_by_side(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 25: eight prompts with a sample of each setting's first run, after its last step.

    Of a single setting, next to a sample of the model before training.
    """
    missing: dict[str, str] = {}
    columns: list[Written] = []
    common: Mapping[Key, object] = {}
    for setting in settings:
        samples = list(_written(setting, both=len(settings) == 1))
        if not samples:
            missing[setting.name] = NO_SAMPLES
            continue
        shared = {
            key: None
            for key in (common or samples[0].samples)
            if all(key in each.samples for each in samples)
        }
        if columns and not shared:
            missing[setting.name] = f"{NO_COMMON}: {ADVICE}"
        else:
            columns += samples
            common = shared
    keys = sorted(common, key=lambda key: key[1])[:COUNT]
    rows: list[Row] = []
    blocks = []
    for key in keys:
        texts = [each.samples[key] for each in columns]
        blocks.append(
            side_by_side(
                texts[0]["prompt"] or [],
                [
                    Column(each.name, sample["text"], _note(sample))
                    for each, sample in zip(columns, texts, strict=True)
                ],
            )
        )
        rows += [
            {
                "setting": each.setting, "step": each.step, "set_id": key[0], "sample": key[1],
                "length": sample["length"], "entropy": sample["entropy"], "score": sample["score"],
                "in common with the first": common_share(texts[0]["text"], sample["text"]),
            }
            for each, sample in zip(columns, texts, strict=True)
        ]  # fmt: skip
    note = (
        "Marked are the words in which a text differs from the first one; texts that have hardly a word in "
        "common are left without marks."
    )
    drawing = partial(
        captioned, caption(25, TITLE, ""), join(blocks), [], note=note if len(columns) > 1 else ""
    )
    return Figure(25, TITLE, "", {"samples": rows}, [drawing], missing)


def _written(setting: Setting, *, both: bool) -> Iterator[Written]:
    """Yield the last samples of a setting, with `both` after those of the model before training."""
    run = setting.first
    if not run.samples:
        return
    first, last = min(run.samples), max(run.samples)
    for step in dict.fromkeys((first, last)) if both else (last,):
        samples = {
            (str(row["set_id"]), row["sample"] or 0, dumps(row["prompt"])): {**row, "text": row["text"] or ""}
            for row in run.written(step, texts=True)
        }
        when = f"step {step}" if step else "before training"
        yield Written(setting.name, when if both else f"{setting.name}, {when}", step, samples)


def _note(sample: Mapping[str, Any]) -> str:
    numbers = [f"{sample['length']:,} tokens"] if sample["length"] is not None else []
    if sample["entropy"] is not None:
        numbers.append(f"entropy {sample['entropy']:.2f}")
    if sample["score"] is not None:
        numbers.append(f"score {sample['score']:g}")
    if sample["finish_reason"] == "length":
        numbers.append("cut off")
    return " · ".join(numbers)
