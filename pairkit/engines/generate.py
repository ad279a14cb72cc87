"""The generate stage: completions from an engine, appended to candidate sets."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from typing import Literal, NamedTuple, get_args

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pairkit import schema
from pairkit.engines.asking import Asking
from pairkit.engines.base import (
    Completion,
    Engine,
    FinishReason,
    Problem,
    Request,
    Result,
    Sampling,
    sample_seed,
)
from pairkit.engines.cache import Cache
from pairkit.engines.columns import append_completions, completions_array, drop_completions
from pairkit.engines.recipe import EngineRecipe
from pairkit.progress import Advance
from pairkit.recipes import Strict

# Sets on their way at a time: as many may wait for one slow answer to a set before them.
SETS_OPEN = 10_000
# Tries, the first one included, before a completion that `regenerate` finds cut is left out.
REGENERATE_TRIES = 3
# How replies that decline begin; counted, never acted upon.
_REFUSAL = (
    r"(?i)^\s*(?:(?:i['’]m|i am) (?:very |really )?sorry|sorry|i apologi[sz]e)?[,.]?\s*(?:but )?"
    r"(?:i (?:can ?not|can['’]?t|won['’]?t|must decline)|i(?: am|['’]m) (?:not able|unable)|as an ai\b)"
)


class Samples(Strict):
    """`n` completions a prompt at one temperature; a mix is a list of these."""

    n: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)


class GenerateRecipe(EngineRecipe):
    """The `generate:` block of a build recipe: an engine, and what is asked of it.

    samples      the mix of each prompt.
    keep_source  whether the source's own completions stay in the sets.
    max_tokens   of a completion, its end-of-turn token included.
    truncated    what becomes of completions that `max_tokens` has cut: keep, drop, or regenerate (asked for
                 again with another seed, twice at most, and dropped if still cut).
    """

    samples: tuple[Samples, ...] = Field(default=(Samples(),), min_length=1)
    keep_source: bool = False
    max_tokens: int = Field(default=1024, ge=1)
    truncated: Literal["keep", "drop", "regenerate"] = "keep"


class Generated(NamedTuple):
    """Sets with the new completions behind their own; `sets` and `quarantine` are all the rows given."""

    sets: pa.Table
    quarantine: pa.Table
    # completions, stop, length, refused (by the provider), empty, refusals (texts that begin like one),
    # truncated_dropped, regenerated
    counts: dict[str, int]


class Wanted(NamedTuple):
    """What is asked of an engine for each set: the fields of `GenerateRecipe` without the engine's."""

    mix: Sequence[Samples]
    max_tokens: int
    seed: int
    keep_source: bool = False
    truncated: Literal["keep", "drop", "regenerate"] = "keep"

    def samplings(self, set_id: str, attempt: int = 0) -> tuple[Sampling, ...]:
        """The sampling of each completion of one set: the mix unrolled, one seed a sample and attempt."""
        flat = [part for part in self.mix for _ in range(part.n)]
        return tuple(
            Sampling(
                part.temperature,
                part.top_p,
                sample_seed(self.seed, set_id, index + attempt * len(flat)),
                self.max_tokens,
            )
            for index, part in enumerate(flat)
        )


def no_progress(count: int = 1, /, note: str = "") -> None:
    """An `Advance` that shows nothing."""


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
    """Completions of `mix` for every set of one `SETS` table: see `generated`."""
    wanted = Wanted(mix, max_tokens, seed, keep_source)
    (done,) = generated([sets], engine, wanted, advance=advance)
    return done


def generated(
    tables: Iterable[pa.Table],
    engine: Engine,
    wanted: Wanted,
    *,
    cache: Cache | None = None,
    advance: Advance = no_progress,
) -> Generator[Generated]:
    """Asks `engine` for completions for every set of `SETS` tables; the tables come back in their order.

    The engine is given the next table's requests before the last answers of this one are in. A completion's
    randomness is a function of (seed, set_id, sample index) alone. Sets whose request the engine cannot
    serve go to quarantine with the engine's reason. The completions that the sets have already are replaced,
    unless `keep_source`. `advance` is told of every set, with the number of its
    completions.
    """
    rest = iter(tables)
    exhausted = False
    opened: deque[_Table] = deque()
    owners: dict[int, tuple[_Table, int]] = {}
    with Asking(engine, cache) as asking:
        while opened or not exhausted:
            while not exhausted and sum(map(len, opened)) < SETS_OPEN and asking.room():
                sets = next(rest, None)
                if sets is None:
                    exhausted = True
                else:
                    opened.append(_Table(sets, wanted))
                    for row, number in enumerate(asking.add(opened[-1].requests())):
                        owners[number] = opened[-1], row
            for number, result in asking.results():
                table, row = owners.pop(number)
                again = table.place(row, result)
                if again is not None:
                    owners[asking.add([again])[0]] = table, row
                else:
                    advance(table.samples)
            while opened and not opened[0].left:
                yield opened.popleft().done(engine.name)


