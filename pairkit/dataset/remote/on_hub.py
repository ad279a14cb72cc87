"""Built datasets on the Hugging Face Hub: what `pairkit push` published, downloaded to be read."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pairkit.dataset.remote.on_store import local_folder
from pairkit.errors import InputError
from pairkit.progress import shell_quoted
from pairkit.schema import MANIFEST

_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def hub_id(name: str) -> tuple[str, str | None] | None:
    """Return the id and the revision of `org/name` or `org/name@revision`; None for a path."""
    match = _ID.fullmatch(name)
    # `runs/new` is a directory that is missing where there is a directory `runs`.
    if match is None or os.path.exists(name) or os.path.isdir(name.split("/")[0]):
        return None
    return match["name"], match["revision"]


def download(name: str, revision: str | None) -> Path:
    """Download manifest and sets of a dataset, and return their directory.

    Without a network, what was downloaded before is used. Raises `HubError`.
    """
    from huggingface_hub import HfApi, snapshot_download

    # polars: the trainer reads sets without it
    from pairkit.sources.reading.hub import TIMEOUT, hub_error

    dataset_patterns = [MANIFEST, "data/*.parquet"]
    try:
        about = HfApi().dataset_info(name, revision=revision, timeout=TIMEOUT)
    except Exception as error:  # one of a dozen types of httpx, the hub's client and its validators
        try:
            # A run that is continued on a machine without a network.
            place = snapshot_download(
                name,
                repo_type="dataset",
                revision=revision,
                allow_patterns=dataset_patterns,
                local_files_only=True,
            )
        except Exception:
            raise hub_error(name, error) from error
        return Path(place)
    files = {file.rfilename for file in about.siblings or ()}
    # Of a dataset that pairkit did not build not even the sets, which may be large.
    patterns = dataset_patterns if MANIFEST in files else [".gitattributes"]
    try:
        # By its name and not by the commit: only so does the copy stay known by it without a network.
        place = snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=patterns)
    except Exception as error:
        raise hub_error(name, error) from error
    return Path(place)


def folder_of(data: str) -> Path:
    """Return the directory of a built dataset: `data` itself, or a copy of what is on the hub or a store.

    Raises `HubError`, `InputError` for a dataset on the hub that pairkit did not build, and what
    `local_folder` raises.
    """
    repository = hub_id(data)
    if repository is None:
        return local_folder(data)
    folder = download(*repository)
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{data}: is on the hub, but was not built by pairkit (no {MANIFEST}); build it first: "
            f"pairkit build --source {shell_quoted(repository[0])}"
        )
    return folder
