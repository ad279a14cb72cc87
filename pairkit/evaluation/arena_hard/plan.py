"""What an evaluation would ask, before anything is asked."""

from __future__ import annotations

from pairkit.evaluation.answers import generate_answers, only_text
from pairkit.evaluation.arena_hard.inputs import Inputs, Until
from pairkit.evaluation.arena_hard.judging import ask_judge, questions_to_judge
from pairkit.evaluation.arena_hard.recipe import ArenaHardRecipe
from pairkit.evaluation.plan import Planned, Rehearsal, by_prompt, planned


def plan_arena_hard(
    recipe: ArenaHardRecipe, inputs: Inputs, until: Until, running: Rehearsal
) -> dict[str, Planned]:
    """Return the calls of each step, without what a verdict that cannot be read costs besides.

    Answers that are not there yet count as long as the reference's.
    """
    steps: dict[str, Planned] = {}
    questions, references = inputs.questions.questions, inputs.references
    answers = inputs.answers
    if answers is None and inputs.judgments is None:
        engine = running.answering(recipe, by_prompt(questions, references.texts))
        answers = generate_answers(running, engine, questions, recipe.decoding, seed=recipe.seed)
        steps["answers"] = planned(engine)
    if until != "answers" and recipe.judge is not None and inputs.judgments is None:
        answer_texts = {key: only_text(answer, recipe.thoughts) for key, answer in (answers or {}).items()}
        texts = {key: text for key, text in answer_texts.items() if text is not None}
        judge_questions = questions_to_judge(questions, texts, references.texts, inputs.prompts).asked
        judge = running.judging(recipe.judge)
        ask_judge(running, judge, recipe.judge, judge_questions, recipe.version, recipe.seed)
        # With v0.1 each attempt has a second turn where the first has no label.
        attempts = recipe.judge.attempts * (2 if recipe.version == "0.1" else 1)
        steps["verdicts"] = planned(judge, attempts)
    return steps
