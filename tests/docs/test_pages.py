"""Pages and drawings that scripts write are current, and what docs/installing.md states of imports holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import packed_pass
import pytest
import support_matrix

from pairkit.losses import LOSSES

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "tensorboard",
    "matplotlib",
    "datasets",
    "aiohttp",
)
BLOCKED = f"""
import sys
for name in {HEAVY!r}:
    sys.modules[name] = None  # an import of it fails
from pairkit.cli import app
if app(sys.argv[1:], standalone_mode=False):  # an exit code
    raise SystemExit(1)
assert "pandas" not in sys.modules  # which pyarrow imports where it can
"""


def test_the_support_matrix_is_current() -> None:
    assert support_matrix.PAGE.read_text(encoding="utf-8") == support_matrix.page(), (
        "stale; write it again with: PYTHONPATH=tests:. python docs/support_matrix.py"
    )


def test_cells_of_the_matrix_differ_with_the_tests() -> None:
    assert support_matrix.SETTINGS["LoRA"].losses() >= {"dpo", "mcpo", "reward_bt"}
    assert "sppo" not in support_matrix.SETTINGS["LoRA"].losses()
    assert set(support_matrix.SETTINGS["two processes"].losses()) == set(LOSSES)
    assert support_matrix.refusal("pairrm", {"lora": {}})
    assert support_matrix.refusal("dpo", {"lora": {}}) is None
    with pytest.raises(ValueError, match="does not exist"):
        support_matrix._test("training/test_lora.py::test_that_was_renamed")


def test_the_drawing_is_current() -> None:
    assert packed_pass.FILE.read_text(encoding="utf-8") == packed_pass.drawing(), (
        "stale; write it again with: python docs/packed_pass.py"
    )


def test_data_work_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt,chosen,rejected\nWhy?,Because.,No.\nHow?,So.,No.\n")
    # No hub: what would be sent is listed all the same.
    environment = {**os.environ, "HF_TOKEN": "", "HF_ENDPOINT": "http://127.0.0.1:9"}
    for line in (
        "inspect rows.csv",
        "build --source files --path rows.csv",
        "export runs/data/files --as trl",
        "push runs/data/files me/files --dry-run",
    ):
        done = subprocess.run(
            [sys.executable, "-c", BLOCKED, *line.split()], cwd=tmp_path, env=environment,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stderr)
    assert (tmp_path / "runs/export/files-trl/train.parquet").is_file()
