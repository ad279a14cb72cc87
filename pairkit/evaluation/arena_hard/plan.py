"""What an evaluation would ask, before anything is asked."""

from __future__ import annotations

from pairkit.evaluation.arena_hard.answers import text_of
from pairkit.evaluation.arena_hard.inputs import Inputs, Until
from pairkit.evaluation.arena_hard.judging import decoding_of, questions_to_judge
from pairkit.evaluation.arena_hard.recipe import ArenaHardRecipe
from pairkit.evaluation.plan import Planned, planned


def plan_arena_hard(recipe: ArenaHardRecipe, inputs: Inputs, until: Until) -> dict[str, Planned]:
    """Return the calls of each step, without what a verdict that cannot be read costs besides.

    Answers that are not there yet count as long as the reference's.
    """
    steps: dict[str, Planned] = {}
    questions, references = inputs.questions.questions, inputs.references
    texts = dict(references.texts)
    if inputs.answers is not None:
        known = {key: text_of(answer, recipe.thoughts) for key, answer in inputs.answers.items()}
        texts = {key: text for key, text in known.items() if text is not None}
    elif inputs.judgments is None:
        prompts = [len(question.turns[0]) for question in questions]
        steps["answers"] = planned(recipe.model, prompts, [recipe.decoding().max_tokens] * len(prompts))
    if until != "answers" and recipe.judge is not None:
        asked = questions_to_judge(questions, texts, references.texts, inputs.prompts).asked
        lengths = [sum(len(message["content"]) for message in each.messages) for each in asked]
        limit = decoding_of(recipe.judge, recipe.version).max_tokens
        # With v0.1 each attempt has a second turn where the first has no label.
        attempts = recipe.judge.attempts * (2 if recipe.version == "0.1" else 1)
        steps["verdicts"] = planned(recipe.judge.model, lengths, [limit] * len(asked), attempts)
    return steps
