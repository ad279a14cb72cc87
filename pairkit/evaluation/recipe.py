"""The settings that all benchmarks share: the model and its decoding, the judge, calls to servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from pairkit.engines.recipe import CallSettings, DirectCalls, EngineRecipe
from pairkit.errors import RecipeError
from pairkit.evaluation.answers import Decoding, Question
from pairkit.models.names import is_local, public_name
from pairkit.rankers.thoughts import Thoughts


class JudgeModel(EngineRecipe):
    """The `judge:` block: the engine of the judge, and its decoding (null: the benchmark's own).

    attempts           how many times a question is asked at most, until its verdict can be read.
    retry_temperature  of the other attempts: at temperature 0 a judge would repeat its answer.
    """

    place: ClassVar[str] = "judge."

    temperature: Annotated[float, Field(ge=0)] | None = None
    max_tokens: PositiveInt | None = None
    attempts: PositiveInt = 3
    retry_temperature: Annotated[float, Field(ge=0)] = 0.7


class BenchmarkRecipe(EngineRecipe):
    """A model and how it answers a benchmark.

    model        may be absent where the answers are in a file; `name` then says whose they are.
    name         the name of the model in results; null: that of `model`.
    temperature  of the answers; null: the benchmark's own, as for top_p and max_tokens.
    thoughts     strip: an answer is judged without the thought that it begins with; show: with it.
    seed         of sampling, of resampling, and of the order of answers where it is drawn.
    """

    # Where the recipe sets no temperature, or no number of tokens.
    usual_temperature: ClassVar[float] = 0.0
    usual_tokens: ClassVar[int] = 2048

    model: str = ""
    name: str | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: PositiveInt | None = None
    thoughts: Thoughts = "strip"
    seed: int = 0
    judge: JudgeModel | None = None
    calls: DirectCalls = CallSettings()

    def decoding(self, question: Question | None = None) -> Decoding:
        """Return how a question is answered."""
        return Decoding(
            self.usual_temperature if self.temperature is None else self.temperature,
            self.top_p or 1.0,
            self.max_tokens or self.usual_tokens,
        )

    @property
    def shown_name(self) -> str:
        """The name of the model in results; "" if neither name nor model was given."""
        return self.name or (public_name(self.model, local=is_local(self.model)) if self.model else "")


def check_given(recipe: BenchmarkRecipe, answers: Path | None, annotations: Path | None, until: str) -> None:
    """Raise `RecipeError` if a step has nothing that it could be made from, or verdicts have two sources.

    Args:
        answers, annotations: files of stored answers and verdicts.
        until: the last step, one of answers, verdicts and scores.
    """
    if not (recipe.model or answers or annotations):
        raise RecipeError("no answers: give --model, or stored answers with --answers FILE")
    if recipe.judge and annotations:
        raise RecipeError("two sources of verdicts: give --judge or --annotations; --agreement compares two")
    if until != "answers" and not (recipe.judge or annotations):
        raise RecipeError("no verdicts: give --judge, stored verdicts with --annotations, or --until answers")
