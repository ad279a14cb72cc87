"""The prepass: the whole source read once, and a verdict on every set that leaves before a model is asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pairkit.dataset.layout import DECONTAMINATION_FILE
from pairkit.errors import RecipeError
from pairkit.extras import extra_version
from pairkit.files import replacing
from pairkit.mining.filters import filter_sets, judge, language
from pairkit.mining.filters.stage import PREFIX, blocks
from pairkit.pipeline.prepass import benchmarks, near_duplicates, semantic
from pairkit.pipeline.prepass.columns import Columns
from pairkit.pipeline.prepass.decontamination import Contaminated, Decontamination
from pairkit.pipeline.prepass.duplicates import EXACT, NEAR, SEMANTIC, Duplicates, duplicates
from pairkit.pipeline.prepass.keep_list import (
    MERGE,
    MERGED,
    MERGES,
    SCHEMA,
    KeepList,
    ids_of,
    store,
    stored,
)
from pairkit.pipeline.prepass.near_duplicates import Rows, Signatures, Twins
from pairkit.pipeline.prepass.semantic import semantic_duplicates
from pairkit.pipeline.prepass.settings import DedupRecipe, Prepass
from pairkit.pipeline.threads import ahead
from pairkit.progress import progress
from pairkit.schema import Occurrences, StageResult, identify
from pairkit.sources import Opened
from pairkit.texts import prompt_texts

CONTAMINATED = "contaminated"
Screen = Callable[[pa.Table], StageResult]


def check(settings: Prepass, *, generated: bool) -> None:
    """Raise what can be found before the source is read.

    Args:
        generated: whether models write the completions in place of the source's.

    Raises `MissingExtraError`, and `RecipeError` for duplicates that are chosen by completions to come.
    """
    dedup = settings.dedup
    if dedup is not None and dedup.threshold is not None:
        extra_version(near_duplicates.PACKAGE, near_duplicates.EXTRA)
    if dedup is not None and dedup.model is not None:
        semantic.load(dedup.model)
    if settings.filters.prompt_language or settings.filters.completion_language:
        extra_version(language.PACKAGE, language.EXTRA)
    if generated and dedup is not None and dedup.keep != "first":
        raise RecipeError(
            f"dedup.keep: {dedup.keep} compares the completions of the source, and generate replaces them: "
            "use first, or generate.keep_source=true"
        )


def libraries(settings: Prepass) -> list[str]:
    """Return the libraries that the outcome depends on."""
    near = settings.dedup is not None and settings.dedup.threshold is not None
    languages = settings.filters.prompt_language or settings.filters.completion_language
    meaning = settings.dedup is not None and settings.dedup.semantic is not None
    return (
        [near_duplicates.PACKAGE] * near + [semantic.PACKAGE] * meaning + [language.PACKAGE] * bool(languages)
    )


def screen(settings: Prepass, opened: Opened, folder: Path, key: str, unit_rows: int) -> Screen | None:
    """Return the stage that takes sets out before any model is asked; None if the recipe asks for none.

    With duplicates or decontamination it is computed for the whole source first, or read from `folder` if it
    is there for the same `key`: the hash of the settings, the input and the libraries.

    Raises `InputError` as the source does, and as `benchmarks.load`.
    """
    if settings.whole:
        return (stored(folder, key) or compute(settings, opened, folder, key, unit_rows)).screen
    if blocks(settings.filters, before=True):
        return partial(filter_sets, recipe=settings.filters, before=True)
    return None


def compute(settings: Prepass, opened: Opened, folder: Path, key: str, unit_rows: int) -> KeepList:
    """Read the source, find what leaves, and store it in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dedup, decontaminate = settings.dedup, settings.decontaminate
    near = dedup is not None and dedup.threshold is not None
    signatures = Signatures(dedup.ngram) if dedup is not None and near else None
    columns, verdicts = Columns(), _Verdicts()
    with ExitStack() as stack:
        overlaps = None
        if decontaminate is not None:
            benchmark_prompts = benchmarks.load(decontaminate.against)
            overlaps = stack.enter_context(Decontamination(decontaminate, benchmark_prompts, folder))
        filters = blocks(settings.filters, before=True)
        for sets in identified(opened, unit_rows, "prepass"):
            judged = judge(sets, filters)
            leaving = judged.reason.is_not_null()
            rows = columns.rows + np.flatnonzero(leaving.to_numpy())
            verdicts.add(
                rows, judged.reason.filter(leaving).to_arrow(), judged.detail.filter(leaving).to_arrow()
            )
            if signatures is not None:
                signatures.add(sets["prompt"].combine_chunks())
            if overlaps is not None:
                overlaps.add(sets, columns.rows)
            columns.add(sets, leaving.to_numpy())
        columns.finish()
        files = []
        if overlaps is not None:
            _contaminate(columns, verdicts, overlaps.finish(folder / DECONTAMINATION_FILE))
            files.append(DECONTAMINATION_FILE)
    if dedup is not None:
        by_meaning = partial(_by_meaning, columns, dedup, opened, unit_rows) if dedup.semantic else None
        copies = duplicates(columns, signatures, dedup, by_meaning, reranked=settings.reranked)
        verdicts.add(copies.rows, copies.reasons, copies.details)
        if len(copies.merged):
            _write_merges(columns, copies, opened, unit_rows, folder / MERGES)
            files.append(MERGES)
    names = [f"{PREFIX}{name}" for name in filters] + [CONTAMINATED] * (overlaps is not None)
    if dedup is not None:
        names += [EXACT] if dedup.exact == "drop" else [MERGED]
        names += [NEAR] * near + [SEMANTIC] * (dedup.semantic is not None)
    return store(folder, key, verdicts.table(columns), names, files)


