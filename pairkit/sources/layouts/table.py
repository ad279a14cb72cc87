"""The layouts that are recognized: one literal table, the first that fits is used.

A new layout is a row here, with an example, and a test of what the example becomes
(tests/sources/layouts/test_table.py reads all of them). docs/formats.md is made of this table.
"""

from __future__ import annotations

from pairkit.sources.layouts import finegrained, trees
from pairkit.sources.layouts.layout import Layout

PROMPT = ("instruction+input", "prompt", "instruction", "question", "query")
MESSAGES = ("messages", "conversations", "conversation")
COMPLETION = ("completion", "response", "output", "answer")
# Columns of numbers that say how good a response is.
RATINGS = (
    *("helpfulness", "correctness", "coherence", "complexity", "verbosity", "honesty", "truthfulness"),
    *("instruction_following", "harmlessness", "safety", "quality", "accuracy", "relevance", "clarity"),
    *("fluency", "completeness", "depth", "creativity", "faithfulness", "factuality", "usefulness"),
    *("rating", "overall", "overall_rating", "overall_score", "reward"),
)
ALWAYS: dict[str, str | tuple[str, ...]] = {
    "system": ("system", "system_prompt"),
    "history": "history",
    "tools": ("tools", "functions"),
    "chat_template_kwargs": "chat_template_kwargs",
}
SCORES: dict[str, str | tuple[str, ...]] = {
    "score_chosen": ("score_chosen", "chosen_score", "chosen_rating", "chosen-rating"),
    "score_rejected": ("score_rejected", "rejected_score", "rejected_rating", "rejected-rating"),
}

