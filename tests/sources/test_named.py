"""The oddities of the named sources except ultrafeedback, in hand-made rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.candidates import said

from pairkit.schema import StageResult, check_sets, identify
from pairkit.sources import SourceRecipe, open_source
from pairkit.sources.base import converted


def convert(folder: Path, name: str, rows: list[dict[str, Any]], *, size: int = 1000) -> StageResult:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    parts = list(open_source(SourceRecipe(name=name, path=str(path))).batches(rows=size))
    result = converted(
        pa.concat_tables([part.sets for part in parts]),
        pa.concat_tables([part.quarantine for part in parts]),
        sum(part.counts["rows"] for part in parts),
    )
    assert result.counts["rows"] == len(rows)
    check_sets(identify(result.sets, {}))
    return result


def only(result: StageResult) -> dict[str, Any]:
    assert result.quarantine.num_rows == 0, result.quarantine.to_pylist()
    (row,) = result.sets.to_pylist()
    return row | {"prompt": said(row["prompt"])}


def reasons(result: StageResult) -> list[str]:
    return result.quarantine["reason"].to_pylist()


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def nectar(prompt: str, *answers: tuple[str, str, float]) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "answers": [{"answer": text, "model": model, "rank": rank} for text, model, rank in answers],
        "turns": 1,
    }


def test_nectar_prompts_may_have_several_turns(tmp_path: Path) -> None:
    prompt = "\n\nHuman: Hi\n\nthere \n\nAssistant: Hello!\n\nHuman: Bye: Human: x\n\nAssistant: "
    row = only(convert(tmp_path, "nectar", [nectar(prompt, ("a", "m", 2.0), ("b", "m", 1.0))]))
    assert row["prompt"] == [
        message("user", "Hi\n\nthere"),
        message("assistant", "Hello!"),
        message("user", "Bye: Human: x"),
    ]
    assert [(c["text"], c["model"], c["rank"]) for c in row["completions"]] == [("a", "m", 2), ("b", "m", 1)]


def test_unusable_nectar_rows_are_quarantined(tmp_path: Path) -> None:
    answer = ("a", "m", 1.0)
    rows = [
        nectar("\n\nHuman: q\n\nAssistant: ", answer),
        nectar("no turns at all", answer),
        nectar("\n\nHuman: q", answer),
        nectar("\n\nHuman: q\n\nAssistant: Sure", answer),
        nectar("\n\nHuman: q\n\nAssistant:", ("a", "m", 1.5)),
        nectar("\n\nHuman: q\n\nAssistant:", ("a", "m", 0.0)),
        nectar("\n\nHuman: \x1e\n\nAssistant:", answer),
        nectar("\n\nHuman: \n\nAssistant:", answer),
        nectar("\n\nHuman: q\n\nAssistant:"),
    ]
    result = convert(tmp_path, "nectar", rows)
    assert result.sets.num_rows == 2
    assert reasons(result) == [
        "missing_prompt",
        "unsupported_content",
        "unsupported_content",
        "invalid_rank",
        "invalid_rank",
        "unsupported_content",
        "empty_prompt",
    ]


def test_hh_rlhf_shares_the_turns_and_ranks_the_replies(tmp_path: Path) -> None:
    start = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c’s\n\nAssistant:"
    row = only(convert(tmp_path, "hh_rlhf", [{"chosen": start + " good", "rejected": start}]))
    assert row["prompt"] == [message("user", "a"), message("assistant", "b"), message("user", "c’s")]
    assert [(c["text"], c["rank"], c["score"]) for c in row["completions"]] == [
        ("good", 1, None),
        ("", 2, None),
    ]


def test_unusable_hh_rlhf_rows_are_quarantined(tmp_path: Path) -> None:
    good = "\n\nHuman: a\n\nAssistant: b"
    rows = [
        {"chosen": good, "rejected": "\n\nHuman: other\n\nAssistant: b"},
        {"chosen": good + "\n\nHuman: c\n\nAssistant: d", "rejected": good},
        {"chosen": good + "\n\nHuman: c", "rejected": good + "\n\nHuman: c"},
        {"chosen": "a", "rejected": good},
        {"chosen": None, "rejected": good},
        {"chosen": "\n\nAssistant: b", "rejected": "\n\nAssistant: c"},
    ]
    result = convert(tmp_path, "hh_rlhf", [{"chosen": good, "rejected": good}, *rows])
    assert result.sets.num_rows == 1
    assert reasons(result) == [
        "diverging_prompts",
        "diverging_prompts",
        "unsupported_content",
        "missing_prompt",
        "missing_prompt",
        "missing_prompt",
    ]


def test_binarized_conversations_keep_their_scores(tmp_path: Path) -> None:
    first = message("user", "p")
    row = {
        "prompt": "p",
        "prompt_id": "x",
        "chosen": [message("system", "s"), first, message("assistant", "c")],
        "rejected": [message("system", "s"), first, message("assistant", "r")],
        "messages": [first, message("assistant", "c")],
        "score_chosen": 9,
        "score_rejected": 8.5,
    }
    result = only(convert(tmp_path, "ultrafeedback_binarized", [row]))
    assert result["prompt"] == [message("system", "s"), first]
    assert [(c["text"], c["score"], c["rank"]) for c in result["completions"]] == [
        ("c", 9.0, None),
        ("r", 8.5, None),
    ]
    assert json.loads(result["metadata"]) == {"prompt_id": "x"}


def test_binarized_rows_may_diverge_or_lack_scores(tmp_path: Path) -> None:
    rows = [
        {
            "chosen": [message("user", a), message("assistant", "c")],
            "rejected": [message("user", b), message("assistant", "r")],
        }
        for a, b in (("p", "p"), ("p", "q"))
    ]
    result = convert(tmp_path, "ultrafeedback_binarized", rows)
    (row,) = result.sets.to_pylist()
    assert [(c["rank"], c["score"]) for c in row["completions"]] == [(1, None), (2, None)]
    assert reasons(result) == ["diverging_prompts"]


def judged(
    instruction: str, output: str, model: str, preference: float | None, **more: Any
) -> dict[str, Any]:
    return {
        "dataset": "koala",
        "instruction": instruction,
        "output_1": f"reference to {instruction}",
        "generator_1": "gpt4",
        "output_2": output,
        "generator_2": model,
        "annotator": "judge",
        "preference": preference,
        **more,
    }


def test_alpaca_eval_groups_rows_and_adds_the_reference(tmp_path: Path) -> None:
    rows = [
        judged("i", "a", "A", 2.0),
        judged("j", "b", "B", 1.25),
        judged("i", "c", "C", None, example_idx=None),
        judged("i", "reference to i", "gpt4", 1.5),
        judged("i", "d", "D", 0.0),
        judged("j", "a", "A", 1.5),
    ]
    for size in (1, 2, 1000):
        result = convert(tmp_path, "alpaca_eval", rows, size=size)
        sets = result.sets.to_pylist()
        assert [[(c["text"], c["model"], c["score"]) for c in row["completions"]] for row in sets] == [
            [("reference to i", "gpt4", 0.5), ("a", "A", 1.0), ("c", "C", None), ("d", "D", 0.5)],
            [("reference to j", "gpt4", 0.5), ("b", "B", 0.25), ("a", "A", 0.5)],
        ]
        assert [row["prompt"][0]["content"] for row in sets] == ["i", "j"]
        assert json.loads(sets[0]["metadata"]) == {"dataset": "koala", "reference": "gpt4"}
        assert json.loads(sets[0]["completions"][1]["metadata"]) == {"annotator": "judge"}
        assert sets[0]["completions"][1]["scores"] == [{"name": "preference", "value": 2.0}]


def test_alpaca_eval_batches_count_the_rows_of_their_sets(tmp_path: Path) -> None:
    rows = [judged(str(i % 3), f"{i}", f"m{i}", 1.0) for i in range(10)]
    rows.insert(2, judged("0", "bad", "m", 3.0))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = open_source(SourceRecipe(name="alpaca_eval", path=str(path)))
    batches = list(opened.batches(rows=2))
    assert [(b.counts["rows"], b.sets.num_rows, b.quarantine.num_rows) for b in batches] == [
        (8, 2, 1),
        (3, 1, 0),
    ]
    (later,) = opened.batches(rows=2, start=1)
    assert later.sets.equals(batches[1].sets)


def test_alpaca_eval_keeps_sets_with_other_references_apart(tmp_path: Path) -> None:
    rows = [judged("i", "a", "A", 1.0), {**judged("i", "b", "B", 1.0), "generator_1": "davinci"}]
    assert convert(tmp_path, "alpaca_eval", rows).sets.num_rows == 2


def test_alpaca_eval_may_have_no_usable_row(tmp_path: Path) -> None:
    result = convert(tmp_path, "alpaca_eval", [judged("i", "a", "A", 7.0)])
    assert result.sets.num_rows == 0
    assert reasons(result) == ["invalid_score"]


def test_alpaca_eval_outputs_alone_become_sets_without_scores(tmp_path: Path) -> None:
    rows = [
        {"dataset": "koala", "instruction": i, "output": i + m, "generator": m}
        for m in "AB"
        for i in ("i", "j")
    ]
    result = convert(tmp_path, "alpaca_eval", rows).sets.to_pylist()
    assert [[(c["text"], c["model"], c["score"]) for c in row["completions"]] for row in result] == [
        [("iA", "A", None), ("iB", "B", None)],
        [("jA", "A", None), ("jB", "B", None)],
    ]


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("so\n#### 1,080", "1080"),
        ("#### -5", "-5"),
        ("first\n#### 3\nthen\n#### 4 ", "4"),
        ("1 = 1\nA: $2,000.50", "2000.50"),
    ],
)
def test_gsm8k_final_answers_are_extracted(tmp_path: Path, solution: str, answer: str) -> None:
    row = only(convert(tmp_path, "gsm8k", [{"question": "q", "answer": solution}]))
    assert json.loads(row["metadata"]) == {"answer": answer, "solution": solution}
    assert row["completions"] == []


def test_unusable_gsm8k_rows_are_quarantined(tmp_path: Path) -> None:
    rows = [
        {"question": "q", "answer": "#### 1"},
        {"question": "q", "answer": "no number"},
        {"question": "q", "answer": "#### many"},
        {"question": None, "answer": "#### 1"},
        {"question": "q", "answer": None},
    ]
    result = convert(tmp_path, "gsm8k", rows)
    assert result.sets.num_rows == 1
    assert reasons(result) == ["no_answer", "no_answer", "missing_prompt", "no_answer"]


SOLVED = "It costs 2 * 6 = 12.\n#### 12\nThe answer is: 12"
SHOTS = {
    "harness": f"Question: How much?\nAnswer: {SOLVED}\n\nQuestion: And\nnow: 3?\nAnswer:",
    "harness with a step": f"Question: a\nAnswer: {SOLVED}\nAnswer: 12\n\nQuestion: And\nnow: 3?\nAnswer: ",
    "short labels": f"Solve.\n\nQ: How much?\nA: {SOLVED}\n\nQ: And\nnow: 3?\nA: Let's think step by step.",
    "numbered": f"Problem 1: How?\nSolution: {SOLVED}\n\nProblem 2: And\nnow: 3?",
    "alpaca": "Below is an instruction that describes a task. Write a response.\r\n\r\n"
    f"### Instruction:\r\nHow much?\r\n\r\n### Response: {SOLVED}\r\n\r\n"
    "### Instruction:\r\nAnd\nnow: 3?\r\n\r\n### Response: Let\u2019s think step by step.",
    "an answer with other labels": f"Question: q\nAnswer: by case\nQ: x\nA: y\nProblem: {SOLVED}\n"
    "Question: And\nnow: 3?\nAnswer:",
}


def corrupted(prompt: str | None, chosen: str | None = f" {SOLVED}") -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": f" {SOLVED}".replace("12.", "17.")}


@pytest.mark.parametrize("prompt", SHOTS.values(), ids=SHOTS)
def test_metamath_keeps_the_last_question(tmp_path: Path, prompt: str) -> None:
    row = only(convert(tmp_path, "metamath_dpo", [corrupted(prompt)]))
    assert row["prompt"] == [message("user", "And\nnow: 3?")]
    assert json.loads(row["metadata"]) == {"shots": 1}
    right, wrong = row["completions"]
    assert (right["text"], right["rank"], wrong["rank"]) == (SOLVED, 1, 2)
    assert wrong["text"] == SOLVED.replace("12.", "17.")


ALONE = {
    "plain": "And\nnow: 3?",
    "labeled": "Question: And\nnow: 3?\nAnswer:",
    "label only": "### Problem: And\nnow: 3?\n",
    "alpaca": "Below is an instruction that describes a task.\n\n### Instruction:\nAnd\nnow: 3?\n\n"
    "### Response:\n",
}


@pytest.mark.parametrize("prompt", ALONE.values(), ids=ALONE)
def test_metamath_prompts_without_examples_stay_whole(tmp_path: Path, prompt: str) -> None:
    row = only(convert(tmp_path, "metamath_dpo", [corrupted(prompt)]))
    assert row["prompt"] == [message("user", "And\nnow: 3?")]
    assert json.loads(row["metadata"]) == {"shots": 0}


def test_metamath_questions_that_contain_an_answer_are_quarantined(tmp_path: Path) -> None:
    """MetaMath's self-verification: the question asks for x and gives the answer."""
    question = (
        "Two bags of x pounds weigh, The answer is: 10 pounds. What is the value of unknown variable x?"
    )
    shot = f"Question: How much?\nAnswer: {SOLVED}\n\n"
    rows = [corrupted(question), corrupted(f"{shot}Question: {question}\nAnswer:")]
    result = convert(tmp_path, "metamath_dpo", rows).sets.to_pylist()
    assert [row["prompt"][0]["content"] for row in result] == [question] * 2


