"""What a judge would be asked about candidate sets: its own steps, rehearsed."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from pairkit.engines.generate import no_progress
from pairkit.evaluation.plan import Planned, Rehearsal, planned
from pairkit.rankers.judge.header import Form, Header
from pairkit.rankers.judge.prompt import read_prompts
from pairkit.rankers.judge.ranker import load_judge
from pairkit.rankers.judge.recipe import JudgeRecipe

_FORMS: Mapping[Form, str] = {
    "tag": "<verdict>{}</verdict>",
    "brackets": "[[{}]]",
    "boxed": r"\boxed{{{}}}",
    "json": '{{"verdict": "{}"}}',
}


def plan_judge(recipe: JudgeRecipe, sets: pa.Table, running: Rehearsal, seed: int, unit: int) -> Planned:
    """Return the calls of a judge, asked about `unit` sets at a time."""
    verdict = None
    if recipe.protocol == "iterative":
        # The next comparison needs a winner; another one would meet other texts, in as many questions.
        (prompt,) = read_prompts(recipe).values()
        verdict = a_verdict(prompt.header)
    judge = running.judging(recipe, verdict)
    ranker = load_judge(recipe, lambda requests: running.ask(judge, requests, "Judging"), seed=seed)
    for start in range(0, sets.num_rows, unit):
        ranker.score(sets.slice(start, unit), no_progress)
    return planned(judge, recipe.attempts)


def a_verdict(header: Header) -> str:
    """Return the words of a judge that prefers the first of two texts."""
    return _FORMS[header.verdict].format("A>>B" if header.steps == 5 else "A")
