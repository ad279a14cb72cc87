"""`pairkit inspect`: what it shows of files of every kind, and how it ends."""

from __future__ import annotations

import csv
import gzip
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.bad_input.running import Ended, run_in_process
from support.hub_server import Hub, environment, process, serving
from typer.testing import CliRunner

from pairkit.cli import app

PAIR = {"prompt": "p", "chosen": "good", "rejected": "bad"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, *rows: dict[str, Any]) -> str:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def run(words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ended:
    before = sorted(Path().rglob("*"))
    ended = run_in_process(f"inspect {words}", capsys, monkeypatch)
    assert sorted(Path().rglob("*")) == before
    return ended


def shown(*words: str) -> list[str]:
    """Return the lines that a successful command prints."""
    result = CliRunner().invoke(app, ["inspect", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def command(lines: list[str], what: str) -> list[str]:
    """Return the words of the command that the line `what` names."""
    (line,) = (line for line in lines if line.startswith(f"{what}: pairkit build "))
    return shlex.split(line.removeprefix(f"{what}: pairkit "))


def completions(words: list[str]) -> list[list[str]]:
    """Run a build, and return the texts of its sets, the best first."""
    result = CliRunner().invoke(app, [*words, "--out", "out", "test_fraction=0"], catch_exceptions=False)
    assert result.exit_code == 0
    rows = pq.read_table("out/data").to_pylist()
    return [[each["text"] for each in row["completions"]] for row in rows]


def test_a_file_of_pairs_is_shown_whole() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is 7 even?"}]
    row = {**PAIR, "prompt": turns, "score_chosen": 5, "score_rejected": 1.5, "topic": "t"}
    lines = shown(write("own.jsonl", row, {**row, "topic": None}, *[{**row, "chosen": "bad"}] * 2))
    assert lines == [
        "own.jsonl: jsonl, 4 rows, 6 columns",
        "  prompt          list of {role, content}  100 %",
        "  chosen          text                     100 %",
        "  rejected        text                     100 %",
        "  score_chosen    number                   100 %",
        "  score_rejected  number                   100 %",
        "  topic           text                      75 %",
        "read as pairs: a chosen and a rejected reply per row",
        "  prompt         = prompt",
        "  chosen         = chosen",
        "  rejected       = rejected",
        "  score_chosen   = score_chosen",
        "  score_rejected = score_rejected",
        "not read (kept as metadata): topic (75 %)",
        "",
        "set 1",
        "  system: Be brief.",
        "  user: Is 7 even?",
        "  > rank 1, score 5: good",
        "  > rank 2, score 1.5: bad",
        "",
        "set 2",
        "  system: Be brief.",
        "  user: Is 7 even?",
        "  > rank 1, score 5: good",
        "  > rank 2, score 1.5: bad",
        "",
        "4 rows: 2 sets with 4 completions",
        '  2 refused, all_identical; the first: "Is 7 even?": all completions are the same (1 of 2 '
        "completions left; dropped: 1 identical)",
        "to build it: pairkit build --source files --path own.jsonl",
    ]


@pytest.mark.full
def test_five_sets_are_shown_of_many() -> None:
    rows = [{**PAIR, "prompt": f"p{number}"} for number in range(2500)]
    lines = shown(write("own.jsonl", *rows))
    assert [line for line in lines if line.startswith("set ")] == [f"set {number}" for number in range(1, 6)]
    assert "2,500 rows: 2,500 sets with 5,000 completions" in lines
    assert "3 rows: 3 sets with 6 completions" in shown("own.jsonl", "--limit", "3")


def test_refused_rows_are_counted_by_reason_with_the_first() -> None:
    rows = [PAIR] * 1200 + [{**PAIR, "chosen": 3}] * 2 + [{**PAIR, "prompt": " "}]
    lines = shown(write("own.jsonl", *rows))
    (first,) = (line for line in lines if " not_text; " in line)
    assert first == (
        "  2 refused, not_text; the first: own.jsonl, row 1201, field 'chosen': is a number, not a text"
    )
    assert any(
        line.startswith("  1 refused, empty_prompt; the first: own.jsonl, row 1203,") for line in lines
    )


def test_untrusted_text_is_escaped_and_cut() -> None:
    evil = "\x1b[31mred\x1b[0m\nnext\x07 \u202eback\x9b"
    row = {**PAIR, "prompt": evil, "chosen": "x" * 1000, "\x1b]0;title\x07": 1}
    lines = shown(write("own.jsonl", row, {**row, "rejected": 1}))
    assert "  user: \\x1b[31mred\\x1b[0m\\nnext\\x07 \\u202eback\\x9b" in lines
    assert f"  > rank 1: {'x' * 160}… (1,000 characters)" in lines
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b]0;title\\x07 (100 %)" in line for line in lines)


def test_thoughts_tools_models_and_long_prompts_are_shown() -> None:
    turns = [{"role": ("user", "assistant")[number % 2], "content": f"turn {number}"} for number in range(9)]
    reply = {"role": "assistant", "content": "4", "reasoning_content": "2 and 2"}
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    lines = shown(
        write("own.jsonl", {"messages": [*turns, reply], "tools": tools, "model": "gpt", "score": 1}),
        "mine.require_choice=false",
    )
    start = lines.index("set 1")
    assert lines[start + 1].startswith('  tools: [{"type":"function"')
    assert lines[start + 2 : start + 10] == [
        *(f"  {turn['role']}: {turn['content']}" for turn in turns[:5]),
        "  …: 3 more turns",
        "  user: turn 8",
        "  > rank 1, score 1, by gpt: 4",
    ]
    assert lines[start + 10] == "    thought: 2 and 2"


def test_many_completions_are_cut() -> None:
    texts = [f"c{number}" for number in range(20)]
    lines = shown(write("own.jsonl", {"prompt": "p", "completions": texts, "ranks": list(range(1, 21))}))
    assert [line for line in lines if line.startswith("  >")] == [
        *(f"  > rank {number + 1}: c{number}" for number in range(8)),
        "  > 12 more completions",
    ]


def test_the_command_builds_what_was_shown() -> None:
    row = {"the question": "p", "good one": "c", "bad one": "r"}
    mapped = 'prompt=the question,chosen=good one,rejected=bad one,system="It\'s brief, please."'
    lines = shown(write("my rows.jsonl", row), "--map", mapped)
    assert "  system: It's brief, please." in lines
    assert completions(command(lines, "to build it")) == [["c", "r"]]


def test_prompts_alone_come_with_three_ways_on() -> None:
    lines = shown(write("own.jsonl", {"question": "p", "good": "c", "bad": "r"}))
    assert "  > no completion" in lines
    assert command(lines, "to generate completions")[-1] == "generate.model=MODEL"
    assert completions(command(lines, "to read completions")) == [["c", "r"]]
    assert completions([*command(lines, "to keep prompts alone"), "--on-existing", "delete"]) == [[]]


def test_demonstrations_come_with_the_setting_that_keeps_them() -> None:
    lines = shown(write("own.jsonl", {"prompt": "p", "completion": "c", "label": True}))
    assert "  > rank 1, score 1: c" in lines
    assert "1 rows: 0 sets with 0 completions" in lines
    assert completions(command(lines, "for --loss sft, or kto on labels")) == [["c"]]


def test_other_layouts_that_fit_are_named() -> None:
    lines = shown(write("own.jsonl", {**PAIR, "completions": ["a", "b"], "ranks": [2, 1]}))
    assert "would also fit: --layout sets (several completions per row)" in lines
    lines = shown("own.jsonl", "--layout", "sets")
    assert "read as sets: several completions per row" in lines
    assert lines[-1] == "to build it: pairkit build --source files --path own.jsonl --layout sets"
    assert not any("--layout pairs" in line for line in shown(write("own.jsonl", PAIR)))


def test_a_file_of_no_known_layout_shows_its_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("own.jsonl", {"alpha": "p", "good": "c", "bad": "r", "n": {"k": [1]}})
    ended = run("own.jsonl", capsys, monkeypatch)
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "own.jsonl: jsonl, 1 rows, 4 columns",
        "  alpha  text  100 %",
        "  good   text  100 %",
        "  bad    text  100 %",
        "  n      {k}   100 %",
    ]
    assert ended.errors.rstrip().endswith("--map, as in --map prompt=alpha,chosen=good,rejected=bad")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("gone.jsonl", 1, "gone.jsonl: no such file or folder"),
        ("own.jsonl --layout pair", 1, "unknown layout 'pair'; did you mean 'pairs'?"),
        ("own.jsonl --map prompt=x,chosen=chosen,rejected=rejected", 1, "map prompt=x: there is no 'x'"),
        ("own.jsonl --map prompt", 2, "write field=column"),
        ("own.jsonl --split test", 1, "`split` applies to folders and hub datasets only"),
        ("own.jsonl generate.model=m", 2, "pairkit inspect does not read 'generate'"),
        ("own.jsonl --limt 3", 2, "unknown option '--limt'; did you mean '--limit'?"),
        ("bad.jsonl", 1, "bad.jsonl: no usable candidate set in 2 rows (2 not_text)"),
        ("", 2, "Missing argument 'FILE'"),
    ],
)
def test_mistakes_are_one_line(
    words: str, code: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("own.jsonl", PAIR)
    write("bad.jsonl", {**PAIR, "chosen": 1}, {**PAIR, "chosen": 2})
    ended = run(words, capsys, monkeypatch)
    assert ended.code == code
    (line,) = ended.errors.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_folders_and_globs_are_read_file_by_file() -> None:
    for name in ("a", "b"):
        write(f"rows/{name}.jsonl", {**PAIR, "topic": "t"})
    write("rows/c.jsonl", {"prompt": "p", "completions": ["c", "r"], "ranks": [1, 2]})
    lines = shown("rows")
    assert "a.jsonl and 1 more files: jsonl, 2 rows, 4 columns" in lines
    assert "c.jsonl: jsonl, 1 rows, 3 columns" in lines
    assert "3 rows: 3 sets with 6 completions" in lines
    assert "2 rows: 2 sets with 4 completions" in shown("rows/[ab].jsonl")


def test_every_format_is_named() -> None:
    Path("own.json").write_text(json.dumps([PAIR]))
    with Path("own.csv").open("w", newline="") as file:
        csv.writer(file).writerows([list(PAIR), list(PAIR.values())])
    Path("own.jsonl.gz").write_bytes(gzip.compress(json.dumps(PAIR).encode() + b"\n"))
    pq.write_table(pa.Table.from_pylist([PAIR]), "own.parquet")
    for name, what in (
        ("own.json", "json"), ("own.csv", "csv"), ("own.jsonl.gz", "jsonl gzip"), ("own.parquet", "parquet")
    ):  # fmt: skip
        lines = shown(name)
        assert lines[0] == f"{name}: {what}, 1 rows, 3 columns"
        assert lines[-3:-1] == ["", "1 rows: 1 sets with 2 completions"]


def test_types_are_in_the_words_of_json() -> None:
    many = {f"key{number}": 1 for number in range(9)}
    rows = [
        {**PAIR, "a": 1.5, "b": True, "c": ["t"], "d": many, "e": None, "f": [[1]]},
        {**PAIR, "a": "text"},
    ]
    columns = {
        line.split()[0]: " ".join(line.split()[1:-2]) for line in shown(write("own.jsonl", *rows))[4:10]
    }
    assert columns == {
        "a": "number or text",
        "b": "boolean",
        "c": "list of text",
        "d": "{key0, key1, key2, key3, key4, key5, …}",
        "e": "no value",
        "f": "list of list of number",
    }


@pytest.mark.full
def test_a_dataset_on_the_hub_is_read(tmp_path: Path) -> None:
    content = b"".join(json.dumps({**PAIR, "prompt": f"p{number}"}).encode() + b"\n" for number in range(3))
    with serving(Hub(large=())) as hub:
        hub.add("dataset", "org/pairs", {"train.jsonl": content})
        done = process(environment(hub, tmp_path / "home"), "-m", "pairkit", "inspect", "org/pairs")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "train.jsonl: jsonl, 3 rows, 3 columns"
    assert lines[-1] == "to build it: pairkit build --source org/pairs"


def test_a_source_that_is_generated_is_shown() -> None:
    assert shown("arithmetic", "--limit", "7", "mine.require_choice=false")[-2:] == [
        "7 rows: 7 sets with 7 completions",
        "to build it: pairkit build --source arithmetic --limit 7 mine.require_choice=false",
    ]


@pytest.mark.full
def test_no_library_of_models_is_imported() -> None:
    write("own.jsonl", PAIR)
    code = (
        "import sys; from typer.testing import CliRunner; from pairkit.cli import app\n"
        "result = CliRunner().invoke(app, ['inspect', 'own.jsonl'], catch_exceptions=False)\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas'}\n"
        "print(result.exit_code, *sorted(heavy & sys.modules.keys()))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["0"]


@pytest.mark.full
def test_real_files_of_every_layout_are_shown(real_data: Path) -> None:
    lines = shown(str(real_data / "field" / "late-columns.jsonl.gz"))
    assert "  system          text      8 %" in lines
    assert "  score_chosen   = score_chosen" in lines
    assert "1,300 rows: 1,300 sets with 2,600 completions" in lines
    lines = shown(str(real_data / "field" / "openai-preference.jsonl"))
    start = lines.index("set 1")
    assert lines[start + 1 : start + 5] == [
        "  system: Answer briefly.",
        "  user: How many legs has a spider?",
        "  > rank 1: Eight.",
        "  > rank 2: Six, like an ant.",
    ]
    lines = shown(str(real_data / "hh_rlhf_helpful_base_test.jsonl.gz"), "--limit", "300")
    assert all(line.isprintable() for line in lines)
    assert any(" refused, diverging_prompts; the first: hh_rlhf_helpful" in line for line in lines)


def test_a_proposal_for_parts_of_an_object_that_is_read_in_part() -> None:
    row = {"data": {"question": "p", "best": "c", "worst": "r"}, "number": 1}
    lines = shown(write("own.jsonl", row), "--map", "prompt=data.question")
    assert completions(command(lines, "to read completions")) == [["c", "r"]]
