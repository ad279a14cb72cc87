"""A build whose output is a place on an object store: built in a local directory, then published there.

A build needs what a store has not: locks, renames, files that grow. So it runs in a directory on this
machine, with every promise of a build, and what is complete is uploaded with its manifest last.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pairkit.dataset.remote.on_store import Held, survey
from pairkit.dataset.remote.upload import check_sizes, check_writable, refuse, upload
from pairkit.errors import ExistingOutputError, InputError, OutputError, RecipeError
from pairkit.files import OnExisting, stoppable
from pairkit.ownership import owned_name
from pairkit.pipeline import directory, require_completions, validate
from pairkit.pipeline.build import build, check_card
from pairkit.pipeline.changes import differences
from pairkit.pipeline.executors.ray.settings import RaySettings
from pairkit.pipeline.identity import identify_build, portable
from pairkit.pipeline.inputs import open_input
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.progress import log
from pairkit.schema import MANIFEST, short_hash
from pairkit.stores.address import Address, is_address, parse
from pairkit.stores.cache import cache_folder
from pairkit.stores.store import Store, open_store


def staging_of(out: str) -> Path:
    """Return the directory in which a dataset for an address is built unless another one is named."""
    address = parse(out)
    # The last part stays, because a person lists the folder.
    name = address.path.rpartition("/")[2]
    return cache_folder() / "builds" / f"{name}-{short_hash(str(address))}"


def build_to_store(
    recipe: BuildRecipe,
    out: str,
    *,
    staging: Path | None = None,
    on_existing: OnExisting = "resume",
    workers: int | None = None,
    cache: Path | None = None,
    retry_failed: bool = False,
    results: Path | None = None,
    cluster: RaySettings | None = None,
) -> dict[str, Any]:
    """Build the dataset of `recipe`, publish it at the address `out`, and return its manifest.

    Args:
        staging: the directory in which it is built, which stays; None: one in the cache, removed when the
            dataset is published. A build or an upload that stopped continues with what is there.
        on_existing: as for a directory, about what is at `out`, and about `staging`.
        workers, cache, retry_failed, results, cluster: as for `build`.

    Raises what `build` does; `RecipeError` for an address to which no dataset can be written, `InputError` or
    `OutputError` if the store cannot be used.
    """
    # Before anything is written there.
    if cluster is not None:
        cluster.check(recipe)
    address = _output(recipe, out)
    folder = staging or staging_of(out)
    # A place of its own on this machine: two would upload from the same directory, and one removes it.
    with owned_name(folder):
        store = open_store(address)
        replace = on_existing == "delete" or retry_failed
        content = survey(store)
        if on_existing == "raise" and content.state not in ("empty", "foreign"):
            raise ExistingOutputError(
                f"{address} already contains a dataset: use --on-existing resume to continue it, "
                "--on-existing delete to start over, or choose another --out"
            )
        if content.state == "complete" and not replace:
            return _complete(recipe, store, content, folder, keep=staging is not None)
        refuse(store, content, short_hash(portable(recipe)), replace=replace)
        check_writable(store)
        manifest = build(
            recipe,
            folder,
            on_existing=on_existing,
            workers=workers,
            cache=cache,
            retry_failed=retry_failed,
            results=results,
            cluster=cluster,
        )
        with _uploading(folder, address):
            upload(store, folder, replace=replace)
        if staging is None:
            shutil.rmtree(folder)
        return manifest


def describe_output(recipe: BuildRecipe, out: str, staging: Path | None) -> str:
    """Describe for a plan where the dataset goes, what is there, and where it is built. Raises as a build."""
    state = survey(open_store(_output(recipe, out))).state
    return f"{out} (now: {state}), built in {staging or staging_of(out)}"


def _output(recipe: BuildRecipe, out: str) -> Address:
    address = parse(out)
    if address.scheme == "hf":
        raise RecipeError(
            f"{out}: a dataset on the hub is published in one commit: build to a directory, then use "
            f"`pairkit push DIR {'/'.join(address.path.removeprefix('datasets/').split('/')[:2])}`"
        )
    for path in (block.path for block in recipe.every_source):
        if path is None or not is_address(path):
            continue
        source = parse(path)
        if source.contains(address) or address.contains(source):
            raise InputError(f"{path}: the input and the output {out} overlap; choose another --out")
    return address


def _complete(recipe: BuildRecipe, store: Store, held: Held, folder: Path, *, keep: bool) -> dict[str, Any]:
    """Return the manifest of a dataset that is complete there, if it is that of `recipe`."""
    assert held.manifest is not None
    opened = open_input(recipe.input, folder)
    validate.check(recipe)
    require_completions.check(recipe, opened)
    identity = identify_build(recipe, opened)
    with tempfile.TemporaryDirectory() as shadow:
        (Path(shadow) / MANIFEST).write_bytes(held.manifest)
        try:
            manifest = directory.manifest(Path(shadow))
            theirs = directory.identity_of(Path(shadow), "complete")
        except ExistingOutputError as error:
            raise ExistingOutputError(str(error).replace(shadow, str(store.address))) from error
    if changes := differences(theirs, {key: identity.get(key, {}) for key in theirs}):
        raise ExistingOutputError(
            f"{store.address} contains a complete dataset with other settings: {'; '.join(changes)}. "
            "Choose another --out, or use --on-existing delete to start over"
        )
    check_card(store.address, manifest, recipe)
    check_sizes(store, held)
    log(f"{store.address}: already complete")
    # Of a build that was stopped after its publication.
    if not keep and (folder / MANIFEST).is_file() and (folder / MANIFEST).read_bytes() == held.manifest:
        shutil.rmtree(folder)
    return manifest


@contextmanager
def _uploading(folder: Path, address: Address) -> Iterator[None]:
    """Tell of what stops an upload that the dataset is built, and how to continue."""
    note = f"what is built is kept in {folder}; run the same command again to upload the rest"
    try:
        with stoppable(folder, lambda: f"{address}: stopped; {note}"):
            yield
    except ExistingOutputError as error:
        raise ExistingOutputError(f"{error}; what is built is kept in {folder}") from error
    except (OutputError, InputError) as error:
        raise type(error)(f"{error}; {note}") from error
