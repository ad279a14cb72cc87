"""Flags that several commands share, and flags that set a field of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer


class OnExisting(StrEnum):
    """`files.OnExisting` as typer takes it: what to do with an output that exists."""

    resume = "resume"
    delete = "delete"
    # `raise` is a keyword.
    raise_ = "raise"


OnExistingFlag = Annotated[
    OnExisting,
    typer.Option(
        metavar="[resume|delete|raise]",
        help="If --out exists: resume it, delete it and start over, or raise an error.",
    ),
]
RecipeFlag = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="A shipped recipe's name, or a YAML file.")
]
AllowCodeFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-code",
        metavar="MODULE",
        help="Let the recipe file name functions of this module; may be repeated.",
    ),
]
AllowKeyFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-key",
        metavar="VARIABLE@URL",
        help="Let the recipe file send the key in this environment variable to this server; may be repeated.",
    ),
]
TrustFlag = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Run code that comes with a model, where a recipe or a run asks for it."
    ),
]


def field_flag(
    defaults: Mapping[str, Any], field: str, metavar: str, help: str, *names: str, null: str = ""
) -> Any:
    """Declare a flag that sets `field` of a recipe; its help ends with the default in `defaults`.

    Args:
        metavar: the placeholder of the flag's value, "" for an on/off flag.
        null: what the help shows for a default of None or of nothing, "" to show none.
    """
    value = describe_default(defaults[field]) or null
    return typer.Option(
        *names, metavar=metavar or None, help=f"{help}  [default: {value}]" if value else help
    )


def describe_default(value: Any) -> str:
    """Write a field's default as a user would type it; "" for None and for nothing.

    >>> [describe_default(value) for value in (5e-07, 1.0, False, "best", [2, 3], None, {})]
    ['5e-7', '1', 'off', 'best', '2,3', '', '']
    """
    # Before the numbers, because a bool is an int too.
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        # As people write it: 5e-7.
        return f"{value:g}".replace("e-0", "e-")
    if isinstance(value, list):
        return ",".join(map(describe_default, value))
    return "" if value in (None, {}) else str(value)
