"""The layouts that are recognized: one literal table, the first that fits is used.

A new layout is a row here, with an example, and a test of what the example becomes
(tests/sources/layouts/test_table.py reads all of them). docs/formats.md is made of this table.
"""

from __future__ import annotations

from pairkit.sources.layouts.layout import Layout

PROMPT = ("instruction+input", "prompt", "instruction", "question", "query")
MESSAGES = ("messages", "conversations", "conversation")
COMPLETION = ("completion", "response", "output", "answer")
LABEL = (
    *("label", "kto_tag", "is_good", "is_desirable", "desirable", "is_chosen", "is_preferred", "is_correct"),
    *("thumbs", "thumb", "thumbs_up", "vote", "liked", "feedback", "user_feedback", "binary_label"),
    *("accepted", "is_accepted", "approved", "is_positive", "is_helpful"),
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
        name="single",
        summary="one completion per row, with a label or a score if there is one",
        shape="single",
        fields={
            "prompt": PROMPT,
            "completion": COMPLETION,
            "label": LABEL,
            "score": "score",
            "model": "model",
            "reasoning": ("reasoning_content", "thinking", "thought"),
            **ALWAYS,
        },
        origin="Alpaca, KTO (TRL)",
        example='{"prompt": "Is 7 even?", "completion": "No.", "label": true}',
    ),
    Layout(
        name="conversation",
        summary="a conversation per row, whose last reply is the completion",
        shape="conversation",
        fields={"messages": MESSAGES, "label": LABEL, "score": "score", "model": "model", **ALWAYS},
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
