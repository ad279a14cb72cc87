"""The table of sources and its documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pairkit.errors import RecipeError
from pairkit.sources import SOURCES, find_source
from pairkit.sources.base import SourceRecipe

DOCS = Path(__file__).parents[2] / "docs" / "sources.md"


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_described(name: str) -> None:
    source = SOURCES[name]
    assert source.name == name
    assert source.summary
    assert "\n" not in source.summary
    assert source.license
    assert source.splits
    assert source.hub_id is None or source.homepage.endswith(source.hub_id)
    assert f"`{name}`" in DOCS.read_text(encoding="utf-8") or name == "hub"


def test_hub_ids_find_their_source() -> None:
    for source in SOURCES.values():
        if source.hub_id:
            assert find_source(source.hub_id) is source
    assert find_source("someone/else").name == "hub"


def test_an_unknown_source_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="did you mean 'nectar'"):
        find_source("nektar")


def test_every_field_of_the_recipe_is_read() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in (Path(__file__).parents[2] / "pairkit" / "sources").rglob("*.py")
    )
    for field in SourceRecipe.model_fields:
        assert f"recipe.{field}" in code or f'"{field}"' in code, field


def test_every_reason_is_documented() -> None:
    package = Path(__file__).parents[2] / "pairkit"
    reasons = {
        reason
        for folder in ("sources", "readers")
        for path in (package / folder).rglob("*.py")
        for call in re.findall(r"(?:report|BadLine)\((.*?)\)\n", path.read_text(encoding="utf-8"), re.DOTALL)
        for reason in re.findall(r'"([a-z]+_[a-z0-9_]+)"', call)
        if not reason.endswith(("_1", "_2")) and reason not in ("output_2", "tool_calls")
    }
    text = DOCS.read_text(encoding="utf-8")
    assert len(reasons) > 12
    assert {reason for reason in reasons if f"`{reason}`" not in text} == set()
