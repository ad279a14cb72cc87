"""Every record of pairkit's is read by one function, and whatever it holds ends as one line."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.grids import some
from support.promises.counting import ROOT
from support.tiny import model_folder, random_sets, write_data
from support.training import recipe

from pairkit.dataset.export import export
from pairkit.errors import PairkitError
from pairkit.files import DEPTH, parsed, read_record
from pairkit.hub.push import push
from pairkit.quickstart.run import quickstart
from pairkit.quickstart.settings import Settings
from pairkit.training.export.model import export_model
from pairkit.training.run import train

DEEP = "[" * 100_000
CONTENTS = {
    "deep": DEEP,
    "deep object": '{"a":' * 100_000,
    "deep, but read by Python": f'{{"recipe": {"[" * 900}{"]" * 900}, "files": {{}}}}',
    "deep in a key": f'{{"plan": {"[" * 500}{"]" * 500}}}',
    "no object": "[1]",
    "empty": "",
    "other types": '{"recipe": 1, "data": 2, "plan": 3, "starts": 4, "files": 5, "step": 6}',
    "lists": '{"recipe": [], "data": [], "plan": [], "starts": [], "files": [], "input": []}',
    "null": "null",
    "digits": '{"recipe": ' + "9" * 5000 + "}",
}
SOME = ("deep", "no object", "other types", "empty", "digits")  # a kind of damage each


def test_no_other_function_reads_a_file_of_json() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "pairkit").rglob("*.py")}
    for path, source in sources.items():
        for node in ast.walk(ast.parse(source if "json.load" in source else "")):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.loads", "json.load"):
                read = ast.unparse(node.args[0])
                assert ".read_text(" not in read, f"{path}: read_json({read})"
                assert ".read_bytes(" not in read, f"{path}: read_json({read})"
                assert ast.unparse(node.func) == "json.loads", path


@pytest.mark.parametrize(
    "text",
    [
        *(DEEP, '{"a":' * 100_000, "[" * (DEPTH + 1) + "]" * (DEPTH + 1), "x", "9" * 5000),
        *('{"a": ["\\ud800"]}', '{"\\uDFFF": 1}', b'"\xed\xa0\x80"'),
    ],
)
def test_what_cannot_be_parsed_or_written_again_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # RecursionError is none
        parsed(text)


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert parsed('"\\ud83d\\ude00 \\u00e9"') == "😀 é"


def test_a_record_is_as_deep_as_a_recipe_may_be(tmp_path: Path) -> None:
    value: object = 1
    for _ in range(100):
        value = {"a": [value]}
    (tmp_path / "run.json").write_text(json.dumps(value))
    with pytest.raises(PairkitError, match="200 levels"):
        read_record(tmp_path / "run.json", "train again")
    inner = value["a"][0]  # type: ignore[index]
    (tmp_path / "run.json").write_text(json.dumps(inner))
    assert read_record(tmp_path / "run.json", "train again") == inner


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    data = write_data(folder / "sets", random_sets(24))
    train(recipe(data, model_folder(folder / "model"), max_steps=2, save_every=1), folder / "run")
    return folder


Command = Callable[[Path], object]
SETTINGS = Settings(seed=0, sft_steps=1, steps=1, prompts=10, samples=1)
COMMANDS: dict[str, tuple[str, Command]] = {
    "train": ("sets/pairkit.json", lambda here: train(recipe(here / "sets", here / "model"), here / "new")),
    "export": ("sets/pairkit.json", lambda here: export(here / "sets", "openai", here / "new.jsonl")),
    "push": ("sets/pairkit.json", lambda here: push(here / "sets", "me/sets", dry_run=True)),
    "train again": (
        "run/run.json",
        lambda here: train(recipe(here / "sets", here / "model", max_steps=2), here / "run"),
    ),
    "push of a run": ("run/run.json", lambda here: push(here / "run", "me/model", dry_run=True)),
    "push, hashes": ("run/model/hashes.json", lambda here: push(here / "run", "me/model", dry_run=True)),
    "push, config": ("run/model/config.json", lambda here: push(here / "run", "me/model", dry_run=True)),
    "export of a run": (
        "run/run.json",
        lambda here: export_model(here / "run" / "checkpoints" / "step-000001", here / "new"),
    ),
    "best": ("run/run.json", lambda here: export_model(here / "run", here / "new", best="loss")),
    "export of a step": (
        "run/checkpoints/step-000001/step.json",
        lambda here: export_model(here / "run" / "checkpoints" / "step-000001", here / "new"),
    ),
    "export of metrics": ("run/metrics.jsonl", lambda here: export_model(here / "run", best="loss")),
    "export over an export": ("new/export.json", lambda here: export_model(here / "run", here / "new")),
    "quickstart": ("new/quickstart.json", lambda here: quickstart(here / "new", SETTINGS)),
    "export beside": ("new/pairkit.json", lambda here: export(here / "sets", "openai", here / "new")),
}


@pytest.mark.parametrize("kind", some(lambda kind: kind in SOME, CONTENTS))
@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_record_is_one_line(command: str, kind: str, whole: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("sets", "model", "run"):
        (here / name).symlink_to(whole / name)
    name, start = COMMANDS[command]
    top = here / Path(name).parts[0]
    if (whole / top.name).is_dir():
        top.unlink(missing_ok=True)
        shutil.copytree(whole / top.name, top)
    (here / name).parent.mkdir(parents=True, exist_ok=True)
    (here / name).write_text(CONTENTS[kind] + ("\n" if name.endswith(".jsonl") else ""))
    with pytest.raises(PairkitError) as error:
        start(here)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    # Others lack what the command does not read, and a pairkit.json that is no JSON is somebody else's.
    if kind in ("deep", "deep object") and command != "export beside":
        assert Path(name).name in str(error.value)
