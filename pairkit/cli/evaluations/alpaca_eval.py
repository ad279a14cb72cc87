"""`pairkit eval alpaca_eval`: AlpacaEval 2."""

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


def alpaca_eval(
    context: typer.Context,
    model: ModelFlag = None,
    name: NameFlag = None,
    engine: EngineFlag = None,
    answers: AnswersFlag = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instructions and the reference's answers: model_outputs.json of the reference, or "
            "annotations.  [default: --annotations, else from the Hub]",
        ),
    ] = None,
    gamed: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|none",
            help="AlpacaEval's df_gamed.csv, for length control; none: win rates alone.  [default: from the "
            "Hub]",
        ),
    ] = None,
    judge: JudgeFlag = None,
    verdict: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="logprobs: the judge's one token, weighted by its log-probs; both_orders: any judge, asked "
            "in both orders.  [default: logprobs]",
        ),
    ] = None,
    judge_prompt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Another judge prompt in AlpacaEval's format."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Stored verdicts, in the layout of annotations.json: no judge."),
    ] = None,
    agreement: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Another judge's annotations of the same answers: how often the two agree."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="AlpacaEval's weights of other models: predicted win rates over each of them.",
        ),
    ] = None,
    out: OutFlag = Path("runs/eval/alpaca_eval"),
    until: UntilFlag = Step.scores,
    limit: LimitFlag = None,
    other_version: OtherVersionFlag = False,
    seed: SeedFlag = None,
    retry_failed: RetryFlag = False,
    dry_run: DryRunFlag = False,
) -> None:
    """Measure win rates on AlpacaEval 2, plain and length-controlled (LC).

    Answers, verdicts and scores are three steps; each is asked or read from a file. Answers are also written
    as model_outputs.json and verdicts as annotations.json, AlpacaEval's own formats.
    The published leaderboard has the judge gpt-4-1106-preview with --verdict logprobs. A number of another
    judge is another number.

    Examples:

    \b
      pairkit eval alpaca_eval --model runs/train/data-dpo --judge gpt-4-1106-preview judge.engine=openai
      pairkit eval alpaca_eval --model org/chat-model --engine vllm --until answers temperature=0.7
      pairkit eval alpaca_eval --answers model_outputs.json --judge my-judge --verdict both_orders
      pairkit eval alpaca_eval --annotations annotations.json --name my-model --gamed df_gamed.csv
      pairkit eval alpaca_eval --answers model_outputs.json --judge J --limit 100 --dry-run
    """
    from pairkit.evaluation.alpaca_eval.inputs import Files, read_inputs
    from pairkit.evaluation.alpaca_eval.plan import plan_alpaca_eval
    from pairkit.evaluation.alpaca_eval.recipe import AlpacaEvalRecipe
    from pairkit.evaluation.alpaca_eval.run import run_alpaca_eval
    from pairkit.evaluation.plan import rehearsal

    flags = {
        "model": model,
        "name": name,
        "engine": engine,
        "judge": judge,
        "verdict": verdict,
        "judge_prompt": judge_prompt,
        "seed": seed,
    }
    recipe = recipe_of(context, AlpacaEvalRecipe, flags)
    table = Path(gamed) if gamed not in (None, "none") else None
    files = Files(reference, "none" if gamed == "none" else table, answers, annotations, agreement, weights)
    inputs = read_inputs(recipe, files, until.value, limit, other_version=other_version)
    if dry_run:
        with rehearsal(out, recipe.calls, retry_failed=retry_failed) as running:
            print_plan(
                len(inputs.reference.questions),
                plan_alpaca_eval(recipe, inputs, until.value, running),
                recipe,
            )
        return
    results = run_alpaca_eval(recipe, inputs, out, until=until.value, retry_failed=retry_failed)
    print_end(results, out, until.value)
