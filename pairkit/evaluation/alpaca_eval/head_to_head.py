"""Predicted win rates between models that no judge has compared, from weights against one reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.alpaca_eval.length_control import Weights, predicted_win_rate
from pairkit.evaluation.rows import DataFile, Row, number_field, read_rows
from pairkit.intervals import Floats

# The columns of AlpacaEval's file of weights, `baseline_gpt4_1106_preview.csv`.
_COLUMNS = ("np.tanh(std_delta_len)", "instruction_difficulty", "not_gamed_baseline.astype(float)")


class Published(NamedTuple):
    """The published weights of models."""

    weights: Mapping[str, Weights]
    file: DataFile


def read_weights(path: Path) -> Published:
    """Read published weights, with the model's name in `name` or the first column.

    Raises `InputError` for a file without the columns.
    """
    rows, file = read_rows(path)
    return Published(dict(_row(row, path, number) for number, row in rows), file)


def predictions(weights: Weights, others: Mapping[str, Weights], difficulty: Floats) -> dict[str, float]:
    """Return the predicted win rate over each other model, in percent."""
    return {name: 100 * predicted_win_rate(weights, other, difficulty) for name, other in others.items()}


def _row(row: Row, path: Path, number: int) -> tuple[str, Weights]:
    name = row.get("name", next(iter(row.values()), None))
    if not isinstance(name, str):
        raise InputError.at(f"the name of the model is {name!r}, not a text", file=path, row=number)
    return name, Weights(*(number_field(row, column, path, number) for column in _COLUMNS))
