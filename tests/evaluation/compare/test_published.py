"""The paired differences of the vectors: win rates, plain and length-controlled, and solved problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from support import alpaca
from support.evaluations import measured

from pairkit.evaluation.alpaca_eval.length_control import length_controlled
from pairkit.evaluation.compare.paired import Difference, difference
from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.measures import Measured
from pairkit.evaluation.results import Run


def vectors(folder: Path, benchmark: str) -> Any:
    return json.loads((folder / "eval_vectors.json").read_text())[benchmark]["paired"]


def compared(*pair: Measured) -> Difference:
    settings = [
        Setting(name, (Run(Path(name), {}, {one.name: one}),)) for name, one in zip("ab", pair, strict=True)
    ]
    return difference(settings[0], settings[1], pair[0].name)


def test_win_rates_plain_and_length_controlled(real_data: Path) -> None:
    def ids(model: str) -> list[str]:
        frame = alpaca.annotations(real_data).filter(pl.col("result_dir") == model)
        return [str(number) for number in frame["example_idx"]]

    def win_rate(model: str) -> Measured:
        return Measured("win_rate", ids(model), alpaca.rows_of(real_data, model).points, share=True)

    def controlled(model: str) -> Measured:
        found = length_controlled(alpaca.rows_of(real_data, model), alpaca.gamed(real_data).rows)
        estimate = {"value": found.value, "influence": found.influence}
        return Measured("lc", ids(model), found.predicted, share=True, **estimate)  # type: ignore[arg-type]

    for vector in vectors(real_data, "alpaca_eval2"):
        models = vector["first"], vector["second"]
        plain = compared(*map(win_rate, models))
        lc = compared(*map(controlled, models))
        assert plain.n == lc.n == vector["n"]
        found = [plain.value, plain.se, plain.unpaired_se, lc.value, lc.se]
        names = ["win_rate_difference", "se_paired", "se_unpaired", "lc_difference", "lc_se_paired"]
        assert found == pytest.approx([vector[name] for name in names], abs=1e-5)


def test_solutions_of_math_problems(real_data: Path) -> None:
    rows = alpaca.lines(real_data / "gsm8k_example_model_solutions.jsonl.gz")
    vector = vectors(real_data, "gsm8k")
    found = compared(
        *(
            measured("accuracy", list(np.array([row[vector[side]]["is_correct"] for row in rows], float)))
            for side in ("first", "second")
        )
    )
    assert (found.n, found.higher, found.lower) == (799, vector["first_only"], vector["second_only"])
    assert (found.value, found.se) == pytest.approx((vector["difference"], vector["se"]), abs=1e-5)
