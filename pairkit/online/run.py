"""An online training from its recipe to the last policy, from the start or continued.

OUT/online.json        recipe, and hashes of what it names
    recipe.yaml        the recipe
    prompts.parquet    the distinct prompts of the source; quarantine.parquet: rows that cannot be used;
                       hashes.json: of both
    calls.sqlite       the cache of calls
    segment-1/         prompts.parquet, data/ (a dataset), with mix: mixed/, run/ (a training run)
    segment-2/ ...
    segments.jsonl     a line per finished segment
    metrics.jsonl      those of all segments
    model/             the last policy
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pairkit.files import OnExisting, admit, names_in, stoppable
from pairkit.online import checks, plan, prompts, record, statistics
from pairkit.online.layout import RECORD, RUN, folder_of
from pairkit.online.recipe import OnlineRecipe
from pairkit.online.segment import Segment
from pairkit.ownership import none_empty, outside_others, owned
from pairkit.pipeline import require_completions
from pairkit.pipeline.inputs import open_input
from pairkit.progress import log
from pairkit.sources import Opened
from pairkit.training.output.checkpoint import CHECKPOINTS
from pairkit.training.output.layout import MODEL
from pairkit.training.output.metrics import join_metrics


def online(recipe: OnlineRecipe, out: Path, *, on_existing: OnExisting = "resume") -> Path:
    """Run the segments that are not finished and return the directory of the last policy, `out`/model.

    A run that stopped, for whatever reason, continues with the unit or the checkpoint at which it stopped;
    its weights are those of a run that never stopped.

    Raises:
        RecipeError, ModelError, InputError: what `checks.check` finds before anything is generated; a segment
            without a usable set.
        EngineError, TrainingError: a stage or a server in a process of its own has failed.
        ExistingOutputError: `out` contains something else, or an online training with other settings.
        Interrupted: SIGINT; the same command continues.
        PairkitError: whatever a build and a training raise.
    """
    checks.check(recipe)
    opened = open_input(recipe.build.input, out)
    require_completions.check(recipe.build, opened)
    outside_others(out)
    identity = record.identity(recipe, opened)
    # Asked before the lock as well, because locking writes, and a directory of others is never written to.
    names = names_in(out)
    if RECORD not in names and not all(name.startswith(f".{RECORD}") for name in names):
        admit(out, on_existing, holds=None, differences=list)
    with none_empty(out), owned(out), stoppable(out, lambda: _stopped(out)):
        record.claim(out, identity, on_existing)
        with record.discarding(out):
            return _segments(recipe, out, opened)


def planned(recipe: OnlineRecipe, out: Path, *, checked: OnlineRecipe | None = None) -> dict[str, Any]:
    """Describe what `online` would do, as plain values; read the source and write nothing.

    `checked` is the same recipe with another first policy, where that of `recipe` is still to be made.

    Raises what `online` raises before it generates.
    """
    checks.check(checked or recipe)
    opened = open_input(recipe.build.input, out)
    require_completions.check(recipe.build, opened)
    return {"out": str(out), **plan.described(recipe, prompts.count(recipe, opened))}


def _segments(recipe: OnlineRecipe, out: Path, opened: Opened) -> Path:
    model = out / MODEL
    lines = record.finished(out)
    if model.exists():
        log(f"{out}: already complete")
        return model
    prompts.ensure(recipe, opened, out)
    counts = prompts.counts(recipe, out)
    parts, total = plan.parts(recipe, counts), plan.steps_of(recipe, counts)
    for part in parts[len(lines) :]:
        segment = Segment(recipe, out, part, total)
        segment.run()
        before = folder_of(out, part.number - 1) if part.number > 1 else None
        about = statistics.of_segment(segment.folder, before, recipe, part.number)
        lines.append({"segment": part.number, "first": part.first, "steps": part.steps, **about})
        join_metrics(
            out,
            {folder_of(out, each.number) / RUN: _unnumbered(recipe, each) for each in parts[: len(lines)]},
        )
        # The line last: with it the segment is finished, and never looked at again.
        record.finish(out, lines)
        _drop_checkpoints(before)
    # Again, because a kill may have come between a line and the removal.
    _drop_checkpoints(folder_of(out, len(parts) - 1) if len(parts) > 1 else None)
    record.publish_model(folder_of(out, len(parts)) / RUN / MODEL, model)
    return model


def _unnumbered(recipe: OnlineRecipe, part: plan.Part) -> int:
    """Return what is missing in the numbers of a segment's steps: with a restart they begin with 0."""
    return part.first if recipe.restart else 0


def _drop_checkpoints(segment: Path | None) -> None:
    """Remove the checkpoints from which a finished segment started: they are as large as three models."""
    if segment is not None:
        shutil.rmtree(segment / RUN / CHECKPOINTS, ignore_errors=True)


def _stopped(out: Path) -> str:
    count = len(record.finished(out))
    segments = "1 segment is" if count == 1 else f"{count} segments are"
    return f"{out}: stopped; {segments} finished; run the same command again to continue"
