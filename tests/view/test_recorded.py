"""What a training run recorded of a set: log-probs, sampled negatives, their weights; runs on other data."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.recorded import completions_of, record, recorded_data, write_run
from support.sets_to_view import cut, spoil
from support.tiny import completion, model_folder, random_sets, write_data

from pairkit.dataset.layout import read_manifest
from pairkit.errors import InputError
from pairkit.view.collection import about, opened
from pairkit.view.evidence.recorded import open_run, recorded
from pairkit.view.one_set import one_set


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset, and a run of MC-PO on it that recorded pairs."""
    folder = tmp_path_factory.mktemp("trained")
    data = recorded_data(folder / "data")
    return data, record(folder / "runs", data, model_folder(folder / "model"), "mcpo")["mcpo"]


def sets_of(data: Path, run: Path) -> Iterator[dict[str, Any]]:
    with opened(data, run=run) as collection:
        assert about(collection)["run"] == str(run)
        for row in range(collection.index.listing.size):
            yield one_set(collection, row)


def test_log_probs_are_those_of_the_run_and_belong_to_their_completions(trained: tuple[Path, Path]):
    data, run = trained
    shown = 0
    for content in sets_of(data, run):
        for step in content["run"]["steps"]:
            rows = completions_of(run, step["step"], content["split"])[content["set_id"]]
            assert [each["logp"] for each in step["completions"]] == [row["logp"] for row in rows]
            assert [each["ref_logp"] for each in step["completions"]] == [row["ref_logp"] for row in rows]
            for each in step["completions"]:
                text = content["completions"][each["position"]]
                assert (text["rank"], text["origin"]) == (each["rank"], each["origin"])
            shown += 1
        if content["split"] == "test":  # all held-out sets are recorded
            assert [step["step"] for step in content["run"]["steps"]] == [0, 2, 4]
    # And sixteen training sets.
    assert shown == 3 * (8 + 16)


def test_negatives_are_counted_between_evaluations(trained: tuple[Path, Path]):
    data, run = trained
    drawn = 0
    for content in sets_of(data, run):
        steps = content["run"]["steps"]
        if content["split"] == "test":
            assert all(
                each["drawn"] is None and each["new"] is None for s in steps for each in s["completions"]
            )
            continue
        for column in range(len(steps[0]["completions"]) if steps else 0):
            each = [step["completions"][column] for step in steps]
            assert sum(row["new"] for row in each) == each[-1]["drawn"]
            drawn += each[-1]["drawn"]
    assert drawn > 0


def test_weights_are_those_of_the_kernel(trained: tuple[Path, Path]):
    data, run = trained
    for content in sets_of(data, run):
        for step in content["run"]["steps"]:
            chosen, *others = step["completions"]
            assert chosen["weight"] == 0.0
            # Softmax of beta times the log-ratios, beta = 0.5.
            powers = [math.exp(0.5 * (each["logp"] - each["ref_logp"])) for each in others]
            expected = [power / sum(powers) for power in powers]
            assert [each["weight"] for each in others] == pytest.approx(expected)


