"""The flags that all benchmarks have, the recipe that they make, and the tables that are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pairkit.cli.overrides import given_flags, overrides
from pairkit.cli.printing import say
from pairkit.cli.tables import print_table

if TYPE_CHECKING:
    from pairkit.evaluation.plan import Planned
    from pairkit.evaluation.recipe import BenchmarkRecipe

    Recipe = TypeVar("Recipe", bound=BenchmarkRecipe)


class Step(StrEnum):
    """The last step that is run."""

    answers = "answers"
    verdicts = "verdicts"
    scores = "scores"


ModelFlag = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="The model: a Hub id, a directory, or a model name of a server."),
]
NameFlag = Annotated[
    str | None, typer.Option(metavar="NAME", help="Its name in results.  [default: that of --model]")
]
EngineFlag = Annotated[
    str | None, typer.Option(metavar="NAME", help="transformers, vllm or openai.  [default: transformers]")
]
AnswersFlag = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Stored answers, in the benchmark's format or pairkit's: no model."),
]
JudgeFlag = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="MODEL",
        help="The judge; its other fields are judge.engine=..., judge.base_url=... and so on.",
    ),
]
UntilFlag = Annotated[
    Step, typer.Option(help="The last step: answers are generated, then judged, then scored.")
]
LimitFlag = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Use only the first N questions; results state it.")
]
OtherVersionFlag = Annotated[
    bool,
    typer.Option(
        "--other-version",
        help="Use questions of another version of the benchmark than the one that is known; results say so.",
    ),
]
OutFlag = Annotated[Path, typer.Option(metavar="DIR", help="Output directory.")]
SeedFlag = Annotated[
    int | None, typer.Option(metavar="N", help="Random seed of sampling and resampling.  [default: 0]")
]
RetryFlag = Annotated[
    bool, typer.Option("--retry-failed", help="Ask again the questions that failed before.")
]
DryRunFlag = Annotated[
    bool, typer.Option("--dry-run", help="Print calls, tokens and cost, and the recipe; ask nothing.")
]


def recipe_of(context: typer.Context, model: type[Recipe], flags: Mapping[str, Any]) -> Recipe:
    """Check flags and KEY=VALUE words as a recipe; flags that are None were not given.

    `judge` is the name of the judge's model. Raises `UsageError` or `RecipeError`.
    """
    from pairkit import recipes

    fields = given_flags(flags)
    if isinstance(fields.get("judge"), str):
        fields["judge"] = {"model": fields["judge"]}
    # KEY=VALUE wins over a flag, as in the other commands.
    return recipes.validate(model, recipes.merge(fields, overrides(context, model)))


def print_plan(questions: int, steps: Mapping[str, Planned], recipe: BenchmarkRecipe, **more: Any) -> None:
    """Print what `--dry-run` shows: the number of questions, the calls of each step, and the recipe."""
    import yaml

    from pairkit.evaluation.plan import describe_plan
    from pairkit.masking import masked

    plan = {
        "questions": questions,
        **more,
        "steps": describe_plan(steps, recipe.calls),
        "recipe": masked(recipe.model_dump(mode="json")),
    }
    say(yaml.safe_dump(plan, sort_keys=False), end="")


def print_end(results: Mapping[str, Any] | None, out: Path, until: str) -> None:
    """Print the results, or, where there are none, that the command ended after the step `until`."""
    if results is None:
        say(f"wrote {out}: the {until}; run the same command without --until to continue")
    else:
        print_results(results, out)


def print_results(results: Mapping[str, Any], out: Path) -> None:
    """Print the metrics of results.json as a table, what is missing, the notes, and where the files are."""
    title = f"{results['model']}: {results['benchmark']} {results['version'] or ''}".rstrip()
    print_metrics(title, results["metrics"])
    if results["missing"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in results["missing"].items())
        say(f"without a score: {reasons}")
    for note in results["notes"]:
        say(f"note: {note}")
    say(f"\nwrote {out}: results.json, scores.parquet, report.html")


def print_metrics(title: str, metrics: Sequence[Mapping[str, Any]]) -> None:
    """Print metrics (name, value, low, high, se, n, unit) as a table."""
    from rich.table import Table
    from rich.text import Text

    from pairkit.progress import shown

    table = Table(title=Text(shown(title)), title_justify="left", title_style="bold")
    for name in ("", "value [95 %]", "SE", "prompts"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=bool(name))
    for metric in metrics:
        # Text objects, because names may contain brackets.
        table.add_row(Text(shown(metric["name"])), Text(_value(metric)), _error(metric), f"{metric['n']:,}")
    print_table(table)


def _value(metric: Mapping[str, Any]) -> str:
    if metric["value"] is None:
        return "none"
    unit = f" {metric['unit']}" if metric["unit"] else ""
    return f"{metric['value']:.2f} [{metric['low']:.2f}, {metric['high']:.2f}]{unit}"


def _error(metric: Mapping[str, Any]) -> str:
    return "" if metric["se"] is None else f"{metric['se']:.2f}"
