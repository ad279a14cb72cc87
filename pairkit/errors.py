"""Every error that pairkit raises for something a user can put right.

    PairkitError
    ├── InputError (ValueError)            data that cannot be used: file, row, field
    ├── RecipeError (ValueError)           a recipe, a flag, a hyper-parameter, an unknown name
    │   └── UsageError                     a command line that cannot be parsed
    ├── ModelError (ValueError)            a model or tokenizer that cannot do what is asked
    ├── HubError (ConnectionError)         a hub that cannot be reached or refuses
    ├── EngineError (ConnectionError)      an engine that cannot go on: a server that is not there or refuses
    ├── BudgetError (RuntimeError)         a budget that is spent
    ├── OutputError (OSError)              an output that cannot be written
    ├── ExistingOutputError (FileExistsError)
    ├── MissingExtraError (ImportError)    an optional dependency that is not installed
    ├── TrainingError (RuntimeError)       a run that cannot go on
    └── Interrupted                        stopped by SIGINT, with what was kept and how to go on

Each message says what is wrong, where, and what to do. The command line prints it as one line and
exits with the class's `exit_code`; nothing else catches these errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PairkitError(Exception):
    """The base of all of pairkit's errors."""

    exit_code = 1


class InputError(PairkitError, ValueError):
    """Data that cannot be used. `at` builds the message from file, row and field."""

    @classmethod
    def at(
        cls, problem: str, *, file: object = None, row: int | None = None, field: str | None = None
    ) -> InputError:
        """`row` counts from 1, as editors and line tools do."""
        places = [
            str(file) if file is not None else "",
            f"row {row}" if row is not None else "",
            f"field {field!r}" if field is not None else "",
        ]
        where = ", ".join(place for place in places if place)
        return cls(f"{where}: {problem}" if where else problem)


class RecipeError(PairkitError, ValueError):
    """A recipe, flag or hyper-parameter that is unknown or out of range."""


class UsageError(RecipeError):
    """A command line that cannot be parsed: an unknown flag, or a value of the wrong form."""

    exit_code = 2


class ModelError(PairkitError, ValueError):
    """A model or tokenizer that cannot do what is asked of it."""


class HubError(PairkitError, ConnectionError):
    """A hub that cannot be reached, or that refuses."""


class EngineError(PairkitError, ConnectionError):
    """An engine that cannot go on: a server that is not there or refuses all requests, vLLM that stops."""


class BudgetError(PairkitError, RuntimeError):
    """A budget of requests, tokens or money that is spent."""


class OutputError(PairkitError, OSError):
    """An output that cannot be written."""


class ExistingOutputError(PairkitError, FileExistsError):
    """The output exists and was made by something else."""


class MissingExtraError(PairkitError, ImportError):
    """An optional dependency that is not installed."""


class TrainingError(PairkitError, RuntimeError):
    """A training run that cannot go on."""


class Interrupted(PairkitError):
    """Stopped by SIGINT; the message says what was kept and how to go on."""

    exit_code = 130


def unknown(kind: str, name: str, known: Iterable[str]) -> RecipeError:
    """An error for a name that is not in a table: names the nearest one, and all there are.

    >>> str(unknown("loss", "dop", ["dpo", "sft"]))
    "unknown loss 'dop'; did you mean 'dpo'? Known: dpo, sft"
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return RecipeError(f"unknown {kind} {name!r}; {hint}Known: {', '.join(names) or 'none'}")
