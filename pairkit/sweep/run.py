"""The runs of a sweep that are not finished yet, one after another or several at a time.

OUT/sweep.json      the recipe, and the metric by which settings are compared, named before any run
    NAME/           a training run per setting, resumed as any other
    logs/NAME.txt   what a run printed that was one of several at a time
    results.json    a value per run
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pairkit.dataset.mixed import open_data
from pairkit.errors import TrainingError
from pairkit.evaluation.during_training import benchmark_of
from pairkit.files import OnExisting, admit, names_in, partial, read_record, stoppable, write_json
from pairkit.masking import masked
from pairkit.ownership import none_empty, outside_others, owned
from pairkit.progress import log, warn
from pairkit.recipes import merge, validate
from pairkit.recipes.differences import changed_values
from pairkit.sweep.grid import Axis, Point, points
from pairkit.sweep.parallel import Job, in_parallel
from pairkit.sweep.results import Run, check_metric, measured
from pairkit.training.output.content import content_of
from pairkit.training.output.directory import check_same
from pairkit.training.output.layout import MODEL, RECORD
from pairkit.training.output.longer import is_complete, read_run
from pairkit.training.output.resumable import LENGTH_FIELDS, RESUMABLE_FIELDS
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.version import __version__

SWEEP, RESULTS, LOGS = "sweep.json", "results.json", "logs"
_SHARED = ("tokens", "reference", LOGS, RESULTS)
_AGAIN = "use --on-existing delete to start over"


def sweep(
    content: Mapping[str, Any],
    axes: Sequence[Axis],
    metric: str,
    out: Path,
    *,
    devices: Sequence[str | None] = (),
    on_existing: OnExisting = "resume",
) -> list[Run]:
    """Train each setting that has no model yet, and return all runs with their value of `metric`.

    More values may be added to the axes later; the recipe and the metric stay. A run that diverges is a
    result without a value.

    Args:
        content: the fields of the recipe, those of the axes apart.
        devices: CUDA devices, one run at a time on each; None is the default one; empty: in this process.

    Raises:
        RecipeError: a setting that is no recipe, or an unknown metric; before anything is trained.
        ExistingOutputError: `out` contains something else, or a sweep of another recipe or metric; a model, a
            tokenizer or the data of a finished run has changed since.
        InputError: a run has no value of the metric.
        Interrupted: SIGINT; the same command continues.
        PairkitError: what `train` raises.
    """
    jobs = [_job(content, point, out) for point in points(axes)]
    for job in jobs:
        check_metric(metric, job.recipe)
    outside_others(out)
    identity = {"recipe": masked(dict(content)), "metric": metric}
    if SWEEP not in names_in(out):
        admit(out, on_existing, holds=None, differences=list)
    with none_empty(out), owned(out), stoppable(out, lambda: f"{out}: stopped; the same command continues"):
        _claim(out, identity, on_existing)
        waiting = [job for job in jobs if not _is_finished(job)]
        if finished_jobs := [job for job in jobs if job not in waiting]:
            # Runs are compared only if they were made of the same, whenever each of them was.
            for job in finished_jobs:
                _check_content(job)
            log(f"{len(finished_jobs)} of {len(jobs)} runs are finished already")
        diverged: set[str] = set()
        # A result is written down as it comes, because the runs after it may take days.
        # Closed at once by an exception, because several runs may be under way.
        with closing(_each(waiting, devices, out / LOGS)) as ended:
            for job, problem in ended:
                if problem is not None:
                    diverged.add(job.name)
                    warn(f"{job.name}: {problem}")
                runs = _write(out, metric, jobs, diverged)
                value = None if problem else measured(job.out, metric)
                result = "diverged" if value is None else f"{metric} {value:.4g}"
                log(f"{len(runs)} of {len(jobs)}  {job.name}: {result}")
        return _write(out, metric, jobs, diverged)


def _job(content: Mapping[str, Any], point: Point, out: Path) -> Job:
    recipe = validate(TrainRecipe, merge(content, point.fields))
    # Without axes there is one run, whose setting has no name.
    return Job(point, recipe, out / (point.name or "run"))


def _is_finished(job: Job) -> bool:
    """Return whether a run has taken all steps that it is to have now."""
    # The record is asked only where there is a model, because without one there may be nothing yet.
    if not (job.out / MODEL).exists() or not (job.out / RECORD).is_file() or not is_complete(job.out):
        return False
    before, now = read_run(job.out)["recipe"], job.recipe.model_dump(mode="json")
    return all(before.get(name) == now[name] for name in LENGTH_FIELDS)


def _check_content(job: Job) -> None:
    """Raise `ExistingOutputError` if what a finished run was made of has changed."""
    recipe = job.recipe
    data = open_data(recipe.data, recipe.train_split, recipe.seed)
    content = content_of(recipe, data.hashes(recipe.train_split, recipe.eval_split))
    check_same(job.out, recipe, data_digest=data.digest, content=content)


def _each(
    jobs: Sequence[Job], devices: Sequence[str | None], logs: Path
) -> Generator[tuple[Job, str | None]]:
    """Train; yield each run when it has ended, with why it diverged if it did."""
    if devices:
        yield from in_parallel(jobs, devices, logs)
        return
    for job in jobs:
        try:
            train(job.recipe, job.out, benchmarks=benchmark_of)
        except TrainingError as error:
            yield job, str(error)
        else:
            yield job, None


def _write(out: Path, metric: str, jobs: Sequence[Job], diverged: set[str]) -> list[Run]:
    """Write what is measured so far, and return it; runs that have not ended are left out."""
    runs = [
        Run(job.point, job.out, measured(job.out, metric) if _is_finished(job) else None)
        for job in jobs
        if _is_finished(job) or job.name in diverged
    ]
    lines = [{"run": run.folder.name, **dict(run.point.values), metric: run.value} for run in runs]
    write_json(out / RESULTS, {"pairkit": __version__, "metric": metric, "runs": lines})
    return runs


def _claim(out: Path, made: Mapping[str, Any], on_existing: OnExisting) -> None:
    """Make `out` the directory of this sweep, or find that it is already."""
    names = names_in(out)

    def differences() -> list[str]:
        return changed_values(read_record(out / SWEEP, _AGAIN), made, _is_free)

    holds = "a sweep" if SWEEP in names else None
    if names - {partial(out / SWEEP).name} or holds:
        if admit(out, on_existing, holds=holds, differences=differences) == "resume":
            return
        _empty(out)
    write_json(out / SWEEP, {"pairkit": __version__, **made})


def _is_free(key: str) -> bool:
    # What a run may change when it is resumed, which asks about it itself.
    return key == "pairkit" or key.split(".")[1:2] in [[name] for name in RESUMABLE_FIELDS | LENGTH_FIELDS]


def _empty(out: Path) -> None:
    """Delete what a sweep has made, its record last: what a kill leaves is still a sweep."""
    runs = [path for path in out.iterdir() if (path / RECORD).is_file()]
    for path in [*runs, *(out / name for name in (*_SHARED, SWEEP) if (out / name).exists())]:
        # A link is removed and not followed, because what it points to does not belong to the sweep.
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
