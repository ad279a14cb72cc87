"""Every format gives the same rows, in the same batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.candidates import said
from support.row_files import WRITERS, read, write_all, write_lines

from pairkit.sources import SourceRecipe, open_source

texts = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=30
).filter(str.strip)
prompts = st.fixed_dictionaries(
    {
        "prompt": texts,
        "completions": st.lists(texts, min_size=1, max_size=3),
        "scores": st.none(),
        "topic": st.none() | texts,
    }
).flatmap(
    lambda row: st.lists(
        st.floats(-1e6, 1e6), min_size=len(row["completions"]), max_size=len(row["completions"])
    ).map(lambda scores: {**row, "scores": scores})
)


@settings(max_examples=2)
@given(st.lists(prompts, min_size=1, max_size=7), st.integers(1, 4))
def test_every_format_gives_the_same_sets(tmp_path: Path, rows: list[dict[str, Any]], size: int) -> None:
    expected = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completions": list(zip(row["completions"], row["scores"], strict=True)),
            "topic": row["topic"],
        }
        for row in rows
    ]
    for path in write_all(tmp_path, rows):
        batch = read(path, rows=size)
        assert batch.quarantine.num_rows == 0, batch.quarantine.to_pylist()
        assert batch.counts["rows"] == len(rows)
        assert [
            {
                "prompt": said(row["prompt"]),
                "completions": [(c["text"], c["score"]) for c in row["completions"]],
                "topic": json.loads(row["metadata"]).get("topic"),
            }
            for row in batch.sets.to_pylist()
        ] == expected, path.name


@pytest.mark.default("rows.arrow", "rows.tsv", "rows.parquet", "rows.jsonl")
@pytest.mark.parametrize("name", WRITERS)
def test_batches_can_be_skipped_and_limited(tmp_path: Path, name: str) -> None:
    rows = [{"prompt": f"p{i}", "completion": str(i)} for i in range(11)]
    WRITERS[name](tmp_path / name, rows)
    whole = read(tmp_path / name).sets
    for size in (3, 11):
        assert read(tmp_path / name, rows=size, start=2).sets.equals(whole.slice(2 * size))
        for limit in (4, 99) if size == 3 else (4,):
            limited = read(tmp_path / name, rows=size, limit=limit)
            assert limited.sets.equals(whole.slice(0, limit))
            assert limited.counts["rows"] == min(limit, 11)
            later = read(tmp_path / name, rows=size, limit=limit, start=1)
            assert later.sets.equals(whole.slice(0, limit).slice(size))


def test_batches_over_several_files(tmp_path: Path) -> None:
    for part in range(3):
        rows = [{"prompt": f"{part}.{i}"} for i in range(4)]
        write_lines(tmp_path / f"part-{part}.jsonl", rows)
    opened = open_source(SourceRecipe(name="files", path=str(tmp_path)))
    assert [file.name for file in opened.files] == ["part-0.jsonl", "part-1.jsonl", "part-2.jsonl"]
    sizes = [batch.counts["rows"] for batch in opened.batches(rows=3)]
    assert sizes == [3, 1, 3, 1, 3, 1]  # a batch holds rows of one file
    everything = read(tmp_path, rows=3)
    assert read(tmp_path, rows=3, start=3).sets.equals(everything.sets.slice(7))
    assert read(tmp_path, rows=3, limit=6).counts["rows"] == 6
