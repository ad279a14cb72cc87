"""Files of pairs in any layout, converted to candidate sets once: as a build reads them, without mining."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from pairkit.dataset.layout import QUARANTINE_FILE
from pairkit.dataset.parquet import open_writer
from pairkit.errors import InputError, OutputError, PairkitError
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.stages import identified, stages
from pairkit.progress import progress
from pairkit.recipes import validate
from pairkit.schema import QUARANTINE, SETS, to_sets
from pairkit.sources import SourceRecipe, find_source, open_source
from pairkit.sources.reading.locate import DataFile, named_files
from pairkit.view.files.found import Found
from pairkit.view.files.shards import open_shard


def convert(path: Path, columns: Mapping[str, Any], folder: Path) -> Found:
    """Read files as `--source files` does, and write their sets to `folder`, which is empty.

    Completions are ordered by what the files say of them, and nothing is left out: what a build would mine
    stays, and rows that cannot be used become the quarantine. Of a folder, files that cannot be read are
    `problems`, and the others are converted.

    Args:
        columns: `layout` and `map` of the files, as in `source` of a build.

    Raises `InputError` or `RecipeError` for files that cannot be read as pairs, `OutputError` where the sets
    have no room.
    """
    problems: list[dict[str, str]] = []
    try:
        fingerprint = _write(path, path, columns, folder)
    except InputError:
        good, problems = _sorted_out(path, columns)
        if not good or not problems:
            raise
        with TemporaryDirectory(prefix="pairkit-view-") as temporary:
            for file in good:
                link = Path(temporary) / file.label
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.path.resolve())
            fingerprint = _write(Path(temporary), path, columns, folder)
    return Found(
        kind="files",
        title=path.resolve().name,
        path=path,
        folder=Path(f"{path.resolve()}.annotations"),
        digest=fingerprint,
        shards=(open_shard(folder / "sets.parquet", path.name, to_sets),),
        quarantine=(open_shard(folder / QUARANTINE_FILE, path.name, _anything),),
        verdicts=(),
        dropped=(),
        manifests={},
        runs={},
        problems=tuple(problems),
    )


def _write(path: Path, shown: Path, columns: Mapping[str, Any], folder: Path) -> str:
    """Write the sets of the files at `path`, which is called `shown`, to `folder`; return a hash of them."""
    source = _source(path, columns)
    opened = open_source(source)
    *ordering, _ = stages(BuildRecipe(source=source))
    names = {"sets.parquet": SETS, QUARANTINE_FILE: QUARANTINE}
    with writable(folder), ExitStack() as opened_files:
        writers = {
            name: opened_files.enter_context(open_writer(folder / name, schema))
            for name, schema in names.items()
        }
        with progress(f"Reading {shown}", opened.total_rows, unit="rows") as advance:
            for unit in identified(opened.batches(), {}):
                result = unit.result
                for stage in ordering:
                    result = result.then(stage.name, stage.run(result.sets))
                for name, table in {"sets.parquet": result.sets, QUARANTINE_FILE: result.quarantine}.items():
                    if table.num_rows:
                        writers[name].write_table(table, row_group_size=table.num_rows)
                advance(unit.rows)
    return opened.fingerprint


def _sorted_out(path: Path, columns: Mapping[str, Any]) -> tuple[list[DataFile], list[dict[str, str]]]:
    """Read each file of a folder alone; return those that can be read, and of the others why not."""
    good: list[DataFile] = []
    problems: list[dict[str, str]] = []
    for file in named_files(str(path), None, find_source("files").splits[0]) if path.is_dir() else []:
        try:
            for _ in open_source(_source(file.path, columns)).batches():
                pass
        except InputError as error:
            problems.append({"file": file.label, "message": str(error)})
        else:
            good.append(file)
    return good, problems


def _source(path: Path, columns: Mapping[str, Any]) -> SourceRecipe:
    return validate(SourceRecipe, {"name": "files", "path": str(path), **columns})


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn what writing raises into an `OutputError` that tells where the room is missing."""
    try:
        yield
    except PairkitError:
        raise
    except OSError as error:
        raise OutputError(
            f"{folder}: the sets of the files cannot be written there: {error.strerror or error}; set TMPDIR "
            "to a folder with more room"
        ) from error


def _anything(table: pa.Table) -> None:
    """Accept what was written here."""
