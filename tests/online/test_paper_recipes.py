"""The recipes of MC-PO's online setting, from prompts to a policy, with tiny models instead of real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import raw
from support.loopback import chat_server
from support.online import OF_PAPERS
from support.tiny import dice_model

from pairkit.online.recipe import load
from pairkit.online.run import online


@pytest.mark.full
@pytest.mark.parametrize("name", OF_PAPERS)
def test_it_runs_in_three_segments(name: str, tmp_path: Path) -> None:
    """The judge likes length, so that the best of six samples is the longest."""
    writer = dice_model(tmp_path / "writer", "abcdefgh ", end=0.1)
    rows = (raw.nectar if "nectar" in name else raw.ultrafeedback)(tmp_path / "rows.jsonl", 9)
    with chat_server(tmp_path, judge=True, longest=True) as judge:
        small = {
            "model": str(writer),
            "build": {
                "source": {"path": str(rows)},
                "generate": {"engine": "transformers", "max_tokens": 12},
                "rank": {"model": "tiny", "base_url": judge.url},
                "test_fraction": 0,
            },
            "train": {"template": "none", "max_steps": 3, "sets_per_step": 2, "trackers": []},
        }
        recipe = load(name, small)
        out = tmp_path / "out"
        online(recipe, out)
    lines = [json.loads(line) for line in (out / "segments.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    assert (out / "model" / "config.json").is_file()
    assert recipe.completions == 6
    assert all(line["usable_share"] > 0.5 for line in lines)
