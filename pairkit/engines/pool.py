"""The engines and the cache of calls of one build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from pairkit.engines import open_batches, open_engine
from pairkit.engines.base import BatchEngine, Engine
from pairkit.engines.cache import Cache
from pairkit.engines.openai.account import Account
from pairkit.engines.openai.run_budget import RunBudget
from pairkit.engines.openai.spending import Spending
from pairkit.engines.recipe import CallSettings
from pairkit.engines.table import ENGINES
from pairkit.errors import EngineError
from pairkit.models.names import public_name


@dataclass
class EnginePool:
    """The cache of calls, and the engines that are closed when the build ends. It belongs to one worker.

    `accounts` returns where the calls of a block are paid from, if several workers share an account; `budget`
    is that of another pool of the same run, None for one of its own.
    """

    calls: CallSettings
    cache: Cache | None
    opened: ExitStack
    engines: list[Engine] = field(default_factory=list)
    # By the identity of the block, because blocks hold mappings and cannot be hashed.
    batching: dict[int, BatchEngine] = field(default_factory=dict)
    accounts: Callable[[Any], Account | None] | None = None
    budget: RunBudget | None = None
    # Of the models of a pool whose servers cannot be asked, by name.
    failures: dict[str, EngineError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shared = RunBudget(self.calls.budget) if self.budget is None else self.budget

    def batches(self, recipe: Any, name: str | None = None) -> BatchEngine | None:
        """Open the engine of a block for batches, as `engine` does; None for an engine that has none."""
        if not ENGINES[recipe.engine].batches:
            return None
        if id(recipe) not in self.batching:
            assert self.cache is not None  # a build that asks models has one
            engine = open_batches(
                recipe, self.calls, self.cache, name=name or public_name(recipe.model), budget=self.shared
            )
            self.opened.callback(engine.close)
            self.engines.append(engine)
            self.batching[id(recipe)] = engine
        return self.batching[id(recipe)]

    def engine(self, recipe: Any, name: str | None = None) -> Engine:
        """Open the engine of a `generate:` or judge block, its model loaded.

        `name` is recorded as the author of its completions (None: the published name of the model).
        """
        # The same one, so that what batches have spent counts.
        if id(recipe) in self.batching:
            return self.batching[id(recipe)].direct
        engine = open_engine(
            recipe, self.calls, name=name or public_name(recipe.model), account=self._account(recipe)
        )
        self.opened.callback(engine.close)
        self.engines.append(engine)
        return engine

    def _account(self, recipe: Any) -> Account | None:
        if self.accounts is not None:
            return self.accounts(recipe)
        # A model in this process is paid by nobody.
        return None if ENGINES[recipe.engine].local else Spending(self.calls, recipe.model, self.shared)

    def usage(self) -> dict[str, float]:
        """Return what all engines have spent, and how many calls the cache has answered."""
        spent: dict[str, float] = {}
        # Summed, because generation and each judge may have an engine of their own.
        for engine in self.engines:
            for name, number in engine.usage().items():
                spent[name] = spent.get(name, 0) + number
        # A zero would only mean that there is a cache.
        if self.cache is not None and self.cache.hits:
            spent["cached"] = self.cache.hits
        return spent

    def note(self) -> str:
        """Return the same for the progress bar."""
        return usage_note(self.usage())


def usage_note(spent: Mapping[str, float]) -> str:
    """Return in words what `EnginePool.usage` returns."""
    # One number for a person: the log has the two apart.
    tokens = spent.get("prompt_tokens", 0) + spent.get("completion_tokens", 0)
    parts = [
        f"{spent[name]:,.0f} {what}"
        for name, what in (("requests", "requests"), ("retries", "retries"), ("cached", "from the cache"))
        if spent.get(name)
    ]
    parts += [f"{tokens:,.0f} tokens"] if tokens else []
    parts += [f"cost {spent['cost']:,.4g}"] if "cost" in spent else []
    return ", ".join(parts)
