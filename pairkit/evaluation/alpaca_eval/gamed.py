"""The table that length control needs: difficulties of instructions, and the gamed runs of the reference.

Its layout is that of `df_gamed.csv` in the Hub dataset `tatsu-lab/alpaca_eval`. The file is never shipped,
because its license is non-commercial.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pairkit.errors import InputError
from pairkit.evaluation.alpaca_eval.length_control import Rows
from pairkit.evaluation.rows import DataFile, number_field, read_rows


class Gamed(NamedTuple):
    """The gamed table.

    Attributes:
        rows: of the gamed runs.
        difficulty: position of an instruction in the evaluation set -> its difficulty.
        usual: the least and the greatest mean length term of the runs; beyond them LC extrapolates.
    """

    rows: Rows
    difficulty: Mapping[int, float]
    usual: tuple[float, float]
    file: DataFile


def read_gamed(path: Path) -> Gamed:
    """Read a table in the layout of `df_gamed.csv`. Raises `InputError` for another layout or values."""
    rows, file = read_rows(path)
    names = ("index", "preference", "std_delta_len", "instruction_difficulty")
    numbers = np.array([[number_field(row, name, path, place) for name in names] for place, row in rows])
    index, points, length, difficulty = numbers.T
    if ((points < 0) | (points > 1)).any():
        raise InputError(f"{path}: a preference outside 0 to 1: this is not df_gamed.csv of AlpacaEval 2")
    of_instruction: dict[int, float] = {}
    for place, value in zip(index.astype(int).tolist(), difficulty.tolist(), strict=True):
        if of_instruction.setdefault(place, value) != value:
            raise InputError(f"{path}: the instruction with index {place} has two difficulties")
    term = np.tanh(length)
    runs: dict[str, list[float]] = {}
    for (_, row), value in zip(rows, term.tolist(), strict=True):
        runs.setdefault(str(row.get("model")), []).append(value)
    means = [float(np.mean(values)) for values in runs.values()]
    return Gamed(Rows(points, term, difficulty), of_instruction, (min(means), max(means)), file)
