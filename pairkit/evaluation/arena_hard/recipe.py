"""The recipe of an evaluation with Arena-Hard."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pairkit.evaluation.arena_hard.labels import Version
from pairkit.evaluation.arena_hard.style_control import StyleControl
from pairkit.evaluation.recipe import BenchmarkRecipe
from pairkit.models.names import is_local, public_name


class ArenaHardRecipe(BenchmarkRecipe):
    """A model, how it answers (greedy, up to 4,096 tokens, unless it is set), and how it is scored.

    version        of the benchmark: questions, references, protocol of the judge, estimator of style control.
    category       of v2.0: hard_prompt or creative_writing; null: both.
    judge_prompt   a file of <|im_start|>ROLE blocks; null: the benchmark's own of each category.
    style_control  equal: scores at the reference's style, a property of the model alone; pool: the public
                   formula, at the average style of all models given.
    tokenizer      that lengths are counted with: a directory, a Hub id, or tiktoken:NAME (the public ones are
                   tiktoken:gpt-3.5-turbo for v0.1, tiktoken:gpt-4o for v2.0); null: the lengths stored in
                   the files.
    """

    usual_tokens: ClassVar[int] = 4096

    version: Version = "0.1"
    category: str | None = None
    judge_prompt: Path | None = None
    style_control: StyleControl = "equal"
    tokenizer: str | None = None

    @property
    def counted_with(self) -> str | None:
        """The name of the tokenizer in results: of a local one without its folders."""
        name = self.tokenizer
        return name and public_name(name, local=is_local(name))
