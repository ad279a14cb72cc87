"""The table that length control needs: difficulties of instructions, and the gamed runs of the reference.

Its layout is that of `df_gamed.csv` in the Hub dataset `tatsu-lab/alpaca_eval`. The file is never shipped,
because its license is non-commercial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pairkit.errors import InputError
from pairkit.evaluation.alpaca_eval.length_control import Rows
from pairkit.evaluation.alpaca_eval.questions import QUESTIONS
from pairkit.evaluation.rows import DataFile, number_field, read_rows

RUNS = 2
# What the fit depends on, summed over AlpacaEval's table, and how far a table may be from it that was rebuilt
# from published fits: the public numbers do not give its preferences one by one.
SUMS = {
    "length": (222.758, 0.05),
    "squared length": (855.382, 0.05),
    "difficulty": (-91.837, 0.01),
    "squared difficulty": (3534.534, 0.01),
    "position times difficulty": (37541.614, 1.0),
    "preference times length": (-182.710, 0.2),
    "preference times difficulty": (412.880, 0.6),
}


class Gamed(NamedTuple):
    """The gamed table.

    Attributes:
        rows: of the gamed runs.
        difficulty: position of an instruction in the evaluation set -> its difficulty.
        usual: the least and the greatest mean length term of the runs; beyond them LC extrapolates.
        known: whether the table is AlpacaEval's, by its sums (`SUMS`).
    """

    rows: Rows
    difficulty: Mapping[int, float]
    usual: tuple[float, float]
    file: DataFile
    known: bool


def read_gamed(path: Path) -> Gamed:
    """Read a table in the layout of `df_gamed.csv`.

    Raises `InputError` for another layout or values, and for other rows than two runs with each of the 805
    instructions once: with fewer or more of them the length control is another one.
    """
    rows, file = read_rows(path)
    names = ("index", "preference", "std_delta_len", "instruction_difficulty")
    numbers = np.array([[number_field(row, name, path, place) for name in names] for place, row in rows])
    index, points, length, difficulty = numbers.T
    if ((points < 0) | (points > 1)).any():
        raise InputError(f"{path}: a preference outside 0 to 1: this is not df_gamed.csv of AlpacaEval 2")
    term = np.tanh(length)
    runs: dict[str, list[float]] = {}
    places: dict[str, list[float]] = {}
    for (_, row), place, value in zip(rows, index.tolist(), term.tolist(), strict=True):
        name = str(row.get("model"))
        runs.setdefault(name, []).append(value)
        places.setdefault(name, []).append(place)
    _check_runs(places, path)
    of_instruction: dict[int, float] = {}
    for place, value in zip(index.astype(int).tolist(), difficulty.tolist(), strict=True):
        if of_instruction.setdefault(place, value) != value:
            raise InputError(f"{path}: the instruction with index {place} has two difficulties")
    means = [float(np.mean(values)) for values in runs.values()]
    known = _known(index, Rows(points, term, difficulty))
    return Gamed(Rows(points, term, difficulty), of_instruction, (min(means), max(means)), file, known)


def _check_runs(places: Mapping[str, Sequence[float]], path: Path) -> None:
    """Raise `InputError` for other than two runs (model -> indexes) with each instruction once."""
    layout = f"df_gamed.csv has {RUNS} runs of {QUESTIONS} rows, index 0 to {QUESTIONS - 1}"
    if len(places) != RUNS:
        names = ", ".join(list(places)[:3])
        raise InputError(f"{path}: rows of {len(places):,} runs (model {names}); {layout}")
    for name, indexes in places.items():
        twice = [place for place, count in Counter(indexes).items() if count > 1]
        if twice:
            raise InputError(f"{path}: run {name!r} has index {twice[0]:g} more than once; {layout}")
        if others := set(indexes) - set(range(QUESTIONS)):
            raise InputError(f"{path}: run {name!r} has index {min(others):g}; {layout}")
        if len(indexes) < QUESTIONS:
            raise InputError(f"{path}: run {name!r} has {len(indexes):,} rows; {layout}")


def _known(index: np.ndarray, rows: Rows) -> bool:
    points, length, difficulty = rows
    sums = (
        length,
        length**2,
        difficulty,
        difficulty**2,
        index * difficulty,
        points * length,
        points * difficulty,
    )
    targets = SUMS.values()
    return all(
        abs(float(terms.sum()) - value) < off for terms, (value, off) in zip(sums, targets, strict=True)
    )
