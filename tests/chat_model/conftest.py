"""SmolLM2-135M-Instruct and real pairs, built once: `.ci/smollm2` makes the model."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

import pairkit

PAIRS = 24
LONGEST = 700  # characters of a prompt and its longer reply


@pytest.fixture(scope="session")
def smollm2() -> Path:
    folder = os.environ.get("PAIRKIT_SMOLLM2")
    if not folder:
        pytest.skip("PAIRKIT_SMOLLM2 is not set: run .ci/smollm2")
    return Path(folder)


@pytest.fixture(scope="session")
def real_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of real chosen and rejected replies (UltraFeedback): short ones, as the model is slow."""
    data = os.environ.get("PAIRKIT_TEST_DATA")
    if not data:
        pytest.skip("PAIRKIT_TEST_DATA is not set")
    folder = tmp_path_factory.mktemp("pairs")
    rows = folder / "rows.jsonl"
    with gzip.open(Path(data) / "ultrafeedback_binarized_trl_flat.jsonl.gz", "rt", encoding="utf-8") as lines:
        short = [line for line in lines if len(line) < LONGEST]
    rows.write_text("".join(short[:PAIRS]), encoding="utf-8")
    pairkit.build({"source": {"name": "files", "path": str(rows)}, "test_fraction": 0.4}, folder / "out")
    return folder / "out"
