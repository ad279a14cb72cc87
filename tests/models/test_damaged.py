"""Damaged configs are refused that transformers would take."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.tiny import model_folder

from pairkit.errors import ModelError
from pairkit.models.load import MOST_PARTS, read_config
from pairkit.models.resolve import check_local, resolve


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_generation_config(content: bytes, model: Path, tmp_path: Path) -> None:
    """transformers would ignore it, and with it what ends an answer."""
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    resolve(str(folder), None)
    (folder / "generation_config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"its generation_config\.json is damaged"):
        resolve(str(folder), None)
    with pytest.raises(ModelError, match=r"its generation_config\.json is damaged"):
        check_local("model", str(folder))


@pytest.mark.parametrize(
    "fields",
    [
        *[{"architectures": value} for value in (True, 5, "LlamaForCausalLM", [5], [None], {"a": 1})],
        *[{"num_hidden_layers": value} for value in (MOST_PARTS + 1, 10**9, 10**30)],
        *[{"note": "\ud800"}, {"\ud800": 1}, {"note": {"a": ["\udfff"]}}],
    ],
)
def test_a_damaged_config(fields: dict[str, object], tmp_path: Path) -> None:
    """It would end the run that saves its model, or never be made."""
    folder = model_folder(tmp_path / "model")
    place = resolve(str(folder), None)
    content = json.loads((folder / "config.json").read_text())
    read_config(place, False)
    (folder / "config.json").write_text(json.dumps(content | fields))
    with pytest.raises(ModelError, match="cannot be loaded") as error:
        read_config(place, False)
    assert "\n" not in str(error.value)