_TABLE = (
    Layout(
        name="openai_preference",
        summary="a pair per row, after the messages in `input`",
        shape="pairs",
        needs=("input.messages:objects",),
        fields={
            "messages": "input.messages",
            "chosen": "preferred_output",
            "rejected": "non_preferred_output",
            "tools": "input.tools",
        },
        origin="OpenAI, Together and Fireworks (https://platform.openai.com/docs/guides/direct-preference-optimization)",
        example=(
            '{"input": {"messages": [{"role": "user", "content": "Is 7 even?"}], "tools": []}, '
            '"preferred_output": [{"role": "assistant", "content": "No."}], '
            '"non_preferred_output": [{"role": "assistant", "content": "Yes."}]}'
        ),
    ),
    Layout(
        name="helpsteer2",
        summary="one response per row with its ratings, grouped by prompt",
        shape="single",
        needs=("prompt", "response", "helpfulness", "correctness"),
        fields={
            "prompt": "prompt",
            "completion": "response",
            "score": "helpfulness",
            "ratings": "helpfulness+correctness+coherence+complexity+verbosity",
            "group": "prompt",
            **ALWAYS,
        },
        origin="HelpSteer and HelpSteer2 (https://huggingface.co/datasets/nvidia/HelpSteer2)",
        example=(
            '{"prompt": "Is 7 even?", "response": "No.", "helpfulness": 4, "correctness": 4, '
            '"coherence": 4, "complexity": 0, "verbosity": 0}\n'
            '{"prompt": "Is 7 even?", "response": "Yes.", "helpfulness": 1, "correctness": 0, '
            '"coherence": 4, "complexity": 0, "verbosity": 0}'
        ),
    ),
    Layout(
        name="openassistant_trees",
        summary="a tree of messages per row; each answered message is a prompt, its ranked answers a set",
        shape="sets",
        needs=("message_tree_id", "prompt.role:text", "prompt.text:text", "prompt.replies:list"),
        fields={"messages": "messages", "completions": "answers"},
        origin="OpenAssistant's exports (https://huggingface.co/datasets/OpenAssistant/oasst2)",
        expand=trees.expand_trees,
        adds=("messages", "answers"),
        reads=("prompt", "tree_state"),
        example=(
            '{"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": {"message_id": "t", '
            '"role": "prompter", "text": "Is 7 even?", "lang": "en", "deleted": false, "replies": ['
            '{"message_id": "u", "role": "assistant", "text": "Yes.", "rank": 1, "replies": []}, '
            '{"message_id": "v", "role": "assistant", "text": "No.", "rank": 0, "replies": []}]}}'
        ),
    ),
    Layout(
        name="openassistant_messages",
        summary="a message of a tree per row; each answered message is a prompt, its ranked answers a set",
        shape="sets",
        needs=("message_id", "parent_id", "message_tree_id", "role:text", "text:text", "rank"),
        fields={"messages": "messages", "completions": "answers"},
        origin="OpenAssistant on the hub (https://huggingface.co/datasets/OpenAssistant/oasst1)",
        expand=trees.join_messages,
        whole=True,
        adds=("messages", "answers"),
        reads=("message_id", "parent_id", "message_tree_id", "role", "text", "rank", "lang", "deleted"),
        example=(
            '{"message_id": "t", "parent_id": null, "message_tree_id": "t", "role": "prompter", '
            '"text": "Is 7 even?", "lang": "en", "rank": null}\n'
            '{"message_id": "u", "parent_id": "t", "message_tree_id": "t", "role": "assistant", '
            '"text": "Yes.", "lang": "en", "rank": 1}\n'
            '{"message_id": "v", "parent_id": "t", "message_tree_id": "t", "role": "assistant", '
            '"text": "No.", "lang": "en", "rank": 0}'
        ),
    ),
    Layout(
        name="fine_grained_rlhf",
        summary="four predictions per question, scored by the comparisons that each won",
        shape="sets",
        needs=("question", *finegrained.PREDICTIONS, "preference:list"),
        fields={"prompt": "question", "completions": "+".join(finegrained.PREDICTIONS), "scores": "wins"},
        origin="FineGrainedRLHF, QA feedback (https://github.com/allenai/FineGrainedRLHF)",
        prepare=finegrained.wins,
        adds=("wins",),
        example=(
            '{"question": "Is 7 even?", "passages": [["Numbers", "7 is odd."]], "gold": "No, 7 is odd.", '
            '"prediction 1": "Yes.", "prediction 2": "No.", "prediction 3": "Maybe.", '
            '"prediction 4": "No, odd.", "feedback": {"corrected-prediction": "No."}, '
            '"preference": [2, 2, 2, 1, 2, 2]}'
        ),
    ),
    Layout(
        name="verl_prompts",
        summary="prompts with an answer that a verifier checks",
        shape="prompts",
        needs=("data_source", "prompt", "reward_model.ground_truth"),
        fields={"prompt": "prompt", "answer": "reward_model.ground_truth"},
        origin="verl (https://verl.readthedocs.io/en/latest/preparation/prepare_data.html)",
        example=(
            '{"data_source": "numbers", "prompt": [{"role": "user", "content": "Is 7 even?"}], '
            '"ability": "math", "reward_model": {"style": "rule", "ground_truth": "No."}, '
            '"extra_info": {"index": 0}}'
        ),
    ),
    # The general ones last: each is also what a map with its fields means.
    Layout(
        name="pairs",
        summary="a chosen and a rejected reply per row",
        shape="pairs",
        fields={
            "prompt": PROMPT,
            "messages": MESSAGES,
            "chosen": "chosen",
            "rejected": "rejected",
            **SCORES,
            **ALWAYS,
        },
        origin="TRL, UltraFeedback binarized, HH-RLHF and many others",
        example='{"prompt": "Is 7 even?", "chosen": "No.", "rejected": "Yes."}',
    ),
    Layout(
        name="sets",
        summary="several completions per row",
        shape="sets",
        fields={
            "prompt": PROMPT,
            "messages": MESSAGES,
            "completions": ("completions", "responses", "answers"),
            "scores": "scores",
            "ranks": "ranks",
            "models": "models",
            **ALWAYS,
        },
        origin="pairkit's own sets, Nectar, UltraFeedback",
        example='{"prompt": "Is 7 even?", "completions": ["No.", "Yes."], "scores": [1, 0]}',
    ),
    Layout(
        name="rated_responses",
        summary="one response per row with its ratings, grouped by prompt",
        shape="single",
        needs_one=("score", "rank", *RATINGS),
        needs_none=("label",),
        fields={
            "prompt": PROMPT,
            "completion": COMPLETION,
            "score": ("score", "overall_score", "overall_rating", "overall", "rating", "reward"),
            "ratings": "|".join(RATINGS),
            "rank": "rank",
            "model": "model",
            "group": PROMPT,
            **ALWAYS,
        },
        origin="reward model outputs, HelpSteer-like data; without a score, it is the mean of the ratings",
        example=(
            '{"prompt": "Is 7 even?", "response": "No.", "honesty": 5, "clarity": 4}\n'
            '{"prompt": "Is 7 even?", "response": "Yes.", "honesty": 1, "clarity": 4}'
        ),
    ),
    Layout(
        name="single",
        summary="one completion per row, with a label or a score if there is one",
        shape="single",
        fields={
            "prompt": PROMPT,
            "completion": COMPLETION,
            "label": "label",
            "score": "score",
            "model": "model",
            **ALWAYS,
        },
        origin="Alpaca, KTO (TRL)",
        example='{"prompt": "Is 7 even?", "completion": "No.", "label": true}',
    ),
    Layout(
        name="conversation",
        summary="a conversation per row, whose last reply is the completion",
        shape="conversation",
        fields={"messages": MESSAGES, "label": "label", "score": "score", "model": "model", **ALWAYS},
        origin="ShareGPT, OpenAI chat, ms-swift",
        example=(
            '{"messages": [{"role": "user", "content": "Is 7 even?"}, '
            '{"role": "assistant", "content": "No."}]}'
        ),
    ),
    Layout(
        name="prompts",
        summary="prompts without completions, to be generated",
        shape="prompts",
        fields={"prompt": PROMPT, **ALWAYS},
        origin="TRL's prompt-only datasets",
        example='{"prompt": "Is 7 even?"}',
    ),
)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _TABLE}
