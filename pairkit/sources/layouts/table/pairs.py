"""Layouts of a better and a worse reply per row."""

from __future__ import annotations

from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.table.names import ALWAYS, ASKED, BETTER, MESSAGES, SIDES, WORSE

PAIRS = (
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
        name="ms_swift",
        summary="a dialogue that ends in the chosen reply, and the rejected one",
        shape="pairs",
        # Both are the dialogue, which holds the prompt and the chosen reply.
        fields={
            "messages": "messages",
            "chosen": "messages",
            "rejected": ("rejected_messages", "rejected_response"),
            **ALWAYS,
        },
        origin="ms-swift's DPO (https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html)",
        example=(
            '{"messages": [{"role": "user", "content": "Is 7 even?"}, {"role": "assistant", '
            '"content": "No."}], '
            '"rejected_response": "Yes."}'
        ),
    ),
    Layout(
        name="dialogue_and_rejected",
        summary="a dialogue that ends in the chosen reply, and the rejected one",
        shape="pairs",
        needs_none=("chosen", "prompt"),
        fields={
            "messages": MESSAGES,
            "chosen": MESSAGES,
            "rejected": ("rejected", "rejected_reply", "rejected_output"),
            **ALWAYS,
        },
        origin="ShareGPT dialogues with a rejected reply",
        example=(
            '{"conversations": [{"from": "human", "value": "Is 7 even?"}, {"from": "gpt", "value": "No."}], '
            '"rejected": "Yes."}'
        ),
    ),
    Layout(
        name="ms_swift_texts",
        summary="a query, its response and a rejected response per row",
        shape="pairs",
        needs=("query",),
        fields={"prompt": "query", "chosen": "response", "rejected": "rejected_response", **ALWAYS},
        origin="ms-swift's texts (https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html)",
        example='{"query": "Is 7 even?", "response": "No.", "rejected_response": "Yes."}',
    ),
    Layout(
        name="ultrainteract",
        summary="a pair per row, after the turns of a trajectory",
        shape="pairs",
        needs=("trajectory",),
        fields={"messages": "trajectory", "chosen": "chosen", "rejected": "rejected", **ALWAYS},
        origin="UltraInteract (https://huggingface.co/datasets/openbmb/UltraInteract_pair)",
        example=(
            '{"task": "Math_CoT", "dataset": "math", "id": "0", "parent_id": "1", '
            '"trajectory": [{"from": "user", "value": "Is 7 even?"}], "chosen": "No.", "rejected": "Yes."}'
        ),
    ),
    Layout(
        name="sharegpt_preference",
        summary="a pair per row, after the turns of a conversation",
        shape="pairs",
        needs=("conversations", "chosen.value", "rejected.value"),
        fields={"messages": "conversations", "chosen": "chosen", "rejected": "rejected", **SIDES, **ALWAYS},
        origin="LLaMA-Factory's ShareGPT form (https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md)",
        example=(
            '{"conversations": [{"from": "human", "value": "Is 7 even?"}], '
            '"chosen": {"from": "gpt", "value": "No."}, "rejected": {"from": "gpt", "value": "Yes."}}'
        ),
    ),
    Layout(
        name="reward_bench_2",
        summary="correct and incorrect replies per row",
        shape="pairs",
        needs=("chosen:texts", "rejected:texts"),
        fields={"prompt": ASKED, "chosen": "chosen", "rejected": "rejected", **ALWAYS},
        origin="RewardBench 2 (https://huggingface.co/datasets/allenai/reward-bench-2), "
        "RM-Bench (https://huggingface.co/datasets/THU-KEG/RM-Bench)",
        example=(
            '{"id": "0", "prompt": "Is 7 even?", "chosen": ["No."], "rejected": ["Yes.", "Often."], '
            '"num_correct": 1, "num_incorrect": 2, "total_completions": 3, "models": ["a", "b", "c"], '
            '"subset": "Math", "additional_metadata": {"category": "x"}}'
        ),
    ),
    Layout(
        name="reward_bench",
        summary="a chosen and a rejected reply per row, with their models",
        shape="pairs",
        needs=("prompt", "chosen_model", "rejected_model", "subset"),
        fields={"prompt": "prompt", "chosen": "chosen", "rejected": "rejected", **SIDES, **ALWAYS},
        origin="RewardBench (https://huggingface.co/datasets/allenai/reward-bench)",
        example=(
            '{"prompt": "Is 7 even?", "chosen": "No.", "chosen_model": "m-big", "rejected": "Yes.", '
            '"rejected_model": "m-small", "subset": "math-prm", "id": 0}'
        ),
    ),
    Layout(
        name="argilla",
        summary="a chosen and a rejected reply per row, with their ratings",
        shape="pairs",
        needs=("chosen-rating", "rejected-rating"),
        fields={
            "prompt": ASKED,
            "messages": MESSAGES,
            "chosen": "chosen",
            "rejected": "rejected",
            **SIDES,
            **ALWAYS,
        },
        origin="Argilla's cleaned UltraFeedback "
        "(https://huggingface.co/datasets/argilla/ultrafeedback-binarized-preferences-cleaned)",
        example=(
            '{"source": "evol_instruct", "prompt": "Is 7 even?", '
            '"chosen": [{"role": "user", "content": "Is 7 even?"}, {"role": "assistant", "content": "No."}], '
            '"chosen-rating": 5.0, "chosen-model": "m-big", '
            '"rejected": [{"role": "user", "content": "Is 7 even?"}, {"role": "assistant", '
            '"content": "Yes."}], '
            '"rejected-rating": 2.0, "rejected-model": "m-small"}'
        ),
    ),
    Layout(
        name="dialogue_pairs",
        summary="two dialogues per row, which differ in the last reply",
        shape="pairs",
        needs=("chosen:objects", "rejected:objects"),
        # The column is used where the dialogues are the replies alone.
        fields={
            "prompt": ASKED,
            "messages": MESSAGES,
            "chosen": "chosen",
            "rejected": "rejected",
            **SIDES,
            **ALWAYS,
        },
        origin="Skywork (https://huggingface.co/datasets/Skywork/Skywork-Reward-Preference-80K-v0.2), "
        "Tulu 3, UltraFeedback binarized, Capybara and others",
        example=(
            '{"chosen": [{"role": "user", "content": "Is 7 even?"}, {"role": "assistant", '
            '"content": "No."}], '
            '"rejected": [{"role": "user", "content": "Is 7 even?"}, {"role": "assistant", '
            '"content": "Yes."}], '
            '"source": "magpie"}'
        ),
    ),
    Layout(
        name="object_pairs",
        summary="a chosen and a rejected reply per row, each an object with its text",
        shape="pairs",
        fields={
            "prompt": ASKED,
            "messages": MESSAGES,
            "chosen": ("chosen.text", "chosen.response", "chosen.output", "chosen.completion"),
            "rejected": ("rejected.text", "rejected.response", "rejected.output", "rejected.completion"),
            "score_chosen": ("chosen.score", "chosen.reward", "chosen.rating"),
            "score_rejected": ("rejected.score", "rejected.reward", "rejected.rating"),
            "model_chosen": "chosen.model",
            "model_rejected": "rejected.model",
            **ALWAYS,
        },
        origin="pairs of generated records",
        example=(
            '{"prompt": "Is 7 even?", "chosen": {"text": "No.", "model": "m-big"}, '
            '"rejected": {"text": "Yes.", "model": "m-small"}}'
        ),
    ),
    Layout(
        name="pairs",
        summary="a chosen and a rejected reply per row",
        shape="pairs",
        fields={
            "prompt": ASKED,
            "messages": MESSAGES,
            "chosen": "chosen",
            "rejected": "rejected",
            **SIDES,
            **ALWAYS,
        },
        origin="TRL, Orca pairs, HH-RLHF, LLaMA-Factory's Alpaca form and many others",
        example='{"prompt": "Is 7 even?", "chosen": "No.", "rejected": "Yes."}',
    ),
    Layout(
        name="spin",
        summary="a real and a generated dialogue per row, of which the real one is chosen",
        shape="pairs",
        needs=("real:objects", "generated:objects"),
        fields={"chosen": "real", "rejected": "generated", **ALWAYS},
        origin="SPIN (https://huggingface.co/datasets/UCLA-AGI/SPIN_iter0)",
        example=(
            '{"real": [{"role": "user", "content": "Is 7 even?"}, {"role": "assistant", "content": "No."}], '
            '"generated": [{"role": "user", "content": "Is 7 even?"}, {"role": "assistant", '
            '"content": "Yes."}]}'
        ),
    ),
    Layout(
        name="helpsteer3_edit_quality",
        summary="a good and a bad edit of a response per row",
        shape="pairs",
        needs=("context", "original_response"),
        fields={
            "messages": "context",
            "chosen": "good_edited_response",
            "rejected": "bad_edited_response",
        },
        origin="HelpSteer3, edit_quality (https://huggingface.co/datasets/nvidia/HelpSteer3)",
        example=(
            '{"domain": "general", "language": "english", "context": [{"role": "user", '
            '"content": "Is 7 even?"}], '
            '"original_response": "Well.", "good_edited_response": "No.", "bad_edited_response": "Yes.", '
            '"feedback": ["Answer."]}'
        ),
    ),
    Layout(
        name="stack_exchange_paired",
        summary="two answers per row, of which the first has more votes",
        shape="pairs",
        needs=("question",),
        fields={"prompt": "question", "chosen": "response_j", "rejected": "response_k"},
        origin="Stack Exchange pairs (https://huggingface.co/datasets/lvwerra/stack-exchange-paired)",
        example=(
            '{"qid": 1, "question": "Is 7 even?", "date": "2010/09/03", "metadata": ["https://example.org"], '
            '"response_j": "No.", "response_k": "Yes."}'
        ),
    ),
    Layout(
        name="autotrain",
        summary="a text and a rejected text per row, which both follow the prompt",
        shape="pairs",
        fields={"prompt": "prompt", "chosen": "text", "rejected": "rejected_text"},
        needs=("prompt",),
        origin="AutoTrain (https://huggingface.co/docs/autotrain/llm_finetuning)",
        example='{"prompt": "Is 7 even?", "text": "No.", "rejected_text": "Yes."}',
    ),
    Layout(
        name="named_pairs",
        summary="a better and a worse reply per row",
        shape="pairs",
        fields={
            "prompt": ASKED,
            "messages": MESSAGES,
            "chosen": BETTER,
            "rejected": WORSE,
            **SIDES,
            **ALWAYS,
        },
        origin="Axolotl and NeMo (https://docs.axolotl.ai/docs/rlhf.html), early Argilla sets and others",
        example='{"prompt": "Is 7 even?", "chosen_response": "No.", "rejected_response": "Yes."}',
    ),
)
