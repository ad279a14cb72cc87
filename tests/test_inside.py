"""An output inside the output of another command is refused, whether that command still runs or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.raw import ultrafeedback
from support.tiny import model_folder, random_sets, write_data
from support.training import recipe

from pairkit.dataset.export import export
from pairkit.errors import ExistingOutputError
from pairkit.models.resolve import RUN_RECORD
from pairkit.ownership import OUTPUTS, outside_others, owned, owned_name
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
from pairkit.quickstart.run import SETTINGS, quickstart
from pairkit.quickstart.settings import Settings
from pairkit.schema import MANIFEST
from pairkit.training.export.model import export_model
from pairkit.training.output.layout import HASHES, RECIPE, RECORD_OF_EXPORT
from pairkit.training.run import train

HOLDING = """
import sys
from pathlib import Path
from pairkit.ownership import owned, owned_name
out = Path(sys.argv[1])
with {"folder": lambda: owned(out), "build": lambda: owned(out, out / ".build"),
      "name": lambda: owned_name(out)}[sys.argv[2]]():
    print("held", flush=True)
    sys.stdin.read()
"""


def outputs_of(names: tuple[str, ...], folder: Path) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def test_the_names_are_those_that_commands_write() -> None:
    names = {(MANIFEST,), (RUN_RECORD, RECIPE), (SETTINGS,), (RECORD_OF_EXPORT, HASHES)}
    assert names < OUTPUTS.keys()


@pytest.mark.parametrize("names", OUTPUTS)
def test_nothing_is_written_inside_an_output(names: tuple[str, ...], tmp_path: Path) -> None:
    output = tmp_path / "output"
    outputs_of(names, output)
    (tmp_path / "link").symlink_to(output)
    before = sorted(tmp_path.rglob("*"))
    for place in ("output/model", "output/a/b/c", "link/model", "output/../output/x", "output/x.jsonl"):
        for lock in (owned, owned_name):
            message = f"is inside {output}, which holds {OUTPUTS[names]}; choose another --out"
            with pytest.raises(ExistingOutputError, match=message), lock(tmp_path / place):
                pass
    assert sorted(tmp_path.rglob("*")) == before
    for other in ("beside", "output.jsonl", "output-2/model"):
        outside_others(tmp_path / other)


def test_a_name_that_others_use_too_is_no_output(tmp_path: Path) -> None:
    for name in ("run.json", "export.json", "README.md", "config.json"):
        (tmp_path / name).write_text("{}")
    outside_others(tmp_path / "out")


@pytest.mark.parametrize("kind", ["folder", "build", "name"])
def test_nothing_is_written_inside_what_a_living_command_writes(kind: str, tmp_path: Path) -> None:
    """A killed one leaves its lock, which is no obstacle."""
    out = tmp_path / "out"
    words = [sys.executable, "-c", HOLDING, str(out), kind]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        before = sorted(tmp_path.rglob("*"))
        message = rf"is inside {out}, to which another command \(.*process {other.pid} .*\) is writing"
        for lock in (owned, owned_name):
            with pytest.raises(ExistingOutputError, match=message), lock(out / "sub" / "model"):
                pass
        assert sorted(tmp_path.rglob("*")) == before
        other.kill()
    with owned(out / "sub"):
        pass


def test_steps_of_a_command_write_inside_its_own_output(tmp_path: Path) -> None:
    with owned(tmp_path):
        (tmp_path / SETTINGS).write_text("{}")
        with owned(tmp_path / "sub"), owned_name(tmp_path / "sub" / "model"):
            pass
    with pytest.raises(ExistingOutputError), owned(tmp_path / "sub"):
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    data = write_data(folder / "sets", random_sets(24))
    train(recipe(data, model_folder(folder / "model"), max_steps=2, save_every=1), folder / "run")
    return folder


@pytest.mark.parametrize("place", ["run/model", "run/new", "run/checkpoints/step-000009", "sets/new"])
@pytest.mark.parametrize("command", ["build", "export", "export FILE", "export model", "train", "quickstart"])
def test_every_command_refuses_such_an_output(command: str, place: str, made: Path, tmp_path: Path) -> None:
    out = made / place
    source = {"name": "ultrafeedback", "path": str(ultrafeedback(tmp_path / "raw.jsonl", 4))}
    data, settings = made / "sets", Settings(seed=0, sft_steps=1, steps=1, prompts=10, samples=1)
    start = {
        "build": lambda: build(load(None, {"source": source}, {}), out / "sub", on_existing="delete"),
        "export": lambda: export(data, "openai", out / "sub", on_existing="delete", dry_run=True),
        "export FILE": lambda: export(data, "openai", out / "train.jsonl"),
        "export model": lambda: export_model(made / "run" / "checkpoints" / "step-000001", out),
        "train": lambda: train(recipe(data, made / "model", max_steps=1), out / "sub", on_existing="delete"),
        "quickstart": lambda: quickstart(out / "sub", settings, on_existing="delete"),
    }[command]
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    with pytest.raises(ExistingOutputError, match=r"is inside .*, which holds a"):
        start()
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before
