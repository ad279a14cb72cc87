"""Commands in texts (help, recipes, pages), parsed as the command line parses them and not run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import commands

from pairkit.dataset.card_settings import Carded
from pairkit.evaluation.alpaca_eval.recipe import AlpacaEvalRecipe
from pairkit.evaluation.arena_hard.recipe import ArenaHardRecipe
from pairkit.evaluation.gsm8k.recipe import Gsm8kRecipe
from pairkit.evaluation.ifeval.recipe import IfevalRecipe
from pairkit.evaluation.judge.run import EvalJudgeRecipe
from pairkit.evaluation.matrix.recipe import MatrixRecipe
from pairkit.evaluation.mt_bench.recipe import MtBenchRecipe
from pairkit.evaluation.ranker.recipe import EvalRankerRecipe
from pairkit.evaluation.tasks.recipe import TasksRecipe
from pairkit.online.recipe import OnlineRecipe
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.recipes import Strict, parse_overrides
from pairkit.training.recipe import TrainRecipe

COMMANDS = commands.commands()
# The fields that may follow the flags of a command.
RECIPES: dict[str, type[Strict]] = {
    "pairkit build": BuildRecipe,
    "pairkit inspect": BuildRecipe,
    "pairkit train": TrainRecipe,
    "pairkit sweep": TrainRecipe,
    "pairkit online": OnlineRecipe,
    "pairkit push": Carded,
    "pairkit eval judge": EvalJudgeRecipe,
    "pairkit eval ranker": EvalRankerRecipe,
    "pairkit eval alpaca_eval": AlpacaEvalRecipe,
    "pairkit eval arena_hard": ArenaHardRecipe,
    "pairkit eval gsm8k": Gsm8kRecipe,
    "pairkit eval matrix": MatrixRecipe,
    "pairkit eval mt_bench": MtBenchRecipe,
    "pairkit eval ifeval": IfevalRecipe,
    "pairkit eval tasks": TasksRecipe,
}


class Line(NamedTuple):
    """A command with its flags by their parameters' names, and the nested fields of KEY=VALUE words."""

    command: str
    flags: dict[str, Any]
    fields: dict[str, Any]


def parsed(line: str | Sequence[str]) -> Line:
    """Parse a command. Raises click's errors for flags and values that it does not have."""
    words = shlex.split(line) if isinstance(line, str) else list(line)
    name = next(key for key in sorted(COMMANDS, reverse=True) if words[: len(key.split())] == key.split())
    with COMMANDS[name].make_context(name, words[len(name.split()) :]) as context:
        return Line(name, dict(context.params), parse_overrides(context.args))
