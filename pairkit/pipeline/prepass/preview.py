"""What the prepass and the filters would take out of the first rows of a source, for a dry run."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pairkit.mining.filters import judge
from pairkit.mining.filters.stage import PREFIX, blocks
from pairkit.pipeline.prepass.run import identified, screen
from pairkit.pipeline.prepass.settings import Prepass
from pairkit.schema import StageResult
from pairkit.sources import Opened

ROWS = 1000  # unless the source has a limit
Ranked = Callable[[pa.Table], pa.Table]


def preview(
    settings: Prepass, opened: Opened, unit_rows: int, *, limited: bool, rank: Ranked | None
) -> list[str]:
    """Return a line per reason, with the number of sets that would leave for it; none if nothing can.

    Args:
        limited: whether the recipe limits the rows itself; else the first `ROWS` are read.
        rank: what the stages of a build before the filters do; None if they ask a model.
    """
    after = blocks(settings.filters, before=False)
    if not (settings.whole or after or blocks(settings.filters, before=True)):
        return []
    opened = opened if limited else _first(opened, ROWS)
    leaving, alone, read = Counter[str](), Counter[str](), 0
    # In a folder of its own, because a dry run writes nothing to that of the build.
    with tempfile.TemporaryDirectory(prefix="pairkit-prepass-") as folder:
        take_out = screen(settings, opened, Path(folder), "preview", unit_rows)
        for sets in identified(opened, unit_rows, "filters"):
            read += sets.num_rows
            result = take_out(sets) if take_out is not None else StageResult(sets)
            leaving.update({name.removeprefix("quarantined_"): n for name, n in result.counts.items()})
            if rank is not None and after:
                judged = judge(rank(result.sets), after)
                leaving.update(dict.fromkeys((f"{PREFIX}{name}" for name in after), 0))
                leaving.update(judged.reason.drop_nulls().to_list())
                alone.update({f"{PREFIX}{name}": int(judged.drops[name].sum()) for name in after})
    # Of several sources, each entry has a limit of its own.
    hint = "" if limited or opened.parts else "--limit N reads others; "
    return [
        f"would leave, of the sets of the first {read:,} ({hint}a set is counted once, for the first "
        "reason):",
        *(f"  {number:>9,} {name}{_alone(alone, name, number)}" for name, number in leaving.items()),
        *(["  (filters of completions are not tried: a model ranks them)"] if after and rank is None else []),
    ]


def _alone(alone: Counter[str], name: str, number: int) -> str:
    return f" ({alone[name]:,} if it were the only one)" if alone[name] != number and name in alone else ""


def _first(opened: Opened, rows: int) -> Opened:
    """Return the source without the batches after its first `rows` rows."""

    def stream(start: int, size: int) -> Iterator[StageResult]:
        read = 0
        for batch in opened.stream(start, size):
            yield batch
            read += batch.counts["rows"]
            if read >= rows:
                return

    return replace(opened, stream=stream, total_rows=None)
