"""How the files of a source are read, for manifest and terminal; files that are read alike are one record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from pairkit.errors import listed, shortened
from pairkit.progress import visible
from pairkit.sources import Reading
from pairkit.sources.layouts.suggest import written_value

Record = dict[str, Any]
RECORDED = 200  # columns in a manifest
LISTED = 1000  # characters of columns in a line


def records(readings: Mapping[str, Reading]) -> list[Record]:
    """Return what is read as what, as plain values: the files, their layout, its fields, what is not read.

    `unread` has the share of rows with a value of each column that no field reads. Of several files it is the
    largest share. Those of `discarded` are not kept as metadata; `unread_parts` are within other columns.
    """
    grouped: dict[str, Record] = {}
    for file, reading in readings.items():
        # As text, because a map may hold a map of roles.
        key = repr(
            (reading.layout, reading.map, list(reading.unread), reading.discarded, reading.unread_parts)
        )
        record = grouped.setdefault(
            key,
            {
                "files": [],
                "layout": reading.layout,
                "summary": reading.summary,
                "map": {name: _plain(value) for name, value in reading.map.items()},
                "unread": dict.fromkeys(_recorded(reading.unread), 0.0),
                "discarded": _recorded(reading.discarded),
                "unread_parts": _recorded(reading.unread_parts),
                **_left_out(reading),
            },
        )
        record["files"].append(shortened(file))
        for name, share in reading.unread.items():
            largest = record["unread"].get(shortened(name))
            if largest is not None:
                record["unread"][shortened(name)] = round(max(share, largest), 4)
    return list(grouped.values())


def _recorded(names: Iterable[str]) -> list[str]:
    """Return the first names: a manifest of a hundred thousand columns would help nobody."""
    return [shortened(name) for name in islice(names, RECORDED)]


def _left_out(reading: Reading) -> dict[str, int]:
    left_out = max(0, len(reading.unread) - RECORDED)
    # Absent otherwise, as it is in the manifests of most builds.
    return {"unread_left_out": left_out} if left_out else {}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def describe(record: Record, *, files: bool) -> list[str]:
    """Return the lines about one record: what it is read as, and what is not read.

    Args:
        files: begin with the names of the files, because there are several records.
    """
    where = f"{_listed(record['files'])}: " if files else ""
    if not record["layout"]:
        return [f"{where}{record['summary']}"]
    lines = [f"{where}read as {record['layout']}: {record['summary']}"]
    metadata_shares = {
        name: share for name, share in record["unread"].items() if name not in record["discarded"]
    }
    lost_shares = {name: share for name, share in record["unread"].items() if name in record["discarded"]}
    more = f"; {record['unread_left_out']:,} columns are not named" if "unread_left_out" in record else ""
    if metadata_shares:
        lines.append(f"{where}not read (kept as metadata): {shares(metadata_shares)}{more}")
    if record["unread_parts"]:
        parts = listed(map(visible, record["unread_parts"]), LISTED)
        lines.append(f"{where}not read of columns that are read in part (kept as metadata): {parts}")
    if lost_shares:
        lines.append(f"{where}not read and not kept: {shares(lost_shares)}")
    return lines


def lines(read: Sequence[Record]) -> list[str]:
    """Return the lines about all files of a build."""
    return [line for record in read for line in describe(record, files=len(read) > 1)]


def fields(record: Record) -> list[str]:
    """Return a line per field: its name, and the column, path or constant that it is read from."""
    width = max(map(len, record["map"]), default=0)
    return [
        f"{name:<{width}} = {visible(shortened(written_value(value), LISTED))}"
        for name, value in record["map"].items()
    ]


def shares(columns: Mapping[str, float]) -> str:
    """Return columns with the share of rows that have a value of each.

    >>> shares({"domain": 1.0, "note": 0.034, "rare": 0.0001})
    'domain (100 %), note (3 %), rare (<1 %)'
    """
    shown = (f"{visible(name)} ({percent(share)} %)" for name, share in columns.items())
    return listed(shown, LISTED)


def percent(share: float) -> str:
    """Return a share in percent, `<1` or `>99` where it is neither 0 nor all.

    >>> [percent(share) for share in (0, 0.001, 0.5, 0.999, 1)]
    ['0', '<1', '50', '>99', '100']
    """
    # Neither 0 nor 100 where it is not: both would say something else than "almost".
    if 0 < share < 0.01:
        return "<1"
    return ">99" if 0.99 < share < 1 else f"{share:.0%}".rstrip("%")


def _listed(names: Sequence[str]) -> str:
    first = visible(names[0])
    return first if len(names) == 1 else f"{first} and {len(names) - 1:,} more"
