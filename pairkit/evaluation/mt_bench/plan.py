"""What an evaluation would ask, before anything is asked."""

from __future__ import annotations

from pairkit.evaluation.mt_bench.inputs import Inputs, Until
from pairkit.evaluation.mt_bench.recipe import MtBenchRecipe, judge_decoding
from pairkit.evaluation.mt_bench.verdicts import Texts, games_of, texts_of
from pairkit.evaluation.plan import CHARACTERS_PER_TOKEN, Planned, planned


def plan_mt_bench(recipe: MtBenchRecipe, inputs: Inputs, until: Until) -> dict[str, Planned]:
    """Return the calls of each step; answers that are not there yet count as long as their limit."""
    steps: dict[str, Planned] = {}
    questions = inputs.questions.listed
    longest = {
        question.prompt_id: "x" * (CHARACTERS_PER_TOKEN * recipe.decoding(question).max_tokens)
        for question in questions
    }
    texts: Texts = {key: (text, text) for key, text in longest.items()}
    if inputs.answers is not None:
        texts = texts_of(inputs.answers, recipe.thoughts)
    elif inputs.judgments is None or recipe.model:
        prompts, limits = [], []
        for question in questions:
            first = len(question.turns[0])
            prompts += [first, first + len(longest[question.prompt_id]) + len(question.turns[1])]
            limits += 2 * [recipe.decoding(question).max_tokens]
        steps["answers"] = planned(recipe.model, prompts, limits)
    if until != "answers" and recipe.judge is not None and inputs.judgments is None:
        games = games_of(questions, texts, inputs.prompts, inputs.references)
        lengths = [sum(len(message["content"]) for message in game.messages) for game in games]
        limit = judge_decoding(recipe.judge).max_tokens
        steps["verdicts"] = planned(recipe.judge.model, lengths, [limit] * len(games), recipe.judge.attempts)
    return steps
