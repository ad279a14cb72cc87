"""`pairkit eval ranker`: measure rankers on data whose completions are ordered already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairkit.cli.evaluations.common import DryRunFlag, OutFlag, RetryFlag, SeedFlag
from pairkit.cli.mapping import mapping
from pairkit.cli.overrides import given_flags, overrides
from pairkit.cli.printing import say
from pairkit.cli.tables import print_table
from pairkit.errors import UsageError, unknown

if TYPE_CHECKING:
    from rich.table import Table

    from pairkit.evaluation.ranker.data import RankedData
    from pairkit.evaluation.ranker.recipe import EvalRankerRecipe

_SHORT = ("pairwise_accuracy", "top_1", "kendall_tau", "prefers_longer", "log_loss", "ece")


def ranker(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Completions that are ordered: a built dataset, a file, folder or glob in any layout that "
            "pairkit reads (pairs, RewardBench 2, ...), or the id of a dataset on the Hub.",
        ),
    ],
    rankers: Annotated[
        list[str] | None,
        typer.Option(
            "--ranker",
            metavar="[NAME=]KIND[=MODEL]",
            help="A ranker: reward_model=MODEL, pairrm=MODEL, judge=MODEL, verifier=CHECK, "
            "annotations[=SCORE], and the baselines length and random; repeat it for each.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The source that reads a file, as ultrafeedback.  [default: files]"
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Split of a dataset.  [default: test of a built one, else the source's]"
        ),
    ] = None,
    map_: Annotated[
        str | None,
        typer.Option("--map", metavar="FIELD=COLUMN,...", help="Columns of a file, as of `pairkit build`."),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(metavar="NAME", help="Layout of the rows of a file.  [default: recognized]")
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD", help="Metadata that divides results.  [default: subset, else category]"
        ),
    ] = None,
    out: OutFlag = Path("runs/eval/ranker"),
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Use only the first N sets of a dataset or rows of files."),
    ] = None,
    seed: SeedFlag = None,
    retry_failed: RetryFlag = False,
    dry_run: DryRunFlag = False,
) -> None:
    """Measure how well rankers order completions that are ordered already, side by side.

    Pairwise accuracy and top-1 (best of K), Kendall's tau, accuracy by subset, by length and by margin of the
    data's scores, and the calibration of reward models and PairRM, each with an interval by prompt. Each
    ranker has a directory in --out, for `pairkit eval compare`.
    Fields of a ranker can follow the flags as rankers.NAME.FIELD=VALUE; NAME is KIND where none is given.

    Examples:

    \b
      pairkit eval ranker runs/data/mine --ranker reward_model=org/reward-model --ranker length
      pairkit eval ranker reward-bench-2.parquet --ranker reward_model=runs/train/rm --ranker random
      pairkit eval ranker pairs.jsonl --ranker a=reward_model=org/a --ranker b=reward_model=org/b
      pairkit eval ranker pairs.jsonl --ranker judge=J rankers.judge.engine=openai --dry-run
      pairkit eval ranker uf.jsonl --source ultrafeedback --ranker annotations=honesty --ranker pairrm
      pairkit eval ranker sums.jsonl --ranker verifier=number rankers.verifier.answer=result
    """
    from pairkit import recipes
    from pairkit.evaluation.ranker.data import Place, read_data
    from pairkit.evaluation.ranker.recipe import EvalRankerRecipe
    from pairkit.evaluation.ranker.run import check_rankers, run_ranker_evaluation
    from pairkit.trust import only_trusted

    flags = {"rankers": _rankers(rankers or []), "subset": subset, "seed": seed}
    fields = given_flags(flags)
    # KEY=VALUE wins over a flag, as in the other commands.
    content = recipes.merge(fields, overrides(context, EvalRankerRecipe))
    context.with_resource(only_trusted(content))
    recipe = recipes.validate(EvalRankerRecipe, content)
    check_rankers(recipe)
    place = Place(data, source, split, limit, mapping(map_), layout)
    ranked_data = read_data(place, out, recipe.subset)
    if dry_run:
        _print_plan(recipe, ranked_data, out, retry_failed)
        return
    _print(run_ranker_evaluation(recipe, ranked_data, out, retry_failed=retry_failed), out)


def _rankers(words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse each [NAME=]KIND[=VALUE]. Raises `UsageError` for an unknown kind or a name twice."""
    from pairkit.evaluation.ranker.recipe import KINDS, MAIN_FIELD

    rankers: dict[str, dict[str, Any]] = {}
    for word in words:
        name, equals, rest = word.partition("=")
        kind, value = name, rest
        if name not in KINDS:
            kind, equals, value = rest.partition("=")
        if kind not in KINDS:
            raise UsageError(f"--ranker {word}: {unknown('ranker', kind or name, KINDS)}")
        if name in rankers:
            raise UsageError(
                f"two rankers are named {name!r}: give each its own, as --ranker NAME={kind}"
                f"{f'={value}' if value else ''}"
            )
        if equals and (kind not in MAIN_FIELD or not value):
            problem = f"takes no value, got {value!r}" if value else "has nothing after ="
            raise UsageError(f"--ranker {word}: {kind} {problem}")
        rankers[name] = {"ranker": kind} | ({MAIN_FIELD[kind]: value} if value else {})
    return rankers


