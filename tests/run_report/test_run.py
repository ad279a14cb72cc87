"""What is read of a run: numbers of its metrics, sets, samples; and what of it is damaged."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.recorded import completions_of, lines_of, samples_of, write_run

from pairkit.errors import InputError
from pairkit.run_report.distance import reference_gap
from pairkit.run_report.drawn import by_kind, by_weight
from pairkit.run_report.find import find
from pairkit.run_report.report import report
from pairkit.run_report.run import read_run


@pytest.fixture
def changed(recorded: dict[str, Path], tmp_path: Path) -> Path:
    """A run that the test may change."""
    return Path(shutil.copytree(recorded["mcpo"], tmp_path / "run"))


def test_numbers_are_those_of_the_metrics(recorded: dict[str, Path]) -> None:
    run = read_run(recorded["mcpo"])
    lines = list(lines_of(recorded["mcpo"], "train"))
    assert run.values("train", "chosen_logp") == {line["step"]: line["chosen_logp"] for line in lines}
    assert run.values("train", "chosen_logp", "rejected_logp") == {
        line["step"]: line["chosen_logp"] - line["rejected_logp"] for line in lines
    }
    assert run.values("eval", "grad_norm") == {}
    assert [run.epoch(step) for step in (0, 3, 4)] == [0, 1, pytest.approx(4 / 3)]


def test_numbers_that_were_not_finite_are_nan(changed: Path) -> None:
    lines = [
        {"step": 1, "kind": "train", "loss": None},
        {"step": 2, "kind": "train", "loss": math.inf},  # not written by pairkit
        {"step": 3, "kind": "train"},
        {"step": 4, "kind": "train", "loss": 1},
    ]
    (changed / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_run(changed).values("train", "loss")
    assert list(found) == [1, 2, 4]
    assert np.isnan([found[1], found[2]]).all()
    assert found[4] == 1


@pytest.mark.parametrize("value", ["0.5", True, [1.0]])
def test_what_is_no_number_is_an_error_of_its_file(changed: Path, value: Any) -> None:
    (changed / "metrics.jsonl").write_text(json.dumps({"step": 1, "kind": "train", "loss": value}) + "\n")
    with pytest.raises(InputError, match=r"run/metrics\.jsonl: is damaged \(TypeError: .* is not a number\)"):
        read_run(changed).values("train", "loss")


@pytest.mark.parametrize(("split", "name"), [("train", "train"), ("eval", "test")])
def test_sets_have_every_completion_at_its_place(recorded: dict[str, Path], split: str, name: str) -> None:
    run = read_run(recorded["alpha"])
    sets = run.sets(4, split)
    rows = completions_of(recorded["alpha"], 4, name)
    assert sets.mask.shape == (len(rows), max(map(len, rows.values())))
    columns = {
        "logp": sets.logp, "ref_logp": sets.reference, "token_kl": sets.token_kl, "length": sets.length,
        "rank": sets.rank, "drawn": sets.drawn,
    }  # fmt: skip
    for place, completions in enumerate(rows.values()):
        assert sets.mask[place].sum() == len(completions)
        for column, completion in enumerate(completions):
            assert completion["column"] == column
            assert sets.origin[place, column] == completion["origin"]
            for key, values in columns.items():
                expected = math.nan if completion[key] is None else completion[key]
                assert values[place, column] == pytest.approx(expected, nan_ok=True), key
    differences = [
        completions[0]["logp"] - other["logp"] for completions in rows.values() for other in completions[1:]
    ]
    assert sets.differences(sets.logp).tolist() == pytest.approx(differences)


def test_log_probs_that_are_not_finite_are_nan(changed: Path) -> None:
    path = changed / "pairs" / "step-000004.parquet"
    table = pq.read_table(path)
    values = table["logp"].to_pylist()
    values[0], values[1] = math.inf, None
    place = table.schema.get_field_index("logp")
    pq.write_table(table.set_column(place, "logp", pa.array(values, pa.float32())), path)
    sets = read_run(changed).sets(4, "train")
    assert np.isnan(sets.logp[0, :2]).all()
    assert np.isfinite(sets.logp[sets.mask]).sum() == sets.mask.sum() - 2


def test_samples_are_those_of_the_file(recorded: dict[str, Path]) -> None:
    rows = read_run(recorded["mcpo"]).written(2)
    stored = samples_of(recorded["mcpo"], 2)
    assert rows == [{key: row[key] for key in row if key not in ("prompt", "text")} for row in stored]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40:120] = bytes(80)
    path.write_bytes(content)


def without_a_column(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns(["length"]), path)


def of_texts(path: Path) -> None:
    table = pq.read_table(path)
    place = table.schema.get_field_index("length")
    pq.write_table(table.set_column(place, "length", pa.array(["many"] * table.num_rows)), path)


@pytest.mark.parametrize("damage", [cut, flipped, without_a_column, of_texts])
@pytest.mark.parametrize("folder", ["pairs", "samples"])
def test_a_damaged_file_is_named(changed: Path, folder: str, damage: Any) -> None:
    path = changed / folder / "step-000002.parquet"
    damage(path)
    run = read_run(changed)
    with pytest.raises(
        InputError, match=rf"{folder}/step-000002\.parquet: is damaged .*; leave the run out, or train"
    ):
        run.sets(2, "train") if folder == "pairs" else run.written(2)


def test_sets_without_their_chosen_completion_are_damaged(changed: Path) -> None:
    path = changed / "pairs" / "step-000002.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(InputError, match=r"its first completion is not a chosen one"):
        read_run(changed).sets(2, "train")


def test_copies_of_files_are_not_read(changed: Path) -> None:
    for name in ("step-000002-copy.parquet", "step-.parquet", "old.parquet"):
        (changed / "pairs" / name).write_bytes(b"")
    assert sorted(read_run(changed).pairs) == [0, 2, 4]


def test_recorded_sets_of_a_resumed_run_are_compared_by_their_ids(tmp_path: Path) -> None:
    """A run may be resumed with another record.report_sets; sets are then others, in another order."""
    run = write_run(tmp_path / "run")
    path = run / "pairs" / "step-000002.parquet"
    table = pq.read_table(path)
    rows = table.filter(pa.compute.equal(table["split"], "train")).to_pylist()
    new = [{**row, "set_id": "new", "drawn": 7} for row in rows[:3]]
    others = [{**rows[7], "set_id": "wide", "column": column} for column in (1, 2, 3)]
    wide = [*rows[6:9], {**rows[6], "set_id": "wide"}, *others]
    pq.write_table(pa.Table.from_pylist([*new, *wide, *rows[:3]], table.schema), path)
    settings = find([run]).settings
    (interval,) = by_kind(settings[0]).values()
    assert interval == {"generated, rank 3": 4}  # two draws of each set that both files have
    figure = reference_gap(settings, {"run": "#3b6fe0"})
    assert {row["step"] for row in figure.tables["steps"]} == {0, 2}
    assert by_weight(settings[0])


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": None}, {"optimizer": {"learning_rate": "fast"}}, {"loss": "dpo"}, {"loss": None},
        {"record": None},
    ],
)  # fmt: skip
def test_a_record_of_another_form_is_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    run = write_run(tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "recipe": record["recipe"] | change}))
    with pytest.raises(InputError, match=r"run\.json: is damaged"):
        report([run], tmp_path / "page.html")


def test_a_plan_without_the_margins_of_its_loss_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json: is damaged \(KeyError: 'gamma'"):
        report([write_run(tmp_path / "run", {"name": "simpo"})], tmp_path / "page.html")


@pytest.mark.parametrize(("key", "value"), [("loss", 10**400), ("step", 10**30)])
def test_numbers_beyond_all_bounds_are_one_line(tmp_path: Path, key: str, value: int) -> None:
    run = write_run(tmp_path / "run")
    entry = {"step": 3, "kind": "train", "loss": 1.0, key: value}
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl: is damaged \(OverflowError"):
        report([run], tmp_path / "page.html")


def test_files_of_no_step_are_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for name in ("²³", "9" * 30, "copy"):
        (run / "pairs" / f"step-{name}.parquet").write_text("")
    assert sorted(read_run(run).pairs) == [0, 2]
