"""What the name of a model is: everything that a person may pass, and what is refused with a way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pairkit.errors import ModelError
from pairkit.models.resolve import check_local, resolve


def write(path: Path, content: object = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({} if content is None else content))
    return path


def adapters(folder: Path, base: str | None) -> str:
    write(folder / "adapter_config.json", {"base_model_name_or_path": base, "revision": None})
    return str(folder)


def test_a_directory_and_a_configuration_are_themselves(tmp_path: Path) -> None:
    config = write(tmp_path / "model" / "config.json")
    for name in (str(tmp_path / "model"), str(config)):
        place = resolve(name)
        assert (place.base, place.adapters, place.top) == (name, (), name)


def test_a_run_is_its_model(tmp_path: Path) -> None:
    write(tmp_path / "run" / "run.json")
    write(tmp_path / "run" / "model" / "config.json")
    assert resolve(str(tmp_path / "run")).base == str(tmp_path / "run" / "model")


def test_adapters_are_their_base_and_themselves(tmp_path: Path) -> None:
    base = write(tmp_path / "base" / "config.json").parent
    first = adapters(tmp_path / "first", str(base))
    place = resolve(first)
    assert (place.base, place.adapters, place.top) == (str(base), (first,), first)
    assert place.tokenizer() == (str(base), None)
    write(tmp_path / "first" / "tokenizer.json")
    assert place.tokenizer() == (first, None)
    assert list(place.folders()) == [base, tmp_path / "first"]


def test_adapters_of_a_run_over_adapters_are_applied_from_the_inside(tmp_path: Path) -> None:
    base = write(tmp_path / "base" / "config.json").parent
    first = adapters(tmp_path / "first", str(base))
    write(tmp_path / "run" / "run.json")
    second = adapters(tmp_path / "run" / "model", first)
    place = resolve(str(tmp_path / "run"))
    assert (place.base, place.adapters) == (str(base), (first, second))


def test_a_hub_id_keeps_its_revision_and_a_dry_run_does_not_ask() -> None:
    place = resolve("someone/model", "v2", ask_hub=False)
    assert (place.base, place.revision, place.adapters) == ("someone/model", "v2", ())


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        (
            ["m/step.json", "m/model.pt"],
            "m",
            r"it is a checkpoint of a training run; export it: pairkit export ",
        ),
        (
            ["m/step-000002/step.json"],
            "m",
            r"it holds the checkpoints .* export .*step-000002 --as model --out DIR",
        ),
        (["m/run.json"], "m", r"has not finished; run the same `pairkit train` command to finish it$"),
        (
            ["m/run.json", "m/checkpoints/step-000002/step.json", "m/checkpoints/step-000010/step.json"],
            "m",
            r"or export its last checkpoint: pairkit export .*step-000010 --as model --out DIR$",
        ),
        (["m/q4.gguf"], "m", r"GGUF weights are quantized for llama\.cpp .* pass the checkpoint"),
        (["m/q4.gguf"], "m/q4.gguf", r"GGUF weights are quantized for llama\.cpp .* pass the checkpoint"),
        (
            ["m/model.safetensors"],
            "m/model.safetensors",
            r"it is a file; pass the directory that contains it",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, files: list[str], name: str, message: str) -> None:
    for file in files:
        write(tmp_path / file)
    for check in (resolve, lambda path: check_local("model", path)):
        with pytest.raises(ModelError, match=message):
            check(str(tmp_path / name))  # type: ignore[operator]


def test_gguf_next_to_a_model_is_that_model(tmp_path: Path) -> None:
    write(tmp_path / "config.json")
    write(tmp_path / "q4.gguf")
    assert resolve(str(tmp_path)).base == str(tmp_path)


def test_adapters_without_a_base_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="name no base model"):
        resolve(adapters(tmp_path / "none", None))
    with pytest.raises(ModelError, match="name no base model"):
        resolve(adapters(tmp_path / "itself", str(tmp_path / "itself")))
    with pytest.raises(
        ModelError, match=r"were trained on '/gone/model', which does not exist here; write where"
    ):
        resolve(adapters(tmp_path / "gone", "/gone/model"))
    (tmp_path / "gone" / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="is damaged"):
        resolve(str(tmp_path / "gone"))
