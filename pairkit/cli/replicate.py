"""`pairkit replicate`: the papers' claims in miniature."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairkit.cli.options import OnExisting, OnExistingFlag
from pairkit.cli.printing import say
from pairkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pairkit.replication.design import Replication
    from pairkit.replication.tasks.base import Size

RUNS, QUICK = Path("runs/replication"), Path("runs/replication-quick")


def replicate(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Ids of replications, such as N1 S4.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All replications.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List them with their claims; run nothing.")] = False,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N|0,1,...",
            help="The first N seeds, or these.  [default: 5 on tasks A, B and C, 3 on D]",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="One seed and a few steps, in minutes: shows that it runs, nothing else."
        ),
    ] = False,
    limit_minutes: Annotated[
        float | None,
        typer.Option(min=0, metavar="M", help="Begin no further run after M minutes.  [default: no limit]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Output directory.  [default: runs/replication, with --quick -quick]"
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write the page there, with results and figures: docs in a checkout.  [default: only "
            "--out]",
        ),
    ] = None,
    on_existing: OnExistingFlag = OnExisting.resume,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the runs and the minutes they take; run nothing.")
    ] = False,
) -> None:
    """Try claims of the papers in miniature: make the runs that are missing, and write the verdicts.

    Writes replication.md with a section and a figure per claim. To resume after a stop, run the same command
    again: no run that is finished is made twice, also not for another claim with the same arm.

    Examples:

    \b
      pairkit replicate --list
      pairkit replicate N1
      pairkit replicate N1 N3 --seeds 10
      pairkit replicate --all --limit-minutes 120
      pairkit replicate --all --page docs
      pairkit replicate N1 --quick
    """
    from pairkit.replication.claims.table import REPLICATIONS, find
    from pairkit.replication.tasks import base

    if list_ or all_:
        if names:
            flag = "--all" if all_ else "--list"
            raise UsageError(f"{flag} and names exclude each other: leave out one")
        rows = list(REPLICATIONS.values())
    else:
        if not names:
            raise UsageError("which replications? give their ids, --all, or --list to see them")
        rows = find(names)
    if quick and page is not None:
        raise UsageError("--quick shows nothing about a claim: leave out --page")
    size = base.QUICK if quick else base.FULL
    folder = out or (QUICK if quick else RUNS)
    from pairkit.replication import run

    chosen = run.seeds_of(seeds)
    if quick:
        chosen = chosen or [0]
    if list_ or dry_run:
        _print_plan(rows, folder, chosen, size, claims=list_)
        return
    outcome = run.replicate(
        rows, folder, seeds=chosen, size=size, minutes=limit_minutes, on_existing=on_existing.value, page=page
    )
    for result in outcome.results:
        say(f"{result['id']}: {result['verdict']}")
    if outcome.unfinished:
        say(
            f"not finished in {limit_minutes:g} minutes: {', '.join(outcome.unfinished)}; the same command "
            "continues"
        )
    say(f"page: {folder / 'replication.md'}")


def _print_plan(
    rows: Sequence[Replication], folder: Path, seeds: Sequence[int] | None, size: Size, *, claims: bool
) -> None:
    from rich.table import Table

    from pairkit.cli.tables import print_table
    from pairkit.replication.run import planned

    table = Table(title="Runs that a replication shares with one above it are counted there")
    table.add_column("id")
    table.add_column("task")
    for name in ("runs", "done", "minutes"):
        table.add_column(name, justify="right", no_wrap=True)
    if claims:
        table.add_column("claim")
    work = planned(rows, folder, seeds, size)
    for row, each in zip(rows, work, strict=True):
        cells = [row.id, row.task.name, str(each.runs), str(each.done), f"{each.minutes:.0f}"]
        table.add_row(*cells, *([f"{row.claim} ({row.paper})"] if claims else []))
    runs, done_runs, minutes = (sum(values) for values in zip(*work, strict=True))
    table.add_row("all", "", str(runs), str(done_runs), f"{minutes:.0f}", *([""] if claims else []))
    print_table(table)
