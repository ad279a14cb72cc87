"""Collections for tests of `pairkit view`: datasets as `pairkit build` leaves them, and questions to them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.candidates import candidate_set, completion, noise, table

from pairkit.dataset.parquet import open_writer
from pairkit.files import sha256
from pairkit.schema import QUARANTINE, SETS, VERDICTS, quarantined
from pairkit.view.collection import Collection
from pairkit.view.query import query


def scores(**named: float) -> list[dict[str, Any]]:
    """Named scores of a completion, sorted by name."""
    return [{"name": name, "value": value} for name, value in sorted(named.items())]


# Five sets: a plain one, a tie, one completion, one without ranks or scores, and one with noise.
FIVE = table(
    candidate_set(
        completion("Paris", 9.0, rank=1, model="a", scores=scores(x=3.0, y=1.0), finish_reason="stop"),
        completion(
            "Lyon, in France", 4.0, rank=2, model="b", scores=scores(x=1.0, y=2.0), finish_reason="length"
        ),
        completion("Rome", 2.0, rank=3, model="b", scores=scores(x=2.0)),
        prompt=[("system", "Be brief."), ("user", "The capital of FRANCE?")],
        source="first",
    ),
    candidate_set(
        completion("seven", 5.0, rank=1, model="a"),
        completion("sieben", 5.0, rank=1, model="c"),
        prompt="A number?",
        source="first",
    ),
    candidate_set(completion("alone", 1.0, rank=1, model="a"), prompt="Only one?", source="second"),
    candidate_set(
        completion("an unranked answer", model="c", origin="generated"),
        completion("another", model="c", origin="generated"),
        prompt="Nobody has judged?",
        source="second",
    ),
    candidate_set(
        completion("fine", 0.5, rank=1, model="a", scores=scores(x=1.0, y=1.0)),
        completion("worse", -1.5, rank=2, model="a", scores=scores(x=0.0, y=0.0)),
        noise("enif"),
        prompt="With noise?",
        source="first",
    ),
)  # fmt: skip


def write_dataset(
    folder: Path,
    files: Mapping[str, pa.Table],
    *,
    recipe: Mapping[str, Any] | None = None,
    row_group: int = 2,
    others: Mapping[str, pa.Table] | None = None,
) -> Path:
    """Write a dataset: `files` are its data files by split, `others` its quarantine, verdicts and dropped."""
    schemas = {"quarantine": QUARANTINE, "verdicts": VERDICTS}
    for split, sets in files.items():
        _write(folder / "data" / f"{split}-00000-of-00001.parquet", sets, SETS, row_group)
    for name, rows in (others or {}).items():
        path = folder / (
            "quarantine.parquet" if name == "quarantine" else f"{name}/all-00000-of-00001.parquet"
        )
        _write(path, rows, schemas.get(name, rows.schema), row_group)
    hashes = {
        str(path.relative_to(folder)): {"sha256": sha256(path)} for path in sorted(folder.rglob("*.parquet"))
    }
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"schema_version": 2, "recipe": recipe or {"mine": {"rejected": "worst"}}, "files": hashes}
    (folder / "pairkit.json").write_text(json.dumps(manifest))
    return folder


def _write(path: Path, rows: pa.Table, schema: pa.Schema, row_group: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_writer(path, schema) as writer:
        # A row group per write, as a build has them; of no row an empty file.
        for begin in range(0, rows.num_rows, row_group):
            part = rows.slice(begin, row_group)
            writer.write_table(part, row_group_size=part.num_rows)


def refused(*reasons: str) -> pa.Table:
    """Rows in quarantine, each with its reason as its text."""
    rows = [json.dumps({"question": f"refused for {reason}"}) for reason in reasons]
    details = [f"rows.jsonl, row {number}: {reason}" for number, reason in enumerate(reasons, 1)]
    return quarantined("source", list(reasons), rows, details=details)


def asked(collection: Collection, **request: Any) -> dict[str, Any]:
    """The answer to a question once the background has read everything."""
    wait(lambda: collection.lengths.reading.done and collection.verdicts.reading.done)
    answer = query(collection, request)
    if answer["search"] is not None:
        wait(lambda: query(collection, request)["search"]["done"])
        answer = query(collection, request)
    json.dumps(answer, allow_nan=False)
    return answer


def rows_of(answer: Mapping[str, Any]) -> list[int]:
    """The numbers of the rows of an answer."""
    return [row["row"] for row in answer["rows"]]


def wait(done: Callable[[], bool]) -> None:
    """Wait for something in the background, which takes milliseconds; a test that hangs has a timeout."""
    while not done():
        time.sleep(0.005)


def cut(path: Path, share: float = 0.5) -> None:
    """Cut a file, so that its footer is gone."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def spoil(path: Path, column: str, row_group: int = 0) -> None:
    """Overwrite the pages of a leaf column, so that the file opens and this column cannot be read."""
    group = pq.read_metadata(path).row_group(row_group)
    chunks = [group.column(number) for number in range(group.num_columns)]
    (chunk,) = (chunk for chunk in chunks if chunk.path_in_schema == column)
    content = bytearray(path.read_bytes())
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    content[begin : begin + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
