"""Designs of replications: arms, statistics, claims. Plain data, written down before any run, with a hash."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pairkit.recipes import merge
from pairkit.replication.measured import Seed
from pairkit.replication.tasks.base import Size, Task
from pairkit.schema import short_hash
from pairkit.sweep.grid import Axis

TUNING_SEEDS = (101, 102)  # of no run that decides, so that nothing is chosen on what is then reported
MOST_SEEDS = 10
RATE = 6e-4  # of the quickstart's recipes, chosen on tuning problems
EPOCH = 56  # steps of 32 sets that take each set of a seed about once
SCALES = {"points": 100.0}  # unit of a statistic -> what a share is multiplied by


@dataclass(frozen=True)
class Arm:
    """A training, or for `segments` an online training.

    Attributes:
        loss: name and keywords.
        sets: the kind of candidate sets, a name of the task.
        rate: the peak learning rate.
        fields: further fields of the training recipe.
        grid: settings that are chosen by tuning; all arms of a replication that have any have equally many.
        marks: after how many steps it is measured besides the last; multiples of the first.
    """

    loss: Mapping[str, Any]
    sets: str = "plain"
    steps: int = 2 * EPOCH
    rate: float = RATE
    fields: Mapping[str, Any] = field(default_factory=dict)
    grid: tuple[Axis, ...] = ()
    marks: tuple[int, ...] = ()
    segments: int | None = None

    def recipe(self) -> dict[str, Any]:
        """Return the fields of the training recipe that are its own."""
        own = {"loss": dict(self.loss), "optimizer": {"learning_rate": self.rate}, "max_steps": self.steps}
        return merge(own, self.fields)

    def with_settings(self, fields: Mapping[str, Any]) -> Arm:
        """Return the arm with chosen settings, which nothing is left to choose of."""
        recipe = merge(self.recipe(), fields)
        return replace(
            self,
            loss=recipe["loss"],
            rate=recipe["optimizer"]["learning_rate"],
            fields=merge(self.fields, {key: value for key, value in fields.items() if key != "loss"}),
            grid=(),
        )

    def sized(self, size: Size) -> Arm:
        """Return the arm with as many steps as a size allows, and as many marks."""
        if size.steps is None or self.steps <= size.steps:
            return self
        last = size.steps
        # As many marks, because statistics name them by their places.
        marks = tuple(last * (place + 1) // (len(self.marks) + 1) for place in range(len(self.marks)))
        return replace(self, steps=last, marks=marks)

    @property
    def key(self) -> str:
        """A name of its content, equal for equal arms."""
        # With the marks, because a run keeps the checkpoints of no others.
        content = {"sets": self.sets, "segments": self.segments, "marks": self.marks, "recipe": self.recipe()}
        return f"{str(self.loss['name']).replace(':', '-')}-{short_hash(content)[:10]}"


@dataclass(frozen=True)
class Statistic:
    """A number of the arms of a seed, above 0 where the claim holds.

    Attributes:
        least: the smallest difference worth having, in the unit of `of`.
        unit: "points" for shares, which are shown times 100; otherwise as it is shown.
        decides: whether the verdict depends on it; others are reported.
    """

    name: str
    of: Callable[[Seed], float]
    least: float
    unit: str = "points"
    decides: bool = True

    @property
    def scale(self) -> float:
        return SCALES.get(self.unit, 1.0)


@dataclass(frozen=True)
class Replication:
    """A claim of a paper, and what decides it in miniature.

    Attributes:
        published: the paper's own numbers.
        falsified: what would speak against the claim, in words.
        shows: names of `QUANTITIES`, the first of which is drawn.
        differs: what could make it come out otherwise at full size.
    """

    id: str
    paper: str
    claim: str
    published: str
    task: Task
    arms: Mapping[str, Arm]
    statistics: Sequence[Statistic]
    falsified: str
    shows: tuple[str, ...]
    differs: str

    def described(self, size: Size) -> dict[str, Any]:
        """Return all that decides the result, as plain values."""
        return {
            # Without the words (claim, published, differs): another wording is the same design.
            "task": self.task.described(),
            "arms": {name: _arm(arm) for name, arm in self.arms.items()},
            "statistics": {
                # By its code, because another formula could be found that fits runs which are there.
                each.name: {"of": code_of(each.of), "least": each.least, "decides": each.decides}
                for each in self.statistics
            },
            "tuning_seeds": list(TUNING_SEEDS),
            "size": size.name,
        }

    def digest(self, size: Size) -> str:
        """Return the hash of the design."""
        return short_hash(self.described(size))


def code_of(function: Callable[..., Any]) -> Any:
    """Describe a function by its code and the arguments that it is given; comments and docstrings apart.

    >>> sorted(code_of(partial(max, 1, key=abs)))
    ['arguments', 'code', 'key']
    """
    if isinstance(function, partial):
        arguments = {"arguments": [_argument(each) for each in function.args]} if function.args else {}
        keywords = {name: _argument(value) for name, value in function.keywords.items()}
        return {"code": code_of(function.func), **arguments, **keywords}
    name = f"{function.__module__}.{function.__qualname__}"
    if inspect.isbuiltin(function) or inspect.isclass(function):
        return name
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    # Unparsed, because versions of Python have other trees.
    return f"{name} {short_hash(ast.unparse(tree))}"


def _argument(value: Any) -> Any:
    if callable(value):
        return code_of(value)
    return dict(value) if isinstance(value, Mapping) else value


def _arm(arm: Arm) -> dict[str, Any]:
    grid = {axis.key: [_argument(value) for value in axis.values] for axis in arm.grid}
    return {
        "sets": arm.sets, "recipe": arm.recipe(), "grid": grid, "marks": list(arm.marks),
        "segments": arm.segments,
    }  # fmt: skip