def _print_plan(recipe: EvalRankerRecipe, data: RankedData, out: Path, retry_failed: bool) -> None:
    import yaml

    from pairkit.evaluation.plan import describe_plan, rehearsal
    from pairkit.evaluation.ranker.plan import plan_rankers
    from pairkit.evaluation.ranker.reference import pairs_of, reference_of
    from pairkit.masking import masked

    reference = reference_of(data.sets, data.subsets)
    with rehearsal(out, recipe.calls, retry_failed=retry_failed) as running:
        calls, passes = plan_rankers(recipe.named(), data.sets, running, recipe.seed)
    plan = {
        "questions": len(reference.prompt_ids),
        "sets": data.sets.num_rows,
        "pairs": len(pairs_of(reference).ordered().owner),
        "left_out": dict(data.left_out),
        "data": data.about,
        "steps": describe_plan(calls, recipe.calls),
        "passes_of_models": passes,
        "recipe": masked(recipe.model_dump(mode="json", serialize_as_any=True)),
    }
    say(yaml.safe_dump(plan, sort_keys=False), end="")


def _print(results: Mapping[str, Any], out: Path) -> None:
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in results["left_out"].items())
    say(
        f"{results['data']['file']}: {results['pairs']:,} pairs of {results['sets']:,} sets, "
        f"{results['prompts']:,} prompts"
        f"{f'; left out: {left_out}' if left_out else ''}"
    )
    print_table(_table(results["rankers"]))
    parts = _parts(results["rankers"])
    if parts is not None:
        print_table(parts)
    for note in results["notes"]:
        say(f"note: {note}")
    folders = [out / entry["folder"] for entry in results["rankers"]]
    say(
        f"\nwrote {out}: rankers.json, report.html, and results.json, scores.parquet, report.html of each "
        "ranker"
    )
    if len(folders) > 1:
        from pairkit.progress import shell_quoted

        words = " ".join(shell_quoted(str(folder)) for folder in folders)
        say(f"paired differences: pairkit eval compare {words}")


def _table(rankers: Sequence[Mapping[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from pairkit.evaluation.ranker.page import COLUMNS
    from pairkit.progress import shown

    names = [name for name in _SHORT if any(_metric(ranker, name) for ranker in rankers)]
    table = Table(title="rankers, value [95 %]", title_justify="left", title_style="bold")
    table.add_column("")
    for name in names:
        table.add_column(COLUMNS[name], justify="right", no_wrap=True)
    table.add_column("no score", justify="right", no_wrap=True)
    for ranker in rankers:
        # Text objects, because names may contain brackets.
        values = [Text(_value(_metric(ranker, name))) for name in names]
        lost = "\n".join(f"{count:,} {reason}" for reason, count in ranker["sets_without_score"].items())
        table.add_row(Text(shown(ranker["name"])), *values, Text(lost))
    return table


def _parts(rankers: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return the accuracy on parts of the pairs, a column for each ranker; None without parts."""
    from rich.table import Table
    from rich.text import Text

    from pairkit.evaluation.ranker.page import parts_of
    from pairkit.progress import shown

    of = {ranker["name"]: parts_of(ranker) for ranker in rankers}
    labels = list(dict.fromkeys(label for parts in of.values() for label in parts))
    if not labels:
        return None
    table = Table(title="pairwise accuracy on parts of the data", title_justify="left", title_style="bold")
    table.add_column("")
    for name in of:
        table.add_column(Text(shown(name)), justify="right", no_wrap=True)
    table.add_column("prompts", justify="right", no_wrap=True)
    for label in labels:
        cells = [parts.get(label) for parts in of.values()]
        prompts = max(cell["n"] for cell in cells if cell)
        table.add_row(Text(shown(label)), *(Text(_value(cell)) for cell in cells), f"{prompts:,}")
    return table


def _metric(ranker: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((metric for metric in ranker["metrics"] if metric["name"] == name), None)


def _value(metric: Mapping[str, Any] | None) -> str:
    if metric is None:
        return ""
    if metric["value"] is None:
        return "none"
    digits = 1 if metric["unit"] == "%" else 3
    if metric["low"] is None:
        return f"{metric['value']:.{digits}f}"
    return f"{metric['value']:.{digits}f} [{metric['low']:.{digits}f}, {metric['high']:.{digits}f}]"
