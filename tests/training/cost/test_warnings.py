"""Labels out of balance are said, with weights that balance them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.tiny import candidate_sets, completion, write_data
from support.training import recipe

from pairkit.training.cost.warnings import warnings
from pairkit.training.plan import plan


def said(folder: Path, model: Path, loss: Any = "kto") -> list[str]:
    return list(warnings(plan(recipe(folder, model, loss))))


def labeled(folder: Path, desirable: int, undesirable: int, pairs: int = 0) -> Path:
    ends = [completion("red cat", score=1.0)] * desirable + [completion("blue dog", score=0.0)] * undesirable
    rows = [(f"{i} tree", [end]) for i, end in enumerate(ends)]
    both = [(f"{i} house", [completion("red", 1), completion("blue", 2)]) for i in range(pairs)]
    return write_data(folder / "data", candidate_sets([*rows, *both]))


@pytest.mark.parametrize(
    ("desirable", "undesirable", "pairs"), [(12, 3, 0), (3, 12, 0), (9, 0, 3), (5, 14, 4)]
)
def test_the_weights_that_are_given_balance_the_labels(
    tmp_path: Path, model: Path, desirable: int, undesirable: int, pairs: int
) -> None:
    folder = labeled(tmp_path, desirable, undesirable, pairs)
    (text,) = said(folder, model)
    good, bad = desirable + pairs, undesirable + pairs
    assert text.startswith(
        f"kto: {good} desirable and {bad} undesirable completions, weighted {good / bad:.3g} to 1"
    )
    found = re.search(r"--loss\.(\w+)_weight ([\d.]+)", text)
    assert found
    weight = {"desirable": 1.0, "undesirable": 1.0, found[1]: float(found[2])}
    assert 0.99 <= weight["desirable"] * good / (weight["undesirable"] * bad) <= 4 / 3 * 1.01
    assert max(weight.values()) <= 1  # a larger one would raise the learning rate
    assert said(folder, model, {"name": "kto", f"{found[1]}_weight": float(found[2])}) == []
    (of_sum,) = said(folder, model, "kto+sft")
    assert f"--loss.kto.{found[1]}_weight" in of_sum


def test_balanced_labels_pairs_and_one_kind(tmp_path: Path, data: Path, model: Path) -> None:
    assert said(labeled(tmp_path / "a", 8, 6), model) == []
    assert said(data, model) == []  # pairs alone have one of each
    (text,) = said(labeled(tmp_path / "b", 6, 0), model)
    assert (
        text == "kto: all completions are desirable; it compares both kinds and needs some of the other one"
    )
