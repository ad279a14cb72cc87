"""Files of RewardBench and Chatbot Arena, and of chosen and rejected conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.judges import ScriptedJudge, fair, worth
from support.labeled import jsonl

from pairkit.engines.generate import no_progress
from pairkit.errors import InputError, RecipeError
from pairkit.evaluation.judge.labels import Pairs, read_pairs
from pairkit.evaluation.judge.run import EvalJudgeRecipe, count_questions, evaluate_judge


def turns(*texts: str) -> list[dict[str, Any]]:
    """A conversation that a user begins."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def read(folder: Path, *rows: object, mapped: dict[str, str] | None = None) -> Pairs:
    return read_pairs(jsonl(folder / "own.jsonl", *rows), mapped)


def test_rewardbench_is_read(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{row}?", "chosen": "good 2", "chosen_model": "x", "rejected": "good 1", "subset": subset}
        for row, subset in enumerate(("alpacaeval-easy", "hep-python", "hep-python"))
    ]
    pairs = read(tmp_path, *rows)
    assert (pairs.first, pairs.second) == (["good 2"] * 3, ["good 1"] * 3)
    assert pairs.labels.tolist() == [[1.0]] * 3
    assert pairs.subsets == ["alpacaeval-easy", "hep-python", "hep-python"]
    assert pairs.prompts[1] == [{"role": "user", "content": "1?"}]


def test_rewardbench_2_has_several_answers_on_each_side(tmp_path: Path) -> None:
    rows = [
        {"prompt": "1?", "chosen": ["a"], "rejected": ["b", "c", "d"], "subset": "Math", "num_correct": 1},
        {"prompt": "2?", "chosen": ["a", "e"], "rejected": ["b", "c"], "subset": "Ties", "num_correct": 2},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "own.parquet")
    pairs = read_pairs(tmp_path / "own.parquet")
    couples = list(zip(pairs.first, pairs.second, pairs.subsets, strict=True))
    assert couples == [
        *(("a", each, "Math") for each in "bcd"),
        *((good, bad, "Ties") for good in "ae" for bad in "bc"),
    ]
    assert (pairs.rows, len(pairs.labels)) == (2, 7)


def as_numpy(messages: list[dict[str, Any]]) -> str:
    """The text of an array of objects, which `pandas.to_csv` writes: without commas between them."""
    return str(np.array(messages))


@pytest.mark.parametrize("as_text", [None, json.dumps, str, as_numpy])
def test_conversations_are_answers_to_what_they_share(tmp_path: Path, as_text: Any) -> None:
    """Also where they were written as text: as JSON, as Python's literals, or as numpy's."""
    system = {"role": "system", "content": "Be brief."}
    row = {
        "chosen": [system, *turns("1?", "1.", "2?", "good")],
        "rejected": [system, *turns("1?", "1.", "2?", "bad")],
    }
    if as_text:
        row = {name: as_text(value) for name, value in row.items()}
    for rows in ([row], [row | {"prompt": "2?"}]):
        pairs = read(tmp_path, *rows)
        assert pairs.prompts == [[system, *turns("1?", "1.", "2?")]]
        assert (pairs.first, pairs.second) == (["good"], ["bad"])
    replies = {name: [turns("", name)[1]] for name in ("chosen", "rejected")}
    pairs = read(tmp_path, replies | {"prompt": turns("1?")})
    assert (pairs.prompts, pairs.first, pairs.second) == ([turns("1?")], ["chosen"], ["rejected"])


def test_hh_rlhf_is_read(real_data: Path) -> None:
    """The dialogues of a row differ in the last reply alone, except for a few."""
    pairs = read_pairs(real_data / "hh_rlhf_helpful_base_test.jsonl.gz", limit=300)
    assert pairs.rows == len(pairs.first) + pairs.left_out.total() == 300
    assert len(pairs.first) > 290
    for prompt, first, second in zip(pairs.prompts, pairs.first, pairs.second, strict=True):
        assert (prompt[0]["role"], prompt[-1]["role"]) == ("user", "user")
        assert not any("\n\nHuman:" in text for text in (first, second, prompt[-1]["content"]))


