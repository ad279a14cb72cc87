"""What an evaluation would ask, before anything is asked."""

from __future__ import annotations

from pairkit.evaluation.alpaca_eval.answers import text_of
from pairkit.evaluation.alpaca_eval.inputs import Inputs, Until
from pairkit.evaluation.alpaca_eval.recipe import AlpacaEvalRecipe
from pairkit.evaluation.alpaca_eval.verdicts import decoding_of, games_of
from pairkit.evaluation.plan import Planned, planned


def plan_alpaca_eval(recipe: AlpacaEvalRecipe, inputs: Inputs, until: Until) -> dict[str, Planned]:
    """Return the calls of each step; answers that are not there yet count as long as the reference's."""
    steps: dict[str, Planned] = {}
    reference = inputs.reference
    # Other than the reference's, because equal texts are not judged.
    texts = {key: f"{text} " for key, text in reference.answers.items()}
    if inputs.answers is None:
        prompts = [len(question.turns[0]) for question in reference.questions]
        limits = [recipe.decoding().max_tokens] * len(prompts)
        steps["answers"] = planned(recipe.model, prompts, limits)
    else:
        known = {key: text_of(answer, inputs.thoughts) for key, answer in inputs.answers.items()}
        texts = {key: text for key, text in known.items() if text is not None}
    if until != "answers" and recipe.judge is not None and inputs.annotations is None:
        games = games_of(reference, texts, inputs.prompt, recipe.verdict)
        lengths = [sum(len(message["content"]) for message in game.messages) for game in games]
        limit = decoding_of(recipe.judge, recipe.verdict).max_tokens
        attempts = 1 if recipe.verdict == "logprobs" else recipe.judge.attempts
        steps["verdicts"] = planned(recipe.judge.model, lengths, [limit] * len(games), attempts)
    return steps