def test_without_torch_all_but_the_weights_is_shown(
    trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    """On a machine that only prepares data, pairkit may be installed without torch (docs/installing.md)."""
    data, run = trained
    whole = list(sets_of(data, run))
    monkeypatch.setitem(sys.modules, "torch", None)
    for content, known in zip(sets_of(data, run), whole, strict=True):
        if not known["run"]["steps"]:
            continue
        assert content["run"]["note"] == "weights need torch: pip install torch"
        for step, before in zip(content["run"]["steps"], known["run"]["steps"], strict=True):
            assert step["completions"] == [{**each, "weight": None} for each in before["completions"]]


def test_a_set_without_a_record_says_why(trained: tuple[Path, Path], tmp_path: Path):
    data, run = trained
    notes = {content["run"]["note"] for content in sets_of(data, run)}
    assert notes == {
        None,
        "the run recorded other sets: it records all held-out ones, and record.report_sets training sets",
    }
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("run.json", "recipe.yaml"):
        (plain / name).write_text((run / name).read_text())
    lines = [{"split": "train", "set_id": "x", "reason": "no_choice", "detail": "a tie"}]
    (plain / "refused.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = recorded(open_run(plain, {"": read_manifest(data)}, "", {})[0], "x", "train", [])
    assert found["note"] == "the run recorded no pairs: train with record.pairs=true"
    assert found["refused"] == "no_choice: a tie"


def test_runs_on_other_data_are_refused(trained: tuple[Path, Path], tmp_path: Path):
    _, run = trained
    other = write_data(tmp_path / "other", random_sets(3, seed=5))
    with pytest.raises(InputError) as error, opened(other, run=run):
        pass
    data = json.loads((run / "run.json").read_text())["recipe"]["data"]
    assert str(error.value) == f"{run}: was trained on other data ({data}): open those, or leave --run out"


def test_a_directory_that_is_no_run_is_refused(trained: tuple[Path, Path], tmp_path: Path):
    data, _ = trained
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text('{"plan": 3}')
    for path, message in {
        tmp_path / "nothing": "no such directory: give --run a directory that `pairkit train` wrote",
        data: "no training run: give --run a directory",
        tmp_path / "damaged": "run.json: is damaged (",
    }.items():
        with pytest.raises(InputError) as error, opened(data, run=path):
            pass
        assert message in str(error.value)


def test_files_of_pairs_have_no_run(trained: tuple[Path, Path], tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n')
    with pytest.raises(InputError, match="was trained on other data"), opened(path, run=trained[1]):
        pass


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        *[("negatives", "weights", value) for value in (10**30, "x", None, [], {"a": 1})],
        *[("loss", "name", value) for value in (10**30, None, [], {"a": 1})],
        *[("loss", "beta", value) for value in (10**30, "x", [], None)],
    ],
)
def test_settings_of_another_form_are_named_or_shown(
    part: str, name: str, value: object, trained: tuple[Path, Path], tmp_path: Path
):
    data, run = trained
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    settings = record["recipe"]["loss"] if part == "loss" else record["plan"]["negatives"]
    for of_file in ({**settings, name: value}, {key: settings[key] for key in settings.keys() - {name}}):
        settings.clear()
        settings |= of_file
        (tmp_path / "run" / "run.json").write_text(json.dumps(record))
        problem = None
        try:
            for content in sets_of(data, tmp_path / "run"):
                orjson.dumps(content)
        except InputError as error:
            problem = str(error)
        assert problem is None or re.search(r"run\.json: is damaged \(.*\); choose another --run", problem)


@pytest.mark.parametrize("value", [[], [[]], {"a": 1}, 5, None])
def test_hashes_of_another_form_are_of_no_file(value: object, trained: tuple[Path, Path], tmp_path: Path):
    shutil.copytree(trained[0], tmp_path / "data")
    manifest = json.loads((tmp_path / "data" / "pairkit.json").read_text())
    for file in manifest["files"].values():
        file["sha256"] = value
    (tmp_path / "data" / "pairkit.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="was trained on other data"):
        next(sets_of(tmp_path / "data", trained[1]))


def test_damaged_records_are_named_and_the_set_is_shown(trained: tuple[Path, Path], tmp_path: Path):
    data, run = trained
    for harm in (cut, lambda path: spoil(path, "logp")):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(run, tmp_path / "run")
        harm(tmp_path / "run" / "pairs" / "step-000002.parquet")
        content = next(sets_of(data, tmp_path / "run"))
        assert content["run"] is None
        assert content["completions"]
        assert "step-000002.parquet: is damaged" in content["problems"][0]


def test_segments_of_an_online_training_show_their_own_runs(trained: tuple[Path, Path], tmp_path: Path):
    data, run = trained
    out = tmp_path / "out"
    shutil.copytree(data, out / "segment-1" / "data")
    shutil.copytree(run, out / "segment-1" / "run")
    # Sets of the same ids, with other completions: another segment.
    write_data(out / "segment-2" / "data", random_sets(24, completions=3, seed=3))
    (out / "online.json").write_text("{}")

    def shown(path: Path | None) -> set[tuple[str, bool]]:
        with opened(out, run=path) as collection:
            every = [one_set(collection, row) for row in range(collection.index.listing.size)]
            return {(each["segment"], each["run"] is not None) for each in every}

    assert shown(None) == {("1", True), ("2", False)}
    assert shown(out / "segment-1" / "run") == shown(run) == {("1", True), ("2", False)}
    # Trained on a mixture of segments, whose files are no segment's: it is known by where it is.
    record = json.loads((run / "run.json").read_text())
    record["content"]["data"], record["data"] = {"data/train-00000-of-00001.parquet": "mixed"}, "mixed"
    (out / "segment-1" / "run" / "run.json").write_text(json.dumps(record))
    assert shown(out / "segment-1" / "run") == {("1", True), ("2", False)}


def rows(*kinds: tuple[int | None, str]) -> list[dict[str, Any]]:
    return [
        {"split": "train", "set_id": "s", "column": number, "rank": rank, "origin": origin, "length": 3,
         "logp": -1.0, "ref_logp": None, "token_kl": None, "drawn": None}
        for number, (rank, origin) in enumerate(kinds)
    ]  # fmt: skip


def positions(tmp_path: Path, recorded_rows: list[dict[str, Any]], *ranks: int | None) -> list[int | None]:
    from pairkit.training.record.schemas import PAIR_ROWS

    run = write_run(tmp_path / "run")
    for path in (run / "pairs").iterdir():
        path.unlink()
    pq.write_table(pa.Table.from_pylist(recorded_rows, PAIR_ROWS), run / "pairs" / "step-000001.parquet")
    fields = json.loads((run / "run.json").read_text())
    fields["data"] = "d"
    fields["recipe"]["data"] = "d"
    (run / "run.json").write_text(json.dumps(fields))
    completions = [
        {**completion(str(place), rank), "position": place, "origin": "noise" if rank is None else "source"}
        for place, rank in enumerate(ranks)
    ]
    (step,) = recorded(open_run(run, {"": {}}, "d", {})[0], "s", "train", completions)["steps"]
    return [each["position"] for each in step["completions"]]


def test_rows_of_a_run_are_matched_with_completions_where_that_is_certain(tmp_path: Path):
    source, noise_ = "source", "noise"
    # All of them; without a tie with the best; and those of which one was left out.
    assert positions(tmp_path, rows((1, source), (2, source), (None, noise_)), 1, 2, None) == [0, 1, 2]
    assert positions(tmp_path, rows((1, source), (3, source)), 1, 1, 3) == [0, 2]
    assert positions(tmp_path, rows((1, source), (3, source)), 1, 2, 3) == [0, 2]
    assert positions(tmp_path, rows((1, source), (2, source)), 1, 2, 2) == [0, None]
    assert positions(tmp_path, rows((1, source)), 1, 2) == [0]
    # With expand=pairs each pair is an example.
    pairs = [*rows((1, source), (2, source)), *rows((1, source), (3, source))]
    assert positions(tmp_path, pairs, 1, 2, 3) == [0, 1, 0, 2]
