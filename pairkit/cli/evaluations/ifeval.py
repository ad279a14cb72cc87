"""`pairkit eval ifeval`: instructions that a program can verify."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pairkit.cli.evaluations.common import (
    AnswersFlag,
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


def ifeval(
    context: typer.Context,
    questions: Annotated[
        Path,
        typer.Option(metavar="FILE", help="IFEval's prompts: key, prompt, instruction_id_list, kwargs."),
    ],
    model: ModelFlag = None,
    name: NameFlag = None,
    engine: EngineFlag = None,
    answers: AnswersFlag = None,
    out: OutFlag = Path("runs/eval/ifeval"),
    until: Annotated[Step, typer.Option(help="The last step: answers are generated, then scored.")] = (
        Step.scores
    ),
    limit: LimitFlag = None,
    other_version: OtherVersionFlag = False,
    seed: SeedFlag = None,
    retry_failed: RetryFlag = False,
    dry_run: DryRunFlag = False,
) -> None:
    """Measure how often instructions are followed that a program can verify.

    Greedy, up to 1,280 tokens. Four shares: of prompts whose instructions are all followed and of
    instructions, strict and loose. The verifier is lm-eval's: pip install 'pairkit[eval]'.

    Examples:

    \b
      pairkit eval ifeval --questions input_data.jsonl --model runs/train/data-dpo
      pairkit eval ifeval --questions input_data.jsonl --model org/chat-model --engine vllm --limit 100
      pairkit eval ifeval --questions input_data.jsonl --answers input_response_data.jsonl --name gpt-4
    """
    from pairkit.evaluation.ifeval.recipe import IfevalRecipe
    from pairkit.evaluation.ifeval.run import plan_ifeval, read_inputs, run_ifeval
    from pairkit.evaluation.plan import rehearsal

    recipe = recipe_of(context, IfevalRecipe, {"model": model, "name": name, "engine": engine, "seed": seed})
    inputs = read_inputs(recipe, questions, answers, limit, other_version=other_version)
    if dry_run:
        with rehearsal(out, recipe.calls, retry_failed=retry_failed) as running:
            print_plan(len(inputs.prompts.questions), plan_ifeval(recipe, inputs, running), recipe)
        return
    results = run_ifeval(recipe, inputs, out, until=until.value, retry_failed=retry_failed)
    print_end(results, out, until.value)
