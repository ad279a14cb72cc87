"""The order that the data gives, as numbers: prompts, sets, completions, and the pairs of each set.

Shapes: n prompts, S sets, C completions, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.evaluation.ranker.baselines import lengths
from pairkit.intervals import Floats

Ints = npt.NDArray[np.int64]
SEVERAL = "several"


class Pairs(NamedTuple):
    """All pairs of completions of one set, `[P]` each; the first one's rank is not worse.

    Attributes:
        owner: the set.
        better, worse: the completions; of equal ranks in any order.
        equal: whether the data gives both one rank.
    """

    owner: Ints
    better: Ints
    worse: Ints
    equal: npt.NDArray[np.bool_]

    def ordered(self) -> Pairs:
        """Return the pairs of different rank."""
        keep = ~self.equal
        return Pairs(self.owner[keep], self.better[keep], self.worse[keep], self.equal[keep])


class Reference(NamedTuple):
    """The data as numbers.

    Attributes:
        prompt_ids: `[n]`, in order of appearance; so are sets and completions.
        subsets: `[n]`; `SEVERAL` for a prompt with sets of several ones.
        prompt: `[S]`, the prompt of each set.
        starts: `[S + 1]`, where the completions of each set begin.
        rank: `[C]`, 1 is best.
        score: `[C]`, the data's score, higher is better; NaN for none.
        length: `[C]`, characters.
    """

    prompt_ids: list[str]
    subsets: list[str | None]
    prompt: Ints
    starts: Ints
    rank: Ints
    score: Floats
    length: Floats

    @property
    def sizes(self) -> Ints:
        """The completions of each set, `[S]`."""
        return np.diff(self.starts)


def reference_of(sets: pa.Table, subsets: Sequence[str | None]) -> Reference:
    """Return the numbers of sets whose completions all have a rank."""
    flat = pc.list_flatten(sets["completions"]).combine_chunks()
    numbers: dict[str, int] = {}
    of_prompt: list[str | None] = []
    prompt = []
    for prompt_id, subset in zip(sets["prompt_id"].to_pylist(), subsets, strict=True):
        number = numbers.setdefault(prompt_id, len(numbers))
        if number == len(of_prompt):
            of_prompt.append(subset)
        elif of_prompt[number] != subset:
            of_prompt[number] = SEVERAL
        prompt.append(number)
    sizes = pc.list_value_length(sets["completions"]).to_numpy()
    return Reference(
        list(numbers),
        of_prompt,
        np.array(prompt, dtype=np.int64),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        pc.struct_field(flat, "rank").to_numpy().astype(np.int64),
        pc.struct_field(flat, "score").to_numpy(zero_copy_only=False).astype(np.float64),
        lengths(flat),
    )


def pairs_of(reference: Reference) -> Pairs:
    """Return all pairs of each set."""
    groups = []
    for size in np.unique(reference.sizes):
        # Sets of one size at a time, so that there is no loop over sets.
        owners = np.flatnonzero(reference.sizes == size)
        left, right = np.triu_indices(int(size), 1)
        starts = reference.starts[owners][:, None]
        groups.append((np.repeat(owners, len(left)), (starts + left).ravel(), (starts + right).ravel()))
    owner, first, second = (np.concatenate(parts) for parts in zip(*groups, strict=True))
    # Back in the order of the sets; stable, so that results do not depend on the sort.
    order = np.argsort(owner, kind="stable")
    owner, first, second = owner[order], first[order], second[order]
    swap = reference.rank[first] > reference.rank[second]
    better, worse = np.where(swap, second, first), np.where(swap, first, second)
    return Pairs(owner, better, worse, reference.rank[better] == reference.rank[worse])
