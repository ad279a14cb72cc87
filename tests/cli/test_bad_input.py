"""Every case of tests/support/bad_input through the command line: one line, and nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.bad_input import BAD_ROWS, CASES, FLAGGED, NOTES
from support.bad_input.case import FILES, BadRow, Case, lines
from support.bad_input.page import PAGE, page
from support.bad_input.rows import quarantine_detail, scored
from support.bad_input.running import Ended, Run, check_failure, files, matches, prepare, read_built
from support.grids import some

# A row that reading refuses as a whole, one that a check of its fields refuses, one that mining refuses.
REPRESENTATIVES = {"invalid JSON", "tool call", "one completion"}


# Slow ones, which tests of training and of models have too.
ELSEWHERE = {
    "learning rate that breaks the model",
    "reference log-prob cache of other content",
    "model of a class that changes with padding",
    "model of a class that attends at random",
    "LoRA on modules that the model does not have",
    "adapters without weights",
    "samples without right answers to check them by",
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.what, marks=pytest.mark.full if case.what in ELSEWHERE else ())
        for case in CASES
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(case: Case, run: Run) -> None:
    prepare(case)
    before = files(".")
    check_failure(case, run(case.words))
    if case.rows == "the metrics are kept":
        assert Path("runs/train/data-dpo/metrics.jsonl").is_file()
        assert not Path("runs/train/data-dpo/model").exists()
    else:
        caches = ("runs/train/reference", "runs/train/tokens")  # whole or absent, and of use to any later run
        assert before == {
            name: content
            for name, content in files(".").items()
            if name in before or not name.startswith(caches)
        }


@pytest.mark.default("texts longer than `max_length`")
@pytest.mark.parametrize("case", NOTES, ids=[case.what for case in NOTES])
def test_a_note_is_one_line_and_the_command_continues(case: Case, run: Run) -> None:
    prepare(case)
    ended = run(case.words)
    assert ended.code == case.code
    assert any(matches(case.says, line) for line in ended.errors.splitlines()), ended.errors
    assert Path("runs/train/data-dpo/model/config.json").is_file()


@pytest.mark.default(
    "fewer questions than Arena-Hard has, and so another file",
    "questions of another version of MT-Bench, asked for",
    "an answer to another problem than GSM8K's among others",
    "an empty answer to AlpacaEval",
)
@pytest.mark.parametrize("case", FLAGGED, ids=[case.what for case in FLAGGED])
def test_an_evaluation_that_is_no_published_one_is_noted(case: Case, run: Run) -> None:
    prepare(case)
    ended = run(case.words)
    assert ended.code == 0, ended.errors
    assert any(matches(case.says, line) for line in ended.out.splitlines()), ended.out
    results = json.loads(Path("out/results.json").read_text())
    kept = [f"note: {note}" for note in results["notes"]]
    assert results["missing"] if case.says.startswith("without") else any(matches(case.says, n) for n in kept)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row.what, marks=() if row.what in REPRESENTATIVES else pytest.mark.full)
        for row in BAD_ROWS
    ],
)
def test_a_bad_row_alone_is_one_line_and_leaves_nothing(row: BadRow, run: Run) -> None:
    Path("own.jsonl").write_bytes(row.line + b"\n")
    says = f"own.jsonl: no usable candidate set in 1 rows (1 {row.reason}); the first: …"
    case = Case(row.what, "", says + quarantine_detail(row, "own.jsonl", 1) + "…")
    check_failure(case, run(f"{FILES} own.jsonl"))
    assert not files("runs")


@pytest.mark.parametrize("unit_rows", some(lambda rows: rows == 1000, [3, 1000]))
def test_every_bad_row_among_good_ones_goes_to_quarantine(unit_rows: int, run: Run) -> None:
    """Good rows are written in their order; each bad one is in quarantine with the number of its own row."""
    mixed = b"".join(lines(scored(number)) + row.line + b"\n" for number, row in enumerate(BAD_ROWS))
    Path("own.jsonl").write_bytes(mixed)
    ended = run(f"{FILES} own.jsonl unit_rows={unit_rows} test_fraction=0")
    assert ended.code == 0
    reasons = [row.reason for row in BAD_ROWS]
    for reason in reasons:
        assert f"  {reasons.count(reason)} in quarantine: {reason}\n" in ended.out
    counts, sets, quarantine = read_built()
    assert counts["source"]["rows"] == 2 * len(BAD_ROWS)
    assert [row["prompt"][0]["content"] for row in sets] == [
        scored(number)["prompt"] for number in range(len(BAD_ROWS))
    ]
    assert all([c["text"].split()[0] for c in row["completions"]] == ["good", "bad"] for row in sets)
    expected = [
        (row.reason, quarantine_detail(row, "own.jsonl", 2 * place)) for place, row in enumerate(BAD_ROWS, 1)
    ]
    assert len(quarantine) == len(expected)
    for refused in quarantine:
        fits = [
            pair for pair in expected if pair[0] == refused["reason"] and matches(pair[1], refused["detail"])
        ]
        assert fits, (refused["reason"], refused["detail"])
        expected.remove(fits[0])
        json.loads(refused["row"], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_process_of_its_own_ends_alike(here: Path) -> None:
    (case,) = (case for case in CASES if case.what == "unknown command")
    prepare(case)
    command = [sys.executable, "-m", "pairkit", *case.words.split()]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    check_failure(case, Ended(process.returncode, process.stdout, process.stderr))


def test_a_cell_of_several_lines_may_end_a_csv_file(run: Run) -> None:
    Path("own.csv").write_bytes(b'prompt,chosen,rejected\na,5" b,c\nd,"e\n1","f\n""2""\n"\r\n')
    assert run(f"{FILES} own.csv").code == 0
    texts = {completion["text"] for row in read_built()[1] for completion in row["completions"]}
    assert texts == {'5" b', "c", "e\n1", 'f\n"2"\n'}


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "stale; write it again with: PYTHONPATH=tests python -m support.bad_input.page"
    )
