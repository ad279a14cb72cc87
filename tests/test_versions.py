"""Every directory that a command writes says which version of pairkit wrote it.

Exports are in tests/dataset/test_export.py and tests/training/export/test_model.py; runs and pushed models in
tests/hub/test_model.py; evaluations, sweeps, online trainings and replications in the tests of their runs.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from support.published import build_shards

from pairkit import __version__
from pairkit.quickstart import run
from pairkit.quickstart.run import quickstart
from pairkit.quickstart.settings import Settings


def version_in(path: Path) -> str:
    return str(json.loads(path.read_text(encoding="utf-8"))["pairkit"])


def test_the_version_is_that_of_the_package():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == __version__


def test_a_build(tmp_path: Path):
    assert version_in(build_shards(tmp_path, 20) / "pairkit.json") == __version__


def test_a_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run, "candidate_sets", lambda out, settings: {})
    monkeypatch.setattr(run, "train", lambda recipe, out: out)
    monkeypatch.setattr(run, "test_problems", lambda split: None)
    monkeypatch.setattr(run.arithmetic, "groups", lambda problems: ["a", "b"])
    monkeypatch.setattr(run, "accuracy_of", lambda *_, **__: np.array([1.0, 0.5]))
    monkeypatch.setattr(run.page, "render", lambda *_: "")
    quickstart(tmp_path / "out", Settings())
    assert version_in(tmp_path / "out" / "quickstart.json") == __version__
    assert version_in(tmp_path / "out" / "results.json") == __version__
