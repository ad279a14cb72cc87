"""What a segment was: the line that it leaves in `segments.jsonl`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairkit.dataset import reader
from pairkit.online.recipe import OnlineRecipe


def of_segment(folder: Path, before: Path | None, recipe: OnlineRecipe, number: int) -> dict[str, Any]:
    """Describe the segment in `folder`, after its training; `before` is the segment before it."""
    counts = reader.load(folder / "data").manifest["counts"]
    refused = {
        f"{stage}.{name.removeprefix('quarantined_')}": number
        for stage, named in counts.items()
        for name, number in named.items()
        if name.startswith("quarantined_") and number
    }
    return {
        "prompts": counts["source"]["rows"],
        "train_sets": counts["train"]["sets"],
        "test_sets": counts.get("test", {}).get("sets", 0),
        "completions": counts["generate"]["completions"],
        "quarantined": refused,
    }
