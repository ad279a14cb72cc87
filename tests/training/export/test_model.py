"""Models of a run's checkpoints, of its best one, and of adapters merged after the fact."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.training import recipe, weights
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.errors import ExistingOutputError, InputError, ModelError, OutputError, RecipeError
from pairkit.models.resolve import resolve
from pairkit.ownership import owned_name
from pairkit.training.export.model import ExportedModel, export_model
from pairkit.training.output.entries import read_metrics
from pairkit.training.run import train
from pairkit.version import __version__

# Of peft, where it loads.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(scope="module")
def run(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps with an evaluation and a checkpoint after each; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "dpo"
    train(recipe(data, model, eval_every=1, save_every=1, keep=5), out)
    return out


@pytest.fixture(scope="module")
def adapters(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "lora"
    train(recipe(data, model, lora={"r": 4}, save_every=2), out)
    return out


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.full
def test_a_checkpoint_is_the_model_of_a_run_that_ended_there(
    tmp_path: Path, data: Path, model: Path, run: Path
) -> None:
    exported = export_model(run / "checkpoints" / "step-000002", tmp_path / "at-2")
    assert exported.folder == tmp_path / "at-2"
    assert not exported.adapters
    # Of a constant learning rate the first two steps are those of a run of two steps.
    settings: dict[str, Any] = {"optimizer": {"learning_rate": 1e-2, "schedule": "constant", "warmup": 0}}
    train(recipe(data, model, save_every=2, **settings), tmp_path / "four")
    two = train(recipe(data, model, max_steps=2, **settings), tmp_path / "two")
    at_two = export_model(tmp_path / "four" / "checkpoints" / "step-000002", tmp_path / "constant").folder
    assert equal(weights(at_two), weights(two))
    assert not equal(weights(at_two), weights(tmp_path / "four" / "model"))
    names = {path.name for path in two.iterdir()} | {"export.json"}
    assert {path.name for path in at_two.iterdir()} == names
    assert json.loads((at_two / "export.json").read_text())["pairkit"] == __version__


def test_an_unfinished_run_gives_its_last_checkpoint(tmp_path: Path, run: Path) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(run, stopped)
    shutil.rmtree(stopped / "model")
    with pytest.raises(ModelError, match=r"has not finished; .*step-000003 --as model --out DIR"):
        resolve(str(stopped))
    (stopped / "checkpoints" / ".step-000004.part").mkdir()  # being written by the run
    last = export_model(stopped, tmp_path / "last")
    assert last.source == stopped / "checkpoints" / "step-000003"
    assert (stopped / "checkpoints" / ".step-000004.part").is_dir()
    (last.source / "model.pt").write_bytes(b"damaged")
    assert export_model(stopped, tmp_path / "before").source.name == "step-000002"
    with pytest.raises(InputError, match=r"step-000003: the checkpoint is damaged \(model.pt was changed\)"):
        export_model(last.source, tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize(("metric", "values", "step"), [
    ("loss", [0.7, 0.5, 0.4, 0.6, 0.8], 2),
    ("reward_accuracy", [0.9, 0.5, 0.4, 0.6, 0.6], 3),
    ("reward_margin", [9.0, 0.1, 0.2, 0.3, 0.4], 4),
    ("chosen_logp", [0.0, -1.0, -2.0, None, -9.0], 1),
])  # fmt: skip
def test_the_best_checkpoint_by_a_metric(
    tmp_path: Path, run: Path, metric: str, values: list[float | None], step: int
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    lines = [json.dumps({"step": i, "kind": "eval", metric: value}) + "\n" for i, value in enumerate(values)]
    (copied / "metrics.jsonl").write_text("".join(lines))
    source = export_model(copied, tmp_path / "best", best=metric, dry_run=True).source
    assert source == (copied / "model" if step == 4 else copied / "checkpoints" / f"step-{step:06d}")
    assert not (tmp_path / "best").exists()


def test_the_best_may_be_the_model_of_before_a_run_got_more_steps(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own evaluation: the same step of the longer run has other weights."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "raised"
    train(recipe(data, model, max_steps=2, eval_every=1), out)
    before = read_metrics(out, "eval")
    train(recipe(data, model, max_steps=4, eval_every=1), out)
    assert [json.loads(line) for line in (out / "metrics-000002.jsonl").read_text().splitlines()][
        -1
    ] == before[-1]

    def best(shorter: float, longer: list[float]) -> ExportedModel:
        for name, values in (("metrics-000002.jsonl", [0.1, shorter]), ("metrics.jsonl", longer)):
            lines = [{"step": i, "kind": "eval", "loss": value} for i, value in enumerate(values, 1)]
            (out / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        return export_model(out, best="loss", dry_run=True)

    chosen = best(0.3, [0.2, 0.2, 0.5, 0.4])
    assert (chosen.source, chosen.folder) == (out / "model-000002", Path("runs/export/raised-000002-model"))
    assert best(0.5, [0.2, 0.2, 0.5, 0.4]).source == out / "model"
    assert best(0.4, [0.2, 0.2, 0.5, 0.4]).source == out / "model-000002"
    exported = export_model(out, tmp_path / "best", best="loss").folder
    assert equal(weights(exported), weights(out / "model-000002"))


def test_a_better_step_without_a_checkpoint_is_reported(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    losses = {entry["step"]: entry["loss"] for entry in read_metrics(run, "eval") if entry["step"]}
    best = min(losses, key=lambda step: (losses[step], step))
    shutil.rmtree(copied / ("model" if best == 4 else f"checkpoints/step-{best:06d}"))
    chosen = export_model(copied, tmp_path / "best", best="loss")
    remaining = {step: loss for step, loss in losses.items() if step != best}
    assert (
        str(min(remaining, key=remaining.__getitem__)) in chosen.source.name or chosen.source.name == "model"
    )
    assert (
        f"step {best} was better (loss {losses[best]:.4g}), but has no checkpoint" in capsys.readouterr().err
    )


@pytest.mark.full
def test_adapters_are_merged_after_the_fact(tmp_path: Path, data: Path, model: Path, adapters: Path) -> None:
    whole = train(recipe(data, model, lora={"r": 4, "merge": True}), tmp_path / "merged")
    after = export_model(adapters, tmp_path / "after", merge=True)
    assert not after.adapters
    assert equal(weights(after.folder), weights(whole))
    assert equal(
        weights(export_model(adapters / "model", tmp_path / "of-model", merge=True).folder), weights(whole)
    )
    half = export_model(adapters, tmp_path / "half", merge=True, save_dtype="bfloat16").folder
    assert weights(half)["lm_head.weight"].dtype == torch.bfloat16


def test_a_checkpoint_of_adapters_is_adapters_or_merged(tmp_path: Path, model: Path, adapters: Path) -> None:
    checkpoint = adapters / "checkpoints" / "step-000002"
    alone = export_model(checkpoint, tmp_path / "alone")
    assert alone.adapters
    saved = load_file(alone.folder / "adapter_model.safetensors")
    trained = torch.load(checkpoint / "model.pt", weights_only=True)
    assert equal({name.replace(".default", ""): value for name, value in trained.items()}, saved)
    assert resolve(str(alone.folder)).base == str(model)
    merged = export_model(checkpoint, tmp_path / "merged", merge=True)
    assert not equal(weights(merged.folder), weights(model))
    assert equal(
        weights(merged.folder), weights(export_model(alone.folder, tmp_path / "two", merge=True).folder)
    )


def test_a_run_from_scratch_with_a_trained_tokenizer(tmp_path: Path, data: Path, model: Path) -> None:
    settings = recipe(data, model / "config.json", tokenizer="bpe:300", save_every=2)
    train(settings, tmp_path / "run")
    folder = export_model(tmp_path / "run" / "checkpoints" / "step-000002", tmp_path / "out").folder
    tokenizer = (folder / "tokenizer.json").read_bytes()
    assert tokenizer == (tmp_path / "run" / "model" / "tokenizer.json").read_bytes()
    assert (
        weights(folder)["lm_head.weight"].shape == weights(tmp_path / "run" / "model")["lm_head.weight"].shape
    )


def test_an_export_is_kept_written_again_or_refused(tmp_path: Path, run: Path) -> None:
    source, out = run / "checkpoints" / "step-000002", tmp_path / "out"
    export_model(source, out)
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    export_model(source, out)
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    export_model(source, out, on_existing="delete")
    assert (out / "model.safetensors").stat().st_mtime_ns != stamp
    with pytest.raises(
        ExistingOutputError, match=r"contains an exported model with other settings: from .*000002"
    ):
        export_model(run / "checkpoints" / "step-000003", out)
    with pytest.raises(ExistingOutputError, match="already contains an exported model"):
        export_model(source, out, on_existing="raise")
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(ExistingOutputError, match="is not empty and was not created by this command"):
        export_model(source, other, on_existing="delete")
    assert [path.name for path in other.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("on_existing", ["resume", "delete"])
def test_a_second_export_to_one_directory_is_refused(tmp_path: Path, run: Path, on_existing: Any) -> None:
    out, half = tmp_path / "out", tmp_path / ".out.part" / "model.safetensors"
    half.parent.mkdir()
    with owned_name(out):
        half.write_text("half of the first one")
        with pytest.raises(OutputError, match=rf"process {os.getpid()} on .* is writing to it"):
            export_model(run, out, on_existing=on_existing)
        export_model(run, out, dry_run=True)
        assert half.exists()
        assert not out.exists()


def test_an_export_that_fails_keeps_the_one_before(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_model(run, tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise ModelError("no")

    monkeypatch.setattr("pairkit.training.export.model.load_for_generation", fail)
    with pytest.raises(ModelError):
        export_model(run, tmp_path / "out", on_existing="delete")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    with pytest.raises(ModelError):
        export_model(run, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("what", ["adapters", "base", "tokenizer"])
def test_an_export_of_changed_weights_is_another_one(
    tmp_path: Path, model: Path, adapters: Path, what: str
) -> None:
    """Weights that are written again in place, of the same size and at the same time."""
    base = Path(shutil.copytree(model, tmp_path / "base"))
    source = Path(shutil.copytree(adapters / "model", tmp_path / "adapters"))
    config = json.loads((source / "adapter_config.json").read_text())
    (source / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))
    out = tmp_path / "out"
    before = weights(export_model(source, out, merge=True).folder)
    if what == "tokenizer":
        template = source / "chat_template.jinja"
        template.write_text(template.read_text() + " ")
    else:
        file = source / "adapter_model.safetensors" if what == "adapters" else base / "model.safetensors"
        stat = file.stat()
        save_file({name: 2 * value for name, value in load_file(file).items()}, file, {"format": "pt"})
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert file.stat().st_size == stat.st_size
    with pytest.raises(ExistingOutputError, match="contains an exported model with other settings: weights"):
        export_model(source, out, merge=True)
    after = weights(export_model(source, out, merge=True, on_existing="delete").folder)
    assert equal(before, after) == (what == "tokenizer")


def test_the_command_line_prints_what_was_exported(tmp_path: Path, run: Path) -> None:
    checkpoint = run / "checkpoints" / "step-000002"

    def typed(*words: object) -> str:
        result = CliRunner().invoke(app, ["export", *map(str, words)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    out = tmp_path / "out"
    said = typed(checkpoint, "--as", "model", "--out", out, "--dry-run")
    assert said == f"a whole model of {checkpoint}\nnothing was written (--dry-run)\n"
    assert not out.exists()
    assert typed(checkpoint, "--out", out, "--dtype", "bfloat16") == f"a whole model of {checkpoint}\n{out}\n"
    assert weights(out)["lm_head.weight"].dtype == torch.bfloat16


def test_exports_that_are_refused(tmp_path: Path, run: Path, adapters: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RecipeError, match=r"--merge: .* is a whole model and has no adapters"):
        export_model(run, out, merge=True)
    with pytest.raises(
        RecipeError, match=r"holds adapters, which peft, vLLM and pairkit load .* use --merge"
    ):
        export_model(adapters, out)
    with pytest.raises(RecipeError, match="unknown metric 'accuracy'; did you mean 'reward_accuracy'"):
        export_model(run, out, best="accuracy")
    with pytest.raises(RecipeError, match=r"--best loss: .* is not a training run"):
        export_model(adapters / "model", out, best="loss")
    shutil.copytree(run, tmp_path / "bare")
    (tmp_path / "bare" / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="no evaluation has 'loss'"):
        export_model(tmp_path / "bare", out, best="loss")
    with pytest.raises(RecipeError, match="unknown dtype 'float8'"):
        export_model(run, out, save_dtype="float8")
    with pytest.raises(RecipeError, match="is what is exported"):
        export_model(run / "checkpoints" / "step-000002", run / "checkpoints" / "step-000002")
    lone = tmp_path / "step-000002"
    shutil.copytree(run / "checkpoints" / "step-000002", lone)
    with pytest.raises(InputError, match=r"has no run.json, by which a checkpoint is exported"):
        export_model(lone, out)
    assert not out.exists()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, run: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    record = json.loads((copied / "run.json").read_text())
    from support.tiny import model_folder

    record["recipe"]["model"] = str(model_folder(tmp_path / "gpt2", kind="gpt2"))
    (copied / "run.json").write_text(json.dumps(record))
    with pytest.raises(
        ModelError, match=r"step-000002: holds .*, which the model '.*gpt2' does not have in that"
    ):
        export_model(copied / "checkpoints" / "step-000002", tmp_path / "out")
    assert not (tmp_path / "out").exists()
