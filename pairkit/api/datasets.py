"""Datasets: built, opened, published."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairkit.api.arguments import (
    Location,
    check_counts,
    check_on_existing,
    cluster_settings,
    code_of_file,
    plain,
    recipe_fields,
)

if TYPE_CHECKING:
    from pairkit.dataset.reader import BuiltData
    from pairkit.files import OnExisting
    from pairkit.hub.card_on_hub import HubCard
    from pairkit.hub.push import Pushed
    from pairkit.pipeline.executors.ray.settings import RaySettings
    from pairkit.pipeline.recipe import BuildRecipe


def build(
    recipe: BuildRecipe | Mapping[str, Any] | Location,
    out: Location,
    *,
    on_existing: OnExisting = "resume",
    workers: int | None = None,
    cache: Location | None = None,
    retry_failed: bool = False,
    cluster: RaySettings | Mapping[str, Any] | None = None,
    allow_code: Iterable[str] = (),
    allow_key: Iterable[str] = (),
    **fields: Any,
) -> BuiltData:
    """Build a dataset of candidate sets in the directory `out`, or continue a build, and open it.

    `out` may be the address of a store (`s3://bucket/folder`): the dataset is then published there.

    Args:
        recipe: a recipe, its fields, the name of a shipped one, or a YAML file.
        on_existing: what happens if `out` is not empty: "resume", "delete" or "raise".
        workers: units worked on at a time; None = one per CPU core, four at most.
        cache: the file of answered model calls; None = calls.sqlite next to `out`.
        retry_failed: repeat model calls that failed before.
        cluster: the Ray cluster that runs the stages, as {"address": "auto", "engines": 8}: the fields of
            `pairkit build --executor ray` without `ray_`; None = this process.
        allow_code: modules whose functions a YAML file may name. What a recipe object, a mapping or `fields`
            name is the caller's own code and needs no permission.
        allow_key: keys that a YAML file may have sent to a server, as "VARIABLE@URL"; the caller's
            own need no permission.
        fields: fields of the recipe that replace those of `recipe`; mappings are merged.

    Raises:
        PairkitError: see `pairkit.errors`; the message states what to do.

    >>> import json, pathlib, pairkit
    >>> rows = [{"prompt": f"{n} + 1 =", "chosen": str(n + 1), "rejected": str(n)} for n in range(40)]
    >>> _ = pathlib.Path("sums.jsonl").write_text("\\n".join(map(json.dumps, rows)))
    >>> recipe = {"source": {"name": "files", "path": "sums.jsonl"}}
    >>> data = pairkit.build(recipe, "sums", test_fraction=0.2)
    >>> data.rows("train") + data.rows("test")
    40
    """
    # In the function, as everywhere here: `import pairkit` must not load pyarrow, polars or torch.
    from pairkit.dataset import reader
    from pairkit.pipeline.build import build as build_folder
    from pairkit.pipeline.distributed.to_store import build_to_store
    from pairkit.pipeline.recipe import BuildRecipe, load
    from pairkit.stores.address import is_address

    check_on_existing(on_existing)
    if workers is not None:
        check_counts(workers=workers)
    overrides = plain(fields)
    from_file = isinstance(recipe, str | os.PathLike)
    if isinstance(recipe, str | os.PathLike):
        with code_of_file(from_file, allow_code, overrides):
            build_recipe = load(os.fspath(recipe), overrides, {}, allow_keys=allow_key)
    # A recipe that was validated stays as it is; with other fields it is validated again below.
    elif isinstance(recipe, BuildRecipe) and not fields:
        build_recipe = recipe
    else:
        build_recipe = load(None, recipe_fields(recipe), overrides)
    with code_of_file(from_file, allow_code, overrides):
        store = is_address(out)
        run = partial(build_to_store, out=os.fspath(out)) if store else partial(build_folder, out=Path(out))
        run(
            build_recipe,
            on_existing=on_existing,
            workers=workers,
            cache=None if cache is None else Path(cache),
            retry_failed=retry_failed,
            cluster=cluster_settings(cluster),
        )
    return reader.load(out)


def load(folder: Location) -> BuiltData:
    """Open a dataset that `build` wrote, in a directory or on a store. Reads its manifest only.

    What an address (`s3://bucket/folder`) names is downloaded first.

    The result has `manifest`, `splits` and `rows(split)`; `tables(split)` iterates its candidate sets and
    `pairs(split)` its pairs, as Arrow tables of some hundred rows. Raises `InputError`.

    >>> import pairkit
    >>> data = pairkit.load("sums")
    >>> data.splits
    ['test', 'train']
    >>> sets = next(data.tables("train"))
    >>> [completion["text"] for completion in sets["completions"][0].as_py()]  # the best first
    ['1', '0']
    >>> next(data.pairs("train")).column_names
    ['prompt', 'chosen', 'rejected', 'score_chosen', 'score_rejected']
    """
    from pairkit.dataset import reader

    return reader.load(folder)


def push(
    folder: Location,
    name: str,
    *,
    private: bool = True,
    revision: str = "main",
    message: str | None = None,
    card: Mapping[str, Any] | None = None,
    hub_card: HubCard = "merge",
    tag: str | None = None,
    collection: str | None = None,
    quarantine: bool = False,
    merge: bool = False,
    trust_remote_code: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Publish a dataset or a trained model on the Hugging Face Hub, with its card, in one commit.

    Args:
        folder: what `build` or `train` wrote.
        name: the repository, user/name.
        private: visibility of a new repository; an existing one must already have it.
        revision: the branch; created if it does not exist.
        message: commit message; None = what changes, in numbers.
        card: fields of the card that replace those of the recipe, such as {"license": "cc-by-4.0"}.
        hub_card: what happens to edits of the card on the hub: "merge", "keep" (they also win where both
            changed) or "replace".
        tag: a git tag for the commit.
        collection: the title or the address of a collection of the hub to add the repository to.
        quarantine: also publish the rows that could not be used.
        merge: publish a run's adapters as a whole model, merged into their base model.
        trust_remote_code: for that, run code that comes with the model, if the run did.
        force: publish files that were changed by hand, or into a repository that holds something else.
        dry_run: check everything and compare with the hub, but send nothing.

    Raises:
        PairkitError: see `pairkit.errors`; the message states what to do.

    >>> import pairkit
    >>> pushed = pairkit.push("run", "me/sums-dpo", dry_run=True)
    >>> sorted(pushed.content.files)[:3]
    ['README.md', 'chat_template.jinja', 'config.json']
    """
    from pairkit.hub.push import push as run

    return run(
        Path(folder),
        name,
        private=private,
        revision=revision,
        message=message,
        card=card,
        hub_card=hub_card,
        tag=tag,
        collection=collection,
        quarantine=quarantine,
        merge=merge,
        trust_remote_code=trust_remote_code,
        force=force,
        dry_run=dry_run,
    )
