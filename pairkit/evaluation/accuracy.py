"""Accuracy on problems with a checkable answer: completions are generated, then verified."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.engines.base import Engine
from pairkit.engines.generate import generate, no_progress
from pairkit.engines.mixes import Samples
from pairkit.errors import InputError
from pairkit.intervals import Floats
from pairkit.progress import Advance
from pairkit.rankers.verifier import VerifierRecipe, verify


class Accuracy(NamedTuple):
    """The accuracy of a model, problem by problem."""

    values: Floats  # [problems], the mean score of each problem's completions, in the order of the sets
    sets: pa.Table  # the problems with their scored completions


def accuracy(
    sets: pa.Table,
    engine: Engine,
    verifier: VerifierRecipe,
    *,
    samples: int = 1,
    temperature: float = 1.0,
    max_tokens: int,
    seed: int,
    advance: Advance = no_progress,
) -> Accuracy:
    """Ask `engine` for `samples` completions per problem of a `SETS` table, and verify them.

    Two models with the same seed sample with the same random numbers, so that their paired difference is
    sharper. Raises `InputError` if a problem cannot be asked or has no answer, because means over the
    remaining problems could not be compared between models.
    """
    mix = [Samples(n=samples, temperature=temperature)]
    generation = generate(sets, engine, mix, max_tokens=max_tokens, seed=seed, advance=advance)
    verification = verify(generation.sets, verifier)
    for quarantine in (generation.quarantine, verification.quarantine):
        if quarantine.num_rows:
            first = quarantine.slice(0, 1).to_pylist()[0]
            raise InputError(
                f"{quarantine.num_rows} of {sets.num_rows} problems cannot be used to measure accuracy; "
                f"the first is set {first['set_id']}: {first['reason']}: {first['detail']}"
            )
    scores = pc.struct_field(pc.list_flatten(verification.sets["completions"]), "score")
    # Every problem has exactly `samples` scores, because the loop above let no set go to quarantine.
    return Accuracy(scores.to_numpy().reshape(-1, samples).mean(axis=1).astype(np.float64), verification.sets)
