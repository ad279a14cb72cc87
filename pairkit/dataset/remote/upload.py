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
    held = survey(store)
    if held.manifest == manifest and not replace:
        check_sizes(store, held)
        _remove_marker(store, held)
        return
    recipe = str(parsed(manifest)["recipe_hash"])
    refuse(store, held, recipe, replace=replace)
    marker: dict[str, Any] = {
        "token": secrets.token_hex(16),
        "recipe": recipe,
        "files": _done(held),
    }
    _write_marker(store, marker)
    # First of all: from here on nobody takes what is there for a dataset.
    if held.state == "complete":
        store.delete(MANIFEST)
    _remove_others(store, held, files)
    total = sum((folder / name).stat().st_size for name in files)
    with progress(f"Uploading {store.address}", max(1, total // 10**6), unit="MB") as advance:
        for name, hashed in files.items():
            if not _is_there(store, held, name, hashed):
                store.upload(folder / name, name)
                marker["files"][name] = {"sha256": hashed, "version": store.version(name)}
                _write_marker(store, marker)
            advance((folder / name).stat().st_size // 10**6)
    _check_alone(store, marker["token"])
    store.write(manifest, MANIFEST)
    store.delete(MARKER)


def refuse(store: Store, held: Held, recipe: str, *, replace: bool) -> None:
    """Raise `ExistingOutputError` if what a place holds may not be changed.

    Args:
        recipe: the `recipe_hash` of what is to be published.
    """
    if held.state == "foreign":
        raise ExistingOutputError(
            f"{store.address} is not empty and was not created by this command; choose another --out"
        )
    if replace or held.state == "empty":
        return
    if held.state == "complete":
        raise ExistingOutputError(
            f"{store.address} contains another dataset; choose another --out, or use --on-existing delete"
        )
    if held.marker is not None and held.marker["recipe"] != recipe:
        raise ExistingOutputError(
            f"{store.address} contains the unfinished publication of another dataset; choose another --out, "
            "or use --on-existing delete"
        )


def _done(held: Held) -> dict[str, Any]:
    """Return what is recorded of the files that are there; those of a complete dataset have no record."""
    return dict(held.marker["files"]) if held.marker is not None else {}


def _is_there(store: Store, held: Held, name: str, hashed: str) -> bool:
    about = _done(held).get(name)
    if name not in held.sizes or not isinstance(about, dict) or about.get("sha256") != hashed:
        return False
    # What the store says of the content: somebody may have written another file since.
    return bool(about.get("version") == store.version(name))


def _remove_others(store: Store, held: Held, files: Iterable[str]) -> None:
    """Remove the files of the dataset that was there and that the new one has not; nobody else's."""
    ours = set(_done(held))
    if held.manifest is not None:
        ours |= {*listed_files(held.manifest, store.address), LOG}
    for name in sorted((ours & set(held.sizes)) - set(files)):
        store.delete(name)


def check_sizes(store: Store, held: Held) -> None:
    """Raise `ExistingOutputError` if a file of the complete dataset is missing there or has another size."""
    assert held.manifest is not None
    for name, about in listed_files(held.manifest, store.address).items():
        if held.sizes.get(name) != about["bytes"]:
            raise ExistingOutputError(
                f"{store.address}/{name} is not the file that was built; use --on-existing delete to build "
                "and publish everything again"
            )


def _remove_marker(store: Store, held: Held) -> None:
    if MARKER in held.sizes:
        store.delete(MARKER)


def _write_marker(store: Store, marker: dict[str, Any]) -> None:
    store.write(json.dumps(marker, indent=2, sort_keys=True).encode(), MARKER)


def _check_alone(store: Store, token: str) -> None:
    """Raise `OutputError` if another process has begun to publish there since this one did."""
    held = survey(store)
    if held.marker is None or held.marker["token"] != token or held.manifest is not None:
        raise OutputError(
            f"{store.address}: another process publishes there at the same time; wait for it, then run the "
            "same command again"
        )
