"""The recipe of an evaluation with MT-Bench."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pairkit.evaluation.answers import Decoding, Question
from pairkit.evaluation.recipe import BenchmarkRecipe, JudgeModel

Duplicates = Literal["refuse", "last"]
_TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
# FastChat's, for questions of a category that is not MT-Bench's.
_OTHER_TEMPERATURE = 0.7


class MtBenchRecipe(BenchmarkRecipe):
    """A model, how it answers, and how the judge is asked.

    The temperature is that of the question's category, unless one is set for all; 1,024 tokens per turn.

    judge_prompts  a file in FastChat's format (judge_prompts.jsonl); null: the public prompts.
    duplicates     of stored judgments of one turn. refuse: an error; last: the latest by `tstamp` counts.
    """

    usual_tokens: ClassVar[int] = 1024

    judge_prompts: Path | None = None
    duplicates: Duplicates = "refuse"

    def decoding(self, question: Question | None = None) -> Decoding:
        """Return how a question is answered."""
        usual = super().decoding(question)
        if self.temperature is not None or question is None:
            return usual
        temperature = _TEMPERATURES.get(question.category or "", _OTHER_TEMPERATURE)
        return usual._replace(temperature=temperature)


def judge_decoding(judge: JudgeModel) -> Decoding:
    """Return how a judge answers at first: greedy, at most 2,048 tokens, unless it is set otherwise."""
    return Decoding(0.0 if judge.temperature is None else judge.temperature, 1.0, judge.max_tokens or 2048)
