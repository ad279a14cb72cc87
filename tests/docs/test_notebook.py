"""docs/example.ipynb: its cells run, in one session, in seconds, without jupyter."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import example_notebook
import pytest
from support.hub_server import Hub

ROOT = Path(__file__).parents[2]
NOTEBOOK = json.loads((ROOT / "docs" / "example.ipynb").read_text(encoding="utf-8"))


def run(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does; return the value of its last line if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_the_notebook_is_what_the_script_writes() -> None:
    assert (ROOT / "docs" / "example.ipynb").read_text(encoding="utf-8") == example_notebook.text(), (
        "stale; write it again with: python docs/example_notebook.py"
    )
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_every_cell_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], hub: Hub
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    cells = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    values = [run(source, names) for source in cells]
    printed = capsys.readouterr().out
    assert sum(values[0].values()) == 60
    assert [rank for _, rank, _ in values[1]] == [1, 2, 3]
    assert set(values[2]) >= {"prompt", "chosen", "rejected"}
    assert "run/model" in printed
    assert f"{values[0]['test']} of {values[0]['test']}" in printed  # it learns
    assert values[5] > 0
    assert "README.md" in values[6]
