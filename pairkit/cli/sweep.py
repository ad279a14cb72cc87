"""`pairkit sweep`: many trainings of one recipe, compared by one metric."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairkit.cli.options import AllowCodeFlag, OnExisting, OnExistingFlag, TrustFlag
from pairkit.cli.overrides import given_flags
from pairkit.cli.printing import say
from pairkit.cli.train import fields_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pairkit.sweep.results import Run

RUNS = Path("runs/sweep")


def sweep(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A shipped training recipe's name, or a YAML file.")
    ],
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What settings are compared by, named before any run: loss, reward_accuracy, reward_margin, "
            "chosen_logp or chosen_logp_per_token of held-out sets, or accuracy of eval.generate.",
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE,...",
            help="Values of a field to try; may be repeated. Of seed: runs whose mean is compared.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="A built dataset.  [default: the newest under runs/data]"),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="As in `pairkit train`.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Output directory.  [default: runs/sweep/RECIPE]")
    ] = None,
    parallel: Annotated[
        str | None,
        typer.Option(
            metavar="N|devices",
            help="Runs at a time, each in a process of its own; devices: one on each GPU.  [default: one, in "
            "this process]",
        ),
    ] = None,
    allow_code: AllowCodeFlag = None,
    trust_remote_code: TrustFlag = False,
    on_existing: OnExistingFlag = OnExisting.resume,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs and check their recipes; train nothing.")
    ] = False,
) -> None:
    """Train with every combination of some settings, and compare them by a metric.

    Any field of the training recipe can follow the flags as KEY=VALUE. To resume a sweep that stopped, or to
    add values, run the command again: only runs that are not finished are trained.

    Examples:

    \b
      pairkit sweep quickstart-dpo --set optimizer.learning_rate=2e-4,6e-4 --metric reward_accuracy
      pairkit sweep mcpo-nectar --set loss.beta=0.01,0.1 --set seed=0,1,2 --metric loss --parallel devices
      pairkit sweep my.yaml --set loss.name=dpo,simpo --metric accuracy eval.generate.benchmark=arithmetic
    """
    from pairkit.imports import modules_in
    from pairkit.sweep.grid import parse_axes, points
    from pairkit.sweep.parallel import devices_of
    from pairkit.training.recipe import TrainRecipe

    axes = parse_axes(set_ or [], TrainRecipe)
    # What is typed after --set is typed too.
    modules = {module for point in points(axes) for module in modules_in(point.fields)}
    flags: dict[str, Any] = {"data": data, "model": model}
    if trust_remote_code:
        flags["trust_remote_code"] = True
    flags = given_flags(flags)
    content = fields_of(recipe, flags, context, [*(allow_code or []), *sorted(modules)])
    folder = out or RUNS / Path(recipe).stem
    devices = devices_of(parallel)
    if dry_run:
        from pairkit.recipes import merge, validate
        from pairkit.sweep.results import check_metric

        for point in points(axes):
            check_metric(metric, validate(TrainRecipe, merge(content, point.fields)))
            state = "finished" if (folder / (point.name or "run") / "model").exists() else "to do"
            say(f"{point.name or 'run'}: {state}")
        return
    from pairkit.sweep.run import sweep as run

    _print(run(content, axes, metric, folder, devices=devices, on_existing=on_existing.value), metric)
    say(f"results: {folder / 'results.json'}")


def _print(runs: Sequence[Run], metric: str) -> None:
    from rich.table import Table

    from pairkit.cli.tables import print_table
    from pairkit.sweep.results import settings

    rows = settings(runs, metric)
    keys = list(rows[0].values)
    table = Table(title=f"{metric} of the last evaluation, the best first")
    for key in keys:
        table.add_column(key)
    for name in (metric, "standard deviation", "runs"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        mean, deviation = row.mean, row.deviation
        table.add_row(
            *(
                f"{row.values[key]:g}" if isinstance(row.values[key], float) else str(row.values[key])
                for key in keys
            ),
            "diverged" if mean is None else f"{mean:.4f}",
            "" if deviation is None else f"{deviation:.4f}",
            str(len(row.runs)),
        )
    print_table(table)
