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
from support.recorded import completions_of, lines_of, samples_of

from pairkit.errors import InputError
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