def test_chatbot_arena_is_read(tmp_path: Path) -> None:
    winners = ["model_a", "model_b", "tie", "tie (bothbad)", "both_bad"]
    rows = [
        {
            "question_id": winner,
            "model_a": "x",
            "model_b": "y",
            "winner": winner,
            "conversation_a": turns("1?", "a"),
            "conversation_b": turns("1?", "b"),
        }
        for winner in winners
    ]
    pairs = read(tmp_path, *rows)
    assert pairs.labels[:, 0].tolist() == [1, 0, 0.5, 0.5, 0.5]
    assert pairs.prompts == [turns("1?")] * 5
    assert (pairs.first, pairs.second) == (["a"] * 5, ["b"] * 5)


def test_conversations_of_several_turns_are_compared_whole(tmp_path: Path) -> None:
    row = {
        "winner": "model_b",
        "conversation_a": turns("1?", "a", "2?", "c"),
        "conversation_b": turns("1?", "b", "2?", "d"),
    }
    pairs = read(tmp_path, row)
    assert pairs.prompts == [turns("1?")]
    assert pairs.first == ["[assistant]\na\n\n[user]\n2?\n\n[assistant]\nc"]
    assert pairs.second == ["[assistant]\nb\n\n[user]\n2?\n\n[assistant]\nd"]


def test_parts_and_other_role_names_are_read(tmp_path: Path) -> None:
    parts = [{"role": "User", "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "?"}]}]
    image = [{"role": "user", "content": [{"type": "image", "image": "x"}]}]
    reply = [{"from": "gpt", "value": "a"}]
    rows = [
        {"winner": "tie", "conversation_a": parts + reply, "conversation_b": turns("1?", "b")},
        {"winner": "tie", "conversation_a": image + reply, "conversation_b": image + reply},
    ]
    pairs = read(tmp_path, *rows)
    assert (pairs.prompts, pairs.first) == ([turns("1?")], ["a"])
    assert dict(pairs.left_out) == {"not_text": 1}


def test_arena_with_one_column_per_winner_is_read(tmp_path: Path) -> None:
    """Prompts and answers are JSON lists of turns; null is an answer that is empty."""
    of = ("winner_model_a", "winner_model_b", "winner_tie")
    rows = [
        {"prompt": '["1?"]', "response_a": '["a"]', "response_b": "[null]"}
        | {name: int(name == winner) for name in of}
        for winner in of
    ]
    pairs = read(tmp_path, *rows, rows[0] | {"winner_tie": 1}, rows[0] | {"response_b": '["b", "c"]'})
    assert pairs.labels[:, 0].tolist() == [1, 0, 0.5]
    assert (pairs.prompts[0], pairs.first[0], pairs.second[0]) == (turns("1?"), "a", "")
    assert dict(pairs.left_out) == {"unknown_label": 1, "no_answer": 1}


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (
            {"chosen": turns("1?", "a"), "rejected": "b"},
            "not_text",
            "one of 'chosen' and 'rejected' is a text",
        ),
        ({"chosen": "a", "rejected": None}, "not_text", "field 'rejected' is not a text"),
        (
            {"chosen": turns("1?", "a"), "rejected": turns("2?", "b")},
            "different_prompts",
            "the same question",
        ),
        (
            {"chosen": turns("1?", "a"), "rejected": turns("1?")},
            "no_answer",
            "'rejected' does not end in a turn",
        ),
        (
            {"chosen": "a", "rejected": "b"},
            "invalid_prompt",
            "'chosen' is a text, and no column is its prompt",
        ),
        (
            {"chosen": "[{'role': 'user', 'content': 'a'}, {'role':", "rejected": "b"},
            "unreadable_messages",
            "field 'chosen' looks like a list of messages but is neither JSON nor a Python literal",
        ),
    ],
)
def test_rows_without_a_pair_are_named(tmp_path: Path, row: dict[str, Any], reason: str, detail: str) -> None:
    fine = {"chosen": turns("1?", "a"), "rejected": turns("1?", "b")}
    pairs = read(tmp_path, fine, row)
    assert dict(pairs.left_out) == {reason: 1}
    assert detail in pairs.details[0]
    assert f"{tmp_path / 'own.jsonl'}, row 2: " in pairs.details[0]


