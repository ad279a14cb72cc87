"""Three-way merges: nothing that one side wrote is lost, and what both changed is a conflict."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairkit.hub.merge import Changes, merge_lines, merge_matter

LINES = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=8)


def matter(base: Any, ours: Any, theirs: Any) -> tuple[dict[str, Any], Changes]:
    changes = Changes()
    return merge_matter(base, ours, theirs, changes), changes


def lines(base: str, ours: str, theirs: str) -> tuple[str, Changes]:
    changes = Changes()
    return "".join(merge_lines(base, ours, theirs, changes)), changes


def test_each_side_keeps_its_changes_of_front_matter() -> None:
    base = {"license": "other", "name": "x", "gone": 1, "nested": {"a": 1, "b": 2}}
    ours = {"license": "other", "name": "y", "gone": 1, "nested": {"a": 1, "b": 3}}
    theirs = {"license": "mit", "name": "x", "nested": {"a": 5, "b": 2}, "new": [1]}
    merged, changes = matter(base, ours, theirs)
    assert merged == {"license": "mit", "name": "y", "nested": {"a": 5, "b": 3}, "new": [1]}
    assert changes.kept == ["license", "gone", "nested.a", "new"]
    assert changes.conflicts == []


def test_lists_of_words_get_the_additions_and_removals_of_both() -> None:
    base, ours, theirs = ["a", "b", "c"], ["a", "b", "d"], ["b", "c", "e"]
    assert matter({"tags": base}, {"tags": ours}, {"tags": theirs})[0] == {"tags": ["b", "d", "e"]}
    assert matter({}, {"language": ["en"]}, {"language": "de"})[0] == {"language": ["en", "de"]}


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "problem"),
    [
        ({"k": "a"}, {"k": "b"}, {"k": "c"}, "k ('c' on the hub, 'b' in this push)"),
        ({"k": "a"}, {"k": "b"}, {}, "k (nothing on the hub, 'b' in this push)"),
        ({"k": "a"}, {}, {"k": "c"}, "k ('c' on the hub, nothing in this push)"),
        ({}, {"k": "b"}, {"k": "c"}, "k ('c' on the hub, 'b' in this push)"),
        ({"k": [{"n": 1}]}, {"k": [{"n": 2}]}, {"k": [{"n": 3}]}, "k ([{'n': 3}] on the hub, [{'n': 2}]"),
        ({"k": {"x": 1}}, {"k": {"x": 2}}, {"k": {"x": 3}}, "k.x (3 on the hub, 2 in this push)"),
    ],
)
def test_what_both_changed_is_a_conflict(base: Any, ours: Any, theirs: Any, problem: str) -> None:
    merged, changes = matter(base, ours, theirs)
    assert [conflict.startswith(problem) for conflict in changes.conflicts] == [True]
    assert merged == theirs


def test_lines_of_both_sides_are_kept() -> None:
    assert lines("abcdef", "abXdef", "abcdefY")[0] == "abXdefY"
    assert lines("abc", "ac", "abcd")[0] == "acd"
    assert lines("abc", "abc", "")[0] == ""
    assert lines("", "abc", "")[0] == "abc"
    merged, changes = lines("abc", "aXc", "aYc")
    assert merged == "aYc"
    assert changes.conflicts == ["the text 'Y' on the hub, 'X' in this push"]


@given(LINES, LINES)
def test_a_change_of_one_side_alone_is_taken_whole(base: list[str], other: list[str]) -> None:
    for ours, theirs in ((other, base), (base, other), (other, other)):
        changes = Changes()
        assert merge_lines(base, ours, theirs, changes) == other
        assert changes.conflicts == []


@given(LINES, LINES, LINES)
def test_no_new_line_of_either_side_is_lost(base: list[str], ours: list[str], theirs: list[str]) -> None:
    mine, others = [f"our {line}" for line in ours], [f"their {line}" for line in theirs]
    middle = len(base) // 2
    changes = Changes()
    left = [*base[:middle], *mine, *base[middle:]]
    merged = merge_lines(base, left, [*base, *others], changes)
    assert [line for line in merged if line.startswith("their ")] == others
    if not changes.conflicts:
        assert [line for line in merged if line.startswith("our ")] == mine
        assert [line for line in merged if not line.startswith(("our ", "their "))] == base


EDITS = st.tuples(st.integers(0, 8), st.sampled_from(["replace", "delete", "insert"]))


@given(st.integers(2, 9), EDITS, EDITS)
def test_merges_are_those_of_git_but_for_neighboring_lines(
    count: int, our: tuple[int, str], their: tuple[int, str]
) -> None:
    """With lines that occur once, where every diff finds the same."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    import tempfile

    base = [f"{number}\n" for number in range(count)]
    (place, kind), (other, change) = ((at % count, how) for at, how in (our, their))
    ours, theirs = _edited(base, {(place, kind): "our"}), _edited(base, {(other, change): "their"})
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("ours", "base", "theirs")]
        for path, side in zip(paths, (ours, base, theirs), strict=True):
            path.write_text("".join(side))
        done = subprocess.run(["git", "merge-file", "-p", *paths], capture_output=True, check=False)
    changes = Changes()
    merged = merge_lines(base, ours, theirs, changes)
    same = place == other and (kind == change != "delete" or {kind, change} == {"replace", "delete"})
    assert bool(changes.conflicts) == same
    if same:
        assert done.returncode != 0
    elif done.returncode == 0:
        assert "".join(merged) == done.stdout.decode()
    else:
        # For git, changes of neighboring lines are a conflict.
        assert merged == _edited(base, {(place, kind): "our", (other, change): "their"})


def _edited(base: list[str], edits: dict[tuple[int, str], str]) -> list[str]:
    lines = []
    for place, line in enumerate(base):
        if (place, "insert") in edits:
            lines.append(f"{edits[place, 'insert']}\n")
        if (place, "replace") in edits:
            lines.append(f"{edits[place, 'replace']}\n")
        elif (place, "delete") not in edits:
            lines.append(line)
    return lines


def test_an_addition_next_to_a_changed_line_is_kept() -> None:
    """A card ends with a number of its data."""
    for theirs, merged in (("abcNN", "abXNN"), ("abNc", "abNX"), ("aNbc", "aNbX")):
        assert lines("abc", "abX", theirs) == (merged, Changes(kept=["the text in 1 place"]))
    assert lines("ab", "aXY", "aNb") == ("aNXY", Changes(kept=["the text in 1 place"]))
    assert lines("ab", "abX", "abY")[1].conflicts == ["the text 'Y' on the hub, 'X' in this push"]


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "conflict"),
    [
        ("mit", "cc", ["mit", "apache-2.0"], True),
        (None, "cc", ["mit", "apache-2.0"], True),
        ("mit", "mit", ["mit", "apache-2.0"], False),
        (["en"], ["en", "de"], "fr", False),
        (["en"], ["en", "de"], ["en", "fr"], False),
    ],
)
def test_a_single_value_is_no_list(base: Any, ours: Any, theirs: Any, conflict: bool) -> None:
    """A license that was changed on one side is not joined with that of the other."""
    _, changes = matter({} if base is None else {"k": base}, {"k": ours}, {"k": theirs})
    assert bool(changes.conflicts) == conflict
