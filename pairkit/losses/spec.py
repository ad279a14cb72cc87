"""A row of the table of losses, and how one is read off a function from outside."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor

from pairkit.errors import RecipeError
from pairkit.losses.parameters import Choice, Flag, Integer, Number, Parameter
from pairkit.losses.types import LossOutput

State = dict[str, Tensor]  # float64 scalars
Rows = dict[str, Tensor]  # [B] each

# What a function may name in its signature besides `policy` and its own keywords; one from outside the first
# three, for the others are given only where a row says more than a signature can.
INPUTS = ("reference", "scores", "ranks", "labels", "kl_baseline", "statistics")
FROM_OUTSIDE = INPUTS[:3]


@dataclass(frozen=True)
class Statistics:
    """What a loss has to know of the whole global batch before its first micro-batch.

    Attributes:
        observe: (state, policy, reference, [seeds], **[parameters]) -> (state, rows): the running state after
            this batch, and what is said of each of its rows. It names the parameters that it reads.
        initial: the running state before any batch, by name; without one, the statistics are of each batch
            alone, in evaluation too, where a running state is frozen.
        of: "batch", or "mismatched" where it observes prompts with completions of other prompts.
    """

    observe: Callable[..., tuple[State, Rows]]
    initial: Mapping[str, float] = field(default_factory=dict)
    of: Literal["batch", "mismatched"] = "batch"


@dataclass(frozen=True)
class LossSpec:
    """A row of the table.

    Attributes:
        function: (policy, **inputs, **parameters) -> LossOutput; of `INPUTS` it gets those that it names.
        summary: one line.
        paper: where it was published, with the equation.
        parameters: the function's own keywords.
        sampler: keywords of `sample_negatives` that the loss takes under its own name, with its defaults.
        completions: "first" reads column 0 only, "pair" takes two columns, "set" any number, "labelled" two
            columns or one with a label.
        needs: of "reference", "scores", "token_kl", "alignment", "head_sum", "kl_baseline", or alternatives
            of them ("scores|ranks").
        needs_with: what is needed only with a keyword's value, by (keyword, value).
        exclusive: pairs of keywords of which at most one may be given.
        ordered: pairs of keywords of which the first may not be above the second.
        statistics: what the loss observes of the global batch.
    """

    function: Callable[..., LossOutput]
    summary: str
    paper: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    sampler: Mapping[str, Parameter] = field(default_factory=dict)
    completions: Literal["first", "pair", "set", "labelled"] = "pair"
    needs: frozenset[str] = frozenset()
    needs_with: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    exclusive: tuple[tuple[str, str], ...] = ()
    ordered: tuple[tuple[str, str], ...] = ()
    statistics: Statistics | None = None


def named(function: Callable[..., Any], available: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the available arguments that the function's signature names."""
    wanted = inspect.signature(function).parameters
    return {name: value for name, value in available.items() if name in wanted}


def spec_of(where: str, found: Any) -> LossSpec:
    """The row of a loss from outside: a `LossSpec` as it is, a function by its signature and docstring.

    A function is pairwise; its keyword-only arguments are its parameters, and it needs each of reference,
    scores and ranks that it names without a default. Labels and statistics are a `LossSpec`'s alone.

    Raises:
        RecipeError: neither of the two, an argument that is no input of a loss, or a parameter whose range
            cannot be told from its default.
    """
    if isinstance(found, LossSpec):
        return found
    if not inspect.isfunction(found):
        raise RecipeError(f"{where} is neither a function nor a LossSpec")
    try:
        hints = get_type_hints(found)
    except (NameError, TypeError) as error:
        raise RecipeError(f"{where}: its annotations cannot be read: {error}") from error
    arguments = list(inspect.signature(found).parameters.values())
    if not arguments or arguments[0].name in INPUTS or arguments[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise RecipeError(f"{where}: the first argument of a loss is the policy's Logps")
    needs, parameters = set(), {}
    for argument in arguments[1:]:
        name = argument.name
        if name in FROM_OUTSIDE:
            if argument.default is argument.empty:
                needs.add(name)
        elif name in INPUTS:
            raise RecipeError(
                f"{where}: a function is given no {name}; it may name {', '.join(FROM_OUTSIDE)}. A LossSpec "
                'has the rest: completions="labelled" for labels, Statistics for what is of the whole batch'
            )
        elif argument.kind is argument.KEYWORD_ONLY:
            parameters[name] = _parameter(f"{where}, keyword {name}", argument.default, hints.get(name))
        else:
            known = ", ".join(FROM_OUTSIDE)
            raise RecipeError(f"{where}: {name} is none of {known}; keywords of its own stand after a *")
    summary = (inspect.getdoc(found) or "from outside of pairkit").split("\n")[0]
    return LossSpec(found, summary, where, parameters, needs=frozenset(needs))


def _parameter(where: str, default: Any, hint: Any) -> Parameter:
    if get_origin(hint) is Literal and isinstance(default, str) and default in get_args(hint):
        return Choice(default, get_args(hint))
    if get_origin(hint) is Literal:
        raise RecipeError(f"{where}: a Literal of words with one of them as default is what can be read")
    if isinstance(default, bool):
        return Flag(default)
    if isinstance(default, int):
        return Integer(default, low=None)
    if isinstance(default, float):
        return Number(default)
    raise RecipeError(
        f"{where}: give it a default that is a bool, int, float or of a Literal, or name a LossSpec instead"
    )
