"""What a model measured, and all models of one seed: numbers per problem and per training pair, resampled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairkit.errors import InputError
from pairkit.files import replacing, undamaged
from pairkit.intervals import Floats

Indices = npt.NDArray[np.int64]
START = "start"  # the name of the model that the arms of a seed start from
PROBLEMS = ("right", "malformed", "entropy", "distinct")
PAIRS = (
    *("set", "chosen", "rejected", "chosen_logp", "rejected_logp", "chosen_length", "rejected_length"),
    "effective",
)
_PROBLEM, _PAIR, _SECONDS, _START = "problem_", "pair_", "seconds", "start"
_ADVICE = "remove it, and the model is measured again"


@dataclass(frozen=True)
class Measured:
    """The numbers of one model.

    Attributes:
        problems: by name, `[problems]`: `right` (share of right answers), `malformed` (share), `entropy`
            (mean over the tokens of the answers, nats), `distinct` (different right answers).
        pairs: by name, `[pairs]`: `set` (which training set), `chosen` and `rejected` (log-ratios to the
            start, sums over tokens, nats), `chosen_logp` and `rejected_logp` (the same without the start),
            `chosen_length` and `rejected_length` (tokens), `effective` (share of its set's negatives that the
            kernel of MC-PO at beta 0.01 has in effect).
        seconds: that the run and its measurement took.
        start: hash of the model that the run started from; "" of versions that kept none.
        drawn_problems, drawn_pairs: a resample; None: all, once.
    """

    problems: Mapping[str, Floats]
    pairs: Mapping[str, Floats]
    seconds: float = 0.0
    start: str = ""
    drawn_problems: Indices | None = None
    drawn_pairs: Indices | None = None

    def problem(self, name: str) -> Floats:
        """Return a number per problem, of the resample."""
        values = self.problems[name]
        return values if self.drawn_problems is None else values[self.drawn_problems]

    def pair(self, name: str) -> Floats:
        """Return a number per training pair, of the resample."""
        values = self.pairs[name]
        return values if self.drawn_pairs is None else values[self.drawn_pairs]

    def save(self, path: Path) -> None:
        """Write all numbers, whole or not at all."""
        arrays = {_PROBLEM + name: values for name, values in self.problems.items()}
        arrays |= {_PAIR + name: values for name, values in self.pairs.items()}
        # A handle, because numpy adds an ending to a name.
        with replacing(path) as temporary, temporary.open("wb") as file:
            values: dict[str, Any] = {
                **arrays,
                _SECONDS: np.array(self.seconds),
                _START: np.array(self.start),
            }
            np.savez_compressed(file, **values)

    @classmethod
    def load(cls, path: Path, start: str | None = None) -> Measured:
        """Read what `save` wrote.

        Args:
            start: hash of the model that arms start from now; None: it is not there to be compared.

        Raises `InputError` for a damaged file, or one of a run from another start.
        """
        with undamaged(path, _ADVICE):
            values = _read(path)
            _check(values)
            of_start = str(values.get(_START, ""))
            if start and of_start and start != of_start:
                raise InputError(
                    f"{path}: was measured with another start than the model that is there now; put that "
                    "model back, or remove the directory of its seed, and everything in it is made again"
                )
            return cls(
                {n.removeprefix(_PROBLEM): v for n, v in values.items() if n.startswith(_PROBLEM)},
                {n.removeprefix(_PAIR): v for n, v in values.items() if n.startswith(_PAIR)},
                float(values[_SECONDS]),
                of_start,
            )


@dataclass(frozen=True)
class Seed:
    """All models of one seed, measured on the same problems.

    Attributes:
        arms: by the name of the arm, and by the number of steps it had taken; `START` has taken none.
        sets: by the name of the arm, the kind of candidate sets that its pairs are of.
        groups: of each problem, those that are resampled together.
    """

    number: int
    arms: Mapping[str, Mapping[int, Measured]]
    sets: Mapping[str, str]
    groups: Sequence[Hashable]

    def at(self, arm: str, step: int | None = None) -> Measured:
        """Return what an arm measured after `step` steps; None: after its last."""
        marks = self.arms[arm]
        return marks[max(marks) if step is None else step]

    def resampled(self, random: np.random.Generator) -> Seed:
        """Draw groups of problems, and training sets of each kind, with replacement, the same for all arms.

        References: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
        """
        # One resample for all arms: statistics are differences of arms, in which what they share cancels.
        problems = _drawn(self._problems, random)
        pairs = {kind: _drawn(members, random) for kind, members in self._pairs.items()}
        arms = {
            name: {
                step: replace(each, drawn_problems=problems, drawn_pairs=pairs[self.sets[name]])
                for step, each in marks.items()
            }
            for name, marks in self.arms.items()
        }
        return replace(self, arms=arms)

    @cached_property
    def _problems(self) -> list[Indices]:
        return _members(np.unique(np.array([str(group) for group in self.groups]), return_inverse=True)[1])

    @cached_property
    def _pairs(self) -> dict[str, list[Indices]]:
        # Of the last step: the sets that pairs are of do not depend on the model.
        kinds = {kind: self.at(name).pairs["set"] for name, kind in self.sets.items()}
        return {kind: _members(np.unique(owner, return_inverse=True)[1]) for kind, owner in kinds.items()}


def _read(path: Path) -> dict[str, Floats]:
    try:
        # Opened here, because numpy leaves a file open that is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    # Of the archive, which are no errors of values; a header may ask for any memory.
    except (zipfile.BadZipFile, zlib.error, EOFError, MemoryError, NotImplementedError) as error:
        raise ValueError(str(error)) from error


def _check(values: Mapping[str, Floats]) -> None:
    """Raise `ValueError` unless there is a number for each problem, and one for each pair."""
    for kind, names in {_PROBLEM: PROBLEMS, _PAIR: PAIRS}.items():
        if missing := [name for name in names if kind + name not in values]:
            raise ValueError(f"it has no {missing[0]}")
        arrays = [value for name, value in values.items() if name.startswith(kind)]
        if any(value.dtype.kind not in "biuf" or value.shape != (len(arrays[0]),) for value in arrays):
            raise ValueError(f"its numbers of each {kind.strip('_')} do not fit together")


def _members(owner: npt.NDArray[np.int64]) -> list[Indices]:
    """Return the positions of each owner, 0, 1, ..., one array each."""
    order = np.argsort(owner, kind="stable")  # positions by owner, ascending within each
    return np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)


def _drawn(members: Sequence[Indices], random: np.random.Generator) -> Indices:
    # Whole members: the problems of a group, and the pairs of a set, are not independent.
    return np.concatenate([members[row] for row in random.integers(0, len(members), len(members))])
