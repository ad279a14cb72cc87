"""A unit of a build: the rows that are worked on together and resumed together."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from pairkit.dataset import histograms as statistics
from pairkit.schema import VERDICTS


class Unit(NamedTuple):
    """A unit on its way: `sets` have their identity, `rows` is the number of raw rows.

    `prompt_ids` are those of all sets of the source; `counts` holds what the stages so far took and made;
    `verdicts` is what judges have said. `shown` rows of it were reported as progress already.
    """

    sets: pa.Table
    quarantine: pa.Table
    rows: int
    prompt_ids: pa.ChunkedArray
    counts: dict[str, int]
    verdicts: pa.Table = VERDICTS.empty_table()
    shown: int = 0


class Done(NamedTuple):
    """A unit after the last stage.

    `tables` are named by where they are written: "data/train", "data/test", "pairs/train", "pairs/test",
    "verdicts/all"; `prompt_ids` are those of all sets of the source; `bytes` is the size of the texts in the
    sets; `counts` holds what each stage took, dropped and made; `shown` is as of `Unit`.
    """

    tables: dict[str, pa.Table]
    quarantine: pa.Table
    prompt_ids: pa.ChunkedArray
    rows: int
    bytes: int
    counts: dict[str, int]
    histograms: statistics.Histograms
    shown: int
