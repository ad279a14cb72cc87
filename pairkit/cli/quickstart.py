"""`pairkit quickstart`: data, training and a report in minutes on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairkit.cli.build import OnExisting


def quickstart(
    out: Annotated[Path, typer.Option(help="Directory to write.")] = Path("runs/quickstart"),
    seed: Annotated[int, typer.Option(min=0, help="Of weights, samples and draws.")] = 0,
    sft_steps: Annotated[
        int | None, typer.Option(min=1, help="Of the first model; default as in recipe quickstart-sft.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of DPO and MC-PO; default as in their recipes.")
    ] = None,
    prompts: Annotated[int | None, typer.Option(min=1, help="Training problems; default all 2,700.")] = None,
    on_existing: Annotated[
        OnExisting, typer.Option(help="Go on with what is in --out, start anew, or refuse.")
    ] = OnExisting.resume,
) -> None:
    """Build a data set and train on it, in minutes on a CPU.

    A tiny model learns to add, completes each problem six times, a verifier ranks the completions, and DPO
    and MC-PO train on the sets. Prints the accuracy of the three models on held-out problems and writes a
    report page. Run again, it goes on where it stopped.

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
    started = time.perf_counter()
    typer.echo(describe(run.quickstart(out, settings, on_existing=on_existing.value), out))
    typer.echo(f"time:   {time.perf_counter() - started:.0f} s")
