"""The settings of `pairkit eval ifeval`."""

from __future__ import annotations

from pairkit.evaluation.answers import Decoding, Question
from pairkit.evaluation.recipe import BenchmarkRecipe


class IfevalRecipe(BenchmarkRecipe):
    """A model and how it follows instructions: greedy, up to 1,280 tokens, unless it is set otherwise."""

    def decoding(self, _: Question | None = None) -> Decoding:
        """Return the decoding of every prompt."""
        temperature = 0.0 if self.temperature is None else self.temperature
        return Decoding(temperature, self.top_p or 1.0, self.max_tokens or 1280)
