"""The generate stage: completions from an engine, appended to candidate sets."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from pairkit.arrow import struct_fields
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
from pairkit.engines.instruct import RECORDED, Instruction, check_names, draw, instructed
from pairkit.engines.mixes import Samples, check_mix, varied
from pairkit.engines.recipe import EngineRecipe
from pairkit.models.chat.render import Messages
from pairkit.progress import Advance
from pairkit.schema import StageResult, plain_messages, quarantine_rows
from pairkit.texts import REFUSAL

# Sets in progress at a time: as many may wait for one slow answer to a set before them.
SETS_OPEN = 10_000
# Tries, the first included, before `regenerate` drops a completion that is cut every time.
REGENERATE_TRIES = 3
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


class SampleSettings(NamedTuple):
    """The completions that an engine is asked for: the fields of `GenerateRecipe` without the engine's."""

    mix: Sequence[Samples]
    max_tokens: int
    seed: int
    keep_source: bool = False
    truncated: Literal["keep", "drop", "regenerate"] = "keep"
    instruct: Sequence[Instruction] = ()

    def samplings(self, set_id: str, attempt: int = 0) -> tuple[Sampling, ...]:
        """Return the sampling of each completion of a set: the mix unrolled, one seed each."""
        flat = [part for part in self.mix for _ in range(part.n)]
        return tuple(
            Sampling(
                part.temperature,
                part.top_p,
                # A further attempt has indices of its own, because the seed that was cut would be cut again.
                sample_seed(self.seed, set_id, index + attempt * len(flat)),
                self.max_tokens,
            )
            for index, part in enumerate(flat)
        )


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
    queue: deque[_Table] = deque()
    owners: dict[int, tuple[_Table, int]] = {}
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
                    queue.append(_Table(sets, settings, engine.name))
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


class _Prompt(NamedTuple):
    """What an engine is given of a set."""

    messages: Messages
    tools: str | None
    template_kwargs: str | None

    def request(self, samplings: tuple[Sampling, ...]) -> Request:
        return Request(self.messages, samplings, self.tools, self.template_kwargs)


class _Table:
    """A table of sets whose completions are being generated."""

    def __init__(self, sets: pa.Table, settings: SampleSettings, model: str) -> None:
        self.sets, self.settings, self._model = sets, settings, model
        self.samples = sum(part.n for part in settings.mix)
        self.left = sets.num_rows
        self.regenerated = 0
        self._set_ids = sets["set_id"].to_pylist()
        columns = (sets[name].to_pylist() for name in ("prompt", "tools", "chat_template_kwargs"))
        self._prompts = [
            _Prompt(plain_messages(prompt), tools, kwargs)
            for prompt, tools, kwargs in zip(*columns, strict=True)
        ]
        # One per set, or none at all.
        self._told = [
            draw(settings.instruct, settings.seed, each, model) for each in self._set_ids if settings.instruct
        ]
        if self._told:
            pairs = zip(self._prompts, self._told, strict=True)
            self._prompts = [
                each._replace(messages=instructed(each.messages, instruction)) for each, instruction in pairs
            ]
        self._problems: dict[int, Problem] = {}
        self._rows: list[dict[int, Completion]] = [{} for _ in range(self.left)]  # by sample
        # The samples that a row's open request is for: another try asks for the cut ones only.
        self._asked = [list(range(self.samples)) for _ in range(self.left)]
        self._attempt = [0] * self.left

    def __len__(self) -> int:
        return len(self._set_ids)

    def requests(self) -> list[Request]:
        return [
            prompt.request(self.settings.samplings(set_id))
            for set_id, prompt in zip(self._set_ids, self._prompts, strict=True)
        ]

    def place(self, row: int, result: Result) -> Request | None:
        """Store the result of a row; return what to ask again, None if the row is done."""
        if isinstance(result, Problem):
            if not self._attempt[row]:  # a completion that could not be regenerated stays
                self._problems[row] = result
            self.left -= 1
            return None
        self._rows[row].update(zip(self._asked[row], result, strict=True))
        cut = [sample for sample in self._asked[row] if self._rows[row][sample].finish_reason == "length"]
        if not cut or self.settings.truncated != "regenerate" or self._attempt[row] + 1 == REGENERATE_TRIES:
            self.left -= 1
            return None
        self._asked[row], self._attempt[row] = cut, self._attempt[row] + 1
        self.regenerated += len(cut)
        samplings = self.settings.samplings(self._set_ids[row], self._attempt[row])
        return self._prompts[row].request(tuple(samplings[sample] for sample in cut))

    def done(self) -> StageResult:
        """Return the table with its completions, when no row is left."""
        # One entry per set; `every`, `rows` and `new` have one list per set that was served.
        served = pa.array([row not in self._problems for row in range(self.sets.num_rows)], pa.bool_())
        every = [
            [completions[sample] for sample in sorted(completions)]
            for row, completions in enumerate(self._rows)
            if row not in self._problems
        ]
        rows = [[completion for completion in row if self._stays(completion)] for row in every]
        about = [{RECORDED: each} for row, each in enumerate(self._told) if row not in self._problems]
        new = completions_array(rows, self._model, about or None)
        counts = _counts(new)
        counts["truncated_dropped"] = sum(map(len, every)) - counts["completions"]
        counts["regenerated"] = self.regenerated
        counts |= _noted(rows)
        # Filtered first, so that row i of the sets is row i of `new`.
        sets = self.sets.filter(served)
        problems = [self._problems[row] for row in sorted(self._problems)]
        quarantine = quarantine_rows(
            "generate",
            self.sets.filter(pc.invert(served)),
            [problem.reason for problem in problems],
            [problem.detail for problem in problems],
        )
        sets = append_completions(sets if self.settings.keep_source else drop_completions(sets), new)
        return StageResult(sets, quarantine, counts=counts)

    def _stays(self, completion: Completion) -> bool:
        return self.settings.truncated == "keep" or completion.finish_reason != "length"


def _noted(rows: Sequence[Sequence[Completion]]) -> Counter[str]:
    """Count what is unusual: the remarks on completions, and those that repeat one of their prompt."""
    counts = Counter(remark for row in rows for completion in row for remark in completion.remarks or ())
    distinct = (
        len({(completion.text, completion.reasoning_content, completion.tool_calls) for completion in row})
        for row in rows
    )
    repeated = sum(map(len, rows)) - sum(distinct)
    return counts + Counter(repeated=repeated)


def _counts(completions: pa.ListArray) -> dict[str, int]:
    # One entry per completion, whatever its set.
    fields = struct_fields(completions.flatten())
    frame = pl.DataFrame(
        {
            "text": pl.from_arrow(fields["text"]),
            "finish_reason": pl.from_arrow(fields["finish_reason"]),
            "calls": pl.from_arrow(pc.is_valid(fields["tool_calls"])),
            "recorded": pl.from_arrow(pc.is_valid(fields["token_ids"])),
        },
        schema={"text": pl.String, "finish_reason": pl.String, "calls": pl.Boolean, "recorded": pl.Boolean},
    )
    reasons = {reason: (pl.col("finish_reason") == reason).sum() for reason in get_args(FinishReason)}
    numbers = frame.select(
        completions=pl.len(),
        **reasons,
        empty=((pl.col("text").str.strip_chars() == "") & ~pl.col("calls")).sum(),
        refusals=pl.col("text").str.contains(REFUSAL).sum(),
        recorded_ids=pl.col("recorded").sum(),
    )
    return {name: int(value) for name, value in numbers.row(0, named=True).items()}
