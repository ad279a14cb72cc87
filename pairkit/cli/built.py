"""Datasets to train on that are on the hub: those that pairkit did not build are built first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pairkit.cli.printing import say
from pairkit.errors import InputError

DATA = Path("runs/data")


def built(data: Any, *, write: bool) -> Any:
    """Return the field `data` of a training recipe with what was built in the place of other datasets.

    Args:
        write: whether a dataset may be built.

    Raises `HubError`, `InputError` and what building raises. What is no name of a dataset stays, for the
    recipe to refuse.
    """
    if isinstance(data, str):
        return _built(data, write)
    from pairkit.dataset.mixed import written

    if not isinstance(data, (list, tuple)):
        return data
    # Taken apart, because the weight is no part of a dataset's name.
    entries = [written(entry) for entry in data]
    return [
        {**entry, "data": _built(entry["data"], write)}
        if isinstance(entry, dict) and isinstance(entry.get("data"), str)
        else entry
        for entry in entries
    ]


def _built(data: str, write: bool) -> str:
    """Return a dataset as it is, or the directory in which it was built."""
    from pairkit.dataset.remote.on_hub import download, hub_id
    from pairkit.schema import MANIFEST

    named = hub_id(data)
    if named is None or (download(*named) / MANIFEST).is_file():
        return data
    name, revision = named
    out = DATA / name.split("/")[1]
    command = f"pairkit build --source {name}" + (f" --revision {revision}" if revision else "")
    # Several processes would build it several times.
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if not (write and alone):
        if (out / MANIFEST).is_file():
            return str(out)
        why = "--dry-run writes nothing" if alone else "a run of several processes builds nothing"
        raise InputError(f"{data}: was not built by pairkit, and {why}; build it first: {command}")
    from pairkit.pipeline.build import build
    from pairkit.pipeline.recipe import load

    say(f"{data}: was not built by pairkit; {command} --out {out}", err=True)
    build(load(None, {"source": {"name": name, "revision": revision}}, {}), out)
    return str(out)
