"""The contract of a ranker that asks a model."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

from pairkit.progress import Advance
from pairkit.schema import StageResult


class Ranker(Protocol):
    """A loaded ranker. `name` is the name of its score among the named scores."""

    @property
    def name(self) -> str: ...

    def score(self, sets: pa.Table, advance: Advance, /) -> StageResult:
        """Score all completions except noise: set `score` and the named score, and remove the rank.

        `annotations.rank` ranks by the new score later. `advance` is called with the number of completions
        that are done.
        """
        ...
