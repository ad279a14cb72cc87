"""What an evaluation would ask, before anything is asked."""

from __future__ import annotations

from pairkit.evaluation.matrix.inputs import Inputs, Until
from pairkit.evaluation.matrix.judging import pairs_of, texts_of
from pairkit.evaluation.matrix.recipe import MatrixRecipe, judge_recipe
from pairkit.evaluation.plan import CHARACTERS_PER_TOKEN, Planned, planned


def plan_matrix(recipe: MatrixRecipe, inputs: Inputs, until: Until) -> dict[str, Planned]:
    """Return the calls of each step; answers that are not there yet count as long as their limit."""
    steps: dict[str, Planned] = {}
    questions = inputs.prompts.questions
    limit = recipe.decoding().max_tokens
    prompts = [len(question.turns[0]) for question in questions]
    for name, model in recipe.models.items():
        steps[f"answers of {name}"] = planned(model, prompts, [limit] * len(prompts))
    if until == "answers" or recipe.judge is None or inputs.stored is not None:
        return steps
    judge = judge_recipe(recipe.judge, recipe.prompt, recipe.thoughts)
    texts = texts_of(inputs.answers, recipe.thoughts)
    around = len(inputs.prompt.system) + len(inputs.prompt.user)
    lengths = []
    for pair in pairs_of(inputs.models):
        for question in questions:
            key = question.prompt_id
            known = [texts[name].get(key) for name in pair if name in texts]
            # None of a model with stored answers is a missing one; equal answers are not judged.
            if None in known or (len(known) == 2 and known[0] == known[1]):
                continue
            answers = sum(len(text) for text in known if text is not None)
            answers += (2 - len(known)) * limit * CHARACTERS_PER_TOKEN
            lengths += 2 * [around + len(question.turns[0]) + answers]
    steps["verdicts"] = planned(
        judge.model, lengths, [judge.max_tokens] * len(lengths), recipe.judge.attempts
    )
    return steps
