"""Built datasets on an object store: opened as a copy on this machine, and what a place there holds.

A dataset is complete on a store, as in a folder, when it has `pairkit.json`, which is written last. While it
is published, `.pairkit-publishing.json` says by whom and which files are there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pairkit.errors import InputError
from pairkit.files import parsed, replacing, sha256
from pairkit.progress import Advance, progress
from pairkit.schema import MANIFEST, short_hash
from pairkit.stores.address import is_address, parse
from pairkit.stores.cache import cache_folder, for_each
from pairkit.stores.store import Store, open_store, safe_name

MARKER = ".pairkit-publishing.json"
_THREADS = 8


@dataclass(frozen=True)
class Held:
    """What a place on a store holds. `foreign` is whatever pairkit has not published: it is never touched.

    Attributes:
        manifest: of a complete dataset, the content of its `pairkit.json`.
        marker: of a publication that did not end, or whose marker is still there.
    """

    state: Literal["empty", "publishing", "complete", "foreign"]
    manifest: bytes | None
    marker: dict[str, Any] | None
    sizes: Mapping[str, int]


def survey(store: Store) -> Held:
    """Return what a place on a store holds. Raises `InputError`."""
    sizes = store.files()
    manifest = store.read(MANIFEST) if MANIFEST in sizes else None
    marker = _marker(store.read(MARKER)) if MARKER in sizes else None
    if manifest is not None:
        return Held("complete", manifest, marker, sizes)
    if marker is not None:
        return Held("publishing", None, marker, sizes)
    # A file of exactly that name is somebody's, as a folder's file is.
    return Held("foreign" if sizes or store.size() is not None else "empty", None, None, sizes)


def _marker(content: bytes | None) -> dict[str, Any] | None:
    try:
        marker = parsed(content or b"")
        return {"files": dict(marker["files"]), **{name: str(marker[name]) for name in ("token", "recipe")}}
    # Somebody else's file, or a damaged one: what is there then counts as not ours.
    except (ValueError, KeyError, TypeError):
        return None


def listed_files(content: bytes, where: object) -> dict[str, dict[str, Any]]:
    """Return the files that a manifest lists, each with its `sha256` and `bytes`, without the manifest.

    Raises `InputError` for a manifest that is damaged, or names a file outside its folder.
    """
    try:
        files = parsed(content)["files"]
        names = {
            str(name): {"sha256": about["sha256"] + "", "bytes": int(about["bytes"])}
            for name, about in files.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{where}/{MANIFEST}: not the manifest of a dataset; build the dataset again"
        ) from error
    wrong = next((name for name in names if not safe_name(name) or name == MANIFEST), None)
    if wrong is not None:
        raise InputError(
            f"{where}/{MANIFEST}: lists {wrong!r}, which is no file of a dataset; build it again"
        )
    return names


def local_folder(place: str | os.PathLike[str]) -> Path:
    """Return the folder of a built dataset: that of a path, or a copy of what an address names.

    A copy is downloaded once; each file is checked by the hash that the manifest lists.

    Raises `InputError` if there is no built dataset or a file is not the one that was built, `RecipeError`
    and `MissingExtraError` as `open_store` does.
    """
    if not is_address(place):
        return Path(place)
    store = open_store(parse(os.fspath(place)))
    content = store.read(MANIFEST)
    if content is None:
        raise InputError(f"{place}: not a built dataset (no {MANIFEST}); {_instead(store)}")
    files = listed_files(content, store.address)
    digest = hashlib.sha256(content).hexdigest()
    # The last part of the address stays, because runs are named after it.
    name = store.address.path.rpartition("/")[2]
    folder = cache_folder() / "datasets" / short_hash([str(store.address), digest]) / name
    if (folder / MANIFEST).is_file():
        return folder
    total = sum(about["bytes"] for about in files.values())
    with progress(f"Downloading {store.address}", max(1, total // 10**6), unit="MB") as advance:
        for_each(files, lambda name: _fetch(store, name, files[name], folder / name, advance), _THREADS)
    # Last, because it says that the copy is complete.
    with replacing(folder / MANIFEST, own=str(os.getpid())) as temporary:
        temporary.write_bytes(content)
    return folder


def _fetch(store: Store, name: str, about: Mapping[str, Any], target: Path, advance: Advance) -> None:
    # There if a download was stopped: it has its name only when it is complete and checked.
    if not target.is_file():
        with replacing(target, own=str(os.getpid())) as temporary:
            store.download(name, temporary)
            if sha256(temporary) != about["sha256"]:
                raise InputError(
                    f"{store.address}/{name}: is not the file that was built; publish the dataset again"
                )
    advance(about["bytes"] // 10**6)


def _instead(store: Store) -> str:
    held = survey(store)
    if held.state == "publishing":
        return "its publication was stopped: run the same `pairkit build` command to complete it"
    if held.state == "empty":
        return "there is nothing"
    return f"build one from its files: pairkit build --source files --path {store.address}"
