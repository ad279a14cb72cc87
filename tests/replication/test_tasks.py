"""The tasks: their answers are checked, their forms fit, and what is missing on a machine is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pairkit.errors import InputError
from pairkit.rankers.verifier import verify
from pairkit.replication.tasks import chat
from pairkit.replication.tasks.base import QUICK, Task
from pairkit.replication.tasks.checks import nearness, no_comma
from pairkit.replication.tasks.small import ARITHMETIC, CHAIN, SPLIT
from pairkit.replication.tasks.table import TASKS

SMALL = pytest.mark.parametrize("task", [ARITHMETIC, SPLIT, CHAIN], ids=["A", "B", "C"])


@SMALL
def test_the_right_answers_of_a_task_are_right_and_well_formed(task: Task) -> None:
    task.check()
    for split in ("tuning", "test"):
        sets = task.asked(split, QUICK)
        assert sets.num_rows == min(QUICK.problems or 0, task.problems(split).num_rows)
        assert len(task.groups(sets)) == sets.num_rows
        for row in verify(sets, task.checker).sets.to_pylist():
            first = row["completions"][0]
            assert first["score"] == 1.0
            assert re.fullmatch(task.form, first["text"])
            assert len(first["text"]) < task.max_tokens  # the end of the turn is a token too


@SMALL
def test_no_problem_is_in_two_splits(task: Task) -> None:
    prompts = [
        {row[-1]["content"] for row in task.problems(split)["prompt"].to_pylist()}
        for split in ("train", "tuning", "test")
    ]
    assert not prompts[0] & prompts[1]
    assert not prompts[0] & prompts[2]
    assert not prompts[1] & prompts[2]


def test_the_nearness_of_a_sum() -> None:
    answer = {"answer": "28"}  # 82
    texts = ("28", "18", "08", "280", "", "2a", "٢٨")
    assert [nearness(text, answer) for text in texts] == [1.0, 0.5, 1 / 3, 0.5, 0.0, 0.0, 0.0]
    assert no_comma("A, b", {}) == 0.0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model and instructions, as task D looks for them."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    rows = [{"instruction": f"Name {n} things.", "input": ""} for n in range(300)]
    rows += [
        {"instruction": "Where is the comma?", "input": ""},
        {"instruction": "Sum up.", "input": "A text."},
    ]
    import gzip

    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / chat.FILE).write_bytes(gzip.compress(content))
    monkeypatch.setenv(chat.MODEL, str(tmp_path / "model"))
    monkeypatch.setenv(chat.DATA, str(tmp_path))
    return tmp_path


def test_the_instructions_of_task_d_are_disjoint(machine: Path) -> None:
    splits = {split: chat.instructions(split) for split in chat.SIZES}
    assert {split: len(texts) for split, texts in splits.items()} == chat.SIZES
    every = [text for texts in splits.values() for text in texts]
    assert len(set(every)) == len(every)
    assert all(text.endswith(chat.ASKED) and "comma?" not in text for text in every)
    assert TASKS["D"].asked("test", QUICK).num_rows == QUICK.problems
    source = TASKS["D"].source(machine / "seed-0", QUICK)
    assert len(Path(source["path"]).read_text().splitlines()) == chat.SIZES["train"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (chat.MODEL, None, "task D needs SmolLM2-135M-Instruct: set PAIRKIT_SMOLLM2"),
        (chat.MODEL, "nowhere", "PAIRKIT_SMOLLM2=nowhere: is not a directory of a model"),
        (chat.DATA, None, "task D needs instructions: set PAIRKIT_TEST_DATA"),
        (chat.DATA, "nowhere", "PAIRKIT_TEST_DATA=nowhere: has no stanford_alpaca_sample.jsonl.gz"),
    ],
)
def test_what_task_d_lacks_is_named(
    name: str, value: str | None, message: str, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=re.escape(message)):
        TASKS["D"].check()
