"""The dataset that a segment trains on: its new sets, and a share of those of earlier segments, unchanged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pairkit.dataset import reader
from pairkit.dataset.layout import sealed
from pairkit.dataset.parquet import describe, open_writer
from pairkit.files import link_or_copy, partial, publish, write_json
from pairkit.online.recipe import Mix
from pairkit.progress import log
from pairkit.schema import MANIFEST, SETS

# Of all manifests: what a dataset says of a build that it is not.
_NOT_OURS = ("input", "counts", "readings", "sent", "files", "manifest_hash")
MIXED = "mixed_with"  # key of the manifest: how many sets are from which segment


def mix(new: Path, earlier: Sequence[Path], settings: Mix, seed: Sequence[int], target: Path) -> None:
    """Write the dataset `target`, whole or not at all: the sets of `new`, and sampled ones of `earlier`.

    The share of earlier sets is that of `settings`, or all there are. A set whose id is among the new ones,
    or in a later one of the datasets, is left out, because its prompt was completed again since. The held-out
    sets are those of `new`.
    """
    data = reader.load(new)
    own = {name for table in data.tables("train") for name in table["set_id"].to_pylist()}
    # The latest first, so that of one prompt the latest completions stay.
    sources: dict[str, Path] = {}
    for folder in reversed(earlier):
        for table in reader.load(folder).tables("train"):
            for name in table["set_id"].to_pylist():
                if name not in own:
                    sources.setdefault(name, folder)
    share = settings.earlier
    count = min(len(sources), round(len(own) * share / (1 - share)))
    order = np.random.default_rng(list(seed)).permutation(len(sources))[:count]
    names = list(sources)
    chosen = {names[number] for number in sorted(order)}
    counts = {folder.parent.name: sum(sources[name] == folder for name in chosen) for folder in earlier}
    log(f"{target}: {len(own):,} new sets, {len(chosen):,} of earlier segments")
    temporary = partial(target)
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "data").mkdir(parents=True)
    file = temporary / "data" / "train-00000-of-00001.parquet"
    with open_writer(file, SETS) as writer:
        for table in data.tables("train"):
            writer.write_table(table)
        for folder in earlier:
            for table in _those(folder, {name for name in chosen if sources[name] == folder}):
                writer.write_table(table)
    for path in data.files("test"):
        link_or_copy(path, temporary / "data" / path.name)
    files = {f"data/{path.name}": describe(path) for path in sorted((temporary / "data").iterdir())}
    about = {key: value for key, value in data.manifest.items() if key not in _NOT_OURS}
    write_json(temporary / MANIFEST, sealed({**about, "files": files, MIXED: counts}))
    publish(temporary, target)


def _those(folder: Path, names: set[str]) -> Iterator[pa.Table]:
    for table in reader.load(folder).tables("train"):
        rows = table.filter(pa.array([name in names for name in table["set_id"].to_pylist()], pa.bool_()))
        if rows.num_rows:
            yield rows
