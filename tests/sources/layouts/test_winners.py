"""Winners of comparisons: words, numbers whose meaning the whole file decides, votes and flags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.layouts import Found, read_rows

from pairkit.errors import InputError, RecipeError

FIRST, SECOND, TIE, UNSAID = (1, 2), (2, 1), (1, 1), (None, None)


def compare(
    folder: Path, values: Sequence[Any], ends: str = "ab", name: str = "winner", **options: Any
) -> Found:
    rows = [
        {"prompt": f"q{number}", f"response_{ends[0]}": "x", f"response_{ends[1]}": "y", name: value}
        for number, value in enumerate(values)
    ]
    return read_rows(folder, rows, **options)


def ranks(found: Found) -> list[tuple[int | None, ...]]:
    assert found.refused == []
    return [tuple(rank for (rank,) in row) for row in found.brief("rank")]


@pytest.mark.default(
    "a-expected0", "[[A]]-expected6", "first-expected7", "model_b-expected10", "B>A-expected14",
    "[[B>>A]]-expected15", "tie-expected16", "both_bad-expected18", "None-expected24", "A=B-expected21"
)  # fmt: skip
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *[
            (word, FIRST)
            for word in ("a", "A", "model_a", "Model A", "response_a", "assistant-a", "[[A]]", "first")
        ],
        *[
            (word, SECOND)
            for word in ("b", " B ", "model_b", "Answer B", "response_b", "right", "B>A", "[[B>>A]]")
        ],
        *[
            (word, TIE)
            for word in ("tie", "Tie (bothbad)", "both_bad", "TIE", "draw", "A=B", "neither", "equal")
        ],
        (None, UNSAID),
    ],
)
def test_words_name_a_winner(tmp_path: Path, word: str | None, expected: tuple[int, int]) -> None:
    # Another row, because a column of nulls alone would be no winner.
    assert ranks(compare(tmp_path, [word, "a"])) == [expected, FIRST]


def test_an_unknown_word_is_refused_and_kept(tmp_path: Path) -> None:
    found = compare(tmp_path, ["a", "c", "whatever", {"x": 1}])
    assert [reason for reason, _ in found.refused] == ["invalid_winner"] * 3
    assert all("winner" in detail for _, detail in found.refused)
    assert len(found.sets) == 1


def test_a_tie_stays_in_the_metadata_as_it_was_written(tmp_path: Path) -> None:
    (row,) = compare(tmp_path, ["tie (bothbad)"]).sets
    assert row["metadata"] == '{"winner":"tie (bothbad)"}'


@pytest.mark.default(
    "01-values9-expected9",
    "12-values8-expected8",
    "ab-values2-expected2",
    "12-values6-expected6",
    "01-values4-expected4",
    "ab-values3-expected3",
)
@pytest.mark.parametrize(
    ("ends", "values", "expected"),
    [
        ("ab", [0, 1, 1], [FIRST, SECOND, SECOND]),
        ("ab", [2, 1, 2], [SECOND, FIRST, SECOND]),
        ("ab", ["1", "2"], [FIRST, SECOND]),
        ("ab", ["Response 2", "response_1"], [SECOND, FIRST]),
        ("01", [1, 1], [SECOND, SECOND]),
        ("01", ["response_1", "Response 0"], [SECOND, FIRST]),
        ("12", [1, 2], [FIRST, SECOND]),
        ("12", ["response_1", "response_1"], [FIRST, FIRST]),
        ("12", ["model_1", "Answer 2"], [FIRST, SECOND]),
        ("01", ["model_1", "Answer 0"], [SECOND, FIRST]),
        ("ab", [1.0, 2.0, None], [FIRST, SECOND, UNSAID]),
    ],
)
def test_all_rows_of_a_file_decide_what_numbers_mean(
    tmp_path: Path, ends: str, values: list[Any], expected: list[tuple[int, int]]
) -> None:
    # Blocks of one row: a block alone could not tell.
    assert ranks(compare(tmp_path, values, ends, block=1)) == expected


@pytest.mark.parametrize(
    ("ends", "values", "name"),
    [
        ("ab", [1, 1], "winner"),
        ("ab", [0, 1, 2], "winner"),
        ("12", [0, 1], "winner"),
        ("01", [2, 1], "winner"),
        ("ab", [-1, 1], "winner"),
        ("ab", ["1", "3"], "winner"),
        ("ab", [0, 1], "label"),
        ("ab", [0, 1], "gold_label"),
        ("ab", [True, False], "winner"),
        ("ab", [1.5, 1.0], "winner"),
    ],
)
def test_numbers_that_could_mean_two_things_are_refused(
    tmp_path: Path, ends: str, values: list[Any], name: str
) -> None:
    with pytest.raises(InputError, match=rf"rows.jsonl: {name} .*--map"):
        compare(tmp_path, values, ends, name)


def test_a_map_states_what_values_mean(tmp_path: Path) -> None:
    told = {1: "first", "2": "second", 0: "tie"}
    assert ranks(compare(tmp_path, [1, 1, 0], winners=told)) == [FIRST, FIRST, TIE]
    assert ranks(compare(tmp_path, [True, False], winners={True: "A", False: "B"})) == [FIRST, SECOND]
    assert ranks(compare(tmp_path, ["up", "down"], winners={"up": "first", "down": "second"})) == [
        FIRST,
        SECOND,
    ]
    # The user named the column, so that 0 and 1 are positions.
    assert ranks(compare(tmp_path, [0, 1], name="label", winner="label")) == [FIRST, SECOND]


@pytest.mark.parametrize("winners", ["first", {"1": "2"}, {"1": "best"}, {"1": ""}])
def test_a_wrong_map_of_winners_is_refused(tmp_path: Path, winners: Any) -> None:
    with pytest.raises(RecipeError, match="map winners"):
        compare(tmp_path, [1, 2], winners=winners)


def test_options_that_no_row_is_compared_by_are_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": "x", "rejected": "y"}]
    with pytest.raises(RecipeError, match=r"map rank_by_order: .* leave it out"):
        read_rows(tmp_path, rows, rank_by_order=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a_is_better", [FIRST, SECOND]),
        ("is_b_better", [SECOND, FIRST]),
        ("First preferred", [FIRST, SECOND]),
    ],
)
@pytest.mark.parametrize("values", [(True, False), (1, 0), ("True", "False")])
def test_a_column_may_be_about_one_of_two(
    tmp_path: Path, name: str, expected: list[tuple[int, int]], values: tuple[Any, Any]
) -> None:
    assert ranks(compare(tmp_path, values, name=name)) == expected


def test_columns_about_each_of_two_are_flags(tmp_path: Path) -> None:
    row = {"prompt": "q", "response_a": "x", "response_b": "y"}
    rows = [{**row, "a_better": a, "b_better": b} for a, b in ((True, False), (False, True), (False, False))]
    with pytest.raises(InputError, match="a_better is true or false"):
        read_rows(tmp_path, rows)
    mapped = {"prompt": "prompt", "completions": "response_a+response_b", "flags": "a_better+b_better"}
    found = read_rows(tmp_path, rows, **mapped)
    assert ranks(found._replace(refused=[])) == [FIRST, SECOND]
    assert [reason for reason, _ in found.refused] == ["invalid_winner"]


def test_five_columns_are_five_completions(tmp_path: Path) -> None:
    row = {"prompt": "q", **{f"response_{number}": f"r{number}" for number in range(1, 6)}, "best": 5}
    assert ranks(read_rows(tmp_path, [row])) == [(2, 2, 2, 2, 1)]


@pytest.mark.parametrize("ends", [range(12), range(1, 12), [0, 1, 2, 7, 30], "abcdefghijk"])
def test_all_numbered_columns_are_completions(tmp_path: Path, ends: Sequence[Any]) -> None:
    # In another order than that of the numbers, next to columns whose names only look alike.
    texts = {f"Response {end}": f"r{end}" for end in reversed(ends)}
    scores = {f"score_{end}": 9 if end == ends[-2] else 1 for end in ends}
    found = read_rows(tmp_path, [{"prompt": "q", "responses": "x", **texts, **scores, "scorer": "y"}])
    assert found.brief("text", "score") == [[(f"r{end}", 9 if end == ends[-2] else 1) for end in ends]]


def test_ranks_may_have_a_column_each(tmp_path: Path) -> None:
    row = {"prompt": "q", "response_a": "x", "response_b": "y"}
    assert ranks(read_rows(tmp_path, [{**row, "rank_a": 2, "rank_b": 1}])) == [SECOND]


def test_a_winner_may_be_the_name_of_a_model(tmp_path: Path) -> None:
    row = {"prompt": "q", "response_a": "x", "response_b": "y", "model_a": "gpt-4", "model_b": "Llama-2"}
    found = read_rows(tmp_path, [{**row, "winner": "llama-2"}, {**row, "winner": "GPT-4"}])
    assert ranks(found) == [SECOND, FIRST]
    letters = {**row, "model_a": "b", "model_b": "m"}
    found = read_rows(tmp_path, [{**letters, "winner": "m"}, {**letters, "winner": "b"}])
    assert ranks(found._replace(refused=[])) == [SECOND]
    assert [reason for reason, _ in found.refused] == ["invalid_winner"]
    same = {**row, "model_b": "gpt-4", "winner": "gpt-4"}
    assert [reason for reason, _ in read_rows(tmp_path, [same]).refused] == ["invalid_winner"]


def test_the_winner_of_a_list_is_a_position(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completions": ["x", "y", "z"], "best": best} for best in (2, 0)]
    assert ranks(read_rows(tmp_path, rows)) == [(2, 2, 1), (1, 2, 2)]
    assert len(read_rows(tmp_path, [{**rows[0], "best": 3}, rows[1]]).refused) == 1


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (("A", "A", "B"), FIRST),
        (("B", "tie", "B"), SECOND),
        (("A", "B", "tie"), TIE),
        (("A", "tie", "tie"), TIE),
        (("A", None, None), FIRST),
        ((None, None, None), UNSAID),
    ],
)
def test_most_votes_decide(tmp_path: Path, votes: tuple[str | None, ...], expected: tuple[int, int]) -> None:
    row = {"prompt": "q", "response_a": "x", "response_b": "y"}
    rows = [row | dict(zip(("j1", "j2", "j3"), each, strict=True)) for each in (votes, ("B", "B", "B"))]
    mapped = {"completions": "response_a+response_b", "prompt": "prompt", "winner": "j1+j2+j3"}
    assert ranks(read_rows(tmp_path, rows, **mapped)) == [expected, SECOND]


def test_flags_name_one_outcome(tmp_path: Path) -> None:
    flags = ("winner_model_a", "winner_model_b", "winner_tie")
    row = {"prompt": '["q"]', "response_a": '["x"]', "response_b": '["y"]', "model_a": "m", "model_b": "n"}
    cases = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    rows = [row | dict(zip(flags, case, strict=True)) for case in [*cases, (1, 1, 0), (0, 0, 0)]]
    found = read_rows(tmp_path, rows)
    assert [reason for reason, _ in found.refused] == ["invalid_winner"] * 2
    assert ranks(found._replace(refused=[])) == [FIRST, SECOND, TIE]


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        (("left", "right", "right"), SECOND),
        (("-left", "right"), SECOND),
        (("left", "right"), TIE),
        (("left", "", "left", "right"), FIRST),
        (("-left", "-right"), UNSAID),
        ((), UNSAID),
    ],
)
def test_most_annotators_decide_without_the_cancelled(
    tmp_path: Path, annotations: Sequence[str], expected: tuple[int, int]
) -> None:
    def annotation(word: str) -> dict[str, Any]:
        selected = {"type": "pairwise", "value": {"selected": word.lstrip("-")}}
        comment = {"type": "textarea", "value": {"text": ["why"]}}
        return {"was_cancelled": word.startswith("-"), "result": [comment, *[selected] * bool(word)]}

    data = {"prompt": "q", "answer1": "x", "answer2": "y"}
    # Another row, because a file needs a selection to be one of Label Studio.
    rows = [
        {"data": data, "annotations": [annotation(word) for word in words]}
        for words in (annotations, ["left"])
    ]
    found = read_rows(tmp_path, rows)
    assert found.layout == "label_studio"
    assert ranks(found) == [expected, FIRST]
    # Who selected what is kept.
    assert '"selected":"left"' in found.sets[1]["metadata"]


def test_an_annotation_of_two_winners_names_none(tmp_path: Path) -> None:
    results = [{"value": {"selected": word}} for word in ("left", "right")]
    row = {"data": {"prompt": "q", "answer1": "x", "answer2": "y"}, "annotations": [{"result": results}]}
    assert [reason for reason, _ in read_rows(tmp_path, [row]).refused] == ["invalid_winner"]


@pytest.mark.parametrize(
    "row",
    [
        {"response_0": "x", "response_1": "y", "safer_response_id": 1},
        {"responses": ["x", "y"], "best_response": "y"},
        {"responses": ["x", "y"], "chosen": " Y"},
        {"response_a": "x", "response_b": "y", "best_answer": "y"},
        {"completions": [{"text": "x"}, {"text": "y"}], "preferred": "y"},
    ],
)
def test_a_winner_is_found_by_its_text_or_name(tmp_path: Path, row: dict[str, Any]) -> None:
    assert ranks(read_rows(tmp_path, [{"prompt": "q", **row}, {"prompt": "p", **row}])) == [SECOND] * 2


def test_a_text_that_is_not_one_completion_names_no_winner(tmp_path: Path) -> None:
    row = {"prompt": "q", "responses": ["x", "x"], "best_response": "x"}
    found = read_rows(
        tmp_path,
        [row, {**row, "best_response": "other"}, {**row, "responses": ["b", "a"], "best_response": "a"}],
    )
    assert [reason for reason, _ in found.refused] == ["invalid_winner"] * 3


def test_a_position_in_a_list_that_may_count_from_0_or_1_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="chosen holds 1, which may count from 0 or from 1"):
        read_rows(tmp_path, [{"prompt": "q", "responses": ["x", "y"], "chosen": 1}])


@pytest.mark.parametrize("labels", [[False, True], [0, 1], ["no", "yes"]])
def test_labels_of_completions_are_scores(tmp_path: Path, labels: list[Any]) -> None:
    row = {"prompt": "q", "responses": ["x", "y"], "correct": labels}
    assert read_rows(tmp_path, [row]).brief("score") == [[(0.0,), (1.0,)]]
    scored = read_rows(tmp_path, [{**row, "scores": [3, 2]}])
    assert scored.brief("score") == [[(3.0,), (2.0,)]]
    assert "correct" in scored.sets[0]["metadata"]


def test_labels_that_may_be_those_of_steps_are_refused(tmp_path: Path) -> None:
    row = {"prompt": "q", "completions": ["x", "y"], "labels": [False, True]}
    mapped = {"prompt": "prompt", "completions": "completions", "labels": "labels"}
    with pytest.raises(InputError, match=r"steps of one answer.*--map prompt=prompt,completions=completions"):
        read_rows(tmp_path, [row])
    assert read_rows(tmp_path, [row], **mapped).brief("score") == [[(0.0,), (1.0,)]]
    assert read_rows(tmp_path, [row], labels="labels").brief("score") == [[(0.0,), (1.0,)]]
