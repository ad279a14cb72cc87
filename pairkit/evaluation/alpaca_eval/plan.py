"""What an evaluation would ask, before anything is asked."""

from __future__ import annotations

from pairkit.evaluation.alpaca_eval.inputs import Inputs, Until
from pairkit.evaluation.alpaca_eval.recipe import AlpacaEvalRecipe
from pairkit.evaluation.alpaca_eval.verdicts import ask_judge, games_of
from pairkit.evaluation.answers import generate_answers, only_text
from pairkit.evaluation.plan import Planned, Rehearsal, by_prompt, planned


def plan_alpaca_eval(
    recipe: AlpacaEvalRecipe, inputs: Inputs, until: Until, running: Rehearsal
) -> dict[str, Planned]:
    """Return the calls of each step; answers that are not there yet count as long as the reference's."""
    steps: dict[str, Planned] = {}
    reference, answers = inputs.reference, inputs.answers
    if answers is None:
        engine = running.answering(recipe, by_prompt(reference.questions, reference.answers))
        answers = generate_answers(running, engine, reference.questions, recipe.decoding, seed=recipe.seed)
        steps["answers"] = planned(engine)
    if until != "answers" and recipe.judge is not None and inputs.annotations is None:
        answer_texts = {key: only_text(answer, inputs.thoughts) for key, answer in answers.items()}
        texts = {key: text for key, text in answer_texts.items() if text is not None}
        judge = running.judging(recipe.judge)
        games = games_of(reference, texts, inputs.prompt, recipe.verdict)
        ask_judge(running, judge, recipe.judge, games, recipe.verdict, recipe.seed)
        steps["verdicts"] = planned(judge, 1 if recipe.verdict == "logprobs" else recipe.judge.attempts)
    return steps
