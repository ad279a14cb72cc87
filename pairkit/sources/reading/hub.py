"""Data sets on the Hugging Face Hub: which files a split has, and fetching them.

`datasets` says which files make up a split (by the data set's card or its folder layout), and
`huggingface_hub` fetches them into its cache. They are then read like files on disk, so that a row has a
file and a number to be named by, whatever way it came.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pairkit.errors import HubError, InputError, RecipeError
from pairkit.readers.formats import format_of
from pairkit.schema import short_hash
from pairkit.sources.base import Source, SourceRecipe
from pairkit.sources.reading.locate import Found

HELP = (
    "check the spelling and the network; set HF_ENDPOINT for a mirror and HF_TOKEN for a data set that asks "
    "for it; or fetch the files elsewhere and give them with --path"
)


REFUSALS = {
    "RepositoryNotFoundError": "there is no such data set, or it is private",
    "GatedRepoError": "its owners ask for consent, given on its page",
    "RevisionNotFoundError": "it has no such revision",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE forbids to ask",
}
TIMEOUT = 20.0  # seconds
# hf://datasets/org/name@commit/data/train-00000-of-00001.parquet
ADDRESS = re.compile(r"hf://datasets/(?P<id>[^@]+)@(?P<commit>[^/]+)/(?P<path>.+)")


def fetch(source: Source, recipe: SourceRecipe) -> tuple[list[Found], str]:
    """The files of the recipe's split, fetched, and a fingerprint of commit and names.

    Raises `HubError` where the hub cannot be reached or refuses, `RecipeError` for an unknown split or a
    source that is not on the hub, `InputError` for files that pairkit does not read.
    """
    hub_id = recipe.name if "/" in recipe.name else source.hub_id
    if hub_id is None:
        raise RecipeError(f"source {source.name!r} {_where(source)}")
    split = recipe.split or source.splits[0]
    config = recipe.config or source.config
    urls = _split_files(hub_id, config, _commit(hub_id, recipe.revision), split)
    found = [_download(hub_id, url) for url in urls]
    for file, _ in found:
        format_of(file)
    return found, short_hash([hub_id, config, split, urls])


def _where(source: Source) -> str:
    if source.name == "hub":
        return "is named by the data set's id: write org/name"
    return "needs `path`: a file, folder or glob" + (
        f", as from {source.homepage}" if source.homepage else ""
    )


def _commit(hub_id: str, revision: str | None) -> str | None:
    """The commit that a revision stands for. Asked first: without a network this fails at once."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(hub_id, revision=revision, timeout=TIMEOUT).sha
    except Exception as error:  # any of a dozen types of httpx, the hub's client and its validators
        raise _hub_error(hub_id, error) from error


def _split_files(hub_id: str, config: str | None, commit: str | None, split: str) -> list[str]:
    """The addresses of a split's files, each with the commit in it: `hf://datasets/ID@COMMIT/PATH`."""
    from datasets import load_dataset_builder

    try:
        builder = load_dataset_builder(hub_id, config, revision=commit)
    except Exception as error:  # as above, and those of datasets and fsspec
        raise _hub_error(hub_id, error) from error
    files: Any = builder.config.data_files or {}
    if split not in files:
        names = ", ".join(map(str, files)) or "none"
        raise RecipeError(f"data set {hub_id!r} has no split {split!r}; it has: {names}")
    return [str(url) for url in files[split]]


def _download(hub_id: str, url: str) -> Found:
    from huggingface_hub import hf_hub_download

    address = ADDRESS.fullmatch(url)
    if address is None:
        raise InputError(f"{url}: data set {hub_id!r} keeps its files elsewhere; fetch them and give --path")
    try:
        file = hf_hub_download(
            address["id"], address["path"], repo_type="dataset", revision=address["commit"]
        )
    except Exception as error:
        raise _hub_error(hub_id, error) from error
    return Found(Path(file), address["path"])


def _hub_error(hub_id: str, error: Exception) -> HubError:
    """What failed, in a line, and what to do."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = REFUSALS.get(type(error).__name__, lines[0].rstrip("."))
    return HubError(f"data set {hub_id!r} cannot be read from {endpoint}: {reason}. Try this: {HELP}")
