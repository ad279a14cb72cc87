"""The table of engines: fields, libraries and errors all follow from it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from pairkit.engines.recipe import EngineRecipe
from pairkit.engines.table import ENGINES, UNPUBLISHED, EngineRow, library_version
from pairkit.errors import MissingExtraError, RecipeError
from pairkit.recipes import validate

GUIDE = Path(__file__).parents[2] / "docs" / "generating.md"


def test_every_row_reads_fields_that_exist() -> None:
    for name, row in ENGINES.items():
        assert row.reads <= EngineRecipe.model_fields.keys(), name
        assert row.help.strip(), name
        assert "\n" not in row.help, name
        assert f"`{name}`" in GUIDE.read_text(encoding="utf-8"), name
        assert EngineRecipe(engine=name, model="m").engine == name
    assert EngineRecipe.model_fields.keys() >= UNPUBLISHED


def test_a_field_of_another_engine_is_refused() -> None:
    for field, value in {"batch_tokens": 8, "vllm": {}, "base_url": "http://x", "revision": "main"}.items():
        for name, row in ENGINES.items():
            content = {"engine": name, "model": "m", field: value}
            if field in row.reads:
                validate(EngineRecipe, content)
            else:
                with pytest.raises(RecipeError, match=f"'{field}' is for engine .*, not {name}"):
                    validate(EngineRecipe, content)


def test_an_unknown_engine_names_the_nearest_and_what_each_is() -> None:
    with pytest.raises(RecipeError) as error:
        validate(EngineRecipe, {"engine": "vlm", "model": "m"})
    assert str(error.value).startswith("unknown engine 'vlm'; did you mean 'vllm'? Known: ")
    for name, row in ENGINES.items():
        assert f"{name} ({row.help})" in str(error.value)


def test_a_library_is_found_in_any_of_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    row = EngineRow("x", "m:f", "m:g", libraries={"some": ("no-such-package", "numpy")}, extra="more")
    lost = EngineRow("x", "m:f", "m:g", libraries={"lost": ("no-such-package",)}, extra="more")
    monkeypatch.setitem(ENGINES, "some", row)
    monkeypatch.setitem(ENGINES, "lost", lost)
    assert library_version("some") == library_version("numpy") == version("numpy")
    with pytest.raises(MissingExtraError, match=r"lost is not installed: pip install 'pairkit\[more\]'"):
        library_version("lost")
