"""The scales of scores: of each source of what is trained on, between which numbers most of them are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairkit.dataset.mixed import MixedData
from pairkit.dataset.reader import ROWS, BuiltData

# Of the scores of a source, those between these quantiles: a single outlier is no scale.
QUANTILES = (0.05, 0.95)
# How many times as wide as another a scale may be and still count as the same one.
ALIKE = 2.0
_COLUMNS = ("source", "completions.list.element.score")


class Scale(NamedTuple):
    """The scale of a source's scores: the two quantiles."""

    name: str
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.name} {self.low:.3g} to {self.high:.3g}"


def scales(data: BuiltData | MixedData, split: str) -> list[Scale]:
    """Return the scale of each source that has scores, of each dataset of a mixture, in order."""
    datasets = (
        [("", data)] if isinstance(data, BuiltData) else [(f"{p.title}/", each) for p, each in data.parts]
    )
    source_scales = []
    for prefix, each in datasets:
        scores: dict[str, list[np.ndarray]] = {}
        for source, values in _scores(each, split):
            scores.setdefault(source, []).append(values)
        for source, parts in scores.items():
            low, high = np.quantile(np.concatenate(parts), QUANTILES)
            source_scales.append(Scale(f"{prefix}{source}", float(low), float(high)))
    return source_scales


def differ(source_scales: Sequence[Scale]) -> bool:
    """Return whether two of the scales are different ones: apart, or one much wider than the other."""
    widths = [scale.high - scale.low for scale in source_scales]
    apart = any(scale.high < other.low for scale in source_scales for other in source_scales)
    return apart or (len(source_scales) > 1 and max(widths) > ALIKE * min(widths))


def _scores(data: BuiltData, split: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of a source and scores of its completions."""
    for path in data.files(split):
        with pq.ParquetFile(path) as file:
            # These columns alone: the texts are nearly all of a file.
            for batch in file.iter_batches(batch_size=64 * ROWS, columns=list(_COLUMNS)):
                lists = batch["completions"]
                values = pc.struct_field(pc.list_flatten(lists), "score")
                owners = pc.list_parent_indices(lists)
                sources = batch["source"].take(owners).dictionary_encode()
                for index, name in enumerate(sources.dictionary.to_pylist()):
                    mine = pc.and_(pc.equal(sources.indices, index), pc.is_valid(values))
                    chosen: pa.Array = values.filter(mine)
                    if len(chosen):
                        yield name, chosen.to_numpy()
