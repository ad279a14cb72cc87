"""Publication of a built dataset on an object store: files one by one, the manifest last.

A store has no rename of folders. So a reader knows a dataset by its manifest, which appears when all other
files are there, and goes before any of them is removed. The marker, written first and removed last, lists
what is uploaded: a publication that was stopped continues, from any machine.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pairkit.dataset.layout import LOG
from pairkit.dataset.remote.on_store import MARKER, Held, listed_files, survey
from pairkit.errors import ExistingOutputError, OutputError
from pairkit.files import parsed
from pairkit.progress import progress
from pairkit.schema import MANIFEST
from pairkit.stores.store import Store


def check_writable(store: Store) -> None:
    """Write and remove a small file, because a missing right should not be noticed after hours.

    Raises `OutputError`.
    """
    probe = f".pairkit-{secrets.token_hex(8)}"
    store.write(b"pairkit checks that it may write here\n", probe)
    store.delete(probe)


def upload(store: Store, folder: Path, *, replace: bool) -> None:
    """Publish the built dataset in `folder` on a store; what is uploaded already is not sent again.

    Args:
        replace: another dataset, complete or not, may be removed from there.

    Raises:
        ExistingOutputError: there is something else.
        OutputError: the store cannot be written to, or another process publishes there as well.
        InputError: the store cannot be read.
    """
    manifest = (folder / MANIFEST).read_bytes()
    files = {name: about["sha256"] for name, about in listed_files(manifest, folder).items()}
    # Without a hash in the manifest, because its times differ between builds of the same dataset.
    files[LOG] = hashlib.sha256((folder / LOG).read_bytes()).hexdigest()
    contents = survey(store)
    if contents.manifest == manifest and not replace:
        check_sizes(store, contents)
        _remove_marker(store, contents)
        return
    recipe = str(parsed(manifest)["recipe_hash"])
    refuse(store, contents, recipe, replace=replace)
    marker: dict[str, Any] = {
        "token": secrets.token_hex(16),
        "recipe": recipe,
        "files": _done(contents),
    }
    _write_marker(store, marker)
    # First of all: from here on nobody takes what is there for a dataset.
    if contents.state == "complete":
        store.delete(MANIFEST)
    _remove_others(store, contents, files)
    total = sum((folder / name).stat().st_size for name in files)
    with progress(f"Uploading {store.address}", max(1, total // 10**6), unit="MB") as advance:
        for name, digest in files.items():
            if not _is_there(store, contents, name, digest):
                store.upload(folder / name, name)
                marker["files"][name] = {"sha256": digest, "version": store.version(name)}
                _write_marker(store, marker)
            advance((folder / name).stat().st_size // 10**6)
    _check_alone(store, marker["token"])
    store.write(manifest, MANIFEST)
    store.delete(MARKER)


def refuse(store: Store, contents: Held, recipe: str, *, replace: bool) -> None:
    """Raise `ExistingOutputError` if what a place holds may not be changed.

    Args:
        recipe: the `recipe_hash` of what is to be published.
    """
    if contents.state == "foreign":
        raise ExistingOutputError(
            f"{store.address} is not empty and was not created by this command; choose another --out"
        )
    if replace or contents.state == "empty":
        return
    if contents.state == "complete":
        raise ExistingOutputError(
            f"{store.address} contains another dataset; choose another --out, or use --on-existing delete"
        )
    if contents.marker is not None and contents.marker["recipe"] != recipe:
        raise ExistingOutputError(
            f"{store.address} contains the unfinished publication of another dataset; choose another --out, "
            "or use --on-existing delete"
        )


def _done(contents: Held) -> dict[str, Any]:
    """Return what is recorded of the files that are there; those of a complete dataset have no record."""
    return dict(contents.marker["files"]) if contents.marker is not None else {}


def _is_there(store: Store, contents: Held, name: str, digest: str) -> bool:
    about = _done(contents).get(name)
    if name not in contents.sizes or not isinstance(about, dict) or about.get("sha256") != digest:
        return False
    # What the store says of the content: somebody may have written another file since.
    return bool(about.get("version") == store.version(name))


def _remove_others(store: Store, contents: Held, files: Iterable[str]) -> None:
    """Remove the files of the dataset that was there and that the new one has not; nobody else's."""
    ours = set(_done(contents))
    if contents.manifest is not None:
        ours |= {*listed_files(contents.manifest, store.address), LOG}
    for name in sorted((ours & set(contents.sizes)) - set(files)):
        store.delete(name)


def check_sizes(store: Store, contents: Held) -> None:
    """Raise `ExistingOutputError` if a file of the complete dataset is missing there or has another size."""
    assert contents.manifest is not None
    for name, about in listed_files(contents.manifest, store.address).items():
        if contents.sizes.get(name) != about["bytes"]:
            raise ExistingOutputError(
                f"{store.address}/{name} is not the file that was built; use --on-existing delete to build "
                "and publish everything again"
            )


def _remove_marker(store: Store, contents: Held) -> None:
    if MARKER in contents.sizes:
        store.delete(MARKER)


def _write_marker(store: Store, marker: dict[str, Any]) -> None:
    store.write(json.dumps(marker, indent=2, sort_keys=True).encode(), MARKER)


def _check_alone(store: Store, token: str) -> None:
    """Raise `OutputError` if another process has begun to publish there since this one did."""
    contents = survey(store)
    if contents.marker is None or contents.marker["token"] != token or contents.manifest is not None:
        raise OutputError(
            f"{store.address}: another process publishes there at the same time; wait for it, then run the "
            "same command again"
        )
