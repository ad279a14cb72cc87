"""Where calls to a server are paid from: `openai.spending` in one process, an account of several in Ray."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol


class Tokens(NamedTuple):
    """Tokens of one HTTP request: the most that it may use, or the number that the server reported."""

    prompt: int
    completion: int


NO_TOKENS = Tokens(0, 0)


class Account(Protocol):
    """What calls may spend; used from one event loop only."""

    retries: int

    def reserved(self, most: Tokens) -> AbstractAsyncContextManager[None]:
        """Reserve budget for one HTTP request of at most these tokens, for the duration of the block.

        Raises `BudgetError` if the budget does not suffice.
        """
        ...

    def add(self, tokens: Tokens) -> None:
        """Count the tokens that the request of the block has used."""
        ...

    def usage(self) -> Mapping[str, float]:
        """Return counts by name, with `cost` if the price is known."""
        ...
