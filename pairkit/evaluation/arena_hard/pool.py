"""The style of both answers to each prompt, as a file, and the evaluations that are a pool with this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.errors import InputError
from pairkit.evaluation.arena_hard.games import Game
from pairkit.evaluation.arena_hard.labels import Version
from pairkit.evaluation.arena_hard.style import Style
from pairkit.evaluation.results import read_run
from pairkit.files import replacing

STYLE = "style.parquet"
_SIDES = ("model", "reference")
_SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),
        *((f"{side}_{name}", pa.int64()) for side in _SIDES for name in Style._fields),
    ]
)


class Styles(NamedTuple):
    """The features of both answers, by prompt_id, and what their lengths were counted with.

    `lengths` is "stored", a tokenizer's name, or None if there are no lengths.
    """

    own: Mapping[str, Style]
    base: Mapping[str, Style]
    lengths: str | None

    def rows(self, games: Sequence[Game]) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of both sides for each game, `[g, 4]`; an unknown length is NaN."""
        own, base = (
            np.array([[np.nan if value is None else value for value in of[game.prompt_id]] for game in games])
            for of in (self.own, self.base)
        )
        return own.astype(np.float64), base.astype(np.float64)


class PoolRun(NamedTuple):
    """Another model in the pool."""

    model: str
    games: Sequence[Game]
    styles: Styles


def write_styles(out: Path, styles: Styles) -> None:
    """Write style.parquet, a row per prompt with both answers."""
    rows = [
        {"prompt_id": key}
        | {f"model_{name}": value for name, value in styles.own[key]._asdict().items()}
        | {f"reference_{name}": value for name, value in styles.base[key]._asdict().items()}
        for key in styles.own
        if key in styles.base
    ]
    with replacing(out / STYLE) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), temporary, compression="zstd")


def read_pool(paths: Sequence[Path], version: Version, references: Mapping[str | None, str]) -> list[PoolRun]:
    """Read finished evaluations of other models.

    Raises `InputError` for anything but an evaluation with Arena-Hard in this version on these references.
    """
    return [_read(path, version, references) for path in paths]


def _read(path: Path, version: Version, references: Mapping[str | None, str]) -> PoolRun:
    results = read_run(path).results
    if (results["benchmark"], results["version"]) != ("arena_hard", version):
        raise InputError(
            f"{path}: an evaluation with {results['benchmark']} {results['version'] or ''}, not arena_hard "
            f"{version}: a pool has evaluations of one benchmark"
        )
    against = results["reference"]
    theirs = against if isinstance(against, dict) else {None: against}
    # Of common categories: an evaluation may be of some of them alone.
    for category, name in references.items():
        if category in theirs and theirs[category] != name:
            raise InputError(
                f"{path}: is against another reference, {theirs[category]!r} instead of {name!r}: models of "
                "a pool are compared with one reference"
            )
    games_file, style_file = path / "verdicts.parquet", path / STYLE
    if not (games_file.is_file() and style_file.is_file()):
        raise InputError(f"{path}: has no {STYLE}: evaluate again with --answers and --reference")
    try:
        games, styles = pq.read_table(games_file).to_pylist(), pq.read_table(style_file).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: cannot be read ({str(error)[:200]}); evaluate again") from error
    sides = [
        {row["prompt_id"]: Style(*(row[f"{side}_{name}"] for name in Style._fields)) for row in styles}
        for side in _SIDES
    ]
    return PoolRun(
        results["model"],
        [
            Game(
                row["prompt_id"],
                row["game"],
                row["verdict"],
                None,
                row["points"],
                row["battles"],
                row["reason"],
            )
            for row in games
        ],
        Styles(sides[0], sides[1], results["style"]["lengths"]),
    )
