"""Two processes record what one does: each row once, and the figures of all sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.processes import SCRIPT, two_processes
from support.tiny import model_folder, random_sets, write_data

from pairkit.files import write_json
from pairkit.recipes import validate
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

RATES = {"kind", "sets_per_second", "tokens_per_second"}
# Of a draw within the pass, of one that scores before, and with the reference next to the policy.
LOSSES: dict[str, Any] = {
    "mcpo": {"name": "mcpo", "include_chosen": True, "beta": 0.5},
    "sum": {"name": "mcpo+alpha_dpo", "mcpo": {"beta": 0.5}},
    "tdpo1": "tdpo1",
}


def content(folder: Path, loss: Any) -> dict[str, Any]:
    return {
        "data": str(folder / "data"), "model": str(folder / "model"), "loss": loss, "sets_per_step": 7,
        "max_steps": 3, "max_length": 96, "tokens_per_micro_batch": 300, "eval_every": 2,
        # An epsilon above most gradients: AdamW would amplify the rounding of those that are nearly zero.
        "optimizer": {"learning_rate": 0.1, "epsilon": 0.1, "warmup": 0}, "save_every": "epoch", "epochs": 1,
        "record": {
            "figures": True, "pairs": True, "report_sets": 9,
            "samples": {"every": 2, "prompts": 5, "per_prompt": 2, "max_tokens": 5, "temperature": 0},
        },
    }  # fmt: skip


@pytest.mark.full
def test_two_processes_record_what_one_does(tmp_path: Path) -> None:
    """Samples are greedy: a rounded logit may change one that is drawn."""
    write_data(tmp_path / "data", random_sets(14), random_sets(8, seed=1))
    model_folder(tmp_path / "model")
    runs = {name: tmp_path / name for name in LOSSES}
    for name, folder in runs.items():
        write_json(folder / "recipe.json", content(tmp_path, LOSSES[name]))
    two_processes(SCRIPT, "runs", *(str(folder / "recipe.json") for folder in runs.values()))
    for name, folder in runs.items():
        one, two = tmp_path / f"one-{name}" / "run", folder / "run"
        train(validate(TrainRecipe, content(tmp_path, LOSSES[name])), one)
        for file in sorted(one.glob("[ps]*s/step-*.parquet")):
            expected = pq.read_table(file).to_pylist()
            found = pq.read_table(two / file.relative_to(one)).to_pylist()
            assert len(found) == len(expected) > 0
            for row, other in zip(found, expected, strict=True):
                for key, value in other.items():
                    close = isinstance(value, float)
                    assert row[key] == (pytest.approx(value, rel=1e-3, abs=1e-3) if close else value), file
        assert {path.name for path in (two / "models").iterdir()} == {"epoch-1"}
        for kind in ("train", "eval", "sample"):
            lines = zip(read_metrics(two, kind), read_metrics(one, kind), strict=True)
            for line, reference in lines:
                assert line.keys() == reference.keys()
                for key in line.keys() - RATES:
                    assert line[key] == pytest.approx(reference[key], rel=1e-3, abs=1e-3), (name, kind, key)
