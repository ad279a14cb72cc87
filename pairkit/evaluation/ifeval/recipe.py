"""The settings of `pairkit eval ifeval`."""

from __future__ import annotations

from typing import ClassVar

from pairkit.evaluation.recipe import BenchmarkRecipe


class IfevalRecipe(BenchmarkRecipe):
    """A model and how it follows instructions: greedy, up to 1,280 tokens, unless it is set otherwise."""

    usual_tokens: ClassVar[int] = 1280
