"""A damaged generation config is refused: transformers would ignore it, with what ends an answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pairkit.errors import ModelError
from pairkit.models.resolve import check_local, resolve


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_generation_config(content: bytes, model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    resolve(str(folder), None)
    (folder / "generation_config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"its generation_config\.json is damaged"):
        resolve(str(folder), None)
    with pytest.raises(ModelError, match=r"its generation_config\.json is damaged"):
        check_local("model", str(folder))
