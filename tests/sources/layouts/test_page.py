"""docs/formats.md says what the table of layouts says, and its commands run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.sources.layouts.table import LAYOUTS

SCRIPT = Path(__file__).parents[3] / "docs" / "formats.py"


@pytest.fixture
def formats() -> ModuleType:
    spec = importlib.util.spec_from_file_location("formats_page", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_written_from_the_table(formats: ModuleType) -> None:
    assert formats.PAGE.read_text(encoding="utf-8") == formats.page(), (
        "stale; write it again with: python docs/formats.py"
    )


SOME = ("conversation", "pairs", "single", "verl_prompts")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SOME else [pytest.mark.full]) for name in LAYOUTS]
)
def test_the_command_of_a_layout_runs_on_its_example(
    formats: ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text(LAYOUTS[name].example, encoding="utf-8")
    words = formats.command(LAYOUTS[name]).split()[1:]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
