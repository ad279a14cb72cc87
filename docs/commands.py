"""Write docs/commands.md from every command's --help, and the defaults it shows: `python docs/commands.py`.

A test fails when either is stale. pairkit/cli/defaults.py is a copy of the recipes' defaults, because
importing the recipes takes several times as long as all of `pairkit build --help`. Another typer may lay out
the same help in other lines: the test then compares the words only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.online.recipe import OnlineRecipe
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.recipes import Strict
from pairkit.sources import SourceRecipe
from pairkit.training.recipe import TrainRecipe

PAGE = Path(__file__).parent / "commands.md"
DEFAULTS = PAGE.parent.parent / "pairkit" / "cli" / "defaults.py"
WIDTH = 100  # characters, whatever the terminal of the person who runs this has

INTRODUCTION = f"""\
# Commands

<!-- written by `python docs/commands.py` with typer {typer.__version__} -->

What `pairkit COMMAND --help` prints, and how a command ends.

## Exit codes

* **0**: success.
* **1**: the input, the recipe, the model or the output cannot be used. The last line on standard error tells
  what is wrong and what to do; [Bad input](bad-input.md) lists these messages.
* **2**: wrong usage: an unknown command or flag, a missing argument, or a value that cannot be parsed.
* **130**, **143**, **129**: stopped by SIGINT (Ctrl-C), SIGTERM or SIGHUP, the first of several. What is done
  is kept, and a training run saves a checkpoint first. Run the same command again to resume: a build resumes
  after its last finished shard, a training run from its last checkpoint. Signals that follow are ignored; ten
  seconds after the first, one ends the command where it is.
"""

HEADER = '''\
"""Defaults of the recipes' fields, which the help of flags shows. Written by `python docs/commands.py`."""

from typing import Any

'''


def commands() -> dict[str, Any]:
    """Every command by its full name, in the order of `pairkit --help`."""
    return dict(_commands("pairkit", typer.main.get_command(app)))


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for sub_name, sub_command in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {sub_name}", sub_command)


def help_of(name: str) -> str:
    """What `NAME --help` prints at a terminal of `WIDTH` characters."""
    words = [*name.split()[1:], "--help"]
    return CliRunner().invoke(app, words, prog_name="pairkit", terminal_width=WIDTH).stdout.strip()


def page() -> str:
    """Write docs/commands.md as text."""
    return "\n".join([INTRODUCTION, *(f"## {name}\n\n```\n{help_of(name)}\n```\n" for name in commands())])


def defaults_module() -> str:
    """Write pairkit/cli/defaults.py as text."""
    return HEADER + "\n".join(
        [
            _table("BUILD", defaults(BuildRecipe)),
            _table("TRAIN", defaults(TrainRecipe)),
            _table("ONLINE", own_defaults(OnlineRecipe)),
        ]
    )


def defaults(recipe: type[Strict]) -> dict[str, Any]:
    """Collect the default of each field that has one, by the field's key on the command line."""
    values: dict[str, Any] = {}
    for name, field in recipe.model_fields.items():
        # A build has `source` or `sources`; the flags are of the first.
        kind = SourceRecipe if name == "source" else field.annotation
        if isinstance(kind, type) and issubclass(kind, Strict):
            values |= {f"{name}.{key}": value for key, value in defaults(kind).items()}
        elif not field.is_required():
            values |= _leaves(name, field.get_default(call_default_factory=True))
    return values


def own_defaults(recipe: type[Strict]) -> dict[str, Any]:
    """Collect the defaults of a recipe's plain fields, without those of the recipes in it."""
    return {key: value for key, value in defaults(recipe).items() if "." not in key}


def _leaves(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Strict):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping) and value:
        return {f"{name}.{key}": leaf for key, leaf in value.items()}
    return {name: list(value) if isinstance(value, tuple) else value}


def _table(name: str, values: Mapping[str, Any]) -> str:
    rows = [f"    {json.dumps(key)}: {_literal(value)},\n" for key, value in values.items()]
    return "".join([f"{name}: dict[str, Any] = {{\n", *rows, "}\n"])


def _literal(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (str, list)) else repr(value)


if __name__ == "__main__":
    DEFAULTS.write_text(defaults_module(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
