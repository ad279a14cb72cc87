"""Rows in the published form of further datasets and tools, each as its card or documentation shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.layouts import read_rows

USER = {"role": "user", "content": "q"}
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("x", "y"))
PAIR = [("x", 1, None), ("y", 2, None)]


def parts(message: dict[str, str]) -> dict[str, Any]:
    """Return a message with its content as the Arena's parts."""
    part = {"type": "text", "text": message["content"], "image": None, "mimeType": None}
    return {"role": message["role"], "content": [part]}


# What it is -> its row, and the layout that it is read as.
PAIRS: dict[str, tuple[dict[str, Any], str]] = {
    "Together": (
        {"input": {"messages": [USER]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]},
        "openai_preference",
    ),
    "ms-swift, messages": ({"messages": [USER, GOOD], "rejected_response": [BAD]}, "ms_swift"),
    "ms-swift, whole dialogue": ({"messages": [USER, GOOD], "rejected_messages": [USER, BAD]}, "ms_swift"),
    "ms-swift, list": ({"messages": [USER, GOOD], "rejected_response": ["y"]}, "ms_swift"),
    "ms-swift, tools": (
        {"tools": "[]", "messages": [USER, GOOD], "rejected_response": "y"},
        "ms_swift",
    ),
    "LLaMA-Factory": ({"instruction": "q", "input": "", "chosen": "x", "rejected": "y"}, "pairs"),
    "ShareGPT": (
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "x"},
            "rejected": {"from": "gpt", "value": "y"},
        },
        "sharegpt_preference",
    ),
    "Axolotl": ({"messages": [USER], "chosen": GOOD, "rejected": BAD}, "pairs"),
    "Axolotl, Argilla": (
        {"instruction": "q", "chosen_response": "x", "rejected_response": "y"},
        "named_pairs",
    ),
    "Orca": ({"system": "", "question": "q", "chosen": "x", "rejected": "y"}, "pairs"),
    "distilabel's Orca": (
        {
            "system": "",
            "input": "q",
            "chosen": "x",
            "rejected": "y",
            "generations": ["y", "x"],
            "order": ["rejected", "chosen"],
            "rating": [1, 9],
            "chosen_score": 9.0,
        },
        "pairs",
    ),
    "Tulu 3": (
        {"id": "0", "source": "s", "prompt": "q", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        "dialogue_pairs",
    ),
    "UltraFeedback binarized": (
        {
            "prompt": "q",
            "prompt_id": "0",
            "chosen": [USER, GOOD],
            "rejected": [USER, BAD],
            "messages": [USER, GOOD],
        },
        "dialogue_pairs",
    ),
    "HH-RLHF": (
        {"chosen": "\n\nHuman: q\n\nAssistant: x", "rejected": "\n\nHuman: q\n\nAssistant: y"},
        "pairs",
    ),
    "RM-Bench": (
        {"id": "0", "prompt": "q", "chosen": ["x"], "rejected": ["y"], "domain": "chat"},
        "reward_bench_2",
    ),
    "NeMo": ({"prompt": "q", "chosen_response": "x", "rejected_response": "y"}, "named_pairs"),
    "MedicalGPT": (
        {"system": "", "history": [], "question": "q", "response_chosen": "x", "response_rejected": "y"},
        "named_pairs",
    ),
    "CValues": ({"prompt": "q", "pos_resp": "x", "neg_resp": "y", "type": "t"}, "named_pairs"),
    "torchtune": (
        {"chosen_conversations": [USER, GOOD], "rejected_conversations": [USER, BAD]},
        "named_pairs",
    ),
    "ColossalAI": (
        {
            "context": [{"from": "human", "content": "q"}],
            "chosen": [{"from": "assistant", "content": "x"}],
            "rejected": [{"from": "assistant", "content": "y"}],
        },
        "dialogue_pairs",
    ),
    "a dialogue and an annotator's label": (
        {"dialog": [USER], "response_1": "x", "response_2": "y", "gold_label": "Response 1"},
        "compared",
    ),
    "an index by another name": ({"prompt": "q", "completions": ["x", "y"], "preferred_index": 0}, "sets"),
    "models in an object": (
        {"prompt": "q", "outputs": {"m-x": "x", "m-y": "y"}, "winner": "m-x"},
        "sets",
    ),
    "other names": ({"instruction": "q", "preferred": "x", "dispreferred": "y"}, "bare_pairs"),
    "a paper's names": ({"prompt": "q", "y_w": "x", "y_l": "y"}, "bare_pairs"),
    "Dolphin": ({"instruction": "q", "input": "", "accepted": "x", "rejected": "y"}, "bare_pairs"),
    "winner and loser by their letters": (
        {"prompt": "q", "response_a": "x", "response_b": "y", "winner": "A", "loser": "B"},
        "compared",
    ),
    "FastChat's pairs": (
        {
            "question": "q",
            "model_1": "m",
            "model_2": "n",
            "answer_1": "x",
            "answer_2": "y",
            "winner": "model_1",
        },
        "compared",
    ),
    "an index": ({"prompt": "q", "candidates": ["x", "y"], "chosen_index": 0}, "sets"),
    "models' columns": (
        {"prompt": "q", "model_a_response": "x", "model_b_response": "y", "winner": "model_a"},
        "compared",
    ),
    "Compar:IA": (
        {
            "model_a_name": "m",
            "model_b_name": "n",
            "chosen_model_name": "m",
            "both_equal": False,
            "conversation_a": [USER, GOOD],
            "conversation_b": [USER, BAD],
        },
        "compared_dialogues",
    ),
    "Arena 140k": (
        {
            "id": "0",
            "model_a": "m",
            "model_b": "n",
            "winner": "model_a",
            "conversation_a": [parts(USER), parts(GOOD)],
            "conversation_b": [parts(USER), parts(BAD)],
            "full_conversation": [
                {"user": parts(USER), "model_side_a": parts(GOOD), "model_side_b": parts(BAD)}
            ],
            "is_code": False,
        },
        "chatbot_arena",
    ),
    "MT-bench": (
        {
            "question_id": 81,
            "model_a": "m",
            "model_b": "n",
            "winner": "model_a",
            "judge": "expert_0",
            "conversation_a": [USER, GOOD],
            "conversation_b": [USER, BAD],
            "turn": 1,
        },
        "chatbot_arena",
    ),
    "JudgeBench": (
        {
            "pair_id": "0",
            "source": "mmlu",
            "question": "q",
            "response_model": "m",
            "response_A": "x",
            "response_B": "y",
            "label": "A>B",
        },
        "compared",
    ),
    "PPE": (
        {
            "model_a": "m",
            "model_b": "n",
            "winner": "model_a",
            "prompt": "q",
            "response_1": "x",
            "response_2": "y",
        },
        "compared",
    ),
    "Kaggle's WSDM cup": (
        {
            "id": "0",
            "prompt": "q",
            "response_a": "x",
            "response_b": "y",
            "winner": "model_a",
            "language": "en",
        },
        "compared",
    ),
    "a vendor's headings": (
        {
            "Task ID": 7,
            "Prompt": "q",
            "Response A": "x",
            "Response B": "y",
            "Preferred Response": "Response A",
        },
        "compared",
    ),
    "Label Studio, minimal": (
        {"prompt": "q", "answer1": "x", "answer2": "y", "id": 1, "comparison": "left", "annotator": 1},
        "compared",
    ),
    "letters": ({"prompt": "q", "response_a": "x", "response_b": "y", "chosen": "A"}, "compared"),
    "early Argilla": (
        {"prompt": "q", "response-1": "x", "response-2": "y", "preference": "response-1"},
        "compared",
    ),
}


