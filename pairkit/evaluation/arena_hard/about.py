"""What results hold next to the numbers: lengths, the judge's biases, and sentences that qualify them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pairkit.evaluation.arena_hard.inputs import Inputs
from pairkit.evaluation.arena_hard.judgments import UNKNOWN
from pairkit.evaluation.arena_hard.recipe import ArenaHardRecipe
from pairkit.evaluation.arena_hard.scores import CategoryScores
from pairkit.evaluation.arena_hard.versions import BENCHMARKS
from pairkit.evaluation.win_rates import longer_wins
from pairkit.rankers.judge.statistics import judge_rates, rates_by_name


def statistics(
    categories: Sequence[CategoryScores],
    own: Mapping[str, str],
    base: Mapping[str, str],
    counts: Mapping[str, int],
) -> dict[str, Any]:
    """Return entries of results.json: lengths of the texts, by prompt_id, and how the judge behaves."""
    rates = rates_by_name(judge_rates(counts))
    return {
        "answers": {
            "mean_length": _mean_length(own),
            "reference_mean_length": _mean_length(base),
            "empty": sum(not text.strip() for text in own.values()),
        },
        "judge_statistics": rates | _longer_wins(categories, own, base),
    }


def notes(
    recipe: ArenaHardRecipe,
    inputs: Inputs,
    categories: Sequence[CategoryScores],
    judge: str,
    quoted: int,
    answers: Mapping[str, Any],
) -> list[str]:
    """Return sentences that qualify the numbers, shown next to them."""
    return [
        *_of_questions(recipe, inputs),
        *_of_references(recipe, inputs),
        *_of_judge(recipe, judge, quoted),
        *_of_answers(answers),
        *(line for scores in categories for line in _of_category(recipe, scores)),
    ]


def _of_questions(recipe: ArenaHardRecipe, inputs: Inputs) -> Iterator[str]:
    benchmark, count = BENCHMARKS[recipe.version], len(inputs.questions.questions)
    if not inputs.questions.known:
        yield f"another version of the questions than Arena-Hard {recipe.version}'s {benchmark.questions}"
    elif count < benchmark.questions and recipe.category is None:
        yield (
            f"{count:,} of Arena-Hard {recipe.version}'s {benchmark.questions} questions: no number for a "
            "published table"
        )
    elif recipe.category is not None and count < benchmark.sizes[recipe.category]:
        yield (
            f"{count:,} of the {benchmark.sizes[recipe.category]} questions of {recipe.category}: no number "
            "for a published table"
        )


def _of_references(recipe: ArenaHardRecipe, inputs: Inputs) -> Iterator[str]:
    questions, references = inputs.questions.questions, inputs.references
    for category, name in references.by_category(questions).items():
        public = BENCHMARKS[recipe.version].categories[category]
        if name != public:
            of = f" of {category}" if category else ""
            yield f"the reference{of} is {name}, not {public}: no number for a published table"
        without = [q for q in questions if q.category == category and q.prompt_id not in references.texts]
        if without and references.texts and inputs.judgments is None:
            yield f"no answers of {name} to {len(without):,} prompts, which have no score"


def _of_judge(recipe: ArenaHardRecipe, judge: str, quoted: int) -> Iterator[str]:
    public = BENCHMARKS[recipe.version].judges
    if judge == UNKNOWN:
        yield f"the file of verdicts does not name its judge; the public one is {' or '.join(public)}"
    elif not any(judge.startswith(name) for name in public):
        yield f"judged by {judge}, not by {' or '.join(public)}: never in one column with published numbers"
    if quoted:
        yield f"{quoted:,} texts contain a verdict: the judge was shown it with other brackets"


def _of_answers(answers: Mapping[str, Any]) -> Iterator[str]:
    if answers["mean_length"] is not None and answers["reference_mean_length"] is not None:
        yield (
            f"{answers['mean_length']:,.0f} characters per answer, the reference "
            f"{answers['reference_mean_length']:,.0f}; {answers['empty']:,} answers are empty"
        )


def _of_category(recipe: ArenaHardRecipe, scores: CategoryScores) -> Iterator[str]:
    category = scores.questions[0].category
    of = f" ({category})" if category else ""
    if scores.scored.halves:
        yield f"{scores.scored.halves:,} prompts have a verdict in one order only{of}"
    if scores.controls:
        if recipe.style_control == "equal":
            yield f"controlled scores{of} are at the reference's style; published ones are not"
        else:
            yield f"controlled scores{of} are at the average style of {', '.join(scores.pool)}"
    reasons: dict[str, list[str]] = {}
    for name, reason in scores.why_not.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        yield f"no control of {', '.join(names)}{of}: {reason}"
    constant = {name: None for control in scores.controls.values() for name in control.constant}
    if constant:
        yield f"the same in all battles and left out of the control{of}: {', '.join(constant)}"


def _mean_length(texts: Mapping[str, str]) -> float | None:
    return float(np.mean([len(text) for text in texts.values()])) if texts else None


def _longer_wins(
    categories: Sequence[CategoryScores], own: Mapping[str, str], base: Mapping[str, str]
) -> dict[str, Any]:
    return longer_wins(
        (len(own[question.prompt_id]) - len(base[question.prompt_id]), points)
        for scores in categories
        for question, points in zip(scores.questions, scores.scored.points, strict=True)
        if question.prompt_id in own and question.prompt_id in base
    )
