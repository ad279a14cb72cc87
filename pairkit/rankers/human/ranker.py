"""The ranker `human`: completions are ordered as people have ordered them in `pairkit view --annotate`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator

from pairkit.arrow import Mask
from pairkit.files import sha256
from pairkit.progress import log
from pairkit.rankers.human import labels as label_columns
from pairkit.rankers.human.annotation import completion_hash
from pairkit.rankers.human.combine import Combine, agreement_counts, scores
from pairkit.rankers.human.file import files_at
from pairkit.rankers.human.labels import Labels
from pairkit.rankers.named import with_score
from pairkit.recipes import Strict
from pairkit.schema import QUARANTINE, SETS, StageResult, quarantine_rows
from pairkit.sets import assemble, batches, completions

NAME = "human"
UNLABELED, FLAGGED = "unlabeled", "flagged"
_TEXTS = {"set": pl.Int64, "row": pl.Int64, "set_id": pl.String, "prompt_id": pl.String, "hash": pl.String}
_MOST_SHOWN = 5  # lines that are named one by one


class HumanRecipe(Strict):
    """The settings of the ranker `human`."""

    # A file of annotations, a folder of them, or a dataset with `annotations/`. Absolute, because workers of
    # a build may have other working directories.
    path: Annotated[Path, AfterValidator(Path.absolute)]
    combine: Combine = "mean"  # of several annotators: mean place, or majority of each pair
    # Sets without an annotation: quarantine, or the order that they would have without this ranker.
    unlabeled: Literal["drop", "keep"] = "drop"


def check(recipe: HumanRecipe) -> None:
    """Read the annotations and log the lines that are none. Raises `InputError`."""
    skipped = label_columns.read(recipe.path).skipped
    for line in skipped[:_MOST_SHOWN]:
        log(str(line))
    if len(skipped) > _MOST_SHOWN:
        log(f"{recipe.path}: {len(skipped) - _MOST_SHOWN:,} more lines are no annotations; skipped")


def hashes(recipe: HumanRecipe) -> dict[str, str]:
    """Return the sha256 of each file of annotations by its name. Raises `InputError`."""
    return {path.name: sha256(path) for path in files_at(recipe.path)}


def rank_by_people(sets: pa.Table, recipe: HumanRecipe) -> StageResult:
    """Set `score` and the named score `human` of completions that people have ordered.

    Flagged sets go to quarantine (`flagged`, with the notes), and so do those without an annotation
    (`unlabeled`), unless these are kept, without scores. Counts: sets that are `labeled`, those that each
    annotator has labeled (`labeled_by:NAME`), kept sets without an annotation (`unlabeled`), and what each
    two annotators make of pairs that both have ordered (`annotators_...`), where there are several.

    Raises `InputError` if there are no annotations.
    """
    labels = label_columns.read(recipe.path)
    prompt_ids = pa.array(labels.sets["prompt_id"].unique().to_list(), pa.string())
    counts: Counter[str] = Counter()
    scored, quarantine = [], [QUARANTINE.empty_table()]
    for batch in batches(sets):
        texts = _texts(batch, prompt_ids)
        answers = label_columns.about(labels, texts.drop("row").unique(maintain_order=True))
        flags = _flags(answers, labels)
        orders = answers.filter(pl.col("group").is_not_null()).join(flags, on="set", how="anti")
        counts.update(_counts(orders, labels))
        flagged, labeled = (_mask(frame["set"], batch.num_rows) for frame in (flags, orders))
        without = ~flagged & ~labeled
        if recipe.unlabeled == "keep":
            counts["unlabeled"] += int(without.sum())
            without &= False
        result = _scored(batch, scores(orders, recipe.combine), texts)
        scored.append(result.filter(pa.array(~(flagged | without))))
        details = flags.sort("set")["detail"].to_list()
        unlabeled = f"no annotation of {recipe.path.name} is about this set"
        quarantine += [
            quarantine_rows("rank", batch.filter(pa.array(flagged)), [FLAGGED] * len(details), details),
            quarantine_rows(
                "rank",
                batch.filter(pa.array(without)),
                *([reason] * int(without.sum()) for reason in (UNLABELED, unlabeled)),
            ),
        ]
    # Zeros too: that no set is labeled tells that the annotations are of other data.
    counts["labeled"] += 0
    return StageResult(
        pa.Table.from_batches(scored, schema=SETS), pa.concat_tables(quarantine), counts=dict(counts)
    )


def _texts(batch: pa.RecordBatch, prompt_ids: pa.Array) -> pl.DataFrame:
    """Return a row of `_TEXTS` per completion of the sets of some prompts, noise left out."""
    flat, owner = completions(batch), pc.list_parent_indices(batch["completions"])
    with_labels = pc.is_in(batch["prompt_id"], prompt_ids).take(owner)
    rows = pc.indices_nonzero(pc.and_(with_labels, pc.not_equal(pc.struct_field(flat, "origin"), "noise")))
    texts, calls = (pc.struct_field(flat, name).take(rows).to_pylist() for name in ("text", "tool_calls"))
    sets = owner.take(rows)
    columns = {
        "set": sets.to_pylist(),
        "row": rows.to_pylist(),
        **{name: batch[name].take(sets).to_pylist() for name in ("set_id", "prompt_id")},
        # A loop, because hashing has no columnar kernel, over the sets of annotated prompts alone.
        "hash": [completion_hash(*each) for each in zip(texts, calls, strict=True)],
    }
    return pl.DataFrame(columns, schema=_TEXTS)


def _flags(found: pl.DataFrame, labels: Labels) -> pl.DataFrame:
    """Return a row per flagged set: `set`, and the notes as `detail`."""
    notes = {
        number: f"{label.annotator}: {label.note or 'flagged without a note'}"
        for number, label in enumerate(labels.every)
        if label.action == "flag"
    }
    details = pl.DataFrame(list(notes.items()), schema={"label": pl.Int64, "detail": pl.String}, orient="row")
    return (
        found.select("set", "label")
        .unique()
        .join(details, on="label")
        .sort("set", "label")
        .group_by("set", maintain_order=True)
        .agg(pl.col("detail").str.join("; "))
    )


def _counts(orders: pl.DataFrame, labels: Labels) -> dict[str, int]:
    by_annotator = orders.group_by("annotator").agg(pl.col("set").n_unique()).sort("annotator")
    several = labels.sets["annotator"].n_unique() > 1
    return {
        "labeled": orders["set"].n_unique(),
        **{f"labeled_by:{name}": int(number) for name, number in by_annotator.iter_rows()},
        **(agreement_counts(orders) if several else {}),
    }


def _scored(batch: pa.RecordBatch, of_texts: pl.DataFrame, texts: pl.DataFrame) -> pa.RecordBatch:
    flat = completions(batch)
    values = np.full(len(flat), np.nan)
    rows = texts.join(of_texts, on=["set", "hash"])
    values[rows["row"].to_numpy()] = rows["score"].to_numpy()
    owner = pc.list_parent_indices(batch["completions"]).to_numpy()
    scores_column = pa.array(values, pa.float64(), from_pandas=True)
    return assemble(batch, with_score(flat, NAME, scores_column), owner, np.arange(len(flat)))


def _mask(sets: pl.Series, size: int) -> Mask:
    mask = np.zeros(size, np.bool_)
    mask[sets.to_numpy()] = True
    return mask
