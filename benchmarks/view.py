"""How fast `pairkit view` opens a dataset, filters, sorts and searches it, and how much memory that takes.

    python benchmarks/view.py                    1,000,000 sets x 4 completions
    python benchmarks/view.py --sets 20000       shows that it runs

The sets have short texts of words drawn at random, seventeen models, a score and four named scores, as
UltraFeedback has them, in files of 125,000 sets with row groups of 1,000. A process of its own opens them,
with the files in the system's cache, and asks what the page asks. The goals are 2 s to open a million sets,
1 s to filter them, and less than 300 MB for their index.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import machine

from pairkit.arrow import listed, repeat, structs, without_pandas
from pairkit.dataset.parquet import open_writer
from pairkit.schema import COMPLETION, MESSAGE, SCORES, SETS
from pairkit.view.collection import Collection, opened
from pairkit.view.query import query

COMPLETIONS, MODELS, TEXTS, VOCABULARY = 4, 17, 4096, 5000
NAMES = ("helpfulness", "honesty", "instruction_following", "truthfulness")
GROUP, FILE = 1000, 125_000  # sets of a row group, and of a file
WORDS = "w0010 w0200"  # of which about one set in two hundred has both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to put the files; default: the system's")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary) / "data"
        write(folder, arguments.sets)
        size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
        command = [sys.executable, __file__, "--measure", str(folder)]
        figures = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    print(f"{machine()}; {arguments.sets:,} sets x {COMPLETIONS}, {size / 1e6:,.0f} MB")
    for name, value in figures.items():
        print(f"{name:45} {value:10.3f}")
    if arguments.json:
        report = {"machine": machine(), "sets": arguments.sets, "bytes": size, "figures": figures}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def measure(folder: Path) -> dict[str, float]:
    """Open a dataset and ask what the page asks; return seconds, and megabytes of memory."""
    figures: dict[str, float] = {}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        begin = time.perf_counter(), time.process_time()
        result = run()
        figures[f"{name} (s)"] = time.perf_counter() - begin[0]
        figures[f"{name} (s of processor)"] = time.process_time() - begin[1]
        return result

    without_pandas()  # as the command does
    before = _megabytes()
    context = opened(folder)
    collection: Collection = timed("open", context.__enter__)
    try:
        timed("first list with all histograms", lambda: query(collection, {}))
        figures["peak memory of opening (MB)"] = _megabytes() - before
        while not collection.lengths.reading.done:
            time.sleep(0.05)
        filters = {"model": {"values": ["model-3"]}, "margin": {"min": 2.0, "max": 6.0}}
        by = {"by": "margin", "descending": True}
        query(collection, {})  # histograms of lengths, whose bins are new
        timed("the same again", lambda: query(collection, {}))
        timed("two filters", lambda: query(collection, {"filters": filters}))
        timed("sort by margin", lambda: query(collection, {"sort": by}))
        timed(
            "two filters, sort, far page",
            lambda: query(collection, {"filters": filters, "sort": by, "offset": 9000}),
        )
        both = {"first": NAMES[0], "second": NAMES[1]}
        timed("disagreement, first time", lambda: query(collection, {"disagree": both}))
        timed("disagreement, again", lambda: query(collection, {"disagree": both}))
        timed("first hits of a search", lambda: _until(collection, lambda search: search.hits.any()))
        timed("whole search", lambda: _until(collection, lambda search: search.done))
        figures["peak memory (MB)"] = _megabytes() - before
        figures["hits"] = query(collection, {"text": WORDS})["total"]
    finally:
        context.__exit__(None, None, None)
    return figures


def _until(collection: Collection, done: Callable[[Any], bool]) -> None:
    search = collection.search("sets", WORDS)
    while not done(search):
        time.sleep(0.005)


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def write(folder: Path, sets: int) -> None:
    """Write a dataset of so many sets."""
    random = np.random.default_rng(0)
    words = np.array([f"w{number:04}" for number in range(VOCABULARY)])
    texts = pa.array([" ".join(random.choice(words, size)) for size in random.integers(5, 60, TEXTS)])
    files = -(-sets // FILE)
    (folder / "data").mkdir(parents=True)
    for number in range(files):
        path = folder / "data" / f"train-{number:05d}-of-{files:05d}.parquet"
        with open_writer(path, SETS) as writer:
            for begin in range(number * FILE, min(sets, (number + 1) * FILE), GROUP):
                count = min(GROUP, sets - begin)
                writer.write_table(_group(begin, count, texts, random), row_group_size=count)
    (folder / "pairkit.json").write_text(json.dumps({"recipe": {}, "files": {}}))


def _group(begin: int, count: int, texts: pa.Array, random: np.random.Generator) -> pa.Table:
    size = count * COMPLETIONS
    models = pa.array([f"model-{number}" for number in range(MODELS)])
    names = pa.array(list(NAMES) * size)
    values = pa.array(random.integers(1, 6, size * len(NAMES)).astype(np.float64))
    completions = structs(
        COMPLETION,
        size,
        text=texts.take(pa.array(random.integers(0, TEXTS, size))),
        model=models.take(pa.array(random.integers(0, MODELS, size))),
        rank=pa.array(np.tile(np.arange(1, COMPLETIONS + 1), count), pa.int32()),
        score=pa.array(np.sort(random.integers(1, 41, (count, COMPLETIONS)) / 4, axis=1)[:, ::-1].ravel()),
        scores=listed(
            np.arange(size + 1) * len(NAMES),
            pa.StructArray.from_arrays([names, values], fields=list(SCORES.value_type)),
        ),
        origin=repeat("generated", size, pa.string()),
        finish_reason=pa.array(np.where(random.random(size) < 0.1, "length", "stop")),
    )
    messages = structs(
        MESSAGE,
        count,
        role=repeat("user", count, pa.string()),
        content=texts.take(pa.array(random.integers(0, TEXTS, count))),
    )
    ids = pa.array([f"{begin + number:016x}" for number in range(count)])
    columns = {
        "set_id": ids,
        "prompt_id": ids,
        "source": repeat("made", count, pa.string()),
        "prompt": listed(np.arange(count + 1), messages),
        "completions": listed(np.arange(count + 1) * COMPLETIONS, completions),
        "metadata": repeat("{}", count, pa.string()),
    }
    nothing = pa.nulls(count, pa.string())
    return pa.table({**columns, "tools": nothing, "chat_template_kwargs": nothing}, schema=SETS)


if __name__ == "__main__":
    main()
