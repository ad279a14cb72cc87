"""Checkpoints with code of their own, which transformers copies into a folder and keeps loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def load_from(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have transformers copy code to `modules`, and forget the code that earlier tests have loaded."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        monkeypatch.delitem(sys.modules, name)
