"""Files of the Hub dataset `tatsu-lab/alpaca_eval`, for whoever gives no file of their own."""

from __future__ import annotations

import os
from pathlib import Path

from pairkit.errors import HubError

DATASET = "tatsu-lab/alpaca_eval"
REFERENCE_FILE, GAMED_FILE = "alpaca_eval_gpt4_baseline.json", "df_gamed.csv"
_INSTEAD = {
    REFERENCE_FILE: "pass the reference's answers with --reference FILE (its model_outputs.json)",
    GAMED_FILE: "pass the file with --gamed FILE, or --gamed none for win rates without length control",
}


def hub_file(name: str) -> Path:
    """Return a file of the dataset, downloaded or from the Hub's cache.

    Raises `HubError` in one sentence that names the flag takes a file instead.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(DATASET, name, repo_type="dataset"))
    except Exception as error:  # one of a dozen types of httpx, the hub's client and its validators
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        # Libraries write pages of explanation after the first line.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise HubError(
            f"{name} of dataset {DATASET!r} cannot be read from {endpoint} ({reason}): {_INSTEAD[name]}"
        ) from error
