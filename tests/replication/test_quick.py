"""`pairkit replicate --quick` of two real replications, from nothing: so that the machinery cannot rot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pairkit.cli import app


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["N1", "N1-C"])
def test_a_quick_replication_runs_from_end_to_end(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = CliRunner().invoke(app, ["replicate", name, "--quick", "--out", str(out)])
    assert ended.exit_code == 0, ended.output
    result = json.loads((out / "replication" / f"{name}.json").read_text())
    assert result["size"] == "quick"
    assert result["seeds"] == [0]
    assert all(
        each["low"] <= each["mean"] <= each["high"] for each in result["statistics"] if each["decides"]
    )
    assert (out / "replication" / f"{name}.svg").is_file()
    assert "shows nothing" in (out / "replication.md").read_text()
