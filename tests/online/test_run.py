"""An online training from end to end: what it leaves, whose completions they are, what equals what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support import online as runs

from pairkit import __version__
from pairkit.dataset import reader
from pairkit.engines.generate import SampleSettings, generate_tables
from pairkit.engines.transformers import load_transformers
from pairkit.errors import ExistingOutputError, InputError, Interrupted
from pairkit.hub.dataset import built_dataset
from pairkit.online.plan import Part
from pairkit.online.prompts import PROMPTS
from pairkit.online.run import online, planned
from pairkit.online.segment import Segment
from pairkit.recipes import validate
from pairkit.schema import SETS
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train


@pytest.fixture
def out(whole: Path) -> Path:
    return whole


def sets_of(folder: Path) -> list[dict[str, Any]]:
    data = reader.load(folder)
    return [row for split in data.splits for table in data.tables(split) for row in table.to_pylist()]


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def greedy(model: Path | str, sets: list[dict[str, Any]]) -> dict[str, str]:
    """The most probable completion of each prompt by a model that is loaded here."""
    import pyarrow as pa

    table = pa.Table.from_pylist(sets, schema=SETS)
    settings = SampleSettings(runs.recipe(Path(model)).generate.samples[:1], max_tokens=4, seed=0)
    (result,) = generate_tables([table], load_transformers(str(model)), settings)
    return {row["prompt_id"]: row["completions"][0]["text"] for row in result.sets.to_pylist()}


def test_each_segment_leaves_a_dataset_a_run_and_a_line(out: Path) -> None:
    lines = [json.loads(line) for line in (out / "segments.jsonl").read_text().splitlines()]
    assert [(line["segment"], line["first"], line["steps"]) for line in lines] == [
        (1, 0, 2),
        (2, 2, 2),
        (3, 4, 2),
    ]
    published: list[str] = []
    for line in lines:
        folder = out / f"segment-{line['segment']}"
        counts = reader.load(folder / "data").manifest["counts"]
        assert counts["source"]["rows"] == line["prompts"] == 14  # twelve for two steps, and those held out
        assert line["train_sets"] + line["test_sets"] + sum(line["quarantined"].values()) == 14
        files = built_dataset(folder / "data").files
        assert {"README.md", "data/train-00000-of-00001.parquet"} <= files.keys()
        published += files
        assert (folder / "run" / "model" / "config.json").is_file()
    # What mining has left out is a part of a dataset that can be pushed.
    assert any(name.startswith("dropped/") for name in published)
    assert json.loads((out / "online.json").read_text())["pairkit"] == __version__
    assert not (out / "segment-1" / "run" / "checkpoints").exists()
    assert weights(out / "model") == weights(out / "segment-3" / "run" / "model")


def test_steps_and_learning_rate_run_through(out: Path) -> None:
    entries = read_metrics(out, "train")
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert [entry["segment"] for entry in entries] == [1, 1, 2, 2, 3, 3]
    rates = [entry["learning_rate"] for entry in entries]
    assert rates[0] == 0  # of the warm-up, which is not repeated
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert len(set(rates)) == 6


def test_no_prompt_comes_twice_and_its_metadata_is_the_sources(out: Path) -> None:
    rows = [
        row for number in (1, 2, 3) for row in pq.read_table(out / f"segment-{number}" / PROMPTS).to_pylist()
    ]
    ids = [row["prompt_id"] for row in rows]
    assert len(set(ids)) == len(ids) == 42
    every = {row["prompt_id"]: row for row in pq.read_table(out / PROMPTS).to_pylist()}
    assert len(every) == 60
    assert all(row == every[row["prompt_id"]] for row in rows)
    for row in sets_of(out / "segment-1" / "data"):
        assert (
            json.loads(row["metadata"])["answer"] == json.loads(every[row["prompt_id"]]["metadata"])["answer"]
        )


def test_completions_of_a_segment_are_those_of_the_weights_before_it(out: Path, model: Path) -> None:
    """And not of the start's: a fresh load of each checkpoint completes greedily what the segment did."""
    before: Path | str = model
    for number in (1, 2, 3):
        sets = sets_of(out / f"segment-{number}" / "data")
        fresh = greedy(before, sets)
        made = {
            (row["prompt_id"], c["text"])
            for row in sets
            for c in row["completions"]
            if c["sampling"]["temperature"] == 0
        }
        assert len(made) > len(sets) / 2  # a sampled one with the same text may stand for it
        assert made <= set(fresh.items())
        if number > 1:
            assert len(made - set(greedy(model, sets).items())) > len(made) / 2
        assert {c["model"] for row in sets for c in row["completions"]} == {"/".join(Path(before).parts[-2:])}
        before = out / f"segment-{number}" / "run" / "model"


def test_the_same_command_again_changes_nothing(out: Path, model: Path) -> None:
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    online(runs.recipe(model), out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if ".lock" not in path.name} == written


