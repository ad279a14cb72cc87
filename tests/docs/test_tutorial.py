"""The walk through docs/tutorial.md: it finds every command, and tells what is printed otherwise."""

from __future__ import annotations

import tutorial_walk
from tutorial_walk import PAGE, differing, other_numbers, steps, without_progress

TABLE = ["┏━━┳━━━┓", "│ accuracy │ 3.33 [0.59, 16.67] % │", "note: 30 problems"]


def test_the_walk_has_every_command_of_the_page_in_order() -> None:
    found = list(steps(PAGE.read_text(encoding="utf-8")))
    assert "pip install -c constraints.txt" in found[0].commands
    assert found[1].commands.endswith("python make_rows.py\n")
    commands = [step.commands.split()[1] for step in found[2:]]
    assert commands == [
        "inspect", "build", "eval", "train", "train", "eval", "eval", "report", "push", "push"
    ]  # fmt: skip
    assert all(step.expected for step in found[2:])
    assert found[0].expected is None


def test_other_words_are_found_and_other_numbers_are_not() -> None:
    assert differing(TABLE, TABLE) is None
    assert differing(TABLE, ["┏━━━━━┳━┓", "│ accuracy   │   10.5 [1, 2,016] % │", "note: 7 problems"]) is None
    assert differing(TABLE, [*TABLE[:2], "note: 30 questions"]) == "note: 30 problems"
    assert differing(TABLE, TABLE[:2]) == "note: 30 problems"
    assert differing(TABLE[:2], TABLE) == "note: 30 problems"


def test_points_stand_for_any_lines() -> None:
    assert differing(["...", "note: 1 problems", "..."], TABLE) is None
    assert differing(["...", "note: 1 problems"], [*TABLE, "more"]) == "more"
    assert differing(["...", "warning"], TABLE) == "warning"


def test_numbers_that_differ_are_listed() -> None:
    assert list(other_numbers(["a 1", "b 2"], ["a 1", "b 3"])) == [("b 2", "b 3")]
    assert tutorial_walk.lines("\n a \n\nb\n") == [" a ", "", "b"]


def test_a_page_may_show_progress_or_not() -> None:
    progress = ["reading in 0.1 s", "bar", "training: 8 sets in 2.0 s", "bar"]
    for shown in ([], progress[:1], ["training: 8 sets in 3.5 s"], [progress[0], progress[2]]):
        assert list(without_progress([*shown, "model: m"], progress)) == ["model: m"]
    assert list(without_progress(["training: 8 sets in 2.0 s"], progress)) == []
    # Neither in another order, nor after what is not progress.
    assert list(without_progress(["bar", "bar", "bar"], progress)) == ["bar"]
    assert list(without_progress(["model: m", "bar"], progress)) == ["model: m", "bar"]
