"""A training in segments ends in the bytes of one in one piece: weights, optimizer, statistics, metrics."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.grids import some
from support.segments import (
    assert_equal,
    assert_same_end,
    last_state,
    repeat_the_first_epoch,
    segments_of,
    state_of,
    train_in_segments,
)
from support.training import recipe

from pairkit.errors import ExistingOutputError, InputError
from pairkit.training.output import checkpoint
from pairkit.training.output.entries import read_entries, read_metrics
from pairkit.training.output.metrics import join_metrics
from pairkit.training.run import train
from pairkit.training.step.learning_rate import learning_rate
from pairkit.training.step.segment import Segment

LENGTHS = (3, 3, 6)  # steps of 8 of 24 sets: one epoch, one, two
TOTAL = sum(LENGTHS)
WARM = {"learning_rate": 1e-2, "warmup": 0.34, "schedule": "linear"}  # four steps, into the second segment
FIELDS: dict[str, Any] = {"max_steps": TOTAL, "optimizer": WARM, "save_every": 1, "keep": 20}


def entries(out: Path, kind: str) -> list[dict[str, Any]]:
    """The entries of one kind, without rates."""
    return [
        {key: value for key, value in entry.items() if not key.endswith("_per_second")}
        for entry in read_metrics(out, kind)
    ]


@pytest.mark.default("dpo-fields0")
@pytest.mark.parametrize(
    ("loss", "fields"),
    [
        ("dpo", {"lora": {"r": 4, "alpha": 8}}),
        ({"name": "alpha_dpo", "stats": "dataset"}, {}),
        *(
            pytest.param(*case, marks=pytest.mark.full)
            for case in (
                ("kto", {}),
                ("beta_dpo", {}),
                ("mcpo+bco:0.2+alpha_dpo:0.3", {}),
                ("tdpo1", {}),
                ("tdpo1", {"lora": {"r": 4, "alpha": 8}}),
                ("dpo", {"dtype": "bfloat16", "optimizer": WARM | {"master": "float32"}}),
                ("dpo", {"dtype": "bfloat16", "optimizer": WARM | {"rounding": "stochastic"}}),
                ("dpo", {"optimizer": WARM | {"name": "muon"}}),
                ("dpo", {"optimizer": WARM | {"name": "adamw_8bit"}}),
                ("dpo", {"optimizer": WARM | {"name": "adafactor"}}),
                ("dpo", {"expand": "pairs", "sets_per_step": 28}),
                ("dpo", {"save_dtype": "bfloat16"}),
            )
        ),
    ],
)
def test_segments_end_as_one_training(
    data: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loss: Any,
    fields: dict[str, Any],
) -> None:
    """Also through a warm-up and over an update of the statistics in each segment."""
    repeat_the_first_epoch(monkeypatch)
    settings = recipe(data, model, loss, **(FIELDS | fields))
    whole = tmp_path / "whole" / "run"
    train(settings, whole)
    outs = train_in_segments(settings, LENGTHS, tmp_path)
    assert_same_end(outs[-1], whole)
    assert [line for out in outs for line in entries(out, "train")] == entries(whole, "train")
    assert [path.name for path in checkpoint.checkpoints(outs[1] / checkpoint.CHECKPOINTS)] == [
        "step-000004", "step-000005", "step-000006",
    ]  # fmt: skip
    for out, step in ((outs[0], 3), (outs[1], 6)):  # a whole training would have the same checkpoint there
        of_whole = checkpoint.checkpoint_path(whole / checkpoint.CHECKPOINTS, step)
        assert_equal(last_state(out), state_of(of_whole))


@pytest.mark.full
def test_steps_keep_their_numbers(data: Path, model: Path, tmp_path: Path) -> None:
    settings = recipe(data, model, "dpo", **(FIELDS | {"eval_every": 2, "save_every": 5, "keep": 1}))
    outs = train_in_segments(settings, LENGTHS, tmp_path)
    steps = [[line["step"] for line in read_metrics(out, "train")] for out in outs]
    assert steps == [[1, 2, 3], [4, 5, 6], [7, 8, 9, 10, 11, 12]]
    for line in (line for out in outs for line in read_metrics(out, "train")):
        assert line["learning_rate"] == learning_rate(settings.optimizer, line["step"] - 1, TOTAL)
    evaluated = [[line["step"] for line in read_metrics(out, "eval")] for out in outs]
    assert evaluated == [[0, 2, 3], [3, 4, 6], [6, 8, 10, 12]]
    saved = [[path.name for path in checkpoint.checkpoints(out / checkpoint.CHECKPOINTS)] for out in outs]
    assert saved == [["step-000003"], ["step-000006"], ["step-000010"]]  # the last one has a model alone
    records = [json.loads((out / "run.json").read_text()) for out in outs]
    assert [(record["plan"]["steps"], record["steps_taken"]) for record in records] == [
        (3, 3), (6, 6), (12, 12),
    ]  # fmt: skip


@pytest.mark.full
def test_one_segment_is_a_training(data: Path, model: Path, tmp_path: Path) -> None:
    settings = recipe(data, model, "kto", save_every=1)
    whole = tmp_path / "whole" / "run"
    train(settings, whole)
    (out,) = train_in_segments(settings, [4], tmp_path)
    assert_same_end(out, whole)
    kept = [path.name for path in checkpoint.checkpoints(out / checkpoint.CHECKPOINTS)]
    assert kept == ["step-000002", "step-000003"]
    for kind in ("train", "eval"):
        assert entries(out, kind) == entries(whole, kind)


@pytest.fixture(scope="module")
def two(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Segment]]:
    """Two segments of two steps, trained; not to be changed."""
    parts = segments_of((2, 2), tmp_path_factory.mktemp("two"))
    for out, segment in parts:
        train(recipe(data, model, "kto", save_every=1), out, segment=segment)
    return parts


@pytest.mark.full
def test_a_complete_segment_is_not_trained_again(
    data: Path, model: Path, two: list[tuple[Path, Segment]]
) -> None:
    for out, segment in two:
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
        assert train(recipe(data, model, "kto", save_every=1), out, segment=segment) == out / "model"
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def copied(two: list[tuple[Path, Segment]], folder: Path, *, last: str | None) -> tuple[Path, Segment]:
    """Copy both runs; the second one without its model, as it is stopped after its checkpoint `last`."""
    for out, _ in two:
        shutil.copytree(out.parent, folder / out.parent.name)
    (_, (out, segment)) = segments_of((2, 2), folder)
    shutil.rmtree(out / "model")
    for path in checkpoint.checkpoints(out / checkpoint.CHECKPOINTS):
        if last is None or path.name > last:
            shutil.rmtree(path)
    return out, segment


@pytest.mark.parametrize("last", [None, "step-000003"])
def test_a_stopped_segment_ends_as_one_that_was_not(
    data: Path, model: Path, two: list[tuple[Path, Segment]], tmp_path: Path, last: str | None
) -> None:
    """With a checkpoint of its own and without one, when it begins again from its start."""
    out, segment = copied(two, tmp_path, last=last)
    train(recipe(data, model, "kto", save_every=1), out, segment=segment)
    assert_same_end(out, two[1][0])
    for kind in ("train", "eval"):
        assert entries(out, kind) == entries(two[1][0], kind)


def test_a_segment_stopped_before_its_model_is_saved_takes_no_step_again(
    data: Path, model: Path, two: list[tuple[Path, Segment]], tmp_path: Path
) -> None:
    copied(two, tmp_path, last=None)
    out, segment = segments_of((2, 2), tmp_path)[0]
    shutil.rmtree(out / "model")
    metrics = (out / "metrics.jsonl").read_bytes()
    train(recipe(data, model, "kto", save_every=1), out, segment=segment)
    assert (out / "metrics.jsonl").read_bytes() == metrics
    assert_same_end(out, two[0][0])


def test_a_run_with_another_start_is_refused(
    data: Path, model: Path, two: list[tuple[Path, Segment]], tmp_path: Path
) -> None:
    settings = recipe(data, model, "kto", save_every=1)
    out, segment = copied(two, tmp_path, last="step-000003")
    other = segments_of((2, 2), tmp_path / "other")[0]
    train(recipe(data, model, "kto", save_every=1, seed=1), other[0], segment=other[1])
    before = (out / "run.json").read_bytes()
    start = checkpoint.checkpoint_path(other[0] / checkpoint.CHECKPOINTS, 2)
    for given, message in (
        (Segment(2, 2, 4, start), "the checkpoint that it starts from is another one"),
        (Segment(2, 2, 6, segment.start), "steps 3 to 4 of 4 -> steps 3 to 4 of 6"),
        (Segment(2, 3, 5, segment.start), "steps 3 to 4 of 4 -> steps 3 to 5 of 5"),
        (None, "steps 3 to 4 of 4 -> a training in one piece"),
    ):
        with pytest.raises(ExistingOutputError, match=message):
            train(settings, out, segment=given)
    assert (out / "run.json").read_bytes() == before
    shutil.move(tmp_path / "segment-1", tmp_path / "elsewhere")  # its place may change
    moved = tmp_path / "elsewhere" / "run" / "checkpoints" / "step-000002"
    train(settings, out, segment=Segment(2, 2, 4, moved))
    assert_same_end(out, two[1][0])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda start: flip(start / "state.pt"), r"is damaged \(state.pt was changed\)"),
        (lambda start: (start / "step.json").unlink(), r"is damaged \(step.json is missing\)"),
        (shutil.rmtree, "is missing"),
    ],
)
def test_a_damaged_start_is_refused(
    data: Path, model: Path, two: list[tuple[Path, Segment]], tmp_path: Path,
    damage: Callable[[Path], Any], reason: str,
) -> None:  # fmt: skip
    out, segment = copied(two, tmp_path, last=None)
    assert segment.start is not None
    damage(segment.start)
    with pytest.raises(InputError, match=rf"step-000002: .* steps 3 to 4 of 4 start from {reason}.*put back"):
        train(recipe(data, model, "kto", save_every=1), out, segment=segment)


def test_a_start_of_another_step_is_refused(
    data: Path, model: Path, two: list[tuple[Path, Segment]], tmp_path: Path
) -> None:
    settings = recipe(data, model, "kto", save_every=1)
    with pytest.raises(InputError, match="steps 4 to 5 of 5 start from the checkpoint of step 3"):
        train(settings, tmp_path / "run", segment=Segment(3, 2, 5, two[1][1].start))
    assert not (tmp_path / "run").exists()


def test_a_segment_that_cannot_be_is_refused() -> None:
    for given in (
        (0, 5, 4, None),
        (0, 0, 4, None),
        (-1, 2, 4, None),
        (0, 2, 4, Path("start")),
        (2, 2, 4, None),
    ):
        with pytest.raises(ValueError, match=r"not a part of|cannot start from"):
            Segment(*given)


def test_the_metrics_of_segments_become_one_file(two: list[tuple[Path, Segment]], tmp_path: Path) -> None:
    runs = [out for out, _ in two]
    join_metrics(tmp_path, dict.fromkeys(runs, 0))
    lines = read_entries(tmp_path / "metrics.jsonl")
    assert [(line["segment"], line["step"]) for line in lines if line["kind"] == "train"] == [
        (1, 1), (1, 2), (2, 3), (2, 4),
    ]  # fmt: skip
    assert [(line["segment"], line["step"]) for line in lines if line["kind"] == "eval"] == [
        (1, 0), (1, 2), (2, 2), (2, 4),
    ]  # fmt: skip
    without = [{key: value for key, value in line.items() if key != "segment"} for line in lines]
    assert without == [entry for run in runs for entry in read_entries(run / "metrics.jsonl")]
    before = (tmp_path / "metrics.jsonl").read_bytes()
    join_metrics(tmp_path, dict.fromkeys(runs, 0))  # at every start
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    join_metrics(tmp_path, {runs[0]: 0, tmp_path / "not begun": 2})
    assert len(read_entries(tmp_path / "metrics.jsonl")) == 4
    join_metrics(tmp_path, {runs[0]: 10})  # of a run that counts from 0
    assert [line["step"] for line in read_metrics(tmp_path, "train")] == [11, 12]


def margins(out: Path) -> list[float]:
    return [abs(line["reward_margin"]) for line in read_metrics(out, "eval")]


@pytest.mark.parametrize(
    "fields",
    some(
        lambda fields: "lora" not in fields,
        [{}, {"lora": {"r": 4, "alpha": 8}}, {"save_dtype": "bfloat16"}],
    ),
)
def test_the_reference_may_be_the_model_of_the_segment_before(
    data: Path, model: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    """The first margin is then 0, to the bit, unless the saved model is rounded; of the start it is not."""
    parts = segments_of((2, 2), tmp_path)
    settings = recipe(data, model, "dpo", **fields)
    train(settings, parts[0][0], segment=parts[0][1])
    previous = settings.model_copy(update={"reference": str(parts[0][0] / "model")})
    train(previous, parts[1][0], segment=parts[1][1])
    rounded = "save_dtype" in fields
    assert (margins(parts[1][0])[0] == 0) != rounded
    fixed = tmp_path / "fixed" / "run"
    train(settings, fixed, segment=parts[1][1])
    first, last = margins(fixed)
    assert first == pytest.approx(margins(parts[0][0])[-1], rel=1e-4)
    assert margins(parts[1][0])[0] < 0.2 * first
    assert min(margins(parts[1][0])[-1], last) > 0