class _Table:
    """A table of sets whose completions are on their way."""

    def __init__(self, sets: pa.Table, wanted: Wanted) -> None:
        self.sets, self.wanted = sets, wanted
        self.samples = sum(part.n for part in wanted.mix)
        self.left = sets.num_rows
        self.regenerated = 0
        self._set_ids, self._prompts = sets["set_id"].to_pylist(), sets["prompt"].to_pylist()
        self._problems: dict[int, Problem] = {}
        self._rows: list[dict[int, Completion]] = [{} for _ in range(self.left)]  # by sample
        self._asked = [list(range(self.samples)) for _ in range(self.left)]
        self._attempt = [0] * self.left

    def __len__(self) -> int:
        return len(self._set_ids)

    def requests(self) -> list[Request]:
        return [
            Request(prompt, self.wanted.samplings(set_id))
            for set_id, prompt in zip(self._set_ids, self._prompts, strict=True)
        ]

    def place(self, row: int, result: Result) -> Request | None:
        """Takes the result of a row; what is to be asked again, None where the row is done."""
        if isinstance(result, Problem):
            if not self._attempt[row]:  # what could not be regenerated stays as it was
                self._problems[row] = result
            self.left -= 1
            return None
        self._rows[row].update(zip(self._asked[row], result, strict=True))
        cut = [sample for sample in self._asked[row] if self._rows[row][sample].finish_reason == "length"]
        if not cut or self.wanted.truncated != "regenerate" or self._attempt[row] + 1 == REGENERATE_TRIES:
            self.left -= 1
            return None
        self._asked[row], self._attempt[row] = cut, self._attempt[row] + 1
        self.regenerated += len(cut)
        samplings = self.wanted.samplings(self._set_ids[row], self._attempt[row])
        return Request(self._prompts[row], tuple(samplings[sample] for sample in cut))

    def done(self, model: str) -> Generated:
        """The table with its completions, when no row is left."""
        served = pa.array([row not in self._problems for row in range(self.sets.num_rows)], pa.bool_())
        every = [
            [completions[sample] for sample in sorted(completions)]
            for row, completions in enumerate(self._rows)
            if row not in self._problems
        ]
        rows = [[one for one in row if self._stays(one)] for row in every]
        new = completions_array(rows, model)
        counts = _counts(new)
        counts["truncated_dropped"] = sum(map(len, every)) - counts["completions"]
        counts["regenerated"] = self.regenerated
        kept = self.sets.filter(served)
        return Generated(
            append_completions(kept if self.wanted.keep_source else drop_completions(kept), new),
            _quarantine(
                self.sets.filter(pc.invert(served)), [self._problems[row] for row in sorted(self._problems)]
            ),
            counts,
        )

    def _stays(self, completion: Completion) -> bool:
        return self.wanted.truncated == "keep" or completion.finish_reason != "length"


def _quarantine(sets: pa.Table, problems: Sequence[Problem]) -> pa.Table:
    return schema.quarantined(
        "generate",
        [problem.reason for problem in problems],
        [schema.canonical_json(row) for row in sets.to_pylist()],
        details=[problem.detail for problem in problems],
        set_ids=sets["set_id"].to_pylist(),
    )


def _counts(completions: pa.ListArray) -> dict[str, int]:
    flat = completions.flatten()
    frame = pl.DataFrame(
        {name: pl.from_arrow(pc.struct_field(flat, name)) for name in ("text", "finish_reason")},
        schema={"text": pl.String, "finish_reason": pl.String},
    )
    reasons = {reason: (pl.col("finish_reason") == reason).sum() for reason in get_args(FinishReason)}
    empty = (pl.col("text").str.strip_chars() == "").sum()
    refusals = pl.col("text").str.contains(_REFUSAL).sum()
    numbers = frame.select(completions=pl.len(), **reasons, empty=empty, refusals=refusals)
    return {name: int(value) for name, value in numbers.row(0, named=True).items()}
