"""A ranker's scores of all completions, unit by unit; those of local models stay on disk.

Scores are the expensive part of an evaluation of a reward model. A unit that was scored is found by the hash
of its sets and of what determines its scores: settings, the model's files, versions. Answers of judges are in
the cache of calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.engines.local import fingerprint
from pairkit.engines.pool import EnginePool
from pairkit.engines.table import library_versions
from pairkit.evaluation.ranker.recipe import KINDS
from pairkit.evaluation.session import Session
from pairkit.files import sha256
from pairkit.intervals import Floats
from pairkit.models.chat.settings import TemplateSettings
from pairkit.pipeline import unit_store
from pairkit.progress import Advance, progress
from pairkit.rankers import table
from pairkit.rankers.shown import shown_texts
from pairkit.schema import QUARANTINE, VERDICTS, StageResult, short_hash
from pairkit.version import __version__

# Few enough that a kill loses little, enough to fill batches.
UNIT = 256
NO_SCORE = "no_score"
_NO_SCORE = "the ranker gave one of its completions no score"
Score = Callable[[pa.Table, Advance], StageResult]


class Scored(NamedTuple):
    """What a ranker made of the data.

    Attributes:
        values: `[C]`, the score of each completion; NaN in a set that could not be scored.
        problems: set_id -> reason and detail.
        quarantine, verdicts, counts: as in `StageResult`.
    """

    values: Floats
    problems: dict[str, tuple[str, str]]
    quarantine: pa.Table
    verdicts: pa.Table
    counts: Counter[str]


def score_sets(name: str, block: Any, sets: pa.Table, running: Session, folder: Path, seed: int) -> Scored:
    """Score the completions of all sets, or read what is stored in `folder`.

    Raises `ModelError`, `EngineError`, `RecipeError` or `InputError`: see the ranker.
    """
    sizes = pc.list_value_length(sets["completions"])
    with (
        ExitStack() as stack,
        progress(f"Scoring: {name}", pc.sum(sizes).as_py(), unit="completions") as advance,
    ):
        # Closed at its end, because two models may not fit into memory.
        pool = EnginePool(running.pool.calls, running.pool.cache, stack, budget=running.pool.shared)
        units = _unit_results(block, sets, pool, folder, seed, advance)
        return _joined(sets, units)


def _unit_results(
    block: Any, sets: pa.Table, pool: EnginePool, folder: Path, seed: int, advance: Advance
) -> Iterator[StageResult]:
    row = KINDS[block.ranker]
    if row.compute is not None:
        yield row.compute(sets, block)
        advance(pc.sum(pc.list_value_length(sets["completions"])).as_py())
        return
    if row.load is None:
        raise AssertionError(block.ranker)
    scorers: list[Score] = []

    def score(unit: pa.Table) -> StageResult:
        # Only for a unit that is not stored.
        if not scorers:
            scorers.append(table.load(block, pool, seed).score)
        return scorers[0](unit, advance)

    key = None if hasattr(block, "engine") else _key(block)
    for number, start in enumerate(range(0, sets.num_rows, UNIT)):
        unit = sets.slice(start, UNIT)
        if key is None:
            yield score(unit)
            continue
        of_unit = short_hash([key, unit.select(_READ).to_pylist()])
        result = unit_store.read(folder, number, of_unit)
        if result is None:
            result = _numbers(score(unit))
            unit_store.write(folder, number, of_unit, result)
        else:
            advance(pc.sum(pc.list_value_length(unit["completions"])).as_py())
        yield result


# The columns that rankers read. The rank and score of completions are not among what they see.
_READ = ["set_id", "prompt", "completions", "tools", "chat_template_kwargs"]


def _key(block: Any) -> str:
    """Return a hash of everything but the sets that determines the scores of a local model."""
    template = getattr(block, "template", None)
    file = template.file if isinstance(template, TemplateSettings) else None
    return short_hash(
        [
            block.model_dump(mode="json", exclude={"name"}),
            dict(fingerprint(block.model)),
            None if file is None else sha256(Path(file)),
            __version__,
            library_versions(table.libraries(block)),
        ]
    )


def _numbers(result: StageResult) -> StageResult:
    """Return a result without its texts, which every ranker would store once more."""
    flat = pc.list_flatten(result.sets["completions"]).combine_chunks()
    offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(result.sets["completions"]))])
    scores = pa.StructArray.from_arrays([pc.struct_field(flat, "score")], names=["score"])
    completions = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), scores)
    numbers = pa.table({"set_id": result.sets["set_id"].combine_chunks(), "completions": completions})
    return StageResult(numbers, result.quarantine, result.verdicts, result.counts)


def _joined(sets: pa.Table, units: Iterator[StageResult]) -> Scored:
    """Put the scores of all units in the order of the completions of `sets`."""
    sizes = pc.list_value_length(sets["completions"]).to_numpy()
    starts = np.concatenate([[0], np.cumsum(sizes)])
    place = {set_id: number for number, set_id in enumerate(sets["set_id"].to_pylist())}
    values = np.full(int(starts[-1]), np.nan)
    quarantine, verdicts = [QUARANTINE.empty_table()], [VERDICTS.empty_table()]
    counts: Counter[str] = Counter()
    for unit in units:
        numbers = [place[set_id] for set_id in unit.sets["set_id"].to_pylist()]
        scores = pc.struct_field(pc.list_flatten(unit.sets["completions"]), "score")
        rows = [np.arange(starts[number], starts[number + 1]) for number in numbers]
        if rows:
            values[np.concatenate(rows)] = scores.to_numpy().astype(np.float64)
        quarantine.append(unit.quarantine)
        verdicts.append(unit.verdicts)
        counts.update(unit.counts)
    quarantine_table = pa.concat_tables(quarantine)
    ids, reasons, details = (quarantine_table[name].to_pylist() for name in ("set_id", "reason", "detail"))
    problems = {
        set_id: (reason, detail or "") for set_id, reason, detail in zip(ids, reasons, details, strict=True)
    }
    _settle(sets, values, starts, problems)
    return Scored(values, problems, quarantine_table, pa.concat_tables(verdicts), counts)


def _settle(sets: pa.Table, values: Floats, starts: np.ndarray, problems: dict[str, tuple[str, str]]) -> None:
    """Score sets of one text alone, whose texts no judge is asked about; name those that have no score."""
    ids = sets["set_id"].to_pylist()
    unscored = np.flatnonzero(np.add.reduceat(np.isnan(values), starts[:-1])).tolist()
    for number in unscored:
        if ids[number] in problems:
            continue
        flat = pc.list_flatten(sets["completions"].slice(number, 1)).combine_chunks()
        rows = slice(int(starts[number]), int(starts[number + 1]))
        if len(set(shown_texts(flat, "strip"))) == 1:
            values[rows] = 0.0
        else:
            values[rows] = np.nan
            problems[ids[number]] = (NO_SCORE, _NO_SCORE)


def failures(scores: Scored) -> Mapping[str, int]:
    """Count the sets that could not be scored by reason."""
    return dict(sorted(Counter(reason for reason, _ in scores.problems.values()).items()))
