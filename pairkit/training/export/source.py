"""Which weights of a run are exported: its model, a checkpoint, or the best of them on the held-out sets."""

from __future__ import annotations

from pathlib import Path

from pairkit.errors import InputError, RecipeError, unknown
from pairkit.models.resolve import CHECKPOINT_RECORD
from pairkit.progress import log
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoints, damage, steps_done
from pairkit.training.output.entries import read_metrics
from pairkit.training.output.layout import METRICS, MODEL, RECORD
from pairkit.training.output.longer import is_complete, read_run, shorter, shorter_evaluation

# Metrics of held-out sets by which a checkpoint can be the best, and whether it is the one with the lowest.
BEST = {
    "loss": min,
    "reward_accuracy": max,
    "reward_margin": max,
    "chosen_logp": max,
    "chosen_logp_per_token": max,
}


def find_source(path: Path, best: str | None) -> Path:
    """Find the checkpoint, or the directory of a model, that is exported.

    Args:
        path: a run, a checkpoint, or adapters.
        best: a metric of `BEST`, for a run.

    Raises:
        RecipeError: an unknown metric, or one for what is no run.
        InputError: no such checkpoint, or a damaged one.
    """
    if not path.exists():
        raise InputError(f"{path}: no such directory")
    if best is not None and not (path / RECORD).is_file():
        raise RecipeError(
            f"--best {best}: {path} is not a training run (no {RECORD}); give the run's directory"
        )
    if (path / CHECKPOINT_RECORD).is_file():
        if problem := damage(path):
            raise InputError(f"{path}: the checkpoint is damaged ({problem}); export another one")
        return path
    if not (path / RECORD).is_file():
        return path
    if best is not None:
        return _best(path, best)
    if is_complete(path):
        return path / MODEL
    # Nothing is removed here, because the run may be writing a checkpoint at this moment.
    last = next((each for each in reversed(checkpoints(path / CHECKPOINTS)) if damage(each) is None), None)
    if last is None:
        raise InputError(f"{path}: the run has no model and no checkpoint yet; run `pairkit train` again")
    log(f"{path}: the run has not finished; exporting {last}")
    return last


def _best(run: Path, metric: str) -> Path:
    """Return the checkpoint or the model with the best value of a metric on the held-out sets.

    The model is the final one, or one that the run had when it was complete with fewer steps.
    """
    if metric not in BEST:
        raise unknown("metric", metric, BEST)
    values = {entry["step"]: entry.get(metric) for entry in read_metrics(run, "eval")}
    evaluations = {step: value for step, value in values.items() if step > 0 and value is not None}
    paths = {steps_done(path): path for path in checkpoints(run / CHECKPOINTS) if damage(path) is None}
    if is_complete(run):
        paths[read_run(run)["plan"]["steps"]] = run / MODEL
    candidates = [
        (evaluations[step], step, paths[step]) for step in sorted(evaluations.keys() & paths.keys())
    ]
    # With evaluations of their own, because the same step of the longer run has other weights.
    for step, model in shorter(run).items():
        value = (shorter_evaluation(run, step) or {}).get(metric)
        if value is not None:
            candidates.append((value, step, model))
    if not evaluations and not candidates:
        raise InputError(
            f"{run / METRICS}: no evaluation has {metric!r}; set eval_every and a split of held-out sets"
        )
    if not candidates:
        steps = ", ".join(map(str, sorted(evaluations)))
        raise InputError(
            f"{run}: none of the evaluated steps {steps} has a checkpoint; use values of eval_every "
            "and save_every that meet"
        )
    # The first of equal ones.
    candidates.sort(key=lambda candidate: candidate[1])
    value, step, chosen = BEST[metric](candidates, key=lambda candidate: candidate[0])
    overall = BEST[metric](sorted(evaluations), key=evaluations.__getitem__, default=None)
    if overall is not None and BEST[metric](value, evaluations[overall]) != value:
        log(f"{run}: step {overall} was better ({metric} {evaluations[overall]:.4g}), but has no checkpoint")
    log(f"{run}: {metric} {value:.4g} after step {step}")
    return chosen
