"""Scores of the public tool, alpaca-eval, for files that pairkit wrote; runs in an environment of its own.

    python alpaca_public.py GAMED DIR...   prints a JSON object per DIR

GAMED stands in for the file that the tool downloads whenever it scores.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from alpaca_eval import utils
from alpaca_eval.metrics import glm_winrate


def main(table: str, folders: list[str]) -> None:
    glm_winrate.hf_hub_download = lambda **_: table
    for folder in folders:
        outputs = utils.load_or_convert_to_dataframe(Path(folder) / "model_outputs.json")
        verdicts = utils.load_or_convert_to_dataframe(Path(folder) / "annotations.json")
        scores = glm_winrate.get_length_controlled_winrate(verdicts.to_dict("records"), save_weights_dir=None)
        outputs = outputs[["instruction", "output", "generator"]].to_dict("records")
        found = {"scores": {name: float(value) for name, value in scores.items()}, "outputs": outputs}
        print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
