"""Runs on several datasets: their shares, their order, what they are recorded as, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tiny import candidate_sets, completion, model_folder, short_run, write_data

from pairkit.dataset import reader
from pairkit.dataset.mixed import MixedData, MixedPart, open_data
from pairkit.errors import ExistingOutputError, InputError, RecipeError
from pairkit.recipes import validate
from pairkit.training.cost.warnings import warnings
from pairkit.training.output.layout import RECORD
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train


def sets(name: str, count: int, scale: float = 1.0) -> pa.Table:
    both = [completion("old cat", 1, score=5 * scale), completion("red dog", 2, score=scale)]
    return candidate_sets([(f"{name} {number}", both) for number in range(count)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_data(root / "a", sets("a", 140), sets("held a", 14))
    write_data(root / "b", sets("b", 100), sets("held b", 10))
    write_data(root / "percent", sets("p", 30, scale=20.0))
    model_folder(root / "model")
    return root


def recipe(folders: Path, data: Any, **fields: Any) -> TrainRecipe:
    loss = fields.pop("loss", {"name": "dpo"})
    return validate(TrainRecipe, short_run(folders, folders / "model", loss) | {"data": data} | fields)


def recipe_parts(data: list[str]) -> Any:
    return tuple(MixedPart.model_validate(each) for each in data)


def both(folders: Path) -> list[str]:
    return [f"{folders / 'a'}:0.7", f"{folders / 'b'}:0.3"]


def names(data: Any, split: str, limit: int | None = None) -> list[str]:
    return [row[0]["content"] for table in data.tables(split, limit) for row in table["prompt"].to_pylist()]


def test_sets_are_mixed_by_weight_in_a_fixed_order(folders: Path) -> None:
    made = recipe(folders, both(folders))
    data = open_data(made.data, "train", seed=0)
    assert isinstance(data, MixedData)
    train = names(data, "train")
    assert Counter(name[0] for name in train) == {"a": 140, "b": 60}
    assert len(set(train)) == data.rows("train") == 200
    assert train == names(open_data(made.data, "train", seed=0), "train")
    assert train != names(open_data(made.data, "train", seed=1), "train")
    assert names(data, "train", 20) == train[:20]
    assert Counter(name[0] for name in train[:50])["a"] == pytest.approx(35, abs=3)
    assert Counter(name.split()[1] for name in names(data, "test")) == {"a": 14, "b": 6}


def test_every_set_is_as_it_is_in_its_dataset(folders: Path) -> None:
    data = open_data(recipe(folders, both(folders)).data, "train", seed=0)
    mixed = {row["set_id"]: row for table in data.tables("train") for row in table.to_pylist()}
    for name in ("a", "b"):
        own = [row for t in reader.load(folders / name).tables("train") for row in t.to_pylist()]
        assert sum(mixed.get(row["set_id"]) == row for row in own) == {"a": 140, "b": 60}[name]


def test_many_datasets_are_read_with_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pairkit import mixture

    # More than one batch in a row group, and more than one dataset per open file.
    monkeypatch.setattr(reader, "ROWS", 4)
    for number in range(12):
        write_data(tmp_path / f"d{number}", sets(f"{number}", 3 + number))
    made = [str(tmp_path / f"d{number}") for number in range(12)]
    parts = recipe_parts(made)
    whole = names(open_data(parts, "train", seed=0), "train")
    assert len(set(whole)) == sum(3 + number for number in range(12))

    real, most = pq.ParquetFile, 0
    opened: set[int] = set()

    class Counted(real):  # type: ignore[misc, valid-type]
        def __enter__(self) -> Any:
            nonlocal most
            opened.add(id(self))
            most = max(most, len(opened))
            return super().__enter__()

        def __exit__(self, *error: Any) -> None:
            opened.discard(id(self))
            super().__exit__(*error)

    monkeypatch.setattr(pq, "ParquetFile", Counted)
    monkeypatch.setattr(mixture.Streams.__init__, "__defaults__", (3,))
    assert names(open_data(parts, "train", seed=0), "train") == whole
    assert not opened
    assert 0 < most <= 3


def test_without_weights_all_sets_are_used(folders: Path) -> None:
    data = open_data(recipe(folders, [str(folders / "a"), str(folders / "b")]).data, "train", seed=0)
    assert data.rows("train") == 240


def test_a_run_on_a_mixture_stops_and_continues(folders: Path, tmp_path: Path) -> None:
    made = recipe(folders, both(folders))
    train(made, tmp_path / "whole")
    record = json.loads((tmp_path / "whole" / RECORD).read_text())
    assert [part["weight"] for part in record["recipe"]["data"]] == [0.7, 0.3]
    assert set(record["content"]["data"]) == {
        f"{name}/data/{split}-00000-of-00001.parquet" for name in "ab" for split in ("train", "test")
    }
    train(recipe(folders, both(folders), max_steps=2), tmp_path / "part")
    train(made, tmp_path / "part")
    metrics = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "part")
    ]
    losses = [[line["loss"] for line in lines if line["kind"] == "train"] for lines in metrics]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def test_another_mixture_is_another_run_and_is_told_by_its_parts(folders: Path, tmp_path: Path) -> None:
    train(recipe(folders, both(folders), max_steps=1), tmp_path / "run")
    a, b = both(folders)
    renamed = {"data": str(folders / "b"), "weight": 0.3, "name": "c"}
    others = {
        "data: a has weight 0.5, had weight 0.7; data: b has weight 0.5, had weight 0.3": [
            f"{folders / 'a'}:0.5",
            f"{folders / 'b'}:0.5",
        ],
        "data: b is not one of the datasets any more; data: c was not one of the datasets": [a, renamed],
        "data: the datasets come in another order": [b, a],
        "data: b is not one of the datasets any more; data: a has no weight, had weight 0.7": str(
            folders / "a"
        ),
        f"data: b is '{folders / 'percent'}', was '{folders / 'b'}'": [
            a,
            renamed | {"data": str(folders / "percent"), "name": "b"},
        ],
    }
    for lines, data in others.items():
        with pytest.raises(ExistingOutputError) as refused:
            train(recipe(folders, data, max_steps=1), tmp_path / "run")
        told = str(refused.value)
        assert f"with other settings: {lines}. Choose another --out" in told


def test_scales_of_scores_that_differ_are_warned_of(folders: Path) -> None:
    mixed = [f"{folders / 'a'}:1", f"{folders / 'percent'}:1"]
    scored = {"name": "infonca"}
    found = list(warnings(plan(recipe(folders, mixed, loss=scored))))
    assert any("scales differ: a/test 1 to 5, percent/test 20 to 100; rank" in line for line in found)
    # Neither for a loss that reads no scores nor for one scale.
    assert not any("scales" in line for line in warnings(plan(recipe(folders, mixed))))
    assert not any("scales" in line for line in warnings(plan(recipe(folders, both(folders), loss=scored))))


def test_held_out_prompts_that_are_trained_on_are_warned_of(folders: Path, tmp_path: Path) -> None:
    write_data(tmp_path / "c", sets("held a", 10), sets("c", 5))
    found = list(warnings(plan(recipe(folders, [str(folders / "a"), str(tmp_path / "c")]))))
    assert any(line.startswith("10 held-out prompts are trained on as well") for line in found)
    assert not any("held-out prompts" in line for line in warnings(plan(recipe(folders, both(folders)))))


def test_a_dataset_that_was_changed_is_named(folders: Path, tmp_path: Path) -> None:
    write_data(tmp_path / "c", sets("c", 20))
    write_data(tmp_path / "d", sets("d", 20))
    write_data(tmp_path / "new", sets("e", 20))
    file = "data/train-00000-of-00001.parquet"
    (tmp_path / "d" / file).write_bytes((tmp_path / "new" / file).read_bytes())
    with pytest.raises(InputError, match=f"not as it was built: d/{file} was changed"):
        plan(recipe(folders, [str(tmp_path / "c"), str(tmp_path / "d")]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["a:0.7", "b"], "'b' has no weight, but others have: give all a weight, or none"),
        (["a:1", "b:0"], "recipe key 'data.1': Input should be greater than 0"),
        (["a:1", "b:-2"], "recipe key 'data.1': Input should be greater than 0"),
        (["x/a:1", "y/a:1"], "'a' occurs twice; give each a name, as in data="),
        ([], "names no dataset"),
        ([{"data": "a", "wieght": 1}], "unknown recipe key"),
    ],
)
def test_mixtures_that_are_refused(folders: Path, data: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(folders, data)


def test_one_dataset_is_no_mixture(folders: Path) -> None:
    assert recipe(folders, [str(folders / "a")]).data == str(folders / "a")


def test_a_dataset_without_the_split_is_refused(folders: Path) -> None:
    with pytest.raises(InputError, match="percent: no split 'test'"):
        plan(recipe(folders, [*both(folders)[:1], f"{folders / 'percent'}:1"], train_split="test"))
