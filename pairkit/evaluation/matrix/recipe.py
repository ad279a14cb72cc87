"""The recipe of a matrix of win rates."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from pairkit.evaluation.recipe import BenchmarkRecipe, JudgeModel
from pairkit.rankers.judge.prompt import Prompt, read_prompts
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.thoughts import Thoughts


class MatrixRecipe(BenchmarkRecipe):
    """Models, how they answer, and how the judge is asked. Greedy, at most 2,048 tokens, unless it is set.

    models  name in results -> model. The other fields of the engine are the same for all of them.
    prompt  of the judge: the name of a shipped pairwise prompt, or a file.
    """

    models: dict[str, str] = Field(default_factory=dict)
    prompt: str = "mcpo"

    @model_validator(mode="after")
    def _several_models(self) -> MatrixRecipe:
        for name in ("model", "name"):
            if name in self.model_fields_set and getattr(self, name):
                raise ValueError(f"recipe key {name!r} is for one model: give models, as --models NAME=MODEL")
        return self


def judge_recipe(judge: JudgeModel, prompt: str, thoughts: Thoughts) -> JudgeRecipe:
    """Return a judge of a matrix as the ranker `judge` knows it: pairs in both orders."""
    # What was given alone, because a default of one engine is an error for another.
    settings: dict[str, Any] = judge.model_dump(exclude_unset=True, exclude_none=True)
    return JudgeRecipe(**settings, protocol="round_robin", prompt=prompt, thoughts=thoughts)


def judge_prompt(prompt: str) -> Prompt:
    """Read the judge's prompt. Raises `RecipeError` for an unknown or unfit one, `InputError` for a file."""
    # The model is not asked here.
    (template,) = read_prompts(JudgeRecipe(model="judge", protocol="round_robin", prompt=prompt)).values()
    return template
