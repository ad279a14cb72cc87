"""Reading files: every format gives the same sets, every bad row a reason, every bad file one message."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairkit.errors import InputError, RecipeError
from pairkit.schema import QUARANTINE, UNIDENTIFIED
from pairkit.sources import Converted, SourceRecipe, open_source
from pairkit.sources.reading.checks import MAX_TEXT_BYTES

PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}


def write_lines(path: Path, rows: list[Any]) -> None:
    path.write_bytes(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))


def write_json(path: Path, rows: list[Any]) -> None:
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def write_parquet(path: Path, rows: list[Any]) -> None:
    pq.write_table(pa.Table.from_struct_array(pa.array(rows)), path, row_group_size=2)


def write_csv(path: Path, rows: list[Any]) -> None:
    def cell(value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value)
        return "" if value is None else '"' + text.replace('"', '""') + '"'

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = [",".join(names), *(",".join(cell(row.get(name)) for name in names) for row in rows)]
    path.write_bytes("".join(line + "\n" for line in table).encode())


WRITERS: dict[str, Callable[[Path, list[Any]], None]] = {
    "rows.jsonl": write_lines,
    "lines.json": write_lines,
    "array.json": write_json,
    "rows.parquet": write_parquet,
    "rows.csv": write_csv,
}


def written(folder: Path, rows: list[Any]) -> Iterator[Path]:
    """The rows in every format, each text format plain, gzipped and zstd-compressed."""
    for name, write in WRITERS.items():
        path = folder / name
        write(path, rows)
        yield path
        if path.suffix != ".parquet":
            packed = folder / (name + ".gz")
            packed.write_bytes(gzip.compress(path.read_bytes()))
            yield packed
            packed = folder / (name + ".zst")
            with pa.CompressedOutputStream(str(packed), "zstd") as stream:
                stream.write(path.read_bytes())
            yield packed


def read(path: Path, *, rows: int = 1000, start: int = 0, name: str = "files", **options: Any) -> Converted:
    opened = open_source(SourceRecipe(name=name, path=str(path), **options))
    parts = list(opened.batches(start=start, rows=rows))
    return Converted(
        pa.concat_tables([part.sets for part in parts] or [UNIDENTIFIED.empty_table()]),
        pa.concat_tables([part.quarantine for part in parts] or [QUARANTINE.empty_table()]),
        sum(part.rows for part in parts),
    )


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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    for path in written(tmp_path, rows):
        found = read(path, rows=size)
        assert found.quarantine.num_rows == 0, found.quarantine.to_pylist()
        assert found.rows == len(rows)
        assert [
            {
                "prompt": row["prompt"],
                "completions": [(c["text"], c["score"]) for c in row["completions"]],
                "topic": json.loads(row["metadata"]).get("topic"),
            }
            for row in found.sets.to_pylist()
        ] == expected, path.name


@pytest.mark.parametrize("name", WRITERS)
def test_batches_can_be_skipped_and_limited(tmp_path: Path, name: str) -> None:
    rows = [{"prompt": f"p{i}", "completion": str(i)} for i in range(11)]
    WRITERS[name](tmp_path / name, rows)
    whole = read(tmp_path / name).sets
    for size in (1, 3, 4, 11, 20):
        for start in range(0, 4):
            assert read(tmp_path / name, rows=size, start=start).sets.equals(whole.slice(start * size))
        for limit in (1, 4, 7, 11, 99):
            limited = read(tmp_path / name, rows=size, limit=limit)
            assert limited.sets.equals(whole.slice(0, limit))
            assert limited.rows == min(limit, 11)
            later = read(tmp_path / name, rows=size, limit=limit, start=1)
            assert later.sets.equals(whole.slice(0, limit).slice(size))


def test_batches_over_several_files(tmp_path: Path) -> None:
    for part in range(3):
        rows = [{"prompt": f"{part}.{i}"} for i in range(4)]
        write_lines(tmp_path / f"part-{part}.jsonl", rows)
    opened = open_source(SourceRecipe(name="files", path=str(tmp_path)))
    assert [file.name for file in opened.files] == ["part-0.jsonl", "part-1.jsonl", "part-2.jsonl"]
    sizes = [batch.rows for batch in opened.batches(rows=3)]
    assert sizes == [3, 1, 3, 1, 3, 1]  # a batch holds rows of one file
    everything = read(tmp_path, rows=3)
    assert read(tmp_path, rows=3, start=3).sets.equals(everything.sets.slice(7))
    assert read(tmp_path, rows=3, limit=6).rows == 6


BAD_LINES = [
    (b"{", "invalid_json", None),
    (b"[1, 2]", "invalid_json", None),
    (b"{}", "invalid_json", None),
    (b'"text"', "invalid_json", None),
    (b'{"prompt": "p", "chosen": "\\ud800", "rejected": "r"}', "lone_surrogate", "chosen"),
    (b'{"prompt": "p", "chosen": "\xff", "rejected": "r"}', "invalid_utf8", None),
    (b'{"chosen": "c", "rejected": "r"}', "missing_prompt", "prompt"),
    (b'{"prompt": null, "chosen": "c", "rejected": "r"}', "missing_prompt", "prompt"),
    (b'{"prompt": " \\n", "chosen": "c", "rejected": "r"}', "empty_prompt", "prompt.content"),
    (b'{"prompt": 3, "chosen": "c", "rejected": "r"}', "not_text", "prompt"),
    (b'{"prompt": "p", "chosen": true, "rejected": "r"}', "not_text", "chosen"),
    (b'{"prompt": "p", "chosen": {"text": 1}, "rejected": "r"}', "not_text", "chosen.text"),
    (b'{"prompt": "p", "chosen": null, "rejected": "r"}', "missing_completion", "completions.text"),
    (
        b'{"prompt": "p", "chosen": "c", "rejected": "r", "score_chosen": NaN}',
        "invalid_score",
        "score_chosen",
    ),
    (
        b'{"prompt": "p", "chosen": "c", "rejected": "r", "score_rejected": -Infinity}',
        "invalid_score",
        "score_rejected",
    ),
    (
        b'{"prompt": "p", "chosen": "c", "rejected": "r", "score_chosen": "good"}',
        "invalid_score",
        "score_chosen",
    ),
    (b'{"prompt": "p", "chosen": "c", "rejected": "r", "x": [1, "a"]}', "mixed_types", "x"),
    (
        b'{"prompt": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}],'
        b' "chosen": "c", "rejected": "r"}',
        "unsupported_content",
        "prompt.role",
    ),
    (
        b'{"prompt": [{"role": "user", "content": [{"type": "image"}]}], "chosen": "c", "rejected": "r"}',
        "unsupported_content",
        "prompt.content",
    ),
    (
        b'{"prompt": [{"role": "user", "content": "u", "tool_calls": [{"name": "f"}]}],'
        b' "chosen": "c", "rejected": "r"}',
        "unsupported_content",
        "prompt.tool_calls",
    ),
    (
        b'{"prompt": [{"role": "tool", "content": "u"}], "chosen": "c", "rejected": "r"}',
        "unsupported_content",
        "prompt.role",
    ),
    (b'{"prompt": "p", "chosen": "c", "rejected": "r", "images": ["x"]}', "unsupported_content", "images"),
    (
        b'{"prompt": "p", "chosen": "c", "rejected": "r", "tools": "[]"}',
        "unsupported_content",
        "tools",
    ),
]


@pytest.mark.parametrize(
    ("line", "reason", "field"), BAD_LINES, ids=[f"{line[1]}-{i}" for i, line in enumerate(BAD_LINES)]
)
def test_a_bad_row_goes_to_quarantine_with_its_place(
    tmp_path: Path, line: bytes, reason: str, field: str | None
) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps(PAIR).encode()
    path.write_bytes(b"\n".join([good, b"", good, line, good]))
    found = read(path)
    assert (found.rows, found.sets.num_rows, found.quarantine.num_rows) == (4, 3, 1)
    (bad,) = found.quarantine.to_pylist()
    place = "rows.jsonl, row 4" + (f", field {field!r}: " if field else ": ")
    assert bad["detail"].startswith(place)
    assert (bad["stage"], bad["reason"]) == ("source", reason)
    json.loads(bad["row"], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_every_bad_row_among_good_ones(tmp_path: Path) -> None:
    good = json.dumps(PAIR).encode()
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(line for bad, _, _ in BAD_LINES for line in (good, bad)))
    for size in (1, 5, 1000):
        found = read(path, rows=size)
        assert found.rows == 2 * len(BAD_LINES)
        assert found.sets.num_rows == len(BAD_LINES)
        reasons = {
            int(row["detail"].partition("row ")[2].split(",")[0].split(":")[0]): row["reason"]
            for row in found.quarantine.to_pylist()
        }
        assert reasons == {2 * place + 2: reason for place, (_, reason, _) in enumerate(BAD_LINES)}


def test_rows_of_several_kinds_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    message = [{"role": "user", "content": "m"}]
    write_lines(path, [{"prompt": "a"}, {"prompt": message}, {"prompt": "b"}, {"prompt": message, "n": 2}])
    contents = [row["prompt"][0]["content"] for row in read(path).sets.to_pylist()]
    assert contents == ["a", "m", "b", "m"]


def test_a_text_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, [PAIR, {**PAIR, "chosen": "x" * 10_000_000}, {**PAIR, "chosen": "y" * MAX_TEXT_BYTES}])
    found = read(path)
    assert found.sets.num_rows == 2
    assert found.quarantine["reason"].to_pylist() == ["too_long"]
    assert found.quarantine["detail"][0].as_py().startswith("rows.jsonl, row 2, field 'completions.text'")


def test_dates_numbers_and_truth_in_metadata_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(
        path, [{"prompt": "p", "day": "2024-01-02", "at": {"t": "2024-01-02 10:00:00"}, "n": 1, "b": True}]
    )
    assert json.loads(read(path).sets["metadata"][0].as_py()) == {
        "at": {"t": "2024-01-02 10:00:00"},
        "b": True,
        "day": "2024-01-02",
        "n": 1,
    }


def test_integers_beyond_64_bits_are_floats(tmp_path: Path) -> None:
    numbers = [2**63 - 1, -(2**63), 2**63, 2**64, 10**30]
    lines = [b'{"prompt": "p", "n": %d}' % number for number in numbers]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "odd.jsonl").write_bytes(b"\n".join([*lines, b'{"prompt": 1}']))
    (tmp_path / "rows.json").write_bytes(b"[" + b",".join(lines) + b"]")
    for name in ("rows.jsonl", "odd.jsonl", "rows.json"):
        texts = read(tmp_path / name, rows=1).sets["metadata"].to_pylist()
        assert [json.loads(text)["n"] for text in texts] == [*numbers[:2], *map(float, numbers[2:])]


def test_metadata_of_a_row_does_not_depend_on_other_rows(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "z": "x,", "list": ["x,", ":null", '"k":null'], "deep": {"a": None, "b": 1}},
        {"prompt": "b", "c": {"d": "e"}, "deep": {"a": 'say ",\\"k\\":null"', "b": None}},
    ]
    write_lines(tmp_path / "rows.jsonl", rows)
    expected = [
        {"z": "x,", "list": ["x,", ":null", '"k":null'], "deep": {"b": 1}},
        {"c": {"d": "e"}, "deep": {"a": 'say ",\\"k\\":null"'}},
    ]
    for size in (1, 2):
        sets = read(tmp_path / "rows.jsonl", rows=size).sets
        assert [json.loads(text) for text in sets["metadata"].to_pylist()] == expected
    texts = [read(tmp_path / "rows.jsonl", rows=size).sets["metadata"].to_pylist() for size in (1, 2)]
    assert texts[0] == texts[1]


def test_csv_rows_with_another_number_of_cells(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,note\n"a\nb",1\nc\n"",2\nd,3\ne,4,5\nf,6\ng,7,8\n', encoding="utf-8")
    for size in (1, 2, 100):
        found = read(path, rows=size)
        assert found.rows == 7
        assert [row["prompt"][0]["content"] for row in found.sets.to_pylist()] == ["a\nb", "d", "f"]
        assert sorted(
            (row["reason"], row["detail"].split(":")[0]) for row in found.quarantine.to_pylist()
        ) == [
            ("empty_prompt", "rows.csv, row 3, field 'prompt.content'"),
            ("invalid_csv", "rows.csv, row 2"),
            ("invalid_csv", "rows.csv, row 5"),
            ("invalid_csv", "rows.csv, row 7"),
        ]


def test_numbers_in_csv_prompts_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completions\n42,"[""1"", ""2""]"\n7,no list\n', encoding="utf-8")
    found = read(path)
    assert found.sets["prompt"].to_pylist() == [[{"role": "user", "content": "42"}]]
    assert found.quarantine["reason"].to_pylist() == ["invalid_json"]


def test_parquet_texts_that_are_not_utf8(tmp_path: Path) -> None:
    broken = pa.array([b"good", b"\xed\xa0\x80", b"fine"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, broken.buffers())
    pq.write_table(pa.table({"prompt": text, "n": [1, 2, 3]}), tmp_path / "rows.parquet")
    found = read(tmp_path / "rows.parquet")
    assert [row["prompt"][0]["content"] for row in found.sets.to_pylist()] == ["good", "fine"]
    (bad,) = found.quarantine.to_pylist()
    assert bad["reason"] == "invalid_utf8"
    assert bad["detail"] == "rows.parquet, row 2, field 'prompt': is not UTF-8"
    assert json.loads(bad["row"]) == {"prompt": "(not UTF-8)", "n": 2}


def test_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n{"prompt": 1}\r\n\r\n{"prompt": "b"}\r\n')
    found = read(path)
    assert [row["prompt"][0]["content"] for row in found.sets.to_pylist()] == ["a", "b"]
    assert found.quarantine["detail"].to_pylist() == [
        "rows.jsonl, row 2, field 'prompt': is a number, not a text"
    ]


def test_a_large_row_group_is_read_from_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": [str(i) for i in range(5000)]}), path, row_group_size=1700)
    whole = read(path).sets
    assert read(path, rows=400, start=9).sets.equals(whole.slice(3600))
    opened = open_source(SourceRecipe(name="files", path=str(path), limit=900))
    assert opened.total_rows == 900


LINES = b"".join(json.dumps({"prompt": str(i)}).encode() + b"\n" for i in range(2000))


def parquet(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def damaged_parquet() -> bytes:
    content = bytearray(parquet(prompt=[str(i) for i in range(9000)]))
    content[100:2000] = bytes(1900)
    return bytes(content)


# case -> the files to write (or none), the path to read, and what the message has to say
BAD_FILES: dict[str, tuple[dict[str, bytes], str, str]] = {
    "missing file": ({}, "nowhere.jsonl", "no such file or folder"),
    "glob without a match": ({"a.jsonl": LINES}, "*.ndjson", "no file matches"),
    "wrong extension": ({"text.txt": LINES}, "text.txt", "cannot tell its format; pairkit reads .jsonl"),
    "compressed parquet": ({"p.parquet.gz": b"x"}, "p.parquet.gz", "cannot tell its format"),
    "truncated gzip": ({"a.jsonl.gz": gzip.compress(LINES)[:-30]}, "a.jsonl.gz", "damaged or ends early"),
    "truncated csv": (
        {"a.csv.gz": gzip.compress(b"prompt\n" + LINES)[:-30]},
        "a.csv.gz",
        "damaged or ends early",
    ),
    "truncated array": (
        {"a.json.gz": gzip.compress(json.dumps([PAIR] * 999).encode())[:-30]},
        "a.json.gz",
        "damaged or ends early",
    ),
    "no gzip": ({"a.jsonl.gz": LINES}, "a.jsonl.gz", "gzip stream is damaged"),
    "no zstd": ({"a.jsonl.zst": LINES}, "a.jsonl.zst", "zstd stream is damaged"),
    "empty file": ({"a.jsonl": b""}, "a.jsonl", "is empty"),
    "empty gzip": ({"a.jsonl.gz": gzip.compress(b"")}, "a.jsonl.gz", "contains no rows"),
    "only blank lines": ({"a.jsonl": b"\n\n"}, "a.jsonl", "contains no rows"),
    "empty array": ({"a.json": b"[]"}, "a.json", "contains no rows"),
    "csv header alone": ({"a.csv": b"prompt\n"}, "a.csv", "contains no rows"),
    "empty parquet": ({"a.parquet": parquet(prompt=pa.array([], pa.string()))}, "a.parquet", "contains no rows"),
    "pretty json": ({"a.json": b'{\n "rows": [1]\n}'}, "a.json", "neither a JSON array nor one JSON object"),
    "unfinished array": ({"a.json": b'[{"prompt": "a"}, '}, "a.json", "not JSON: "),
    "not parquet": ({"a.parquet": LINES}, "a.parquet", "not a Parquet file"),
    "damaged parquet": ({"a.parquet": damaged_parquet()}, "a.parquet", "the Parquet file is damaged"),
    "two columns of a name": ({"a.csv": b"prompt,prompt\na,b\n"}, "a.csv", "two columns are named 'prompt'"),
    "csv in latin-1": ({"a.csv": b"prompt\ncaf\xe9\n"}, "a.csv", "not CSV in UTF-8"),
    "another parquet": ({"a.parquet": parquet(alpha=[1])}, "a.parquet", "expected the columns prompt or"),
    "another jsonl": ({"a.jsonl": b'{"alpha": 1}\n'}, "a.jsonl", "found alpha"),
    "folder without data": ({"f/readme.md": b"x"}, "f", "contains no file that pairkit reads"),
    "folder of several formats": (
        {"f/a.jsonl": LINES, "f/b.csv": b"prompt\na\n"},
        "f",
        "contains files of several formats (csv, jsonl)",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_message(tmp_path: Path, case: str) -> None:
    files, name, message = BAD_FILES[case]
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError) as raised:
        read(tmp_path / name)
    assert message in str(raised.value)
    assert str(tmp_path / name) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_of_another_source_is_named_with_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"alpha": [1], "beta": [2]}), tmp_path / "rows.parquet")
    with pytest.raises(
        InputError,
        match="not a file of source 'nectar': expected the columns prompt, answers; found alpha, beta",
    ):
        open_source(SourceRecipe(name="nectar", path=str(tmp_path / "rows.parquet")))


def test_splits_are_words_of_file_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "test", "training_notes"):
        write_lines(tmp_path / "data" / f"{split}-00000-of-00001.jsonl", [{"prompt": split}])

    def prompts_of(**options: Any) -> list[str]:
        return [row["prompt"][0]["content"] for row in read(tmp_path, **options).sets.to_pylist()]

    assert prompts_of() == ["train"]
    assert prompts_of(split="test") == ["test"]
    with pytest.raises(InputError, match="no file is named after the split 'validation'"):
        read(tmp_path, split="validation")
    with pytest.raises(RecipeError, match="`split` applies to folders and hub datasets only"):
        read(tmp_path / "data" / "test-00000-of-00001.jsonl", split="test")
    assert read(tmp_path / "**" / "*.jsonl").rows == 3


def test_a_folder_without_split_names_gives_all_files(tmp_path: Path) -> None:
    for name in ("a", "b", ".hidden"):
        write_lines(tmp_path / f"{name}.jsonl", [{"prompt": name}])
    assert read(tmp_path).rows == 2


def test_of_a_built_data_set_the_sets_are_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [{"prompt": "p"}])
    write_parquet(tmp_path / "quarantine.parquet", [{"row": "train"}])
    (tmp_path / "pairkit.json").write_text("{}")
    assert read(tmp_path).rows == 1


def test_the_fingerprint_follows_content_and_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"

    def fingerprint() -> str:
        return open_source(SourceRecipe(name="files", path=str(path))).fingerprint

    write_lines(path, [PAIR])
    first = fingerprint()
    assert fingerprint() == first
    write_lines(path, [{**PAIR, "prompt": "other"}])
    assert fingerprint() != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "ultrafeedbak"}, "unknown source 'ultrafeedbak'; did you mean 'ultrafeedback'"),
        ({"name": "hh_rlhf", "score": "mean_rating"}, "does not read `score`"),
        ({"name": "nectar", "map": {"prompt": "x"}}, "does not read `map`"),
        ({"name": "files", "revision": "main"}, "`revision` applies to hub datasets only"),
        ({"name": "files", "config": "main"}, "`config` applies to hub datasets only"),
        ({"name": "files", "map": {"promt": "x"}}, "unknown field of `map` 'promt'; did you mean 'prompt'"),
        ({"name": "files", "map": {"chosen": "x"}}, "give prompt, or messages, or chosen and rejected"),
        ({"name": "files", "map": {"chosen": "a+b", "rejected": "c"}}, "join columns"),
        ({"name": "files", "map": {"prompt": "a", "scores": "b"}}, "map scores: not used together with prompt"),
        ({"name": "files", "map": {"prompt": "nope"}}, "expected the columns nope; found prompt"),
    ],
)
def test_options_that_are_not_read_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, [PAIR])
    with pytest.raises((RecipeError, InputError)) as raised:
        read(path, **options)
    assert message in str(raised.value)


def test_files_need_a_path() -> None:
    for name in ("files", "alpaca_eval"):
        with pytest.raises(RecipeError, match="needs `path`"):
            open_source(SourceRecipe(name=name))
