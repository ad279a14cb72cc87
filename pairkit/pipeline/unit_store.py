"""The results of the stages that ask a model, per unit and stage, on disk until the build is finished.

A result is found by the hash of what determines it (`identity.stage_keys`), so a build whose recipe has
changed takes what is still valid and nothing else. Results stay after a unit's shard is closed: a change of
what follows (mining, the order) invalidates the shards but not these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from pairkit.files import parsed, read_json, replacing, sha256, write_json
from pairkit.progress import warn
from pairkit.schema import StageResult

# In the sets' own file, because a rename can make only one file complete at a time.
_COUNTS = b"counts"
_OTHER_TABLES = ("quarantine", "verdicts")
# Among the hashes, that of the file of the sets.
_SETS = "sets"


def write(folder: Path, number: int, key: str, result: StageResult) -> None:
    """Store the result of a unit. The file of the sets comes last: if it exists, so do the others.

    The one before it holds the hashes of all of them.
    """
    hashes = {}
    for name in _OTHER_TABLES:
        table = getattr(result, name)
        # One that is made again may have had rows before, which were wrong.
        _file(folder, number, key, name).unlink(missing_ok=True)
        # No file for an empty table: `read` then leaves the default, which is empty as well.
        if table.num_rows:
            # zstd, because every stage stores all texts of its unit again.
            with replacing(_file(folder, number, key, name)) as temporary:
                pq.write_table(table, temporary, compression="zstd")
                hashes[name] = sha256(temporary)
    sets = result.sets.replace_schema_metadata({_COUNTS: json.dumps(dict(result.counts))})
    with replacing(_file(folder, number, key)) as temporary:
        pq.write_table(sets, temporary, compression="zstd")
        hashes[_SETS] = sha256(temporary)
        # Before this file has its name, because a kill in between must not leave it without its hash.
        write_json(_hashes_file(folder, number, key), hashes)


def read(folder: Path, number: int, key: str) -> StageResult | None:
    """Return the stored result of a unit; None if there is none, or if it was changed since."""
    path = _file(folder, number, key)
    # Only this file is looked for, because it was written last.
    if not path.is_file():
        return None
    if damaged_file := _changed(folder, number, key):
        # Asked again rather than refused: the answers are in the cache of calls as well.
        warn(f"{damaged_file}: was changed since it was written, or has no hash; this result is made again")
        return None
    sets = pq.read_table(path)
    counts = parsed(sets.schema.metadata[_COUNTS])
    files = {name: _file(folder, number, key, name) for name in _OTHER_TABLES}
    others = {name: pq.read_table(file) for name, file in files.items() if file.is_file()}
    # Without the counts, because metadata of a table would end up in the published files.
    return StageResult(sets.replace_schema_metadata(None), counts=counts, **others)


def read_last(folder: Path, number: int, keys: Sequence[str]) -> tuple[int, StageResult | None]:
    """Return the result after the most stages, of those with these keys, and how many stages that is."""
    # From the last stage back, because the result of a stage contains those before it.
    for stage_count in range(len(keys), 0, -1):
        result = read(folder, number, keys[stage_count - 1])
        if result is not None:
            return stage_count, result
    return 0, None


def count(folder: Path, keys: Iterable[str], first: int = 0) -> int:
    """Return how many units from number `first` on have a result of any of these stages."""
    # The names are enough: `replacing` gives a file its name when it is complete.
    names = [path.name.split(".") for path in folder.glob("*.parquet")]
    key_set = set(keys)
    # A unit has a file per stage and table, and is counted once.
    return len({name[0] for name in names if name[1] in key_set and int(name[0]) >= first})


def _changed(folder: Path, number: int, key: str) -> Path | None:
    """Return a file of a unit's result that is not what was written."""
    hashes_file = _hashes_file(folder, number, key)
    try:
        hashes = dict(read_json(hashes_file))
    except (OSError, ValueError, TypeError):
        return hashes_file
    for name in (_SETS, *_OTHER_TABLES):
        path = _file(folder, number, key, None if name == _SETS else name)
        if (sha256(path) if path.is_file() else None) != hashes.get(name):
            return path
    return None


def _hashes_file(folder: Path, number: int, key: str) -> Path:
    return _file(folder, number, key).with_suffix(".json")


def _file(folder: Path, number: int, key: str, table: str | None = None) -> Path:
    # Padded for a person who lists the folder; the key in the name lets results of two recipes share it.
    return folder / (f"{number:08d}.{key}.{table}.parquet" if table else f"{number:08d}.{key}.parquet")
