"""`pairkit eval ranker`: scores of every ranker, an evaluation of each, and the table of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.errors import InputError, RecipeError
from pairkit.evaluation.files import file_name
from pairkit.evaluation.measures import Measured
from pairkit.evaluation.ranker.calibration import Bin
from pairkit.evaluation.ranker.data import RankedData
from pairkit.evaluation.ranker.outcome import Compared, compared_with, outcome_of, write_choices
from pairkit.evaluation.ranker.recipe import KINDS, EvalRankerRecipe
from pairkit.evaluation.ranker.reference import pairs_of, reference_of
from pairkit.evaluation.ranker.scores import ACCURACY
from pairkit.evaluation.ranker.scoring import Scored, score_sets
from pairkit.evaluation.report.scores import by_category
from pairkit.evaluation.results import REPORT, Outcome, write_outcome
from pairkit.evaluation.session import session
from pairkit.files import replacing, write_json, write_text
from pairkit.models.chat.settings import TemplateSettings
from pairkit.rankers.judge.statistics import summarize_judge
from pairkit.version import __version__

TABLE = "rankers.json"
# In the directory of a ranker.
SCORED, QUARANTINE, JUDGE_ANSWERS = "scored", "quarantine.parquet", "judge_answers.parquet"


def check_rankers(recipe: EvalRankerRecipe) -> None:
    """Raise what is wrong with a ranker and can be told without loading a model."""
    for name, block in recipe.rankers.items():
        KINDS[block.ranker].check(block)
        template = getattr(block, "template", None)
        if isinstance(template, TemplateSettings) and template.file and not Path(template.file).is_file():
            raise RecipeError(f"recipe key 'rankers.{name}.template.file': {template.file}: no such file")


def run_ranker_evaluation(
    recipe: EvalRankerRecipe, data: RankedData, out: Path, *, retry_failed: bool = False
) -> dict[str, Any]:
    """Evaluate the rankers of a recipe, one after another, and return the content of rankers.json.

    Writes `out`/NAME, an evaluation that `pairkit eval compare` reads, of each ranker, then rankers.json and
    report.html. A run that was stopped continues: scores of local models and answers of judges are stored.
    Raises `InputError` if a ranker scored no pair, after everything is written, and what loading and asking
    models raises.
    """
    check_rankers(recipe)
    entries: list[dict[str, Any]] = []
    calibrations: dict[str, Sequence[Bin]] = {}
    messages: list[str] = []
    with session(out, recipe.calls, retry_failed=retry_failed) as running:
        reference = reference_of(data.sets, data.subsets)
        basis = compared_with(data, reference, pairs_of(reference), recipe)
        for name, block in recipe.named().items():
            folder = out / file_name(name)
            scores = score_sets(name, block, data.sets, running, folder / SCORED, recipe.seed)
            outcome = outcome_of(name, block, scores, basis, recipe.seed)
            results = _write(folder, outcome, scores, basis, recipe.seed)
            entries.append(_entry(name, folder, results, outcome))
            if isinstance(results["calibration"], Mapping):
                calibrations[name] = [Bin(**each) for each in results["calibration"]["bins"]]
            messages += _unscored(name, results, scores, folder)
        table = _table(recipe, basis, entries)
        _write_table(out, table, calibrations)
    if messages:
        raise InputError("; ".join(messages))
    return table


def _write(folder: Path, outcome: Outcome, scores: Scored, basis: Compared, seed: int) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    for file, rows in ((QUARANTINE, scores.quarantine), (JUDGE_ANSWERS, scores.verdicts)):
        _write_rows(folder / file, rows)
    write_choices(folder, outcome.model, scores, basis)
    return write_outcome(folder, outcome, seed)


def _write_rows(file: Path, rows: pa.Table) -> None:
    # One of an earlier run would say what is no longer true.
    file.unlink(missing_ok=True)
    if rows.num_rows:
        with replacing(file) as temporary:
            pq.write_table(rows, temporary, compression="zstd")


def _entry(name: str, folder: Path, results: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    headline: Measured = next(measurement for measurement in outcome.measured if measurement.name == ACCURACY)
    return {
        "name": name,
        "folder": folder.name,
        **{key: results[key] for key in ("ranker", "metrics", "missing", "sets_without_score", "notes")},
        "subsets": {label: metric._asdict() for label, metric in by_category(headline).items()},
    }


def _unscored(name: str, results: Mapping[str, Any], scores: Scored, folder: Path) -> list[str]:
    """Return the note on a ranker that scored nothing."""
    if any(metric["value"] is not None for metric in results["metrics"]):
        return []
    reason, detail = next(iter(scores.problems.values()))
    summary = summarize_judge(name, scores.counts)
    where = f"; {summary}; its answers are in {folder / JUDGE_ANSWERS}" if summary else ""
    return [
        f"{name} scored none of {len(scores.problems):,} sets; the first: {reason}: {detail}{where}; the "
        f"sets are in {folder / QUARANTINE}"
    ]


def _table(recipe: EvalRankerRecipe, basis: Compared, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    notes = [f"{entry['name']}: {note}" for entry in entries for note in entry["notes"]]
    common_notes = [note for note in entries[0]["notes"] if all(note in entry["notes"] for entry in entries)]
    # What is true of all rankers is about the data.
    own_notes = [note for note in notes if note.partition(": ")[2] not in common_notes]
    return {
        "pairkit": __version__,
        "data": basis.data.about,
        "left_out": dict(basis.data.left_out),
        "left_out_rows": basis.data.details,
        "sets": basis.data.sets.num_rows,
        "prompts": len(basis.reference.prompt_ids),
        "pairs": len(basis.pairs.ordered().owner),
        "rankers": list(entries),
        "notes": [*common_notes, *own_notes],
        "seed": recipe.seed,
    }


def _write_table(out: Path, table: dict[str, Any], calibrations: Mapping[str, Sequence[Bin]]) -> None:
    # Here, because matplotlib is slow to import and only finished evaluations have pages.
    from pairkit.evaluation.ranker.page import render

    write_text(out / REPORT, render(table, calibrations))
    # Last, because it states that everything else is there.
    write_json(out / TABLE, table)
