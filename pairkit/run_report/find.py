"""Which directories are runs, which runs are seeds of one setting, and which have replications."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.errors import InputError, UsageError
from pairkit.evaluation.names import told_apart
from pairkit.online.layout import RECORD as ONLINE
from pairkit.recipes.differences import flat_keys
from pairkit.run_report.online import is_online, read_online
from pairkit.run_report.run import Run, read_run
from pairkit.training.output.layout import METRICS, RECORD
from pairkit.training.output.resumable import RESUMABLE_FIELDS

SEED = re.compile(r"seed[-=]\d+")
# What seeds of one setting may differ in: each has its own model, and with it data.
_OWN = {"seed", "data", "model", "tokenizer", "reference", *RESUMABLE_FIELDS}


@dataclass(frozen=True)
class Setting:
    """One way of training: its runs differ in the seed alone."""

    name: str
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The run that tells its settings."""
        return self.runs[0]

    @property
    def loss(self) -> Mapping[str, Any]:
        """Name and keywords of the loss."""
        return self.first.loss

    def part(self, name: str) -> Mapping[str, Any] | None:
        """Return the keywords of a loss, also of one in a sum; None where it is none of them."""
        if self.loss["name"] == name:
            return self.loss
        keywords = self.loss.get(name)
        return keywords if isinstance(keywords, Mapping) else None


class Found(NamedTuple):
    """What a report is of: settings, and directories of replications."""

    settings: Sequence[Setting]
    replications: Sequence[Path]


def find(paths: Sequence[Path]) -> Found:
    """Find the runs and replications in some directories.

    A directory is a run, of `pairkit train` or `pairkit online`; or it has runs in `seed-*`, or those of a
    sweep; or what `pairkit replicate` wrote.
    Runs `NAME/seed-1`, `NAME/seed-2` are one setting, as are `NAME,seed=1` and `NAME,seed=2` of a sweep.

    Raises:
        InputError: a directory that is none of these, a damaged record, two settings of one name, seeds of
            one setting that were not trained alike, or a run without metrics.
        UsageError: a run that is given twice.
    """
    runs: list[Path] = []
    replications: list[Path] = []
    for path in paths:
        if below := _runs(path):
            runs += below
        elif replication := _replications(path):
            replications.append(replication)
        else:
            raise InputError(f"{path}: {_not_a_run(path)}")
    for path, count in Counter(path.resolve() for path in runs).items():
        if count > 1:
            raise UsageError(f"{path}: is given {count} times: name each run once")
    by_home: dict[Path, list[Run]] = {}
    for path in runs:
        by_home.setdefault(_home(path.resolve()), []).append(_read(path))
    names = told_apart({home: home.name for home in by_home})
    return Found([_setting(names[home], each) for home, each in by_home.items()], replications)


def _runs(path: Path) -> list[Path]:
    if (path / RECORD).is_file() or is_online(path):
        return [path]
    below = sorted(run.parent for name in (RECORD, ONLINE) for run in path.glob(f"*/{name}"))
    # Of another directory only seeds, because runs next to each other need not belong together.
    if not (path / "sweep.json").is_file():
        below = [child for child in below if child.name.startswith("seed-")]
    return below


def _not_a_run(path: Path) -> str:
    if not path.is_dir():
        return "is a file: give the directory of a run" if path.exists() else "no such directory"
    if (path / "replications.json").is_file():
        return "has no result of a replication yet; run the same `pairkit replicate` again"
    return f"no training run: it has no {RECORD}, which `pairkit train` writes"


def _replications(path: Path) -> Path | None:
    """Return the directory with the page of replications, given it or its folder of results."""
    # Here, because it imports whatever a replication runs.
    from pairkit.replication.record import RESULTS

    for folder in (path, path.parent):
        if any((folder / RESULTS).glob("*.json")) and path in (folder, folder / RESULTS):
            return folder
    return None


def _read(path: Path) -> Run:
    run = read_online(path) if is_online(path) else read_run(path)
    if not run.entries:
        raise InputError(f"{path}: nothing is recorded yet: {METRICS} is empty; wait for the first step")
    return run


def _home(folder: Path) -> Path:
    """Return what the seeds of a setting have in common: a directory, or a name without its seed."""
    parts = [part for part in folder.name.split(",") if not SEED.fullmatch(part)]
    return folder.with_name(",".join(parts)) if parts else folder.parent


def _setting(name: str, runs: Sequence[Run]) -> Setting:
    first = _compared(runs[0])
    for run in runs[1:]:
        other = _compared(run)
        differences = [key for key in {**first, **other} if first.get(key) != other.get(key)]
        if differences:
            key = differences[0]
            raise InputError(
                f"{run.folder}: cannot be averaged with {runs[0].folder}, because {key} is "
                f"{other.get(key)!r} there and {first.get(key)!r} here: give them other names than "
                "seeds of one setting have"
            )
    return Setting(name, tuple(runs))


def _compared(run: Run) -> dict[str, Any]:
    return flat_keys({key: value for key, value in run.recipe.items() if key not in _OWN})
