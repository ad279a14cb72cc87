"""Mixes of samplings: in what the completions of one prompt differ on purpose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import Field

from pairkit.engines.base import Completion
from pairkit.errors import RecipeError
from pairkit.recipes import Strict


class Samples(Strict):
    """`n` completions per prompt at one temperature; a mix is a list of these."""

    n: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)


def varied(mix: Sequence[Samples]) -> frozenset[str]:
    """Return the parameters in which the parts of a mix differ."""
    names = ("temperature", "top_p")
    return frozenset(name for name in names if len({getattr(part, name) for part in mix}) > 1)


def check_mix(names: Iterable[str], completions: Sequence[Completion], model: str, place: str) -> None:
    """Check that completions of a mix have the parameters in which it differs; `names` are those.

    Answers from the cache may lack one: an earlier build has learned that the server does not take it. Raises
    `RecipeError` for the first of such parameters.
    """
    for name in sorted(names):
        if any(getattr(completion.sampling, name) is None for completion in completions):
            raise mix_refused(f"the server of {model}", name, "as cached answers show", place)


def mix_refused(where: str, name: str, why: str, place: str) -> RecipeError:
    """Build the error for a mix that becomes one because a server does not take a parameter."""
    return RecipeError(
        f"{where} takes no {name} ({why}), in which {place}samples differ: they would all be sampled "
        f"alike; give all of them one {name}, as in {place}samples='[{{n: 4}}]', or use another model"
    )