def test_metamath_counts_the_examples(tmp_path: Path) -> None:
    shot = f"Question: How much?\nAnswer: {SOLVED}\n\n"
    rows = [corrupted(shot * shots + f"Question: {shots}?\nAnswer:") for shots in range(6)]
    for size in (1, 4, 1000):
        result = convert(tmp_path, "metamath_dpo", rows, size=size).sets.to_pylist()
        assert [row["prompt"][0]["content"] for row in result] == [f"{shots}?" for shots in range(6)]
        assert [json.loads(row["metadata"])["shots"] for row in result] == list(range(6))


def test_unusable_metamath_rows_are_quarantined(tmp_path: Path) -> None:
    shot = f"Question: How much?\nAnswer: {SOLVED}\n\n"
    unclear = [
        f"How much?\n{SOLVED}\n\nAnd now?",  # examples without labels
        "How much?\nThe answer is 12.\n\nAnd now?",
        f"Question: How much? Answer: {SOLVED} Question: And now? Answer:",  # labels within a line
        shot + "Question: And now?\nQuestion: 3?\nAnswer:",  # is the first line an example?
        shot + "Question: And now?\nAnswer: 3",  # the answer has begun
        "There are 3.\nQuestion: How many?",  # the first line belongs to the question
    ]
    rows = [corrupted(prompt) for prompt in unclear]
    rows += [corrupted(shot + "Question: \nAnswer:"), corrupted("q \x1e"), corrupted(None)]
    rows += [corrupted("q", None), {**corrupted("q"), "rejected": 3}, corrupted("good")]
    result = convert(tmp_path, "metamath_dpo", rows)
    assert reasons(result) == [
        *["unclear_question"] * 6,
        "empty_prompt",
        "unsupported_content",
        "missing_prompt",
        "missing_completion",
        "not_text",
    ]
    assert result.sets.num_rows == 1


