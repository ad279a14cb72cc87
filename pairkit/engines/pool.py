"""The engines and the cache of calls of one build."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from pairkit.engines import open_engine
from pairkit.engines.base import Engine
from pairkit.engines.cache import Cache
from pairkit.engines.openai.account import Account
from pairkit.engines.recipe import CallSettings
from pairkit.models.names import public_name


@dataclass
class EnginePool:
    """The cache of calls, and the engines that are closed when the build ends. It belongs to one worker.

    `account` is where calls to a server are paid from, if several workers share one.
    """

    calls: CallSettings
    cache: Cache | None
    opened: ExitStack
    engines: list[Engine] = field(default_factory=list)
    account: Account | None = None

    def engine(self, recipe: Any) -> Engine:
        """Open the engine of a `generate:` or judge block, its model loaded."""
        name = public_name(recipe.model)
        shared = {} if self.account is None else {"account": self.account}
        engine = open_engine(recipe, self.calls, name=name, **shared)
        self.opened.callback(engine.close)
        self.engines.append(engine)
        return engine

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
