"""Golden curves: what ten training steps report, as text in tests/golden/LOSS.txt.

    PYTHONPATH=tests python -m support.golden [LOSS...]     writes them, by default all; the commit says why

Data and weights are random, made by the tests; the learning rate is high, so that ten steps go somewhere.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from support.tiny import model_folder, random_sets, write_data
from transformers import AutoModelForCausalLM

from pairkit.recipes import validate
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

FOLDER = Path(__file__).parents[1] / "golden"
# The usual ones; then one of each kind: chosen completions alone, an online reference, and whatever else a
# loss may need of a pass, of the batch or of the sampler.
LOSSES = (
    "dpo", "simpo", "mcpo", "kto", "alpha_dpo", "cpo",
    "sft", "tdpo2", "wpo", "ld_dpo", "bco", "beta_dpo", "amapo", "aot_unpaired", "rnce", "infonca", "lipo",
)  # fmt: skip
LEFT_OUT = {"kind", "learning_rate", "skipped", "tokens_per_second", "sets_per_second"}
NONE = "-"  # a mean over nothing

Curve = list[dict[str, float]]


def material(folder: Path) -> Path:
    """Make the data and models of the curves.

    The reference is not the policy, because rounding would decide the order of the first step's rewards.
    """
    write_data(folder / "data", random_sets(40))
    model = AutoModelForCausalLM.from_pretrained(model_folder(folder / "model"))
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=random))
    model.save_pretrained(folder / "reference")
    return folder


def curve(loss: str, folder: Path) -> Curve:
    """Train in `folder`, next to its material."""
    recipe: dict[str, Any] = {
        "data": str(folder / "data"), "model": str(folder / "model"), "loss": loss, "sets_per_step": 4,
        "reference": str(folder / "reference"), "max_length": 96,
        "optimizer": {"learning_rate": 1e-2, "warmup": 0},
    }  # fmt: skip
    train(validate(TrainRecipe, recipe), folder / loss)
    return [
        {name: value for name, value in entry.items() if name not in LEFT_OUT}
        for entry in read_metrics(folder / loss, "train")
    ]


def text(curve: Curve) -> str:
    """Format one column per metric, six significant digits."""
    names = list(dict.fromkeys(name for entry in curve for name in entry))
    rows = [names, *([_cell(entry.get(name)) for name in names] for entry in curve)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + "\n" for row in rows
    )


def read(written: str) -> Curve:
    """Read what `text` wrote."""
    names, *rows = (line.split() for line in written.splitlines())
    return [
        {name: float(cell) for name, cell in zip(names, row, strict=True) if cell != NONE} for row in rows
    ]


def _cell(value: float | None) -> str:
    return NONE if value is None else f"{value:.6g}"


def main(*losses: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = material(Path(name))
        for loss in losses or LOSSES:
            (FOLDER / f"{loss}.txt").write_text(text(curve(loss, folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
