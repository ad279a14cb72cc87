"""A pool of models that complete the prompts: all of them each prompt, or some that are drawn.

Units pass through the models one after another, and each model is given the next unit's requests before the
last answers of this one have arrived. A model that cannot complete a prompt leaves a row in quarantine, with
the model's name after the reason; the set stays if another model has completed it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, PositiveInt, model_validator

from pairkit.engines.base import REMARKS, Engine, sample_seed
from pairkit.engines.cache import Cache
from pairkit.engines.columns import drop_completions
from pairkit.engines.generate import GenerateRecipe, SampleSettings, generate_stream
from pairkit.engines.tolerant import TolerantEngine
from pairkit.errors import EngineError
from pairkit.models.names import public_name
from pairkit.progress import Advance
from pairkit.random_bits import finalize_words
from pairkit.recipes import Name, Strict
from pairkit.schema import QUARANTINE, StageResult, to_sets
from pairkit.sets import assemble

# Fields that are those of one model.
_OWN = ("name", "model", "revision", "api_key_env")
_POOL = ("models", "pick", "keep_source")


class PooledModel(GenerateRecipe):
    """A model of a pool: the fields of `generate:`.

    name  the author of its completions; null: that of the model.
    """

    place: ClassVar[str] = "generate.models."

    name: Name | None = None

    @property
    def title(self) -> str:
        """The author of its completions."""
        return self.name or public_name(self.model)


class PoolRecipe(Strict):
    """The `generate:` block of a build with several models.

    models       the models, each with the fields of `generate:`, or its name alone. Fields next to `models`,
                 such as engine and samples, are those of every model that does not set its own.
    pick         how many of them complete a prompt, drawn by a hash of (seed, name, set); null: all.
    keep_source  whether the source's own completions stay in the sets.
    """

    models: tuple[PooledModel, ...] = Field(min_length=1)
    pick: PositiveInt | None = None
    keep_source: bool = False

    @model_validator(mode="before")
    @classmethod
    def _shared(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or not isinstance(content.get("models"), (list, tuple)):
            return content
        shared = {name: value for name, value in content.items() if name not in _POOL}
        for name in _OWN:
            if name in shared:
                raise ValueError(f"recipe key 'generate.{name}': give each of generate.models its own")
        for entry in content["models"]:
            # What sends a key names the server that gets it in the same place, where a person looks for it.
            if isinstance(entry, Mapping) and "api_key_env" in entry and "base_url" in shared:
                raise ValueError(
                    "recipe key 'generate.base_url': give it next to each api_key_env in generate.models"
                )
        return {
            **{name: content[name] for name in _POOL if name in content},
            "models": [_with(shared, entry) for entry in content["models"]],
        }

    @model_validator(mode="after")
    def _checked(self) -> PoolRecipe:
        names = [model.title for model in self.models]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(
                f"recipe key 'generate.models': {twice!r} occurs twice; give one of them another `name`"
            )
        if self.pick is not None and self.pick > len(names):
            raise ValueError(f"recipe key 'generate.pick': {self.pick} of {len(names)} models; set fewer")
        if any(model.keep_source for model in self.models):
            raise ValueError(
                "recipe key 'generate.keep_source' is that of all models: set it next to `models`"
            )
        return self


def _with(shared: Mapping[str, Any], entry: Any) -> Any:
    entry = {"model": entry} if isinstance(entry, str) else entry
    return {**shared, **entry} if isinstance(entry, Mapping) else entry


def generating(block: GenerateRecipe | PoolRecipe | None) -> tuple[GenerateRecipe, ...]:
    """Return the models of a `generate:` block."""
    if block is None:
        return ()
    return block.models if isinstance(block, PoolRecipe) else (block,)


def own_seed(seed: int, name: str) -> int:
    """Return the seed of a model of a pool: with one seed for all, alike models would write alike texts."""
    return sample_seed(seed, f"model {name}", 0)


class Member(NamedTuple):
    """A model of a pool that is loaded."""

    engine: Engine
    settings: SampleSettings


def picked(
    set_ids: Sequence[str], names: Sequence[str], pick: int | None, seed: int
) -> npt.NDArray[np.bool_]:
    """Return which models complete which set, `[sets, models]`: `pick` per set, by a hash of all three."""
    if pick is None or not set_ids:
        return np.ones((len(set_ids), len(names)), np.bool_)
    ids = np.frombuffer(bytes.fromhex("".join(set_ids)), dtype=">u8").astype(np.uint64)
    states = [hashlib.sha256(f"{seed}/pick/{name}".encode()).digest()[:8] for name in names]
    with np.errstate(over="ignore"):
        own = np.array([int.from_bytes(state, "big") for state in states], np.uint64)
        keys = finalize_words(finalize_words(ids)[:, None] + own[None, :])
    place = keys.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return np.asarray(place < pick)


@dataclass
class _Open:
    """A table whose completions are being made: which model completes which set, and the results so far."""

    sets: pa.Table
    models: npt.NDArray[np.bool_]
    results: list[StageResult] = field(default_factory=list)


def pool_tables(
    tables: Iterable[pa.Table | None],
    members: Sequence[Member],
    *,
    pick: int | None,
    seed: int,
    keep_source: bool,
    cache: Cache | None,
    advance: Advance,
) -> Generator[StageResult]:
    """Complete every set of `SETS` tables by the models of a pool; yield a result per table, in order.

    None among them is no table, but that none is ready at the moment.

    Counts are those of `generate_tables`, summed, and `completions:NAME` of each model. Raises `EngineError`
    where no model can be reached any more, and what `generate_tables` raises.
    """
    names = [member.engine.name for member in members]
    stream: Iterator[_Open | None] = (
        None if sets is None else _Open(sets, picked(sets["set_id"].to_pylist(), names, pick, seed))
        for sets in tables
    )
    with ExitStack() as stack:
        for number, member in enumerate(members):
            next_stream = _completed(stream, number, member, cache)
            # Closed from the last model to the first, so that none asks for units that nobody takes.
            stream = stack.enter_context(closing(next_stream))
        for table in stream:
            if table is None:
                continue
            _check_some(members)
            result = _together(table, names, keep_source)
            for number in pc.list_value_length(result.sets["completions"]).to_pylist():
                advance(number)
            yield result


def _check_some(members: Sequence[Member]) -> None:
    engines = [member.engine for member in members]
    failures = [engine.failure for engine in engines if isinstance(engine, TolerantEngine) and engine.failure]
    if len(failures) == len(engines):
        raise EngineError(f"none of the {len(engines)} models can be reached; the last: {failures[-1]}")


def _completed(
    stream: Iterator[_Open | None], number: int, member: Member, cache: Cache | None
) -> Generator[_Open | None]:
    """Yield the tables of a stream with the results of one more model; None where none is ready."""
    pending: deque[_Open] = deque()

    def own_sets() -> Iterator[pa.Table | None]:
        for table in stream:
            if table is None:
                yield None
                continue
            pending.append(table)
            yield drop_completions(table.sets.filter(pa.array(table.models[:, number])))

    with closing(generate_stream(own_sets(), member.engine, member.settings, cache=cache)) as results:
        for result in results:
            if result is None:
                yield None
                continue
            table = pending.popleft()
            table.results.append(result)
            yield table


def _together(table: _Open, names: Sequence[str], keep_source: bool) -> StageResult:
    """Join the results of all models to one."""
    own = table.sets if keep_source else drop_completions(table.sets)
    batch = to_sets(own).combine_chunks().to_batches()[0] if own.num_rows else None
    quarantine = [
        _by_model(result.quarantine, name) for result, name in zip(table.results, names, strict=True)
    ]
    counts = _counts(table.results, names)
    if batch is None:
        return StageResult(own, pa.concat_tables([QUARANTINE.empty_table(), *quarantine]), counts=counts)
    lists, owners = [batch["completions"]], [pc.list_parent_indices(batch["completions"]).to_numpy()]
    served = np.zeros(own.num_rows, np.bool_)
    for result in table.results:
        rows = pc.index_in(result.sets["set_id"], value_set=own["set_id"].combine_chunks()).to_numpy()
        served[rows] = True
        if result.sets.num_rows:
            completions = to_sets(result.sets).combine_chunks()["completions"].chunk(0)
            lists.append(completions)
            owners.append(rows[pc.list_parent_indices(completions).to_numpy()])
    pool = pa.concat_arrays([pc.list_flatten(part) for part in lists])
    owner = np.concatenate(owners).astype(np.int64)
    # Stable, so that a set has its completions in the order of the models.
    order = np.argsort(owner, kind="stable")
    sets = pa.Table.from_batches([assemble(batch, pool, owner[order], order)])
    # A set that no model has completed is in quarantine, once for each model that was to.
    return StageResult(sets.filter(pa.array(served)), pa.concat_tables(quarantine), counts=counts)


def _by_model(quarantine: pa.Table, name: str) -> pa.Table:
    """Add the model's name to each reason."""
    index = QUARANTINE.get_field_index("reason")
    reasons = pc.binary_join_element_wise(quarantine["reason"], name, ":")
    return quarantine.set_column(index, QUARANTINE.field("reason"), reasons)


def _counts(results: Sequence[StageResult], names: Sequence[str]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for result, name in zip(results, names, strict=True):
        total.update(result.counts)
        # Remarks too: what a server was sent differs from model to model.
        total.update(
            {
                f"{what}:{name}": number
                for what, number in result.counts.items()
                if what == "completions" or what in REMARKS
            }
        )
    return dict(total)