def test_chosen_and_rejected_are_mapped(tmp_path: Path) -> None:
    rows = [{"q": "1?", "good": "a", "bad": "b", "kind": "x"}]
    pairs = read(
        tmp_path, *rows, mapped={"prompt": "q", "chosen": "good", "rejected": "bad", "subset": "kind"}
    )
    assert (pairs.first, pairs.second, pairs.subsets, pairs.labels.tolist()) == (["a"], ["b"], ["x"], [[1.0]])
    with pytest.raises(RecipeError, match="--map is missing rejected: map prompt, chosen and rejected"):
        read(tmp_path, *rows, mapped={"prompt": "q", "chosen": "good"})
    with pytest.raises(RecipeError, match="chosen or rejected next to first, second or label"):
        read(tmp_path, *rows, mapped={"prompt": "q", "chosen": "good", "rejected": "bad", "label": "kind"})
    with pytest.raises(InputError, match="field 'kinds': no such column; the columns are q, good, bad, kind"):
        read(tmp_path, *rows, mapped={"prompt": "q", "chosen": "good", "rejected": "bad", "subset": "kinds"})


def test_a_judge_is_measured_on_chosen_and_rejected(tmp_path: Path) -> None:
    """By subset; without kappa, which is 0 where all labels are the same."""
    rows = [
        {
            "prompt": f"{row}?",
            "chosen": f"good {3 if row % 4 else 1}",
            "rejected": "good 2",
            "subset": str(row % 2),
        }
        for row in range(40)
    ]
    pairs = read(tmp_path, *rows)
    judge = ScriptedJudge(fair(worth))
    done = evaluate_judge(EvalJudgeRecipe(model="m"), pairs, judge.ask, seed=0, advance=no_progress)
    assert done.verdicts.tolist() == [float(row % 4 != 0) for row in range(40)]
    by_subset = {one.name: (one.value.mean, one.pairs) for one in done.by_subset}
    assert by_subset == {"0": (0.5, 20), "1": (1.0, 20)}
    low, high = next((one.value.low, one.value.high) for one in done.by_subset if one.name == "0")
    assert low < 0.5 < high
    names = {one.name for one in done.overall}
    assert "kappa" not in names
    assert next(one.value.mean for one in done.overall if one.name == "accuracy_ties_half") == 0.75
    # The judge is not told by the place which one is preferred.
    assert {asked.texts.index("good 2") for asked in judge.asked} == {0, 1}


@pytest.mark.parametrize("protocol", ["iterative", "pointwise"])
def test_answers_that_differ_in_their_thoughts_are_a_tie(tmp_path: Path, protocol: Any) -> None:
    """They are shown alike, so they are not compared; the pair has a verdict all the same."""
    row = {"prompt": "1?", "chosen": "<think>a</think>good 2", "rejected": "<think>b</think>\ngood 2"}
    pairs = read(tmp_path, row, {"prompt": "2?", "chosen": "good 2", "rejected": "good 1"})
    recipe, judge = EvalJudgeRecipe(model="m", protocol=protocol), ScriptedJudge(fair(worth))
    done = evaluate_judge(recipe, pairs, judge.ask, seed=0, advance=no_progress)
    assert done.verdicts.tolist() == [0.5, 1.0]
    assert len(judge.asked) == count_questions(recipe, pairs)
    assert done.scored.counts["thoughts_stripped"] == 2


def test_agreement_with_arena_counts_ties(tmp_path: Path) -> None:
    rows = [
        {"winner": winner, "conversation_a": turns(f"{row}?", a), "conversation_b": turns(f"{row}?", b)}
        for row, (winner, a, b) in enumerate(
            [
                ("model_a", "good 2", "good 1"),
                ("model_b", "good 2", "good 1"),
                ("tie", "good 2 x", "good 2 y"),
                ("tie (bothbad)", "good 2", "good 1"),
            ]
        )
    ]
    pairs = read(tmp_path, *rows)
    judge = ScriptedJudge(fair(worth))
    done = evaluate_judge(EvalJudgeRecipe(model="m"), pairs, judge.ask, seed=0, advance=no_progress)
    found = {one.name: (one.value.mean, one.pairs) for one in done.overall}
    assert found["agreement"] == (0.5, 4)
    assert found["accuracy_ties_half"] == (0.5, 2)
    assert "kappa" in found
    np.testing.assert_array_equal(done.verdicts, [1, 1, 0.5, 1])
