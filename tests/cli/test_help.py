"""`--help` of every command: fast, with the recipes' defaults, and examples that can be copied."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import Any, get_args

import commands
import pytest
from support.command_lines import COMMANDS, RECIPES, parsed

from pairkit import files
from pairkit.cli.options import OnExisting, describe_default
from pairkit.cli.push import HubCard
from pairkit.hub import card_on_hub

HEAVY = ("torch", "transformers", "pyarrow", "polars", "numpy", "rich.console", "pairkit.recipes")


def test_help_of_no_command_imports_a_heavy_library() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from typer.main import get_command\n"
        "from pairkit.cli import app; app = get_command(app)\n"
        f"for words in {[name.split()[1:] for name in COMMANDS]!r}:\n"
        "    assert CliRunner().invoke(app, [*words, '--help']).exit_code == 0, words\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout.strip()) == (0, ""), process.stderr


def test_defaults_are_those_of_the_recipes() -> None:
    text = commands.DEFAULTS.read_text(encoding="utf-8")
    assert text == commands.defaults_module(), "stale; write it again with: python docs/commands.py"


def test_the_page_is_what_help_prints() -> None:
    written, current = commands.PAGE.read_text(encoding="utf-8"), commands.page()
    stamp = "<!-- written by `python docs/commands.py` with typer "
    if written.partition(stamp)[2].partition(" ")[0] != current.partition(stamp)[2].partition(" ")[0]:
        written, current = (sorted(set(text.split())) for text in (written, current))  # type: ignore[assignment]
    assert written == current, "stale; write it again with: python docs/commands.py"


@pytest.mark.parametrize(
    "name", [name for name, command in COMMANDS.items() if not hasattr(command, "commands")]
)
def test_examples_can_be_copied(name: str) -> None:
    """Each is a line of flags and fields that the command has, with values that it can parse."""
    lines = [line.strip() for line in (COMMANDS[name].help or "").partition("Examples:")[2].splitlines()]
    examples = [shlex.split(line) for line in lines if line.startswith("pairkit ")]
    assert 2 <= len(examples) <= 6
    for words in examples:
        line = parsed(words)
        for key in line.fields:
            assert key in RECIPES[line.command].model_fields, (words, key)


def test_every_flag_has_a_help_text() -> None:
    for name, command in COMMANDS.items():
        for parameter in command.params:
            assert getattr(parameter, "help", None), (name, parameter.name)


def test_on_existing_of_the_flag_and_of_the_functions_are_the_same() -> None:
    assert tuple(OnExisting) == get_args(files.OnExisting)


def test_hub_card_of_the_flag_and_of_the_functions_are_the_same() -> None:
    assert tuple(HubCard) == get_args(card_on_hub.HubCard)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5e-07, "5e-7"),
        (1.0, "1"),
        (0, "0"),
        (True, "on"),
        (False, "off"),
        ([2, 3], "2,3"),
        (None, ""),
        ({}, ""),
    ],
)
def test_defaults_are_shown_as_one_would_type_them(value: Any, text: str) -> None:
    assert describe_default(value) == text