def ultrachat(*texts: str) -> dict[str, Any]:
    turns = [message("assistant" if turn % 2 else "user", text) for turn, text in enumerate(texts)]
    return {"prompt": texts[0], "prompt_id": "f0e3", "messages": turns}


def test_ultrachat_keeps_every_reply_of_a_dialogue(tmp_path: Path) -> None:
    (row, short) = convert(
        tmp_path, "ultrachat", [ultrachat("Hi", "Hello!", "And?", "Bye."), ultrachat("A", "B")]
    ).sets.to_pylist()
    assert said(row["prompt"]) == [
        message("user", "Hi"),
        message("assistant", "Hello!"),
        message("user", "And?"),
    ]
    (reply,) = row["completions"]
    assert (reply["text"], reply["rank"], reply["score"]) == ("Bye.", None, None)
    assert json.loads(row["metadata"]) == {"prompt_id": "f0e3"}
    assert said(short["prompt"]) == [message("user", "A")]


def test_unusable_ultrachat_rows_are_quarantined(tmp_path: Path) -> None:
    rows = [ultrachat("Hi", "Hello!", "And?"), ultrachat("Hi"), {**ultrachat("Hi", "Yo"), "messages": None}]
    result = convert(tmp_path, "ultrachat", [*rows, ultrachat("A", "B")])
    assert reasons(result) == ["unsupported_content", "unsupported_content", "missing_prompt"]
    assert result.sets.num_rows == 1
