"""`pairkit eval compare`: paired differences between evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pairkit.cli.printing import say
from pairkit.cli.tables import print_table


class Allowed(StrEnum):
    """What runs may differ in where that is allowed."""

    version = "version"
    questions = "questions"
    judge = "judge"
    reference = "reference"


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Directories that `pairkit eval` wrote, or of their seeds."),
    ],
    allow_different: Annotated[
        list[Allowed] | None,
        typer.Option(metavar="WHAT", help="Compare although this differs; the result names the difference."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Output directory.")] = Path("runs/eval/compare"),
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed of resampling.")] = 0,
) -> None:
    """Compare evaluations of one benchmark, prompt by prompt.

    Prints every metric that the runs share, and for each pair of runs the difference with its 95 % interval;
    with more than one pair, conclusions are corrected for their number (Holm). Means are compared on the
    common prompts; controlled scores (length, style) are those of each run's own prompts, with the error of
    all of them. Prompts that are left out are counted by reason. Few prompts have the exact sign test.
    Directories NAME/seed-1, NAME/seed-2, ... are one setting: the standard deviation over its seeds and the
    error from sampling prompts are two numbers. Writes compare.json, compare.png and report.html.

    Examples:

    \b
      pairkit eval compare runs/eval/gsm8k-dpo runs/eval/gsm8k-mcpo
      pairkit eval compare runs/eval/sft runs/eval/dpo runs/eval/mcpo --out runs/eval/three
      pairkit eval compare runs/eval/dpo/seed-* runs/eval/mcpo/seed-*
      pairkit eval compare runs/eval/dpo runs/eval/mcpo --allow-different judge
    """
    from pairkit.arrow import without_pandas
    from pairkit.evaluation.compare.run import run_compare

    without_pandas()
    differences = {str(what) for what in allow_different or ()}
    comparison = run_compare(runs, out, allowed=differences, seed=seed)
    _print(comparison)
    say(f"\nwrote {out}: compare.json, compare.png, report.html")


def _print(comparison: Mapping[str, Any]) -> None:
    say(f"{comparison['benchmark']} {comparison['version'] or ''}".rstrip())
    from pairkit.evaluation.report.scores import is_part

    metrics = comparison["metrics"]
    for metric in metrics:
        if not is_part(metric["name"]):
            _print_metric(metric)
    if parts := [metric for metric in metrics if is_part(metric["name"])]:
        say("differences by category, not corrected for their number")
        for metric in parts:
            for pair in metric["pairs"]:
                of = f"{metric['name']}, {pair['first']} - {pair['second']}"
                say(f"  {of}: {_interval(pair, signed=True)}, {pair['n']:,} prompts")
    for note in comparison["notes"]:
        say(f"note: {note}")


def _print_metric(metric: Mapping[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from pairkit.progress import shown

    unit = f", {metric['unit']}" if metric["unit"] else ""
    title = Text(shown(metric["name"]) + unit)
    seeds = any(setting["seeds"] for setting in metric["settings"])
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("", "value [95 %]", "SE", *(["SD of seeds"] if seeds else []), "prompts"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=bool(name))
    for setting in metric["settings"]:
        spread = [_seeds(setting)] if seeds else []
        # Text objects, because names may contain brackets.
        cells = [_interval(setting), _number(setting["se"]), *spread, f"{setting['n']:,}"]
        table.add_row(Text(shown(setting["name"])), *map(Text, cells))
    print_table(table)
    for pair in metric["pairs"]:
        say(_sentence(pair, len(metric["pairs"])))
    say("")


def _sentence(pair: Mapping[str, Any], pairs: int) -> str:
    """Describe a difference in two lines: what it is, and what it shows."""
    from pairkit.evaluation.compare.conclusions import conclusion, p_text
    from pairkit.evaluation.compare.left_out import of_own_prompts

    unpaired = f" (unpaired {pair['unpaired_se']:.2f})" if pair["unpaired_se"] is not None else ""
    error = f", SE {_number(pair['se'])}{unpaired}" if pair["se"] is not None else ""
    seeds = f", SE from seeds {pair['seed_se']:.2f}" if pair["seed_se"] is not None else ""
    p = "none" if pair["p_holm"] is None else p_text(pair["p_holm"])
    correction = f", after correction for {pairs} pairs (p = {p})" if pairs > 1 else ""
    left_out = f" ({pair['left_out']['prompts']:,} left out)" if pair["left_out"]["prompts"] else ""
    own = ""
    if of_own_prompts(pair):
        own = f"; values are of each run's own prompts ({pair['first_n']:,} and {pair['second_n']:,})"
    return (
        f"{pair['first']} - {pair['second']}: {_interval(pair, signed=True)}{error}{seeds}, "
        f"{pair['n']:,} common prompts{left_out}{own}\n"
        f"  {conclusion(pair)}{correction}{_counts(pair)}"
    )


def _counts(pair: Mapping[str, Any]) -> str:
    if pair["higher"] is None:
        return ""
    return f"; higher on {pair['higher']:,}, lower on {pair['lower']:,}, equal on {pair['equal']:,}"


def _interval(entry: Mapping[str, Any], *, signed: bool = False) -> str:
    form = "{:+.2f}" if signed else "{:.2f}"
    if entry["low"] is None:
        return form.format(entry["value"])
    return f"{form} [{form}, {form}]".format(entry["value"], entry["low"], entry["high"])


def _seeds(setting: Mapping[str, Any]) -> str:
    seeds = setting["seeds"]
    return f"{seeds['sd']:.2f} ({len(seeds['values'])})" if seeds else "one seed"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
