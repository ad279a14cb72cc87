"""A training run with damaged state ends with the weights of the undamaged one, or with one line."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from support.fuzzing.bounds import bounded
from support.fuzzing.cases import SLOW, fuzz
from support.fuzzing.commands import one_line, untouched
from support.fuzzing.damages import Damage, damaged, damages
from support.published import hashes
from support.tiny import model_folder, random_sets, write_data
from support.training import recipe

from pairkit.errors import PairkitError
from pairkit.files import LOCK
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train


class State:
    """A run of three steps that was killed in its last one, with its stores of tokens and reference."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        data = write_data(folder / "data", random_sets(12), random_sets(4, seed=1))
        fields = {"max_steps": 3, "save_every": 1, "keep": 3, "sets_per_step": 4, "trackers": []}
        self.recipe: TrainRecipe = recipe(data, model_folder(folder / "model"), "dpo", **fields)
        self.weights = self.model(train(self.recipe, folder / "stopped" / "run"))
        shutil.rmtree(folder / "stopped" / "run" / "model")
        shutil.rmtree(max((folder / "stopped" / "run" / "checkpoints").iterdir()))

    @staticmethod
    def model(folder: Path) -> dict[str, str]:
        # The card tells how long the run took.
        return {name: digest for name, digest in hashes(folder).items() if name != "README.md"}

    def check(self, damage: Damage) -> str:
        """Train after the damage, twice; return how that ended."""
        case = self.folder / "case"
        damaged(self.folder / "stopped", case, damage)
        ended = ""
        for _ in range(2):
            try:
                with bounded(60), untouched(self.folder, case):
                    trained = train(self.recipe, case / "run")
            except PairkitError as error:
                one_line(error)
                ended = "refused"
                continue
            assert self.model(trained) == self.weights
            assert ended != "refused", "refused at first, and trained by the same command"
            ended = "the same"
        return ended


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> State:
    return State(tmp_path_factory.mktemp("state"))


@pytest.mark.parametrize("cases", [2, SLOW])
def test_any_state_of_a_run(cases: int | None, state: State) -> None:
    seen: Counter[str] = Counter()

    @given(damages(state.folder / "stopped", (LOCK,)))
    def check(damage: Damage) -> None:
        seen[state.check(damage)] += 1

    fuzz(check, cases, seen, ends={"the same"})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("starts.0.versions", "\ud800"),
        ("recipe.data", None),
        ("recipe.data", [None]),
        ("recipe.data", {}),
        ("recipe.data", [{"data": 3}]),
    ],
)
def test_a_record_with_a_value_of_another_kind_is_one_line(place: str, value: Any, state: State) -> None:
    record = json.loads((state.folder / "stopped" / "run" / "run.json").read_text())
    *above, last = (int(key) if key.isdigit() else key for key in place.split("."))
    reduce(getitem, above, record)[last] = value
    damage = Damage("run/run.json", "write", json.dumps(record).encode())
    assert state.check(damage) == "refused"


@pytest.mark.default("run.json-3", "run.json-{}", "run.json-", "metrics.jsonl-content3")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("metrics.jsonl", content) for content in ("?\n", "{}\n", "\xff\n", "[" * 100_000 + "\n")),
        *(("run.json", content) for content in ("", "3", "{}", "[" * 100_000)),
        *(pytest.param("metrics.jsonl", content, marks=pytest.mark.full) for content in ("3\n", "[]\n")),
    ],
)
def test_damaged_records_of_a_run_are_one_line(name: str, content: str, state: State) -> None:
    damage = Damage(f"run/{name}", "write", content.encode("latin-1"))
    assert state.check(damage) == "refused"
