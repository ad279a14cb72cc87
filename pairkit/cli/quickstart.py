"""`pairkit quickstart`: data, training and a report in minutes on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairkit.cli.options import OnExisting, OnExistingFlag
from pairkit.cli.printing import say


def quickstart(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Output directory.")] = Path("runs/quickstart"),
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Random seed for weights, data order and sampling.")
    ] = 0,
    sft_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Fine-tuning steps of the first model.  [default: as many as it needs, in rounds]",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Steps of DPO and of MC-PO.  [default: those of their recipes]",
        ),
    ] = None,
    prompts: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Training problems to use.  [default: all]")
    ] = None,
    on_existing: OnExistingFlag = OnExisting.resume,
) -> None:
    """Build a dataset and train on it, in minutes on a CPU.

    A tiny model learns addition and completes each problem six times, a verifier ranks the completions, and
    DPO and MC-PO train on the sets. Prints the accuracy of the three models on held-out problems and writes
    a report page. To resume a quickstart that stopped, run the same command again.

    Examples:

    \b
      pairkit quickstart
      pairkit quickstart --seed 1 --out runs/quickstart-1
      pairkit quickstart --steps 600 --out runs/longer
    """
    import time

    from pairkit.quickstart import run
    from pairkit.quickstart.results import describe
    from pairkit.quickstart.settings import Settings

    settings = Settings(seed=seed, sft_steps=sft_steps, steps=steps, prompts=prompts)
    start = time.perf_counter()
    say(describe(run.quickstart(out, settings, on_existing=on_existing.value), out))
    say(f"time:   {time.perf_counter() - start:.0f} s")