class _Verdicts:
    """The verdicts so far: rows of the source, with a reason and a line about each."""

    def __init__(self) -> None:
        self._parts: list[tuple[Rows, pa.Array, pa.Array]] = []

    def add(self, rows: Rows, reasons: pa.Array, details: pa.Array) -> None:
        if len(rows):
            self._parts.append((rows, reasons.cast(pa.string()), details.cast(pa.string())))

    def table(self, columns: Columns) -> pa.Table:
        parts = [
            pa.table([pa.array(columns.ids[rows]), reasons, details], schema=SCHEMA)
            for rows, reasons, details in self._parts
        ]
        return pa.concat_tables([SCHEMA.empty_table(), *parts])


def _contaminate(columns: Columns, verdicts: _Verdicts, contamination: Contaminated) -> None:
    """Add a verdict on each contaminated set that has none yet."""
    fresh = ~columns.leaving[contamination.rows]
    rows = contamination.rows[fresh]
    verdicts.add(
        rows, pa.array([CONTAMINATED] * len(rows), pa.string()), contamination.details.filter(pa.array(fresh))
    )
    columns.leaving[rows] = True


def identified(opened: Opened, unit_rows: int, what: str) -> Iterator[pa.Table]:
    """Yield the sets of the source with their ids, as the build will give them."""
    occurrences = Occurrences()
    with (
        progress(f"{what}: reading {opened.source.name}", opened.total_rows, unit="rows") as advance,
        closing(ahead(opened.batches(rows=unit_rows), 2)) as ahead_of_us,
    ):
        for batch in ahead_of_us:
            yield identify(batch.sets, occurrences)
            advance(batch.counts["rows"])


def _by_meaning(columns: Columns, settings: DedupRecipe, opened: Opened, unit_rows: int, rows: Rows) -> Twins:
    """Read the source again for the texts of `rows`, and find those that mean the same."""
    assert settings.semantic is not None
    assert settings.model is not None
    selection = np.zeros(columns.rows, np.bool_)
    selection[rows] = True
    texts: list[str] = []
    first = 0
    for sets in identified(opened, unit_rows, "meanings"):
        mask = pa.array(selection[first : first + sets.num_rows])
        texts += prompt_texts(sets["prompt"].combine_chunks().filter(mask), system=False).to_list()
        first += sets.num_rows
    # In the order of the source so far.
    places = np.cumsum(selection) - 1
    ordered = [texts[place] for place in places[rows].tolist()]
    return semantic_duplicates(ordered, rows, columns.rows, settings.semantic, settings.model)


def _write_merges(columns: Columns, copies: Duplicates, opened: Opened, unit_rows: int, file: Path) -> None:
    """Read the source again and write the completions of merged sets, each with the set they go to."""
    ids = columns.ids[copies.merged]
    order = np.argsort(ids)
    ids, targets = ids[order], columns.ids[copies.targets][order]
    with (
        replacing(file) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, MERGE) as out,
    ):
        for sets in identified(opened, unit_rows, "merging"):
            own = ids_of(sets["set_id"].to_pylist())
            place = np.minimum(np.searchsorted(ids, own), len(ids) - 1)
            mine = ids[place] == own
            completions = sets["completions"].filter(pa.array(mine))
            out.write_table(pa.table([pa.array(targets[place[mine]]), completions], schema=MERGE))
