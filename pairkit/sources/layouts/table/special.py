"""Layouts whose rows no map describes, or whose prompts carry their answer."""

from __future__ import annotations

from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.table import finegrained, trees

SPECIAL = (
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
    # Before the pairs, which are two of these samples.
    Layout(
        name="simpo_samples",
        summary="several samples of a model per row, scored by a reward model",
        shape="sets",
        needs=("prompt", "all_generated_responses", "all_rm_scores"),
        fields={"prompt": "prompt", "completions": "all_generated_responses", "scores": "all_rm_scores"},
        reads=("chosen", "rejected"),
        origin="SimPO's on-policy data and Snorkel's "
        "(https://huggingface.co/datasets/princeton-nlp/llama3-ultrafeedback-armorm)",
        example=(
            '{"prompt_id": "f0e3", "prompt": "Is 7 even?", '
            '"all_generated_responses": ["Yes.", "No.", "Often."], "all_rm_scores": [0.1, 0.3, 0.2], '
            '"chosen": [{"role": "user", "content": "Is 7 even?"}, {"role": "assistant", "content": "No."}], '
            '"rejected": [{"role": "user", "content": "Is 7 even?"}, '
            '{"role": "assistant", "content": "Yes."}]}'
        ),
    ),
)
