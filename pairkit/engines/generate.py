"""The generate stage: completions from an engine, appended to candidate sets."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from pairkit.engines.asking import Asking
from pairkit.engines.base import Engine, Problem
from pairkit.engines.cache import Cache
from pairkit.engines.instruct import Instruction, check_names
from pairkit.engines.mixes import Samples, check_mix, varied
from pairkit.engines.mixes import SampleSettings as SampleSettings
from pairkit.engines.open_table import OpenTable
from pairkit.engines.recipe import EngineRecipe
from pairkit.progress import Advance
from pairkit.schema import StageResult

# Sets in progress at a time: as many may wait for one slow answer to a set before them.
SETS_OPEN = 10_000
# After the last table.
_END: Any = object()


class GenerateRecipe(EngineRecipe):
    """The `generate:` block of a build recipe: an engine, and the completions it is asked for.

    samples      the mix per prompt.
    keep_source  whether the source's own completions stay in the sets.
    max_tokens   tokens per completion, its end-of-turn token included.
    truncated    what to do with completions cut by `max_tokens`: keep, drop, or regenerate (with another
                 seed, at most twice; dropped if still cut).
    instruct     what is put around each prompt, as a mapping; of a list, one is drawn for each set and model.
    """

    place: ClassVar[str] = "generate."

    samples: tuple[Samples, ...] = Field(default=(Samples(),), min_length=1)
    keep_source: bool = False
    max_tokens: int = Field(default=1024, ge=1)
    truncated: Literal["keep", "drop", "regenerate"] = "keep"
    instruct: tuple[Instruction, ...] = ()

    @field_validator("instruct", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, Mapping) else value

    @field_validator("instruct")
    @classmethod
    def _distinct(cls, value: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
        check_names(value)
        return value

    @model_serializer(mode="wrap")
    def _without_new(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Absent where nothing is set, because an empty value would be a difference to earlier builds.
        content: dict[str, Any] = handler(self)
        return content if self.instruct else {k: v for k, v in content.items() if k != "instruct"}

    @property
    def varied(self) -> frozenset[str]:
        return varied(self.samples)


def no_progress(count: int = 1, /, note: str = "") -> None:
    """Show no progress: an `Advance`."""


def generate(
    sets: pa.Table,
    engine: Engine,
    mix: Sequence[Samples],
    *,
    max_tokens: int,
    seed: int,
    keep_source: bool = False,
    advance: Advance = no_progress,
) -> StageResult:
    """Generate completions of `mix` for every set of one `SETS` table: see `generate_tables`."""
    settings = SampleSettings(mix, max_tokens, seed, keep_source)
    (result,) = generate_tables([sets], engine, settings, advance=advance)
    return result


def generate_tables(
    tables: Iterable[pa.Table | None],
    engine: Engine,
    settings: SampleSettings,
    *,
    cache: Cache | None = None,
    advance: Advance = no_progress,
) -> Generator[StageResult]:
    """Generate completions for every set of `SETS` tables; yield a result per table, in order.

    The engine is given the next table's requests before the last answers of this one have arrived, so that
    it is never idle between tables; None among them is no table, but that none is ready at the moment. A
    completion's randomness is a function of (seed, set_id, sample index) alone. Sets whose request the engine
    cannot serve go to quarantine with the engine's reason. The sets' own completions are replaced, unless
    `keep_source`. `advance` is called per set, with the number of its completions. Counts: `completions`;
    those that ended by `stop` or `length`, or were `refused` by the provider; `empty` ones (no text and no
    tool call); `refusals` (texts that begin like one); `recorded_ids` (completions whose text gives other ids
    than were sampled, so that those are kept); `truncated_dropped`; `regenerated`. Only where there are any:
    `repeated` (the same as an earlier one of the prompt) and the names of `REMARKS`. Raises `RecipeError` for
    a mix whose parts an answer shows to be sampled alike.
    """
    stream = generate_stream(tables, engine, settings, cache=cache, advance=advance)
    with closing(stream):
        yield from (result for result in stream if result is not None)


def generate_stream(
    tables: Iterable[pa.Table | None],
    engine: Engine,
    settings: SampleSettings,
    *,
    cache: Cache | None = None,
    advance: Advance = no_progress,
) -> Generator[StageResult | None]:
    """Generate as `generate_tables` does; after a None among the tables, yield the results so far and None.

    So of several streams that feed each other, none waits for a table that only another one's result brings.
    """
    mixed = varied(settings.mix)
    remaining = iter(tables)
    exhausted = False
    queue: deque[OpenTable] = deque()
    owners: dict[int, tuple[OpenTable, int]] = {}
    with Asking(engine, cache) as asking:
        while queue or not exhausted:
            ready = True
            # Read only while the engine has room, because the tables that are open are in memory.
            while not exhausted and sum(map(len, queue)) < SETS_OPEN and asking.room():
                sets = next(remaining, _END)
                if sets is None:
                    ready = False
                    break
                if sets is _END:
                    exhausted = True
                else:
                    queue.append(OpenTable(sets, settings, engine.name))
                    for row, number in enumerate(asking.add(queue[-1].requests())):
                        owners[number] = queue[-1], row
            for number, result in asking.results():
                table, row = owners.pop(number)
                if not isinstance(result, Problem):
                    check_mix(mixed, result, engine.name, GenerateRecipe.place)
                again = table.place(row, result)
                if again is not None:
                    # A request of its own, because its samplings are other ones; the row stays open for it.
                    owners[asking.add([again])[0]] = table, row
                else:
                    advance(table.samples)
            # In order, because the build writes units in order: a finished table may have to wait.
            while queue and not queue[0].left:
                yield queue.popleft().done()
            if not ready:
                yield None
