"""Mixes of samplings: which completions are asked for, and in what those of a prompt differ on purpose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from pairkit.engines.base import Completion, Sampling, sample_seed
from pairkit.engines.instruct import Instruction
from pairkit.errors import RecipeError
from pairkit.recipes import Strict


class Samples(Strict):
    """`n` completions per prompt at one temperature; a mix is a list of these."""

    n: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)


class SampleSettings(NamedTuple):
    """The completions that an engine is asked for: the fields of `GenerateRecipe` without the engine's."""

    mix: Sequence[Samples]
    max_tokens: int
    seed: int
    keep_source: bool = False
    truncated: Literal["keep", "drop", "regenerate"] = "keep"
    instruct: Sequence[Instruction] = ()

    def samplings(self, set_id: str, attempt: int = 0) -> tuple[Sampling, ...]:
        """Return the sampling of each completion of a set: the mix unrolled, one seed each."""
        flat = [part for part in self.mix for _ in range(part.n)]
        return tuple(
            Sampling(
                part.temperature,
                part.top_p,
                # A further attempt has indices of its own, because the seed that was cut would be cut again.
                sample_seed(self.seed, set_id, index + attempt * len(flat)),
                self.max_tokens,
            )
            for index, part in enumerate(flat)
        )


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
