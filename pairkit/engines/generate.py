"""The generate stage: completions from an engine, appended to candidate sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pairkit import schema
from pairkit.columns import assemble, offsets
from pairkit.engines.base import Answer, Completion, Engine, Problem, Request, Sampling, sample_seed
from pairkit.progress import Advance
from pairkit.recipes import Strict


class Samples(Strict):
    """`n` completions a prompt at one temperature; a mix is a list of these."""

    n: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)


class GenerateRecipe(Strict):
    """The `generate:` block of a build recipe."""

    engine: Literal["transformers"] = "transformers"
    model: str  # a hub id or a directory
    revision: str | None = None
    samples: tuple[Samples, ...] = Field(default=(Samples(),), min_length=1)
    keep_source: bool = False  # whether the source's own completions stay in the sets
    max_tokens: int = Field(default=1024, ge=1)  # of a completion, its end-of-turn token included
    batch_tokens: int = Field(default=32_768, ge=1)  # prompt and completion tokens of one batch


class Generated(NamedTuple):
    """Sets with the new completions behind their own; `sets` and `quarantine` are all the rows given."""

    sets: pa.Table
    quarantine: pa.Table
    counts: dict[str, int]  # completions, stop, length, empty


def no_progress(count: int = 1, /, note: str = "") -> None:
    """An `Advance` that shows nothing."""


def samplings(mix: Sequence[Samples], max_tokens: int, *, seed: int, set_id: str) -> tuple[Sampling, ...]:
    """The sampling of each completion of one set: the mix unrolled, one seed a sample."""
    flat = [part for part in mix for _ in range(part.n)]
    return tuple(
        Sampling(part.temperature, part.top_p, sample_seed(seed, set_id, index), max_tokens)
        for index, part in enumerate(flat)
    )


def generate(
    sets: pa.Table,
    engine: Engine,
    mix: Sequence[Samples],
    *,
    max_tokens: int,
    seed: int,
    keep_source: bool = False,
    advance: Advance = no_progress,
) -> Generated:
    """Asks `engine` for the completions of `mix` for every set of a `SETS` table.

    A completion's randomness is a function of (seed, set_id, sample index) alone. Sets whose request the
    engine cannot serve go to quarantine with the engine's reason. The completions that the sets have
    already are replaced, unless `keep_source`. `advance` is told of every completion.
    """
    requests = [
        Request(prompt, samplings(mix, max_tokens, seed=seed, set_id=set_id))
        for set_id, prompt in zip(sets["set_id"].to_pylist(), sets["prompt"].to_pylist(), strict=True)
    ]
    answers: list[Answer | None] = [None] * len(requests)
    for answer in engine.complete(requests):
        answers[answer.request] = answer
        advance(len(requests[answer.request].samplings))
    done = [answer for answer in answers if answer is not None]
    if len(done) != len(requests):
        raise RuntimeError(f"engine {engine.name!r} answered {len(done)} of {len(requests)} requests")
    served = pa.array([answer.problem is None for answer in done], pa.bool_())
    rows = [answer.completions for answer in done if answer.problem is None]
    problems = [answer.problem for answer in done if answer.problem is not None]
    kept = sets.filter(served)
    return Generated(
        append_completions(
            kept if keep_source else drop_completions(kept), completions_array(rows, engine.name)
        ),
        _quarantine(sets.filter(pc.invert(served)), problems),
        _counts(completion for row in rows for completion in row),
    )


def completions_array(rows: Sequence[Sequence[Completion]], model: str) -> pa.ListArray:
    """Engine completions as the `completions` column of generated completions, one list a row."""
    flat = [completion for row in rows for completion in row]
    count = len(flat)
    sampling = pa.StructArray.from_arrays(
        [
            pa.array([getattr(completion.sampling, field.name) for completion in flat], field.type)
            for field in schema.SAMPLING
        ],
        fields=list(schema.SAMPLING),
    )
    metadata = [schema.canonical_json({"tokens": completion.tokens}) for completion in flat]
    known = {
        "text": pa.array([completion.text for completion in flat], pa.string()),
        "model": pa.repeat(pa.scalar(model, pa.string()), count),
        "scores": pa.array([[]] * count, schema.SCORES),
        "sampling": sampling,
        "finish_reason": pa.array([completion.finish_reason for completion in flat], pa.string()),
        "origin": pa.repeat(pa.scalar("generated", pa.string()), count),
        "metadata": pa.array(metadata, pa.string()),
    }
    columns = [known.get(field.name, pa.nulls(count, field.type)) for field in schema.COMPLETION]
    values = pa.StructArray.from_arrays(columns, fields=list(schema.COMPLETION))
    return pa.ListArray.from_arrays(offsets(np.array([len(row) for row in rows], dtype=np.int64)), values)


def drop_completions(sets: pa.Table) -> pa.Table:
    """`sets` with empty lists of completions: the prompts alone."""
    index = sets.schema.get_field_index("completions")
    return sets.set_column(
        index, schema.SETS.field(index), pa.array([[]] * sets.num_rows, schema.SETS.field(index).type)
    )


def append_completions(sets: pa.Table, new: pa.ListArray) -> pa.Table:
    """`sets` with row i of `new` behind the completions of row i."""
    if not sets.num_rows:
        return sets
    batch = schema.to_sets(sets).combine_chunks().to_batches()[0]
    lists = (batch["completions"], new)
    pool = pa.concat_arrays([pc.list_flatten(part) for part in lists])
    owner = np.concatenate([pc.list_parent_indices(part).to_numpy() for part in lists]).astype(np.int64)
    order = np.argsort(owner, kind="stable")
    return pa.Table.from_batches([assemble(batch, pool, owner[order], order)])


def _quarantine(sets: pa.Table, problems: Sequence[Problem]) -> pa.Table:
    return schema.quarantined(
        "generate",
        [problem.reason for problem in problems],
        [schema.canonical_json(row) for row in sets.to_pylist()],
        details=[problem.detail for problem in problems],
        set_ids=sets["set_id"].to_pylist(),
    )


def _counts(completions: Iterator[Completion]) -> dict[str, int]:
    counts = Counter({"completions": 0, "stop": 0, "length": 0, "empty": 0})
    for completion in completions:
        counts["completions"] += 1
        counts[completion.finish_reason] += 1
        counts["empty"] += not completion.text.strip()
    return dict(counts)
