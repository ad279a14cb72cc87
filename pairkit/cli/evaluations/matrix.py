"""`pairkit eval matrix`: head-to-head win rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pairkit.cli.evaluations.common import (
    DryRunFlag,
    EngineFlag,
    JudgeFlag,
    LimitFlag,
    OutFlag,
    RetryFlag,
    SeedFlag,
    Step,
    UntilFlag,
    print_end,
    print_plan,
    recipe_of,
)
from pairkit.cli.printing import say
from pairkit.cli.tables import print_table


def matrix(
    context: typer.Context,
    prompts: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The prompts: a field prompt, instruction, question, turns or messages per row; a "
            "text, or a dialogue as messages.",
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]MODEL",
            help="A model: a Hub id, a directory, or a model name of a server; repeat it for each model.",
        ),
    ] = None,
    engine: EngineFlag = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="Stored answers of a model, in pairkit's, AlpacaEval's or Arena-Hard's format; repeat it.",
        ),
    ] = None,
    judge: JudgeFlag = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="The judge's prompt: mcpo, mt_bench, five_steps, or a .txt file.  [default: mcpo]",
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Stored verdicts, as in verdicts.parquet: no judge."),
    ] = None,
    out: OutFlag = Path("runs/eval/matrix"),
    until: UntilFlag = Step.scores,
    limit: LimitFlag = None,
    seed: SeedFlag = None,
    retry_failed: RetryFlag = False,
    dry_run: DryRunFlag = False,
) -> None:
    """Measure the win rate of each of several models over each other one, on any prompts.

    A judge compares the answers of every pair in both orders; a tie counts 1/2, and so does a prompt whose two
    orders contradict each other. Next to the matrix: mean win rates, Bradley-Terry strengths, cycles. "Better"
    is printed for pairs whose difference remains after correction for the number of pairs (Holm).

    Examples:

    \b
      pairkit eval matrix --prompts test.jsonl --models sft=org/sft --models dpo=runs/train/data-dpo --judge J
      pairkit eval matrix --prompts test.jsonl --answers a.jsonl --answers b.jsonl --answers c.jsonl --judge J
      pairkit eval matrix --prompts alpaca.jsonl --answers mine.jsonl --answers gpt4.jsonl --judge J --prompt mcpo
      pairkit eval matrix --prompts test.jsonl --models org/a --models org/b --engine vllm --until answers
      pairkit eval matrix --prompts test.jsonl --annotations runs/eval/matrix/verdicts.parquet --out runs/eval/again
    """  # noqa: E501
    from pairkit.evaluation.matrix.inputs import Files, read_inputs
    from pairkit.evaluation.matrix.plan import plan_matrix
    from pairkit.evaluation.matrix.recipe import MatrixRecipe
    from pairkit.evaluation.matrix.run import run_matrix
    from pairkit.evaluation.plan import rehearsal

    flags = {
        "models": _models(models) if models else None,
        "engine": engine,
        "judge": judge,
        "prompt": prompt,
        "seed": seed,
    }
    recipe = recipe_of(context, MatrixRecipe, flags)
    answer_files = [(name, Path(file)) for name, file in map(_named, answers or [])]
    inputs = read_inputs(recipe, Files(prompts, answer_files, annotations), until.value, limit)
    if dry_run:
        with rehearsal(out, recipe.calls, retry_failed=retry_failed) as running:
            steps = plan_matrix(recipe, inputs, until.value, running)
            print_plan(len(inputs.prompts.questions), steps, recipe, models=list(inputs.models))
        return
    results = run_matrix(recipe, inputs, out, until=until.value, retry_failed=retry_failed)
    if results is not None:
        _print_matrix(results["matrix"])
    print_end(results, out, until.value)


def _models(words: Sequence[str]) -> dict[str, str]:
    """Return name -> model. Raises `RecipeError` for a name twice."""
    from pairkit.errors import RecipeError
    from pairkit.models.names import public_name

    models: dict[str, str] = {}
    for label, model in map(_named, words):
        name = label or public_name(model)
        if name in models:
            raise RecipeError(f"two models are named {name!r}: give each its own, as --models NAME=MODEL")
        models[name] = model
    return models


def _named(word: str) -> tuple[str, str]:
    """Return the name, "" for none, and the model or file of a word NAME=VALUE or VALUE."""
    name, equals, value = word.partition("=")
    # A path may have the sign too.
    if not equals or Path(word).exists() or "/" in name:
        return "", word
    return name, value


def _print_matrix(entry: Mapping[str, Any]) -> None:
    several = len(entry["models"]) > 2
    if several:
        print_table(_cells(entry))
        print_table(_strengths(entry))
    for cell in entry["cells"]:
        _print_cell(cell, f" after correction for {len(entry['cells'])} pairs" if several else "", several)
    gap = entry["largest_gap_to_bradley_terry"]
    if several and gap["points"] is not None:
        row, column = gap["row_and_column"]
        say(f"largest gap to the strengths' prediction: {gap['points']:.2f} points, {row} over {column}")
    say("")


def _print_cell(cell: Mapping[str, Any], corrected: str, only_clear: bool) -> None:
    """State whether a difference was shown; of several pairs only where one was."""
    if cell["significant"]:
        names = (cell["row"], cell["column"]) if cell["value"] > 50 else (cell["column"], cell["row"])
        say(f"{names[0]} is better than {names[1]} (p = {cell['p_holm']:.2g}{corrected})")
    if not only_clear:
        games = cell["games"]
        say(
            f"{cell['row']} against {cell['column']}: {games['wins']:,} games won, {games['ties']:,} tied, "
            f"{games['losses']:,} lost; the order decided the winner of {cell['flips']:,} of "
            f"{cell['both_orders']:,} prompts"
        )
        if not cell["significant"]:
            excludes = cell["low"] is not None and not cell["low"] <= 50 <= cell["high"]
            few = ", although the interval excludes 50: too few prompts for the sign test" if excludes else ""
            say(f"no difference shown{few}")


def _cells(entry: Mapping[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from pairkit.progress import shown

    table = Table(title="win rate of the row over the column, %", title_justify="left", title_style="bold")
    table.add_column("")
    # Text objects, because names may contain brackets.
    for model in entry["models"]:
        table.add_column(Text(shown(model)), justify="right")
    intervals = {}
    for cell in entry["cells"]:
        if cell["value"] is not None:
            intervals[cell["row"], cell["column"]] = cell["low"], cell["high"]
            intervals[cell["column"], cell["row"]] = 100 - cell["high"], 100 - cell["low"]
    for model, rates in zip(entry["models"], entry["win_rates"], strict=True):
        texts = []
        for other, rate in zip(entry["models"], rates, strict=True):
            low, high = intervals.get((model, other), (None, None))
            texts.append(Text("" if rate is None else f"{rate:.2f}\n[{low:.1f}, {high:.1f}]"))
        table.add_row(Text(shown(model)), *texts)
    return table


def _strengths(entry: Mapping[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from pairkit.progress import shown

    table = Table(title="Bradley-Terry strengths, log-odds", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("strength [95 %]", justify="right")
    for row in entry["rows"]:
        strength = row["strength"]
        text = f"{strength['value']:.3f} [{strength['low']:.3f}, {strength['high']:.3f}]"
        table.add_row(Text(shown(row["model"])), Text(text))
    return table
