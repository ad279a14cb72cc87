"""A row of the table of losses, made from a function's signature and docstring if it is from outside."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor

from pairkit.errors import RecipeError
from pairkit.losses.parameters import Choice, Flag, Integer, Number, Parameter
from pairkit.losses.types import LossOutput

State = dict[str, Tensor]  # float64 scalars
Rows = dict[str, Tensor]  # [B] each
Trained = Literal["policy", "reward", "pairrm"]

# Inputs that a function may name in its signature, besides `policy` and its own keywords. A function from
# outside may name the first three only, because the others need a `LossSpec` to describe them.
INPUTS = ("reference", "scores", "ranks", "labels", "kl_baseline", "statistics")
FROM_OUTSIDE = INPUTS[:3]


@dataclass(frozen=True)
class Statistics:
    """Statistics of the whole global batch that a loss needs before its first micro-batch.

    Attributes:
        observe: (state, policy, reference, [seeds], **[parameters]) -> (state, rows): the running state after
            this batch, and statistics per row ([B] each). Its signature names the parameters that it reads.
        initial: running state before the first batch, by name. If empty, the statistics are those of each
            batch alone, also in evaluation, where a running state is frozen.
        of: "batch", or "mismatched" if it observes prompts with completions of other prompts.
        figures: (state, **[parameters]) -> numbers of the running state that a run may record, by name.
    """

    observe: Callable[..., tuple[State, Rows]]
    initial: Mapping[str, float] = field(default_factory=dict)
    of: Literal["batch", "mismatched"] = "batch"
    figures: Callable[..., dict[str, float]] | None = None


@dataclass(frozen=True)
class LossSpec:
    """A row of the table.

    Attributes:
        function: (policy, **inputs, **parameters) -> LossOutput; it gets those of `INPUTS` that it names.
        summary: one line.
        paper: publication, with the equation.
        parameters: the function's own keywords.
        sampler: keywords of `sample_negatives` that the loss accepts as its own, with its defaults.
        completions: "first" reads column 0 only, "pair" takes two columns, "set" any number, "labeled" two
            columns, or one with a label.
        needs: required inputs: "reference", "scores", "token_kl", "alignment", "head_sum", "kl_baseline", or
            alternatives of them ("scores|ranks").
        needs_with: inputs required only for one value of a keyword, by (keyword, value).
        exclusive: pairs of keywords of which at most one may be set.
        unread: keywords that have no effect with one value of another, by (keyword, value).
        ordered: pairs of keywords of which the first may not exceed the second.
        statistics: statistics of the global batch that the loss observes.
        trains: the kind of model that it trains, which decides what `Logps.sum` is: "policy" a language
            model, log-probs in nats; "reward" a reward model, one number per completion; "pairrm" a model
            that compares two completions, the logits of both orders.
    """

    function: Callable[..., LossOutput]
    summary: str
    paper: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    sampler: Mapping[str, Parameter] = field(default_factory=dict)
    completions: Literal["first", "pair", "set", "labeled"] = "pair"
    needs: frozenset[str] = frozenset()
    needs_with: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    exclusive: tuple[tuple[str, str], ...] = ()
    unread: Mapping[tuple[str, Any], tuple[str, ...]] = field(default_factory=dict)
    ordered: tuple[tuple[str, str], ...] = ()
    statistics: Statistics | None = None
    trains: Trained = "policy"


def named(function: Callable[..., Any], available: Mapping[str, Any]) -> dict[str, Any]:
    """Select the available arguments that the function's signature names."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in available.items() if name in names}