@pytest.mark.default(
    "ms-swift, messages", "an index", "torchtune", "models' columns", "winner and loser by their letters",
    "MT-bench", "Arena 140k", "RM-Bench", "HH-RLHF", "ShareGPT", "letters", "UltraFeedback binarized",
    "LLaMA-Factory", "PPE", "ms-swift, list"
)  # fmt: skip
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_published_forms(name: str, tmp_path: Path) -> None:
    row, layout = PAIRS[name]
    found = read_rows(tmp_path, [row])
    assert found.refused == []
    assert found.layout == layout
    assert found.prompts() == [[("user", "q")]]
    assert found.brief() == [PAIR]


SCORED: dict[str, tuple[dict[str, Any], str]] = {
    "Argilla's mix": (
        {
            "dataset": "d",
            "chosen": [USER, GOOD],
            "rejected": [USER, BAD],
            "chosen_rating": 5.0,
            "rejected_rating": 2,
        },
        "dialogue_pairs",
    ),
    "Argilla's Capybara": (
        {
            "prompt": "q",
            "chosen": [USER, GOOD],
            "rejected": [USER, BAD],
            "rating_chosen": 5,
            "rating_rejected": 2,
        },
        "dialogue_pairs",
    ),
    "Argilla's averages": (
        {
            "instruction": "q",
            "chosen_response": "x",
            "rejected_response": "y",
            "chosen_avg_rating": 5.0,
            "rejected_avg_rating": 2.0,
            "chosen_model": "m",
        },
        "named_pairs",
    ),
    "RLHFlow": ({"prompt": [USER], "responses": ["x", "y"], "rewards": [5, 2]}, "sets"),
    "records": (
        {
            "prompt": "q",
            "chosen": {"text": "x", "reward": 5, "model": "m"},
            "rejected": {"text": "y", "reward": 2, "model": "n"},
        },
        "object_pairs",
    ),
    "votes": (
        {
            "question": "q",
            "answers": [{"text": "x", "votes": 5, "accepted": False}, {"text": "y", "votes": 2}],
        },
        "sets",
    ),
    "rewards of a best of n": (
        {"prompt": "q", "generations": [{"text": "x", "reward": 5.0}, {"text": "y", "reward": 2.0}]},
        "distilabel",
    ),
    "rollouts": (
        {"prompt": [USER], "completions": [[GOOD], [BAD]], "rewards": [5.0, 2.0], "step": 3},
        "sets",
    ),
    "early distilabel": (
        {"input": "q", "generations": ["x", "y"], "rating": [5, 2], "generation_model": ["m", "n"]},
        "distilabel",
    ),
    "columns": (
        {"question": "q", "answer_1": "x", "answer_2": "y", "rating_1": 5, "rating_2": 2},
        "compared",
    ),
}


@pytest.mark.parametrize("name", SCORED)
def test_scores_of_published_forms(name: str, tmp_path: Path) -> None:
    row, layout = SCORED[name]
    found = read_rows(tmp_path, [row])
    assert found.refused == []
    assert found.layout == layout
    assert found.prompts() == [[("user", "q")]]
    assert found.brief() == [[("x", None, 5.0), ("y", None, 2.0)]]
