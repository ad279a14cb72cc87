"""The stage of filters: sets that do not pass one go to quarantine, with its name and the value."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.errors import listed
from pairkit.mining.filters.recipe import FilterRecipe
from pairkit.mining.filters.table import FILTERS
from pairkit.schema import StageResult, quarantine_rows
from pairkit.sets import best_first, completions, numbers
from pairkit.texts import prompt_texts

PREFIX = "filter_"  # of a reason


class Judged(NamedTuple):
    """What filters say about sets.

    Attributes:
        drops: a boolean column per filter, in the order of the table, one row per set.
        reason: of each set, the first filter that it does not pass; null: it stays.
        detail: the value that did not pass, and the bounds.
    """

    drops: pl.DataFrame
    reason: pl.Series
    detail: pl.Series


def blocks(recipe: FilterRecipe, *, before: bool) -> dict[str, Any]:
    """Return the filters that a recipe asks for: those of prompts alone, or the others."""
    filters = {name: getattr(recipe, name) for name in FILTERS}
    return {name: block for name, block in filters.items() if block and FILTERS[name].before == before}


def filter_sets(sets: pa.Table, recipe: FilterRecipe, *, before: bool = False) -> StageResult:
    """Apply the filters of prompts (`before`), or the others; the result of a set depends on no other."""
    filters = blocks(recipe, before=before)
    judgment = judge(sets, filters)
    refusals = judgment.reason.is_not_null()
    leaving = sets.filter(refusals.to_arrow())
    quarantine = quarantine_rows(
        "prepass" if before else "filter",
        leaving,
        judgment.reason.filter(refusals).to_list(),
        judgment.detail.filter(refusals).to_list(),
    )
    # All of them from 0, so that a manifest has the same counts whether they occur or not.
    counts = {f"quarantined_{PREFIX}{name}": 0 for name in filters}
    counts |= {
        f"quarantined_{reason}": number
        for reason, number in judgment.reason.drop_nulls().value_counts().rows()
    }
    return StageResult(sets.filter((~refusals).to_arrow()), quarantine, counts=counts)


def judge(sets: pa.Table, filters: dict[str, Any]) -> Judged:
    """Compute what each of `blocks` says about each set, in the order of the table."""
    nothing = pl.Series([None] * sets.num_rows, dtype=pl.String)
    if not filters or not sets.num_rows:
        return Judged(pl.DataFrame({name: [] for name in filters}), nothing, nothing)
    frame = _columns(sets)
    values = frame.select(
        expression.alias(f"{kind}_{name}")
        for name, block in filters.items()
        for kind, expression in zip(("drop", "value"), _expressions(name, block), strict=True)
    )
    drops = values.select(pl.col(f"drop_{name}").fill_null(False).alias(name) for name in filters)
    reason, detail = pl.lit(None, pl.String), pl.lit(None, pl.String)
    # From the last back, so that the first that a set does not pass is the one that stays.
    for name in reversed(filters):
        message = pl.concat_str(pl.lit(f"{name} is "), _shown(values, name), pl.lit(_bounds(filters[name])))
        reason = pl.when(pl.col(name)).then(pl.lit(f"{PREFIX}{name}")).otherwise(reason)
        detail = pl.when(pl.col(name)).then(message).otherwise(detail)
    verdicts = pl.concat([drops, values], how="horizontal").select(reason=reason, detail=detail)
    return Judged(drops, verdicts["reason"], verdicts["detail"])


def _expressions(name: str, block: Any) -> tuple[pl.Expr, pl.Expr]:
    """Return whether a set leaves, and the value that is told; for completions, by the block's `of`."""
    row = FILTERS[name]
    value = row.value(block)
    if row.per == "set":
        return row.breaks(block, value), value
    wrong = value.list.eval(row.breaks(block, pl.element()).fill_null(False))
    last = pl.max_horizontal(pl.col("ranked"), 1) - 1
    by = {
        "best": (wrong.list.get(0, null_on_oob=True), value.list.get(0, null_on_oob=True)),
        "worst": (wrong.list.get(last, null_on_oob=True), value.list.get(last, null_on_oob=True)),
        "any": (wrong.list.any(), value),
        # Of no completion nothing is true.
        "all": (wrong.list.all() & (wrong.list.len() > 0), value),
    }
    return by[block.of]


def _shown(values: pl.DataFrame, name: str) -> pl.Expr:
    """Return the value of a filter as a text; texts of prompts and completions are in the row itself."""
    column = pl.col(f"value_{name}")
    if name.endswith("_regex"):
        return pl.lit("text")
    kind = values.schema[f"value_{name}"]
    if isinstance(kind, pl.List):
        items = column.list.eval(pl.element().cast(pl.String).fill_null("unknown")).list.join(", ")
        return pl.concat_str(pl.lit("["), items, pl.lit("]"))
    if kind.is_float():
        column = column.round(4)
    return column.cast(pl.String).fill_null("unknown")


def _bounds(block: Any) -> str:
    set_fields = {key: value for key, value in block.model_dump().items() if value not in (None, ())}
    return "; the filter has " + ", ".join(f"{key}={_plain(value)}" for key, value in set_fields.items())


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        # It is repeated in each row of the quarantine.
        return f"[{listed(value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _columns(sets: pa.Table) -> pl.DataFrame:
    """Return the columns that the filters read, one row per set."""
    sets = sets.combine_chunks()
    parts = []
    for batch in sets.to_batches():
        flat = completions(batch)
        frame = best_first(numbers(batch, flat))
        texts = pl.Series("text", pc.struct_field(flat, "text"), dtype=pl.String)
        lists = (
            frame.with_columns(text=texts.gather(frame["row"]))
            .group_by("set", maintain_order=True)
            .agg("text", "score", ranked=(pl.col("rank").is_not_null() & ~pl.col("noise")).sum())
        )
        rows = pl.DataFrame({"set": pl.int_range(batch.num_rows, eager=True)})
        set_lists = rows.join(lists, on="set", how="left", maintain_order="left")
        parts.append(
            set_lists.select(
                prompt=prompt_texts(batch["prompt"]),
                asked=prompt_texts(batch["prompt"], system=False),
                texts=pl.col("text").fill_null(pl.lit([], pl.List(pl.String))),
                scores=pl.col("score").fill_null(pl.lit([], pl.List(pl.Float64))),
                ranked=pl.col("ranked").fill_null(0).cast(pl.Int64),
            )
        )
    return pl.concat(parts)
