"""Every error that pairkit raises for something a user can fix.

    PairkitError
    ├── InputError (ValueError)            unusable data: file, row, field
    ├── RecipeError (ValueError)           a wrong recipe, flag, hyper-parameter or name
    │   └── UsageError                     a command line that cannot be parsed; exit code 2
    ├── ModelError (ValueError)            a model or tokenizer that does not support the request
    ├── HubError (ConnectionError)         the hub is unreachable or refuses a request
    ├── EngineError (ConnectionError)      an engine failed: server unreachable, requests refused, vLLM died
    │   └── FirstCallError                 a server did not answer the first request of a batch
    ├── ClusterError (ConnectionError)     a Ray cluster cannot be joined, does not fit, or failed
    ├── BudgetError (RuntimeError)         the budget of requests, tokens or money is spent
    ├── OutputError (OSError)              the output cannot be written
    ├── ExistingOutputError (FileExistsError)  the output directory already contains something else
    ├── MissingExtraError (ImportError)    an optional dependency is not installed
    ├── TrainingError (RuntimeError)       a training run had to stop
    └── Interrupted                        stopped by SIGINT; the message states how to continue

Each message names what is wrong, with the value, and then what to do. Only the command line catches these
errors: it prints the message as one line and exits with the class's `exit_code`. All but `Interrupted` are
also one of Python's own errors, so that a caller of the library can catch them without importing pairkit's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from pairkit.masking import masked


class PairkitError(Exception):
    """Base class of all pairkit errors; secrets in a message are masked, and a long one loses its middle."""

    exit_code = 1

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(_bounded(masked(each)) for each in arguments))


class InputError(PairkitError, ValueError):
    """Unusable data. `at` builds the message from file, row and field."""

    @classmethod
    def at(
        cls, problem: str, *, file: object = None, row: int | None = None, field: str | None = None
    ) -> InputError:
        """Build the error for one place; `row` counts from 1, as editors and line tools do."""
        return cls(located(problem, file=file, row=row, field=field))


class RecipeError(PairkitError, ValueError):
    """A recipe, flag or hyper-parameter that is unknown or out of range."""


class UsageError(RecipeError):
    """A command line that cannot be parsed: an unknown flag, or a value of the wrong form."""

    # As argparse, click and most tools exit.
    exit_code = 2


class ModelError(PairkitError, ValueError):
    """A model or tokenizer that does not support the request."""


class HubError(PairkitError, ConnectionError):
    """A hub that is unreachable or refuses a request."""


class EngineError(PairkitError, ConnectionError):
    """A failed engine: the server is unreachable or refuses all requests, or vLLM died."""


class FirstCallError(EngineError):
    """A server that did not answer the first request, after which nothing was put into a batch."""


class ClusterError(PairkitError, ConnectionError):
    """A Ray cluster that cannot be joined, has other software or too few resources, or has failed."""


class BudgetError(PairkitError, RuntimeError):
    """A spent budget of requests, tokens or money."""


class OutputError(PairkitError, OSError):
    """An output that cannot be written."""


class ExistingOutputError(PairkitError, FileExistsError):
    """An output directory that already contains something else."""


class MissingExtraError(PairkitError, ImportError):
    """An optional dependency that is not installed."""


class TrainingError(PairkitError, RuntimeError):
    """A training run that had to stop."""


class Interrupted(PairkitError):
    """A stop by SIGINT; the message states what is stored and how to continue."""

    # 128 + SIGINT, as a shell reports it.
    exit_code = 130


SHOWN = 200  # characters of what a message quotes
LONGEST = 4000  # characters of a message, whatever it quotes


def shortened(text: str, most: int = SHOWN) -> str:
    """Keep the first `most` characters of a text that a message quotes, and append how much is left out.

    >>> shortened("abcdefgh", 3)
    'abc... (5 characters more)'
    """
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most:,} characters more)"


def quoted(value: object, most: int = SHOWN) -> str:
    """Return a value as Python writes it, cut as `shortened` does.

    >>> quoted("prompt")
    "'prompt'"
    """
    # Cut first, because writing a text of megabytes is slow; what is cut off is then counted exactly.
    if isinstance(value, str) and len(value) > most:
        return f"{value[:most]!r}... ({len(value) - most:,} characters more)"
    return shortened(repr(value), most)


def listed(names: Iterable[object], most: int = SHOWN, *, separator: str = ", ") -> str:
    """Join names for a message: as many as fit into `most` characters, at least one, and how many more.

    >>> listed(["alpha", "beta", "gamma"], 12)
    'alpha, beta and 1 more'
    """
    texts = [str(name) for name in names]
    # All but the first name, which is there even if it alone is too long.
    length = len(shortened(texts[0], most)) if texts else 0
    count = min(1, len(texts))
    while count < len(texts) and length + len(separator) + len(texts[count]) <= most:
        length += len(separator) + len(texts[count])
        count += 1
    listing = separator.join(shortened(text, most) for text in texts[:count])
    return listing if count == len(texts) else f"{listing} and {len(texts) - count:,} more"


def _bounded(message: object) -> object:
    """Cut the middle of a message that is too long: its end states what to do."""
    if not isinstance(message, str) or len(message) <= LONGEST:
        return message
    end = LONGEST // 4
    left_out = len(message) - LONGEST
    return f"{message[: LONGEST - end]}... ({left_out:,} characters left out) ...{message[-end:]}"


def located(problem: str, *, file: object = None, row: int | None = None, field: str | None = None) -> str:
    """Put the place before a problem, in the form that errors and the quarantine share.

    >>> located("is null", file="a.jsonl", row=3, field="prompt")
    "a.jsonl, row 3, field 'prompt': is null"
    """
    places = [
        str(file) if file is not None else "",
        f"row {row}" if row is not None else "",
        f"field {quoted(field)}" if field else "",
    ]
    where = ", ".join(place for place in places if place)
    # A problem quotes values, and thousands of rows may have one.
    problem = shortened(problem, LONGEST // 4)
    return f"{where}: {problem}" if where else problem


SHORT = 6  # characters of a name, of which a typo changes much


def unknown(
    kind: str, name: str, choices: Iterable[str], *, described: Mapping[str, str] | None = None
) -> RecipeError:
    """Build the error for a name that is not in a table; it suggests the nearest one and lists all.

    `described` gives a line of help for each choice.

    >>> str(unknown("loss", "dop", ["dpo", "sft"]))
    "unknown loss 'dop'; did you mean 'dpo'? Known: dpo, sft"
    >>> str(unknown("key", "filter.lengths", ["filter.margin", "filter.score"]))
    "unknown key 'filter.lengths'; known: filter.margin, filter.score"
    """
    # Sorted, because a set of choices has no order of its own.
    names = sorted(choices)
    entries = [f"{each} ({described[each]})" for each in names] if described else names
    # The last part of a key alone, because what is common, as in `filter.margin`, makes each similar to each.
    head = name[: name.rfind(".") + 1]
    if not any(each.startswith(head) for each in names):
        head = ""
    end, ends = name.removeprefix(head), [each.removeprefix(head) for each in names if each.startswith(head)]
    near = get_close_matches(end, ends, n=1, cutoff=0.4 if len(end) < SHORT else 0.6)
    hint = f"did you mean {head + near[0]!r}? Known" if near else "known"
    return RecipeError(f"unknown {kind} {quoted(name)}; {hint}: {', '.join(entries) or 'none'}")
