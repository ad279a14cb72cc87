"""`pairkit report`: runs side by side, with the papers' figures, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairkit.cli.printing import say


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Directories of `pairkit train` or `pairkit online`, of runs seed-1, seed-2, ..., of "
            "`pairkit sweep`, or of `pairkit replicate`.",
        ),
    ],
    eval: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Results of `pairkit eval`, of these models or of others, or a directory with some; can be "
            "repeated.  [default: those in the runs' directories and next to them]",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("runs/report.html"),
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write every number that is drawn as JSON.  [default: none]"),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write every number that is drawn, a CSV file per table.  [default: none]",
        ),
    ] = None,
) -> None:
    """Show runs side by side, with the papers' figures of what they recorded, on one HTML page.

    Every run has loss, margins, gradient norms and throughput; most other figures need a run that was trained
    with record.figures=true record.pairs=true, some --sample-every or record.kl=true. What a run has not
    recorded is named with the setting that records it. Evaluations of the models are shown with paired
    differences, samples side by side. Seeds of one setting (NAME/seed-1, or NAME,seed=1 of a sweep) are one
    line with a band. The page needs no other file: it can be sent as it is.

    Examples:

    \b
      pairkit report runs/train/nectar-dpo runs/train/nectar-mcpo
      pairkit report runs/train/nectar-mcpo --eval runs/eval
      pairkit report runs/train/dpo/seed-* runs/train/mcpo/seed-* --out seeds.html
      pairkit report runs/sweep/quickstart-dpo --out sweep.html --json numbers.json --csv sweep
      pairkit report runs/replication --out claims.html
    """
    from pairkit.arrow import without_pandas
    from pairkit.run_report.page import is_drawn
    from pairkit.run_report.report import report as draw

    without_pandas()
    figures = draw(runs, out, evaluated=eval or (), json=json, csv_folder=csv)
    numbers = sorted(figure.number for figure in figures if is_drawn(figure))
    say(
        f"figures drawn: {', '.join(map(str, numbers)) or 'none'}; {len(figures) - len(numbers)} without data"
    )
    say(f"page: {out}")
