"""Asking llm-blender, which runs in an environment of its own (see .ci/blender)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("blender_scores.py")


def ask_blender(*arguments: str, given: Any) -> None:
    """Run a command of `blender_scores.py`."""
    python = os.environ.get("PAIRKIT_BLENDER_PYTHON")
    if not python:
        pytest.fail(
            "PAIRKIT_BLENDER_PYTHON does not name the Python of llm-blender's environment: run .ci/blender"
        )
    done = subprocess.run(
        [python, str(SCRIPT), *arguments],
        input=json.dumps(given),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
