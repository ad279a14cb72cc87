"""A run is complete when its record says that its steps are taken, whatever is in its `model/`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.training import recipe

from pairkit.errors import ExistingOutputError, InputError
from pairkit.hub.push import push
from pairkit.training.export.model import export_model
from pairkit.training.export.source import find_source
from pairkit.training.run import train


@pytest.fixture(scope="module")
def trained(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(recipe(data, model, save_every=1, keep=5), out)
    return out


@pytest.fixture
def unfinished(trained: Path, tmp_path: Path) -> Path:
    """The run as it is after two of four steps."""
    out = Path(shutil.copytree(trained, tmp_path / "run"))
    shutil.rmtree(out / "model")
    for number in (3, 4):
        shutil.rmtree(out / "checkpoints" / f"step-{number:06d}", ignore_errors=True)
    set_record(out, steps_taken=0)
    return out


def set_record(out: Path, **fields: object) -> None:
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | fields))


@pytest.mark.full
def test_the_record_counts_the_steps(trained: Path, unfinished: Path, data: Path, model: Path) -> None:
    expected = (trained / "run.json").read_bytes()
    assert json.loads(expected)["steps_taken"] == 4
    train(recipe(data, model, save_every=1, keep=5), unfinished)
    assert (unfinished / "run.json").read_bytes() == expected


@pytest.mark.default("True", "False")
@pytest.mark.parametrize("older", [False, True])
def test_a_model_of_elsewhere_completes_no_run(
    older: bool, unfinished: Path, data: Path, model: Path, tmp_path: Path
) -> None:
    """Also in a run of a version that did not count the steps, if the model was exported."""
    step = unfinished / "checkpoints" / "step-000002"
    shutil.copytree(export_model(step, tmp_path / "elsewhere").folder, unfinished / "model")
    if older:
        record = json.loads((unfinished / "run.json").read_text())
        del record["steps_taken"]
        (unfinished / "run.json").write_text(json.dumps(record))
    with pytest.raises(ExistingOutputError, match=r"model: is not the model of this run, which has not fin"):
        train(recipe(data, model, save_every=1, keep=5), unfinished)
    for force in (False, True):
        with pytest.raises(InputError, match="finish it"):
            push(unfinished, "user/model", force=force, dry_run=True)
    assert find_source(unfinished, None) == step
    shutil.rmtree(unfinished / "model")
    train(recipe(data, model, save_every=1, keep=5), unfinished)
    assert json.loads((unfinished / "run.json").read_text())["steps_taken"] == 4


def test_a_complete_run_of_an_older_version_is_complete(
    trained: Path, data: Path, model: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(trained, tmp_path / "run"))
    record = json.loads((out / "run.json").read_text())
    del record["steps_taken"]
    (out / "run.json").write_text(json.dumps(record))
    before = (out / "model" / "model.safetensors").stat().st_mtime_ns
    train(recipe(data, model, save_every=1, keep=5), out)
    assert (out / "model" / "model.safetensors").stat().st_mtime_ns == before
