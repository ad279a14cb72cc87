"""`pairkit losses`: list the losses, or describe one."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pairkit.losses.describe import Description

# Columns, because longer lines of prose are hard to read.
WIDTH = 100


def losses(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A loss, a weighted sum, or package.module:function; all losses by default.",
            metavar="[NAME]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the losses, or describe one.

    Examples:

    \b
      pairkit losses
      pairkit losses dpo
      pairkit losses dpo:0.8+bco:0.2+sft:1.0
      pairkit losses my_losses:focal_dpo
      pairkit losses --json
    """
    if name is not None:
        _one(name, as_json)
    else:
        _all(as_json)


def _all(as_json: bool) -> None:
    from dataclasses import asdict

    from pairkit.losses import LOSSES
    from pairkit.losses.describe import FAMILIES, describe, family, mark_legend, marks

    if as_json:
        _print_json([asdict(describe(name)) for name in LOSSES])
        return
    needs = {name: ", ".join(marks(spec)) for name, spec in LOSSES.items()}
    first, second = max(map(len, LOSSES)), max(map(len, needs.values()))
    for heading in FAMILIES:
        _heading(heading)
        for name, spec in LOSSES.items():
            if family(spec) == heading:
                typer.echo(f"  {name:<{first}}  {needs[name]:<{second}}  {spec.summary}")
        typer.echo()
    _heading("What a loss needs")
    for mark, words in mark_legend().items():
        _wrapped(words, f"  {mark:<{second}}  ")
    typer.echo("\nRun `pairkit losses NAME` for details.")


def _one(name: str, as_json: bool) -> None:
    from dataclasses import asdict

    from pairkit.losses.describe import describe_parts
    from pairkit.trust import only_trusted

    with only_trusted({"loss": name}):
        parts = describe_parts(name)
    whole = len(parts) == 1 and parts[0][1].name == name
    if as_json:
        of_sum = {"name": name, "parts": [{"weight": weight, "loss": asdict(part)} for weight, part in parts]}
        _print_json(asdict(parts[0][1]) if whole else of_sum)
        return
    if not whole:
        typer.echo(f"{name}: a weighted sum; one forward pass serves all parts\n")
        for weight, part in parts:
            typer.echo(f"  {weight:g} x {part.name}")
        typer.echo(
            "\nA keyword applies to every part that has it, --loss.PART.KEY VALUE to one part.\n\n"
            f"  pairkit train --loss {name}\n"
        )
    for number, (_, part) in enumerate(parts):
        typer.echo("\n" * bool(number), nl=False)
        _print(part)


def _print(loss: Description) -> None:
    _heading(loss.name)
    _wrapped(loss.title)
    if loss.formula:
        typer.echo()
        typer.echo(textwrap.indent(loss.formula, "    "))
    for note in loss.notes:
        typer.echo()
        _wrapped(note)
    _section("keywords")
    for keyword in loss.keywords:
        typer.echo(f"  --loss.{keyword.name} {keyword.shown}   in {keyword.range}")
        _wrapped(keyword.text, "      ")
    for exclusion in loss.exclusions:
        typer.echo(f"  {exclusion}")
    if not loss.keywords:
        typer.echo("  none")
    _section("needs")
    for need in (loss.completions, *loss.needs):
        _wrapped(need, "  - ")
    for title, text in (
        ("statistics", loss.statistics),
        ("scoring pass", loss.scoring_pass),
        ("paper", loss.sources),
        ("differs from", loss.differs_from),
    ):
        if text:
            _section(title)
            _wrapped(text, "  ")
    _section("examples" if len(loss.examples) > 1 else "example")
    for example in loss.examples:
        typer.echo(f"  {example}")


def _heading(text: str) -> None:
    typer.secho(text, bold=True)


def _section(text: str) -> None:
    typer.echo()
    _heading(text)


def _wrapped(text: str, first: str = "") -> None:
    """Print wrapped text: `first` before the first line, its width as indent of the others."""
    indent = " " * len(first)
    if text:
        lines = textwrap.wrap(
            text, WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
        )
        typer.echo("\n".join(lines))


def _print_json(content: object) -> None:
    import json

    # Formulas contain Greek letters.
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
