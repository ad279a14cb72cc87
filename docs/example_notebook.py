"""Write docs/example.ipynb, the Python interface as a notebook: `python docs/example_notebook.py`.

The cells are here, so that they are reviewed as code. A test runs the notebook, and fails when it is stale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("example.ipynb")

# A cell of text begins with a hash and a space in its first line.
CELLS = (
    """\
# pairkit in a notebook

From rows to candidate sets, to a trained model, to its log-probs. Everything is tiny and made here: no
download, some seconds on a CPU. The functions do what the commands of the same names do; see docs/api.md.""",
    """\
import json
from pathlib import Path

import pairkit

rows = [
    {"prompt": f"Can you count to {n}?", "completions": ["Gladly.", "Yes.", "No."], "scores": [1.0, 0.5, 0.0]}
    for n in range(60)
]
Path("rows.jsonl").write_text("\\n".join(map(json.dumps, rows)))
recipe = pairkit.BuildRecipe(source={"name": "files", "path": "rows.jsonl"}, test_fraction=0.2)
data = pairkit.build(recipe, "replies")
{split: data.rows(split) for split in data.splits}""",
    """\
# A candidate set

Completions are stored best first, each with its rank and score. Pairs are a view.""",
    """\
sets = next(data.tables("train"))
[(c["text"], c["rank"], c["score"]) for c in sets["completions"][0].as_py()]""",
    """\
next(data.pairs("train", rejected="worst")).to_pylist()[0]""",
    """\
# Train

A tiny Llama from random weights, with MC-PO: the negative of each set is sampled with the current policy.""",
    """\
config = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 2,
}
Path("config.json").write_text(json.dumps(config))
training = pairkit.TrainRecipe(
    data="replies", model="config.json", tokenizer="bpe:300", loss={"name": "mcpo", "beta": 0.1},
    max_steps=30, sets_per_step=8, trackers=[], optimizer={"learning_rate": 3e-3},
)
model = pairkit.train(training, "run")
print(model)""",
    """\
# Did it learn?

Log-probs of every completion of the held-out sets, and how often the best one has the highest per token.""",
    """\
scores = pairkit.score(model, data, split="test")
means = [
    [logp / tokens for logp, tokens in zip(row["logps"], row["tokens"], strict=True)]
    for row in scores.to_pylist()
]
print(f"{sum(row[0] == max(row) for row in means)} of {len(means)}")""",
    """\
# A loss by hand

Losses are functions of tensors: log-probs `[sets, completions]`, the chosen completion first.""",
    """\
import torch

logps, tokens = (torch.tensor(scores[name].to_pylist()) for name in ("logps", "tokens"))
logps, tokens = logps[:, :2], tokens[:, :2]  # SimPO takes pairs
policy = pairkit.losses.Logps(logps, tokens, torch.ones_like(tokens, dtype=torch.bool))
loss = pairkit.losses.build("simpo")
round(float(loss(policy).losses.mean()), 3)""",
    """\
# What would be published

`dry_run` sends nothing.""",
    """\
sorted(pairkit.push("replies", "me/replies", dry_run=True).content.files)""",
)


def notebook() -> dict[str, Any]:
    """Return the notebook, nbformat 4.5, without outputs."""
    cells = []
    for number, text in enumerate(CELLS):
        lines = text.splitlines(keepends=True)
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}, "source": lines}
        if text.startswith("# "):
            cell["cell_type"] = "markdown"
        else:
            cell |= {"cell_type": "code", "execution_count": None, "outputs": []}
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    language = {"name": "python"}
    metadata = {"kernelspec": kernel, "language_info": language}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def text() -> str:
    """Return the notebook as a file's text."""
    return json.dumps(notebook(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
