"""What an evaluation would ask, before anything is asked."""

from __future__ import annotations

from functools import partial

from pairkit.engines.base import Request
from pairkit.evaluation.answers import Answers, generate_answers
from pairkit.evaluation.matrix.inputs import Inputs, Until
from pairkit.evaluation.matrix.judging import ask_judge, games_of, texts_of
from pairkit.evaluation.matrix.recipe import MatrixRecipe, judge_recipe
from pairkit.evaluation.plan import Planned, Rehearsal, longest, planned


def plan_matrix(recipe: MatrixRecipe, inputs: Inputs, until: Until, running: Rehearsal) -> dict[str, Planned]:
    """Return the calls of each step; answers that are not there yet count as long as their limit."""
    steps: dict[str, Planned] = {}
    questions = inputs.prompts.questions
    answers: dict[str, Answers] = dict(inputs.answers)
    for name, model in recipe.models.items():
        engine = running.answering(
            recipe.model_copy(update={"model": model}),
            partial(_expected, name),
        )
        answers[name] = generate_answers(running, engine, questions, recipe.decoding, seed=recipe.seed)
        steps[f"answers of {name}"] = planned(engine)
    if until == "answers" or recipe.judge is None or inputs.stored is not None:
        return steps
    settings = judge_recipe(recipe.judge, recipe.prompt, recipe.thoughts)
    judge = running.judging(recipe.judge)
    texts = texts_of(answers, recipe.thoughts)
    games = games_of(questions, inputs.models, texts, inputs.prompt, recipe.seed)
    ask_judge(
        games,
        settings,
        inputs.prompt,
        lambda requests: running.ask(judge, requests, "Judging"),
        recipe.seed,
    )
    steps["verdicts"] = planned(judge, recipe.judge.attempts)
    return steps


def _expected(name: str, request: Request) -> str:
    """Return a text that no other model gives, because equal ones are not judged."""
    return name + longest(request)[len(name) :]