def spec_of(where: str, candidate: Any) -> LossSpec:
    """Make the row of a loss from outside: a `LossSpec` as it is, a function by signature and docstring.

    A function is pairwise; its keyword-only arguments are its parameters, and it needs each of reference,
    scores and ranks that it names without a default. Labels and statistics require a `LossSpec`.

    Raises:
        RecipeError: neither of the two, an argument that is not an input of a loss, or a parameter whose
            type cannot be inferred from its default.
    """
    if isinstance(candidate, LossSpec):
        return candidate
    # Not any callable, because the parameters are read from a function's signature.
    if not inspect.isfunction(candidate):
        raise RecipeError(f"{where} must be a function or a LossSpec, got {type(candidate).__name__}")
    try:
        # Evaluated, because annotations are strings in a module that postpones them.
        hints = get_type_hints(candidate)
    except (NameError, TypeError) as error:
        raise RecipeError(f"{where}: cannot read its annotations: {error}") from error
    arguments = list(inspect.signature(candidate).parameters.values())
    if not arguments or arguments[0].name in INPUTS or arguments[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise RecipeError(f"{where}: the first argument of a loss must be the policy's Logps")
    needs, parameters = set(), {}
    for argument in arguments[1:]:
        name = argument.name
        if name in FROM_OUTSIDE:
            if argument.default is argument.empty:  # with a default the loss can do without it
                needs.add(name)
        elif name in INPUTS:
            raise RecipeError(
                f"{where}: {name} is not available to a bare function, only {', '.join(FROM_OUTSIDE)}. Use a "
                'LossSpec: completions="labeled" for labels, Statistics for values of the whole batch'
            )
        elif argument.kind is argument.KEYWORD_ONLY:
            parameters[name] = _parameter(f"{where}, keyword {name}", argument.default, hints.get(name))
        else:
            inputs = ", ".join(FROM_OUTSIDE)
            raise RecipeError(f"{where}: unknown input {name}, expected {inputs}; put keywords after a *")
    summary = (inspect.getdoc(candidate) or "from outside pairkit").split("\n")[0]
    return LossSpec(candidate, summary, where, parameters, needs=frozenset(needs))


SECTIONS = ("Args", "Returns", "Raises", "References", "Differs from")


@dataclass(frozen=True)
class Docstring:
    """The parts of a loss's docstring; a missing section is empty."""

    title: str
    paragraphs: tuple[str, ...]
    sections: dict[str, str]

    @property
    def formula(self) -> str:
        """The paragraph that begins with "loss = ", or an empty string."""
        return next((text for text in self.paragraphs if text.startswith("loss = ")), "")

    @property
    def notes(self) -> tuple[str, ...]:
        """The other paragraphs, one line each."""
        return tuple(one_line(text) for text in self.paragraphs if not text.startswith("loss = "))

    @property
    def arguments(self) -> dict[str, str]:
        """The text of each argument in Args; arguments listed before one colon share their text."""
        # An entry begins at the margin; the lines that continue it are indented.
        entries = re.split(r"^(?=\w+(?:, \w+)*: )", self.sections["Args"], flags=re.MULTILINE)
        texts: dict[str, str] = {}
        for entry in filter(None, entries):
            names, _, text = entry.partition(": ")
            texts.update(dict.fromkeys(names.split(", "), one_line(text)))
        return texts


def parse_docstring(function: Callable[..., Any]) -> Docstring:
    """Split a function's docstring into its parts."""
    pattern = rf"^({'|'.join(SECTIONS)}):$"
    head, *rest = re.split(pattern, inspect.getdoc(function) or "", flags=re.MULTILINE)
    sections = dict.fromkeys(SECTIONS, "")
    for section, text in zip(rest[::2], rest[1::2], strict=True):
        sections[section] = inspect.cleandoc(text)
    title, *paragraphs = [part.strip() for part in re.split(r"\n\s*\n", head.strip())]
    return Docstring(one_line(title), tuple(paragraphs), sections)


def one_line(text: str) -> str:
    """Join the lines of a text."""
    return " ".join(text.split())


def _parameter(where: str, default: Any, hint: Any) -> Parameter:
    if get_origin(hint) is Literal and isinstance(default, str) and default in get_args(hint):
        return Choice(default, get_args(hint))
    if get_origin(hint) is Literal:
        raise RecipeError(f"{where}: a Literal must list strings and default to one of them")
    if isinstance(default, bool):  # before int, because a bool is one
        return Flag(default)
    if isinstance(default, int):
        return Integer(default, low=None)  # a signature tells no range
    if isinstance(default, float):
        return Number(default)
    raise RecipeError(
        f"{where}: set a default that is a bool, int, float or a string of a Literal, or use a LossSpec"
    )
