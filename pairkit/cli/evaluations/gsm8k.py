"""`pairkit eval gsm8k`: math problems."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pairkit.cli.evaluations.common import (
    DryRunFlag,
    EngineFlag,
    LimitFlag,
    ModelFlag,
    NameFlag,
    OtherVersionFlag,
    OutFlag,
    RetryFlag,
    SeedFlag,
    print_end,
    print_plan,
    recipe_of,
)


class Step(StrEnum):
    """The last step that is run."""

    answers = "answers"
    scores = "scores"


def gsm8k(
    context: typer.Context,
    questions: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The problems: a file with the fields question and answer."),
    ],
    model: ModelFlag = None,
    name: NameFlag = None,
    engine: EngineFlag = None,
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Stored answers, an answers.jsonl of pairkit: no model."),
    ] = None,
    out: OutFlag = Path("runs/eval/gsm8k"),
    until: Annotated[Step, typer.Option(help="The last step: answers are generated, then scored.")] = (
        Step.scores
    ),
    limit: LimitFlag = None,
    other_version: OtherVersionFlag = False,
    seed: SeedFlag = None,
    retry_failed: RetryFlag = False,
    dry_run: DryRunFlag = False,
) -> None:
    """Measure accuracy on math problems whose answer is a number.

    Zero-shot and greedy with the prompt of MinorDPO, whose number after "So the answer is" is read; without
    these words, the one after ####, after A:, or the last one. Answers that are cut off count as wrong.

    Examples:

    \b
      pairkit eval gsm8k --questions gsm8k-test.parquet --model runs/train/data-dpo
      pairkit eval gsm8k --questions test.jsonl --model org/chat-model --engine vllm max_tokens=1024
      pairkit eval gsm8k --questions test.jsonl --model M --limit 100 instruction=null --out runs/eval/plain
      pairkit eval gsm8k --questions test.jsonl --answers runs/eval/gsm8k/answers.jsonl
    """
    from pairkit.evaluation.gsm8k.recipe import Gsm8kRecipe
    from pairkit.evaluation.gsm8k.run import plan_gsm8k, read_inputs, run_gsm8k
    from pairkit.evaluation.plan import rehearsal

    recipe = recipe_of(context, Gsm8kRecipe, {"model": model, "name": name, "engine": engine, "seed": seed})
    inputs = read_inputs(recipe, questions, answers, limit, other_version=other_version)
    if dry_run:
        with rehearsal(out, recipe.calls, retry_failed=retry_failed) as running:
            print_plan(len(inputs.problems.questions), plan_gsm8k(recipe, inputs, running), recipe)
        return
    results = run_gsm8k(recipe, inputs, out, until=until.value, retry_failed=retry_failed)
    print_end(results, out, until.value)
