"""Which sets have too much of a benchmark's prompt in one of their texts: runs of words that both share.

A run in several prompts of the benchmarks, or in many of the source, is boilerplate (a template, or a phrase
such as "how much money does he have left") and does not count, neither as shared nor as one of the benchmark
prompt's runs. What is in many prompts of the source is known only at its end, so until then the hits are kept
as numbers, and the texts that have one on disk.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairkit.arrow import flatten, list_indices
from pairkit.dataset import parquet
from pairkit.files import replacing
from pairkit.pipeline.prepass.benchmarks import Benchmarks
from pairkit.pipeline.prepass.settings import DecontaminationRecipe
from pairkit.texts import Ngrams, ngrams, words

# Prompts of the benchmarks that a run may be in and still count.
COMMON = 3
REPORT = pa.schema(
    [
        ("set_id", pa.string()),
        ("part", pa.string()),  # "prompt" or "completion"
        ("benchmark", pa.string()),
        ("item", pa.string()),  # the id of the benchmark's row, else its number
        ("shared", pa.int64()),  # runs of words of both that count
        ("counted", pa.int64()),  # all runs of the benchmark's prompt that count
        ("overlap", pa.float64()),  # shared / counted; 1 where the text is the whole prompt
        ("dropped", pa.bool_()),
        ("text", pa.string()),
        ("benchmark_text", pa.string()),
    ]
)
_TEXTS = pa.schema(
    [("text_row", pa.int64()), ("set_row", pa.int64()), *list(REPORT)[:2], ("text", pa.string())]
)


class _Index(NamedTuple):
    """The runs of words of the benchmarks' prompts, which are numbered as `Benchmarks.items`."""

    hashes: npt.NDArray[np.uint64]  # sorted, each once; a run is its place here
    frame: pl.DataFrame  # item, gram: each pair once
    spread: npt.NDArray[np.int64]  # of each run, how many prompts of the benchmarks it is in
    whole: pl.DataFrame  # whole, item: the hash of each prompt's words


class Contaminated(NamedTuple):
    """The sets that leave, by their row in the source, and a line about each."""

    rows: npt.NDArray[np.int64]
    details: pa.Array


