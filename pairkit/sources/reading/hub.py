"""Datasets on the Hugging Face Hub: finding the files of a split, and downloading them.

`datasets` decides which files make up a split (by the dataset's card or its folder layout), and
`huggingface_hub` downloads them into its cache. They are then read like files on disk, so that every row has
a file and a number to be named by, wherever it came from.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pairkit.errors import HubError, InputError, RecipeError
from pairkit.readers.formats import format_of
from pairkit.readers.saved import row_files
from pairkit.schema import short_hash
from pairkit.sources.base import Source, SourceRecipe
from pairkit.sources.reading.locate import DataFile

HELP = (
    "check the spelling and the network; set HF_ENDPOINT to use a mirror and HF_TOKEN for a dataset that "
    "requires it; or download the files elsewhere and pass them with --path"
)
REFUSALS = {
    "RepositoryNotFoundError": "no such dataset, or it is private",
    "GatedRepoError": "it is gated: accept its terms on its page",
    "RevisionNotFoundError": "it has no such revision",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set",
}
TIMEOUT = 20.0  # seconds
# hf://datasets/org/name@commit/data/train-00000-of-00001.parquet
ADDRESS = re.compile(r"hf://datasets/(?P<id>[^@]+)@(?P<commit>[^/]+)/(?P<path>.+)")


def download_split(source: Source, recipe: SourceRecipe) -> tuple[list[DataFile], str]:
    """Download the files of the recipe's split; return them and a fingerprint of commit and names.

    Raises `HubError` if the hub is unreachable or refuses, `RecipeError` for an unknown split or a source
    that is not on the hub, `InputError` for files that pairkit does not read.
    """
    hub_id = recipe.name if "/" in recipe.name else source.hub_id
    if hub_id is None:
        raise RecipeError(f"source {source.name!r} {_where(source)}")
    split = recipe.split or source.splits[0]
    config = recipe.config or source.config
    urls = _split_files(hub_id, config, _commit(hub_id, recipe.revision), split)
    downloads = [_download(hub_id, url) for url in urls]
    # Datasets that were saved to disk and then uploaded have descriptions among their files.
    rows = row_files(file.path for file in downloads)
    files = [file for file in downloads if file.path in rows]
    for file in files:
        format_of(file.path)
    return files, short_hash([hub_id, config, split, urls])


def _where(source: Source) -> str:
    if source.name == "hub":
        return "needs the id of a dataset: write org/name instead"
    return "needs `path`: a file, folder or glob" + (
        f", as from {source.homepage}" if source.homepage else ""
    )


def _commit(hub_id: str, revision: str | None) -> str | None:
    """Return the commit of a revision. Called first, because without a network it fails at once."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(hub_id, revision=revision, timeout=TIMEOUT).sha
    except Exception as error:  # one of a dozen types of httpx, the hub's client and its validators
        raise hub_error(hub_id, error) from error


def _split_files(hub_id: str, config: str | None, commit: str | None, split: str) -> list[str]:
    """Return the addresses of a split's files, each with the commit in it: `hf://datasets/ID@COMMIT/PATH`."""
    from datasets import load_dataset_builder

    try:
        builder = load_dataset_builder(hub_id, config, revision=commit)
    except Exception as error:  # as above, and those of datasets and fsspec
        raise hub_error(hub_id, error) from error
    files: Any = builder.config.data_files or {}
    if split not in files:
        names = ", ".join(map(str, files)) or "none"
        raise RecipeError(f"dataset {hub_id!r} has no split {split!r}; it has: {names}")
    return [str(url) for url in files[split]]


def _download(hub_id: str, url: str) -> DataFile:
    from huggingface_hub import hf_hub_download

    # Datasets may list files of other servers, which have no commit.
    address = ADDRESS.fullmatch(url)
    if address is None:
        raise InputError(
            f"{url}: dataset {hub_id!r} stores its files outside the hub; download them and pass --path"
        )
    try:
        file = hf_hub_download(
            address["id"], address["path"], repo_type="dataset", revision=address["commit"]
        )
    except Exception as error:
        raise hub_error(hub_id, error) from error
    return DataFile(Path(file), address["path"])


def dataset_file(hub_id: str, path: str) -> Path:
    """Return a file of a dataset, downloaded or from the hub's cache. Raises `HubError`."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(hub_id, path, repo_type="dataset"))
    except Exception as error:  # as above
        raise hub_error(hub_id, error) from error


def hub_error(hub_id: str, error: Exception) -> HubError:
    """Describe what failed and what to do, in one line."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    # Libraries write pages of explanation after the first line.
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = REFUSALS.get(type(error).__name__, lines[0].rstrip("."))
    return HubError(f"dataset {hub_id!r} cannot be read from {endpoint}: {reason}; {HELP}")