@pytest.mark.full
def test_one_segment_gives_the_weights_of_train(model: Path, tmp_path: Path) -> None:
    recipe = runs.recipe(model, segments=1, train={"max_steps": 3, "eval_every": 1})
    out = tmp_path / "online"
    online(recipe, out)
    alone = validate(
        TrainRecipe,
        runs.content(model)["train"]
        | {"data": str(out / "segment-1" / "data"), "model": str(model), "max_steps": 3, "eval_every": 1},
    )
    train(alone, tmp_path / "train" / "run")
    assert weights(tmp_path / "train" / "run" / "model") == weights(out / "model") != weights(model)


def test_other_settings_are_refused_and_free_ones_are_not(out: Path, model: Path) -> None:
    with pytest.raises(ExistingOutputError, match="an online training with other settings: segments 3 -> 2"):
        online(runs.recipe(model, segments=2), out)
    online(runs.recipe(model, train={"log_every": 5}, build={"card": {"license": "mit"}}), out)


@pytest.mark.parametrize("gone", ["segment-1/run/model", "segment-1/run/checkpoints/step-000002"])
def test_a_segment_states_what_is_gone_of_the_one_before(gone: str, tmp_path: Path) -> None:
    recipe = runs.recipe(runs.start_model(tmp_path / "start"))
    for name in {"segment-1/run/model", "segment-1/run/checkpoints/step-000002"} - {gone}:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(InputError, match=rf"{gone}: is missing.*--on-existing delete"):
        Segment(recipe, tmp_path, Part(2, 2, 2, 14, 14), 6).run()
    assert not (tmp_path / "segment-2").exists()


@pytest.mark.full
def test_a_stop_keeps_what_is_done_and_the_weights_are_the_same(
    out: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the first segment's ranking: nothing is trained yet, and answers are not asked again."""
    calls: list[int] = []
    target = tmp_path / "out"

    def stop() -> None:
        calls.append(1)
        if len(calls) == 20 or (target / "segment-2").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(runs, "before_check", [stop])
    for finished in (0, 1):
        with pytest.raises(Interrupted, match="again to continue"):
            online(runs.recipe(model), target)
        assert (target / "segment-1" / "run").exists() == bool(finished)
    first = "segment-1/run/model"
    assert weights(target / first) == weights(out / first)


@pytest.mark.full
def test_a_restart_trains_each_segment_from_the_last_policy(model: Path, tmp_path: Path) -> None:
    recipe = runs.recipe(model, segments=2, restart="optimizer", reference="previous", train={"max_steps": 4})
    online(recipe, tmp_path / "out")
    records = [
        json.loads((tmp_path / "out" / f"segment-{n}" / "run" / "run.json").read_text())["recipe"]
        for n in (1, 2)
    ]
    first = str(tmp_path / "out" / "segment-1" / "run" / "model")
    assert [(each["model"], each["reference"]) for each in records] == [(str(model), None), (first, None)]
    entries = read_metrics(tmp_path / "out", "train")
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4]
    # The second schedule begins again.
    assert entries[0]["learning_rate"] == entries[2]["learning_rate"]


@pytest.mark.parametrize(
    ("fields", "model_2", "reference_2"),
    [
        ({}, "start", None),
        ({"reference": "previous"}, "start", "previous"),
        ({"restart": "optimizer"}, "previous", "start"),
        ({"restart": "optimizer", "reference": "previous"}, "previous", None),
        ({"train": {"reference": "other"}}, "start", "other"),
    ],
)
def test_models_and_references_of_the_second_segment(
    fields: dict[str, Any], model_2: str, reference_2: str | None
) -> None:

    recipe = runs.recipe(Path("start"), **fields)
    second = Segment(recipe, Path("out"), Part(2, 2, 2, 14, 14), 6).train_recipe(Path("data"))
    names = {"previous": "out/segment-1/run/model"}
    assert second.model == names.get(model_2, model_2)
    assert second.reference == (reference_2 and names.get(reference_2, reference_2))


@pytest.mark.full
def test_a_segment_without_a_usable_set_states_which_and_why(model: Path, tmp_path: Path) -> None:
    recipe = runs.recipe(model, build={"rank": {"check": "support.online:never"}})
    with pytest.raises(
        InputError,
        match=r"segment 1 of 3: .*no usable candidate set in 14 rows \(.*no_choice.*set mine\.require_choice="
        r"false; .*; fields of the build begin with build\. here$",
    ):
        online(recipe, tmp_path / "out")


def test_a_dry_run_writes_nothing_and_shows_what_it_would_cost(model: Path, tmp_path: Path) -> None:
    shown = planned(runs.recipe(model), tmp_path / "out")
    assert not list(tmp_path.iterdir())
    assert [part["completions"] for part in shown["segments"]] == [42, 42, 42]
    assert shown["total"]["generated_tokens_at_most"] == 126 * 4
    assert "model" not in shown["recipe"]["build"]["generate"]
