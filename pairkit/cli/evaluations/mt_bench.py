"""`pairkit eval mt_bench`: MT-Bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairkit.cli.evaluations.common import (
    AnswersFlag,
    DryRunFlag,
    EngineFlag,
    JudgeFlag,
    LimitFlag,
    ModelFlag,
    NameFlag,
    OtherVersionFlag,
    OutFlag,
    RetryFlag,
    SeedFlag,
    Step,
    UntilFlag,
    print_end,
    print_plan,
    recipe_of,
)


def mt_bench(
    context: typer.Context,
    questions: Annotated[
        Path,
        typer.Option(metavar="FILE", help="MT-Bench's question.jsonl: question_id, category, turns."),
    ],
    model: ModelFlag = None,
    name: NameFlag = None,
    engine: EngineFlag = None,
    answers: AnswersFlag = None,
    references: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Reference answers to math, reasoning and coding, such as reference_answer/gpt-4.jsonl; "
            "asking a judge needs them.",
        ),
    ] = None,
    judge: JudgeFlag = None,
    judge_prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Other judge prompts in FastChat's format."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Stored verdicts, in the layout of model_judgment/*.jsonl: no judge."
        ),
    ] = None,
    duplicates: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Two stored verdicts on one turn: refuse, or take the last by its time.  [default: refuse]",
        ),
    ] = None,
    agreement: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Another judge's verdicts on the same answers: how far the two agree."
        ),
    ] = None,
    out: OutFlag = Path("runs/eval/mt_bench"),
    until: UntilFlag = Step.scores,
    limit: LimitFlag = None,
    other_version: OtherVersionFlag = False,
    seed: SeedFlag = None,
    retry_failed: RetryFlag = False,
    dry_run: DryRunFlag = False,
) -> None:
    """Measure a judge's ratings, 1 to 10, of answers to MT-Bench's 80 questions of two turns.

    Answers, verdicts and scores are three steps; each is asked or read from a file. Answers are also written
    as model_answer/MODEL.jsonl and verdicts as model_judgment/JUDGE_single.jsonl, FastChat's own formats.
    With 80 questions the standard error is 0.3 to 0.4 points: compare two models with `pairkit eval compare`.
    A missing rating is left out of the average, as in published tables, and the average is also given with
    each missing one as 1.

    Examples:

    \b
      pairkit eval mt_bench --questions question.jsonl --references gpt-4.jsonl --model M --judge gpt-4 judge.engine=openai
      pairkit eval mt_bench --questions question.jsonl --model org/chat-model --engine vllm --until answers
      pairkit eval mt_bench --questions question.jsonl --references gpt-4.jsonl --answers my-model.jsonl --judge J
      pairkit eval mt_bench --questions question.jsonl --annotations gpt-4_single.jsonl --name my-model
    """  # noqa: E501
    from pairkit.evaluation.mt_bench.inputs import Files, read_inputs
    from pairkit.evaluation.mt_bench.plan import plan_mt_bench
    from pairkit.evaluation.mt_bench.recipe import MtBenchRecipe
    from pairkit.evaluation.mt_bench.run import run_mt_bench
    from pairkit.evaluation.plan import rehearsal

    flags = {
        "model": model,
        "name": name,
        "engine": engine,
        "judge": judge,
        "judge_prompts": judge_prompts,
        "duplicates": duplicates,
        "seed": seed,
    }
    recipe = recipe_of(context, MtBenchRecipe, flags)
    files = Files(questions, references, answers, annotations, agreement)
    inputs = read_inputs(recipe, files, until.value, limit, other_version=other_version)
    if dry_run:
        with rehearsal(out, recipe.calls, retry_failed=retry_failed) as running:
            print_plan(
                len(inputs.questions.listed), plan_mt_bench(recipe, inputs, until.value, running), recipe
            )
        return
    results = run_mt_bench(recipe, inputs, out, until=until.value, retry_failed=retry_failed)
    print_end(results, out, until.value)