class Decontamination:
    """Collects the hits of texts, batch by batch; a context, because texts are written to `folder`."""

    def __init__(self, settings: DecontaminationRecipe, benchmarks: Benchmarks, folder: Path) -> None:
        self._settings, self._benchmarks = settings, benchmarks
        self._index = _index(benchmarks, settings.ngram)
        self._hits: list[pl.DataFrame] = []
        self._wholes: list[pl.DataFrame] = []
        self._texts = 0
        self._file = folder / "texts.parquet"
        self._writer = parquet.open_writer(self._file, _TEXTS)

    def __enter__(self) -> Decontamination:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self._file.unlink(missing_ok=True)

    def add(self, sets: pa.Table, first: int) -> None:
        """Compare the messages of identified sets, the first of which is row `first` of the source."""
        for part, column, field in self._columns():
            cuts, flat = flatten(sets[column].combine_chunks())
            texts = pc.struct_field(flat, field)
            self._add(sets["set_id"].combine_chunks(), list_indices(cuts), texts, part, first)

    def _columns(self) -> list[tuple[str, str, str]]:
        prompts = [("prompt", "prompt", "content")]
        return prompts + ([("completion", "completions", "text")] if self._settings.completions else [])

    def _add(
        self, set_ids: pa.Array, owners: npt.NDArray[np.int64], texts: pa.Array, part: str, first: int
    ) -> None:
        word_lists = words(pl.Series(texts, dtype=pl.String))
        grams = ngrams(word_lists, self._settings.ngram)
        place = np.searchsorted(self._index.hashes, grams.hashes)
        place = np.minimum(place, len(self._index.hashes) - 1)
        mask = self._index.hashes[place] == grams.hashes
        hits = pl.DataFrame({"text_row": grams.texts[mask], "gram": place[mask]}).unique(maintain_order=True)
        whole = _whole(word_lists).join(self._index.whole, on="whole", maintain_order="left")
        with_hits = np.unique(np.concatenate([hits["text_row"].to_numpy(), whole["text_row"].to_numpy()]))
        if not len(with_hits):
            return
        rows = pl.col("text_row") + self._texts
        sets = pl.Series(owners + first)
        self._hits.append(
            hits.with_columns(text_row=rows, set_row=sets.gather(hits["text_row"])).select(
                "text_row", "set_row", "gram"
            )
        )
        self._wholes.append(whole.select(rows, "item"))
        text_rows = pa.array(with_hits)
        columns = [
            pa.array(with_hits + self._texts),
            pa.array(owners[with_hits] + first),
            set_ids.take(pa.array(owners[with_hits])),
            pa.repeat(part, len(text_rows)),
            texts.take(text_rows),
        ]
        self._writer.write_table(pa.table(columns, schema=_TEXTS))
        self._texts += len(texts)

    def finish(self, report: Path) -> Contaminated:
        """Decide about all hits, write those that count to `report`, and return the sets that leave."""
        self._writer.close()
        overlaps = self._overlaps()
        names = pl.DataFrame(
            [(place, *item) for place, item in enumerate(self._benchmarks.items)],
            schema={"number": pl.Int64, "benchmark": pl.String, "item": pl.String, "text": pl.String},
            orient="row",
        ).rename({"text": "benchmark_text"})
        verdicts = []
        with (
            replacing(report) as temporary,
            parquet.open_writer(temporary, REPORT) as writer,
            pq.ParquetFile(self._file) as texts,
        ):
            for batch in texts.iter_batches():
                frame = pl.DataFrame(pl.from_arrow(batch)).join(overlaps, on="text_row")
                frame = frame.join(names, on="number").sort("text_row", "number")
                writer.write_table(pa.table(frame.select(REPORT.names).to_arrow()).cast(REPORT))
                verdicts.append(frame.filter("dropped").select("set_row", "benchmark", "item", "overlap"))
        return _leaving(pl.concat(verdicts) if verdicts else None)

    def _overlaps(self) -> pl.DataFrame:
        """Return a row per text and benchmark prompt that share a run that counts, or all of their words."""
        index, settings = self._index, self._settings
        hits = pl.concat(self._hits) if self._hits else pl.DataFrame(schema=_NO_HIT)
        carried = np.zeros(len(index.hashes), np.int64)
        by_source = hits.select("set_row", "gram").unique().group_by("gram").len()
        carried[by_source["gram"].to_numpy()] = by_source["len"].to_numpy()
        counts = (index.spread <= COMMON) & (carried <= settings.boilerplate)
        pairs = index.frame.filter(pl.Series(counts[index.frame["gram"].to_numpy()]))
        totals = pairs.group_by("item").len("counted")
        shared = (
            hits.join(pairs, on="gram").group_by("text_row", "item").len("shared").join(totals, on="item")
        )
        whole = pl.concat(self._wholes) if self._wholes else pl.DataFrame(schema=_NO_WHOLE)
        # Also where none of its runs counts: a short prompt, or one that is all boilerplate.
        both = shared.join(
            whole.with_columns(whole=pl.lit(True)), on=["text_row", "item"], how="full", coalesce=True
        )
        overlap = pl.when(pl.col("whole").fill_null(False)).then(1.0)
        both = both.with_columns(
            pl.col("shared", "counted").fill_null(0).cast(pl.Int64),
            overlap=overlap.otherwise(pl.col("shared") / pl.col("counted")),
        )
        return both.select(
            "text_row",
            pl.col("item").alias("number"),
            "shared",
            "counted",
            "overlap",
            dropped=pl.col("overlap") >= settings.overlap,
        )


_NO_HIT = {"text_row": pl.Int64, "set_row": pl.Int64, "gram": pl.Int64}
_NO_WHOLE = {"text_row": pl.Int64, "item": pl.Int64}


def _index(benchmarks: Benchmarks, n: int) -> _Index:
    word_lists = words(pl.Series([item.text for item in benchmarks.items], dtype=pl.String))
    grams: Ngrams = ngrams(word_lists, n)
    hashes, places = np.unique(grams.hashes, return_inverse=True)
    frame = pl.DataFrame({"item": grams.texts, "gram": places.astype(np.int64)}).unique(maintain_order=True)
    whole = _whole(word_lists).select("whole", item="text_row")
    return _Index(hashes, frame, np.bincount(frame["gram"].to_numpy(), minlength=len(hashes)), whole)


def _whole(word_lists: pl.Series) -> pl.DataFrame:
    """Return `whole`, a hash of all words of each text that has one, and `text_row`, its place."""
    frame = pl.DataFrame({"whole": word_lists.list.join(" ").hash(seed=0), "words": word_lists.list.len()})
    frame = frame.with_columns(text_row=pl.int_range(pl.len(), dtype=pl.Int64))
    return frame.filter(pl.col("words") > 0).drop("words")


def _leaving(hits: pl.DataFrame | None) -> Contaminated:
    """Return each set once, with its largest overlap; of equal ones, the first."""
    if hits is None or hits.is_empty():
        return Contaminated(np.zeros(0, np.int64), pa.array([], pa.string()))
    best = (
        hits.sort("overlap", descending=True, maintain_order=True)
        .unique("set_row", keep="first")
        .sort("set_row")
    )
    detail = pl.format(
        "{} % of the word runs of {} {}",
        (pl.col("overlap") * 100).round(0).cast(pl.Int64),
        "benchmark",
        "item",
    )
    return Contaminated(
        best["set_row"].to_numpy(), best.select(detail).to_series().to_arrow().cast(pa.string())
    )
