"""`pairkit eval arena_hard`: Arena-Hard v0.1 and v2.0."""

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


def arena_hard(
    context: typer.Context,
    questions: Annotated[
        Path, typer.Option(metavar="FILE", help="The questions: question.jsonl of the version.")
    ],
    version: Annotated[
        str | None,
        typer.Option(metavar="0.1|2.0", help="The version of the benchmark.  [default: 0.1]"),
    ] = None,
    category: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="hard_prompt or creative_writing, of version 2.0.  [default: both]"
        ),
    ] = None,
    model: ModelFlag = None,
    name: NameFlag = None,
    engine: EngineFlag = None,
    answers: AnswersFlag = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="The reference's answers, model_answer/REFERENCE.jsonl; once per category of version 2.0.",
        ),
    ] = None,
    judge: JudgeFlag = None,
    judge_prompt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Another judge prompt, of <|im_start|>ROLE blocks."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Stored verdicts, in the layout of judgments.jsonl: no judge."),
    ] = None,
    agreement: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Another judge's verdicts on the same answers: how far the two agree."
        ),
    ] = None,
    style_control: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="equal: at the reference's style; pool: the public formula, at the average style of this "
            "model and those of --pool.  [default: equal]",
        ),
    ] = None,
    pool: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="A finished evaluation of another model; can be repeated."),
    ] = None,
    out: OutFlag = Path("runs/eval/arena_hard"),
    until: UntilFlag = Step.scores,
    limit: LimitFlag = None,
    other_version: OtherVersionFlag = False,
    seed: SeedFlag = None,
    retry_failed: RetryFlag = False,
    dry_run: DryRunFlag = False,
) -> None:
    """Measure scores on Arena-Hard against a reference: plain, and with style, length or markdown controlled.

    Every prompt is judged in both orders, a strong verdict counts three times. Answers, verdicts and scores
    are three steps; each is asked or read from a file in the public layouts, which are also written.
    Style control needs the answers of both sides and their lengths: those stored in the files, or counted
    with tokenizer=NAME. Intervals are by prompt; those of the public code are in results.json besides.

    Examples:

    \b
      pairkit eval arena_hard --questions q.jsonl --reference gpt-4-0314.jsonl --model M --judge J
      pairkit eval arena_hard --questions q.jsonl --reference r.jsonl --answers a.jsonl --judge J --dry-run
      pairkit eval arena_hard --questions q.jsonl --annotations judgments.jsonl --name my-model
      pairkit eval arena_hard --questions q.jsonl --annotations j.jsonl --answers a.jsonl --reference r.jsonl
      pairkit eval arena_hard --version 2.0 --questions q.jsonl --reference o3-mini.jsonl --model M --judge J
    """
    from pairkit.evaluation.arena_hard.inputs import Files, read_inputs
    from pairkit.evaluation.arena_hard.plan import plan_arena_hard
    from pairkit.evaluation.arena_hard.recipe import ArenaHardRecipe
    from pairkit.evaluation.arena_hard.run import run_arena_hard
    from pairkit.evaluation.plan import rehearsal

    flags = {
        "version": version,
        "category": category,
        "model": model,
        "name": name,
        "engine": engine,
        "judge": judge,
        "judge_prompt": judge_prompt,
        "style_control": style_control,
        "seed": seed,
    }
    recipe = recipe_of(context, ArenaHardRecipe, flags)
    files = Files(questions, reference or (), answers, annotations, pool or (), agreement)
    inputs = read_inputs(recipe, files, until.value, limit, other_version=other_version)
    if dry_run:
        with rehearsal(out, recipe.calls, retry_failed=retry_failed) as running:
            print_plan(
                len(inputs.questions.questions), plan_arena_hard(recipe, inputs, until.value, running), recipe
            )
        return
    results = run_arena_hard(recipe, inputs, out, until=until.value, retry_failed=retry_failed)
    print_end(results, out, until.value)
