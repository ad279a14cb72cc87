"""An online training as one run: the metrics, pairs and samples of its segments, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pairkit.errors import InputError
from pairkit.files import read_json_lines, read_record, undamaged
from pairkit.online.layout import RECORD as ONLINE
from pairkit.online.layout import RUN, SEGMENTS, folder_of
from pairkit.run_report.run import ADVICE, Run, read_run
from pairkit.training.output.layout import RECORD

# Of the recipe of an online training what is not a part of a segment's own.
_OWN = ("segments", "prompts_per_segment", "reference", "mix", "restart")
_OF_BUILD = ("source", "generate", "rank", "mine")


def is_online(folder: Path) -> bool:
    """Return whether a directory is an online training."""
    return (folder / ONLINE).is_file()


def read_online(folder: Path) -> Run:
    """Read the segments that an online training has begun; steps run through.

    At the step where a segment ends and the next begins, pairs and samples are those of the end.

    Raises `InputError` for a damaged file.
    """
    record = read_record(folder / ONLINE, ADVICE)
    with undamaged(folder / ONLINE, ADVICE):
        recipe = dict(record["recipe"])
        restart, count = bool(recipe["restart"]), int(recipe["segments"])
        online = {key: recipe[key] for key in _OWN} | {key: recipe["build"][key] for key in _OF_BUILD}
    lines = read_json_lines(folder / SEGMENTS, ADVICE) if (folder / SEGMENTS).is_file() else []
    entries: list[Mapping[str, Any]] = []
    pairs: dict[int, Path] = {}
    samples: dict[int, Path] = {}
    runs = list(_runs(folder, count))
    with undamaged(folder / SEGMENTS, ADVICE):
        ends = [int(line["first"]) + int(line["steps"]) for line in lines]
    for run, before in zip(runs, [0, *ends], strict=False):
        shift = before if restart else 0
        entries += [{**entry, "step": entry["step"] + shift} for entry in run.entries]
        pairs = {step + shift: path for step, path in run.pairs.items()} | pairs
        samples = {step + shift: path for step, path in run.samples.items()} | samples
    if not runs:
        raise InputError(f"{folder}: nothing is recorded yet: no segment is trained; wait for its first step")
    first = runs[0]
    examples = sum(run.examples for run in runs)
    settings = {**first.recipe, "model": recipe["model"], "online": online}
    return Run(folder, settings, first.loss, first.negatives, examples, entries, pairs, samples, lines)


def _runs(folder: Path, count: int) -> Iterator[Run]:
    for number in range(1, count + 1):
        path = folder_of(folder, number) / RUN
        # A segment that is still generating has none.
        if (path / RECORD).is_file():
            yield read_run(path)
