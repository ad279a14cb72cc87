"""The settings that are compared: one evaluation each, or one per training seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError, UsageError
from pairkit.evaluation.names import told_apart
from pairkit.evaluation.results import RESULTS, Run, read_run

_SEED = "seed-"


class Setting(NamedTuple):
    """One way of training: its evaluations differ in the training seed alone."""

    name: str
    runs: tuple[Run, ...]

    @property
    def metrics(self) -> list[str]:
        """The metrics that all its runs have a value of, the headline first."""
        values = [{entry["name"]: entry["value"] for entry in run.results["metrics"]} for run in self.runs]
        return [
            name
            for name in values[0]
            if all(of_run.get(name) is not None for of_run in values)
            and all(name in run.measured for run in self.runs)
        ]


def read_settings(paths: Sequence[Path]) -> list[Setting]:
    """Read the evaluations in `paths`, in order.

    A directory is an evaluation, or has evaluations in `seed-*`, which are one setting; so are `NAME/seed-1`
    and `NAME/seed-2` if they are given themselves. A setting has the name of its model, that of its directory
    if it has several runs or if models share a name.

    Raises `InputError` for a directory that is neither, `UsageError` for one given twice or fewer than two
    settings.
    """
    by_home: dict[Path, list[Run]] = {}
    for path in _evaluations(paths):
        # Resolved, because the name of "." or of a link tells nothing.
        folder = path.resolve()
        home = folder.parent if folder.name.startswith(_SEED) else folder
        by_home.setdefault(home, []).append(read_run(path))
    if len(by_home) < 2:
        raise UsageError(f"a comparison needs two settings or more, got {len(by_home)}: name another run")
    names = _names(by_home)
    return [Setting(names[home], tuple(runs)) for home, runs in by_home.items()]


def _evaluations(paths: Sequence[Path]) -> list[Path]:
    folders: list[Path] = []
    for path in paths:
        seeds = sorted(child for child in path.glob(f"{_SEED}*") if child.is_dir())
        folders += [path] if (path / RESULTS).is_file() or not seeds else seeds
    counts = Counter(path.resolve() for path in folders)
    for path in folders:
        if (count := counts[path.resolve()]) > 1:
            raise UsageError(f"{path}: is given {count} times: name each run once")
    return folders


def _names(by_home: dict[Path, list[Run]]) -> dict[Path, str]:
    names = {
        home: home.name if len(runs) > 1 else str(runs[0].results["model"]) for home, runs in by_home.items()
    }
    names = told_apart(names)
    if len(set(names.values())) < len(names):
        raise InputError(f"two settings have the same name: {', '.join(names.values())}")
    return names
