"""Which evaluations belong to the runs: those that are named, and those that lie next to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.compare.settings import Setting as Evaluated
from pairkit.evaluation.report.scores import is_part
from pairkit.evaluation.results import RESULTS, read_run
from pairkit.evaluation.results import Run as Evaluation
from pairkit.files import read_record, undamaged
from pairkit.progress import warn
from pairkit.run_report.find import SEED, Setting
from pairkit.run_report.run import Run
from pairkit.training.output.layout import MODEL

SCORES = "scores.parquet"
# Where evaluations of a run are looked for, from its directory: in it, next to it (also in a directory per
# benchmark), and in runs/eval of a run in runs/train.
_NEXT_TO = ("*", "*/*", "../*", "../*/*", "../../eval/*", "../../eval/*/*")
_BELOW = ("", "*", "*/*", "*/*/*")  # of a directory that is named


class Benchmark(NamedTuple):
    """A benchmark with the evaluations of settings, and of models that no run has trained."""

    name: str
    settings: Sequence[Evaluated]


def find_evaluations(settings: Sequence[Setting], named: Sequence[Path]) -> list[Benchmark]:
    """Find the evaluations of the settings, by benchmark; in what is `named` also those of other models.

    An evaluation is of a run if it is inside its directory, or if its directory or its model has the run's
    name; for a seed its directory has to have that of the setting above it.

    Raises:
        InputError: a named directory without evaluations, or a damaged one.
    """
    evaluations: list[tuple[Evaluation, Path, Setting | None]] = []
    owned_folders: set[Path] = set()
    for path in named:
        below = _evaluations(path, _BELOW)
        if not below:
            raise InputError(
                f"{path}: has no evaluation: give a directory that `pairkit eval` wrote, or one with some"
                if path.is_dir()
                else f"{path}: no such directory"
            )
        evaluations += [(read_run(folder), folder, _owner(folder, settings)) for folder in below]
        owned_folders |= {folder.resolve() for folder in below}
    runs = [run for setting in settings for run in setting.runs]
    near = {folder.resolve() for run in runs for folder in _evaluations(run.folder, _NEXT_TO)}
    for folder in sorted(near - owned_folders):
        try:
            if owner := _owner(folder, settings):
                evaluations.append((read_run(folder), folder, owner))
        except InputError as error:  # of whichever run it is, nobody has asked for it
            warn(f"{error}; it is left out")
    return _by_benchmark({folder: (each, owner) for each, folder, owner in evaluations}, settings)


def _evaluations(path: Path, patterns: Sequence[str]) -> list[Path]:
    folders = {
        file.parent
        for pattern in patterns
        for file in path.glob(f"{pattern}/{RESULTS}" if pattern else RESULTS)
    }
    # Sweeps and quickstarts have a file of this name too.
    return sorted(folder for folder in folders if (folder / SCORES).is_file())


def _owner(folder: Path, settings: Sequence[Setting]) -> Setting | None:
    """Return the setting that an evaluation is of; None of no setting, or of no single one."""
    runs = [(setting, run) for setting in settings for run in setting.runs]
    for is_of in (_inside, _named):
        owners = {setting.name: setting for setting, run in runs if is_of(folder, run)}
        if len(owners) == 1:
            return next(iter(owners.values()))
    return None


def _inside(folder: Path, run: Run) -> bool:
    return folder.resolve().is_relative_to(run.folder.resolve())


def _named(folder: Path, run: Run) -> bool:
    home = run.folder.resolve()
    if SEED.fullmatch(home.name):  # a name that runs of other settings have too
        return folder.resolve().parts[-2:] == home.parts[-2:]
    # A model is named by its hub id, or by the last two parts of its directory: NAME/model, or train/NAME.
    file = folder / RESULTS
    with undamaged(file, "evaluate again"):
        *above, last = str(read_record(file, "evaluate again")["model"]).split("/")
    return home.name in (folder.resolve().name, above[-1] if above and last == MODEL else last)


def _by_benchmark(
    found: Mapping[Path, tuple[Evaluation, Setting | None]], settings: Sequence[Setting]
) -> list[Benchmark]:
    groups: dict[str, dict[str, list[Evaluation]]] = {}
    for folder, (each, owner) in sorted(found.items(), key=lambda item: item[0]):
        evaluation = _whole(each)
        results = evaluation.results
        benchmark = f"{results['benchmark']} {results['version'] or ''}".rstrip()
        by_name = groups.setdefault(benchmark, {})
        name = owner.name if owner else str(results["model"])
        if (owner is None and name in by_name) or name in {s.name for s in settings if s is not owner}:
            name = str(folder)
        by_name.setdefault(name, []).append(evaluation)
    order = {setting.name: place for place, setting in enumerate(settings)}
    return [
        Benchmark(
            benchmark,
            [
                Evaluated(name, tuple(by_name[name]))
                for name in sorted(by_name, key=lambda name: order.get(name, len(order)))
            ],
        )
        for benchmark, by_name in sorted(groups.items())
    ]


def _whole(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation without the metrics of single categories, of which there may be dozens."""
    metrics = [entry for entry in evaluation.results["metrics"] if not is_part(entry["name"])]
    measures = {name: each for name, each in evaluation.measured.items() if not is_part(name)}
    return evaluation._replace(results={**evaluation.results, "metrics": metrics}, measured=measures)
