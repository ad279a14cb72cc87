"""What an evaluation would ask, before anything is asked."""

from __future__ import annotations

from pairkit.evaluation.answers import generate_answers
from pairkit.evaluation.mt_bench.inputs import Inputs, Until
from pairkit.evaluation.mt_bench.recipe import MtBenchRecipe
from pairkit.evaluation.mt_bench.verdicts import ask_judge, games_of, texts_of
from pairkit.evaluation.plan import Planned, Rehearsal, planned


def plan_mt_bench(
    recipe: MtBenchRecipe, inputs: Inputs, until: Until, running: Rehearsal
) -> dict[str, Planned]:
    """Return the calls of each step; answers that are not there yet count as long as their limit."""
    steps: dict[str, Planned] = {}
    questions, answers = inputs.questions.listed, inputs.answers
    if answers is None and (inputs.judgments is None or recipe.model):
        engine = running.answering(recipe)
        answers = generate_answers(running, engine, questions, recipe.decoding, seed=recipe.seed)
        steps["answers"] = planned(engine)
    if until != "answers" and recipe.judge is not None and inputs.judgments is None:
        texts = texts_of(answers or {}, recipe.thoughts)
        games = games_of(questions, texts, inputs.prompts, inputs.references)
        judge = running.judging(recipe.judge)
        ask_judge(running, judge, recipe.judge, games, recipe.seed)
        steps["verdicts"] = planned(judge, recipe.judge.attempts)
    return steps
