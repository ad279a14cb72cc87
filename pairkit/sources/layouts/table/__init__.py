"""The layouts that are recognized: one literal table in four parts, the first that fits is used.

A new layout is a row here, with an example, and a test of what the example becomes
(tests/sources/layouts/test_table.py reads all of them). docs/formats.md is made of this table.
"""

from __future__ import annotations

from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.table.compared import COMPARISONS
from pairkit.sources.layouts.table.names import ALWAYS, COMPLETION, LABEL, MESSAGES, PROMPT, RATINGS, THOUGHT
from pairkit.sources.layouts.table.pairs import PAIRS
from pairkit.sources.layouts.table.sets import SETS
from pairkit.sources.layouts.table.special import SPECIAL

_SINGLE = (
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
            "reasoning": THOUGHT,
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
    # The general ones last.
    Layout(
        name="rated_responses",
        summary="one response per row with its ratings, grouped by prompt",
        shape="single",
        needs_one=("score", "rank", *RATINGS),
        # Not `feedback` and others: next to a score that is criticism.
        needs_none=LABEL[:8],
        fields={
            "prompt": PROMPT,
            "completion": COMPLETION,
            "score": ("score", "overall_score", "overall_rating", "overall", "rating", "reward"),
            "ratings": "|".join(RATINGS),
            "rank": "rank",
            "model": "model",
            "reasoning": THOUGHT,
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
        name="reasoned",
        summary="one completion per row, with the model's reasoning",
        shape="single",
        needs=("reasoning:text",),
        # Next to these it may be the reasoning of a judge.
        needs_none=("score", *LABEL),
        fields={
            "prompt": PROMPT,
            "completion": COMPLETION,
            "reasoning": "reasoning",
            "model": "model",
            **ALWAYS,
        },
        origin="answers of reasoning models, such as OpenThoughts-like sets",
        example='{"question": "Is 7 even?", "reasoning": "7 is odd.", "answer": "No."}',
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
            "reasoning": THOUGHT,
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
# Pairs first, because what is chosen needs no comparison to be read.
_TABLE = (*SPECIAL, *PAIRS, *COMPARISONS, *SETS, *_SINGLE)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _TABLE}
