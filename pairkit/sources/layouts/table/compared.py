"""Layouts of a column per completion and of what their comparison found."""

from __future__ import annotations

from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.table.labelstudio import SELECTED, votes
from pairkit.sources.layouts.table.names import ALWAYS, ASKED, COMPARED, MESSAGES
from pairkit.sources.layouts.table.turns import up_to_turn

FROM_0 = {"0": "first", "1": "second"}
FROM_1 = {"1": "first", "2": "second", "0": "tie"}

COMPARISONS = (
    Layout(
        name="helpsteer3",
        summary="two responses per row, and by how much the second is better (below 0: the first)",
        shape="sets",
        needs=("context", "overall_preference"),
        fields={
            "messages": "context",
            "completions": "response1+response2",
            "strength": "overall_preference",
        },
        origin="HelpSteer3 (https://huggingface.co/datasets/nvidia/HelpSteer3)",
        example=(
            '{"domain": "general", "language": "english", "context": [{"role": "user", '
            '"content": "Is 7 even?"}], '
            '"response1": "No.", "response2": "Yes.", "overall_preference": -3, '
            '"individual_preference": [{"score": -3, "reasoning": "It is odd.", "feedback1": "x", '
            '"feedback2": "y"}]}'
        ),
    ),
    Layout(
        name="helpsteer2_preference",
        summary="two responses per row, and by how much the second is better (below 0: the first)",
        shape="sets",
        needs=("prompt", "preference_strength"),
        fields={
            "prompt": "prompt",
            "completions": "response_1+response_2",
            "strength": "preference_strength",
        },
        origin="HelpSteer2, preference (https://huggingface.co/datasets/nvidia/HelpSteer2)",
        example=(
            '{"split": "train", "prompt": "Is 7 even?", "response_1": "Yes.", "response_2": "No.", '
            '"preference_strength": 2, "preference_statement": "Response 2 is better", '
            '"preference_elaboration": "x", "three_most_similar_preferences": []}'
        ),
    ),
    Layout(
        name="pku_saferlhf",
        summary="two responses per row, and which one is better (--map winner=safer_response_id: safer)",
        shape="sets",
        needs=("prompt", "better_response_id", "safer_response_id"),
        fields={
            "prompt": "prompt",
            "completions": "response_0+response_1",
            "winner": "better_response_id",
        },
        options={"winners": FROM_0},
        origin="PKU-SafeRLHF (https://huggingface.co/datasets/PKU-Alignment/PKU-SafeRLHF)",
        example=(
            '{"prompt": "Is 7 even?", "response_0": "Yes.", "response_1": "No.", "is_response_0_safe": true, '
            '"is_response_1_safe": true, "better_response_id": 1, "safer_response_id": 0}'
        ),
    ),
    Layout(
        name="chatbot_arena",
        summary="two dialogues per row, and which model won",
        shape="sets",
        needs=("model_a", "model_b"),
        prepare=up_to_turn,
        fields={
            "completions": "conversation_a+conversation_b",
            "models": "model_a+model_b",
            "winner": "winner",
        },
        origin="Chatbot Arena (https://huggingface.co/datasets/lmsys/chatbot_arena_conversations)",
        example=(
            '{"question_id": "q", "model_a": "m-small", "model_b": "m-big", "winner": "model_b", '
            '"judge": "arena_user_1", '
            '"conversation_a": [{"content": "Is 7 even?", "role": "user"}, {"content": "Yes.", '
            '"role": "assistant"}], '
            '"conversation_b": [{"content": "Is 7 even?", "role": "user"}, {"content": "No.", '
            '"role": "assistant"}], '
            '"turn": 1, "anony": true, "language": "English", "tstamp": 1682351591.1}'
        ),
    ),
    Layout(
        name="arena_55k",
        summary="two models' replies to a list of turns per row, and a column for each outcome",
        shape="sets",
        needs=("winner_model_a", "winner_model_b", "winner_tie"),
        fields={
            "questions": "prompt",
            "completions": "response_a+response_b",
            "models": "model_a+model_b",
            "flags": "winner_model_a+winner_model_b+winner_tie",
        },
        origin="LMSYS on Kaggle (https://huggingface.co/datasets/lmsys/lmsys-arena-human-preference-55k)",
        example=(
            '{"id": 30192, "model_a": "m-small", "model_b": "m-big", "prompt": "[\\"Is 7 even?\\"]", '
            '"response_a": "[\\"Yes.\\"]", "response_b": "[\\"No.\\"]", '
            '"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}'
        ),
    ),
    Layout(
        name="shp",
        summary="two replies per row with their votes, and whether the first is preferred",
        shape="sets",
        needs=("history:text",),
        # Here the history is the prompt.
        fields={
            "prompt": "history",
            "completions": "human_ref_A+human_ref_B",
            "scores": "score_A+score_B",
            "winner": "labels",
        },
        options={"winners": {"1": "first", "0": "second"}},
        origin="Stanford Human Preferences (https://huggingface.co/datasets/stanfordnlp/SHP)",
        example=(
            '{"post_id": "x", "domain": "askscience_train", "upvote_ratio": 0.9, "history": "Is 7 even?", '
            '"c_root_id_A": "a", "c_root_id_B": "b", "created_at_utc_A": 1, "created_at_utc_B": 2, '
            '"score_A": 2, "score_B": 9, "human_ref_A": "Yes.", "human_ref_B": "No.", "labels": 0, '
            '"seconds_difference": 1.0, "score_ratio": 4.5}'
        ),
    ),
    Layout(
        name="webgpt",
        summary="two answers per row with their scores; equal scores are a tie",
        shape="sets",
        needs=("question.full_text",),
        fields={
            "prompt": "question.full_text",
            "completions": "answer_0+answer_1",
            "scores": "score_0+score_1",
        },
        origin="WebGPT comparisons (https://huggingface.co/datasets/openai/webgpt_comparisons)",
        example=(
            '{"question": {"dataset": "eli5", "id": "x", "full_text": "Is 7 even?"}, '
            '"quotes_0": {"title": ["t"], "extract": ["e"]}, "answer_0": "Yes.", '
            '"tokens_0": {"prefix": [1]}, '
            '"score_0": -0.5, "quotes_1": {"title": ["t"], "extract": ["e"]}, "answer_1": "No.", '
            '"score_1": 0.5}'
        ),
    ),
    Layout(
        name="alpaca_eval",
        summary="two outputs per row, and a preference from 1, the first, to 2, the second",
        shape="sets",
        needs=("instruction", "generator_1", "generator_2", "preference"),
        fields={
            "prompt": "instruction",
            "completions": "output_1+output_2",
            "models": "generator_1+generator_2",
            "preference": "preference",
        },
        origin="AlpacaEval's annotations (https://github.com/tatsu-lab/alpaca_eval)",
        example=(
            '{"instruction": "Is 7 even?", "output_1": "Yes.", "generator_1": "m-small", "dataset": "koala", '
            '"output_2": "No.", "generator_2": "m-big", "annotator": "gpt4", "preference": 2.0}'
        ),
    ),
    Layout(
        name="alpaca_farm",
        summary="two outputs per row, and a preference of 1, the first, or 2, the second",
        shape="sets",
        needs=("instruction", "input", "preference:number"),
        fields={
            "prompt": "instruction+input",
            "completions": "output_1+output_2",
            "preference": "preference",
        },
        origin="AlpacaFarm's preferences (https://huggingface.co/datasets/tatsu-lab/alpaca_farm)",
        example=(
            '{"instruction": "Is 7 even?", "input": "", "output_1": "Yes.", "output_2": "No.", '
            '"preference": 2, "raw_preference": 2}'
        ),
    ),
    Layout(
        name="pandalm",
        summary="two responses per row, and the better one by three annotators, of whom most decide",
        shape="sets",
        needs=("instruction", "cmp_key"),
        fields={
            "prompt": ("instruction+input", "instruction"),
            "completions": "response1+response2",
            "winner": "annotator1+annotator2+annotator3",
        },
        options={"winners": FROM_1},
        origin="PandaLM's test set (https://github.com/WeOpenML/PandaLM)",
        example=(
            '{"idx": 0, "motivation_app": "Quora", "cmp_key": "bloom-7b_llama-7b", '
            '"instruction": "Is 7 even?", '
            '"input": "", "response1": "Yes.", "response2": "No.", "annotator1": 2, "annotator2": 2, '
            '"annotator3": 0}'
        ),
    ),
    Layout(
        name="preference_collection",
        summary="two responses per row with their scores, and the better one's letter",
        shape="sets",
        needs=("orig_instruction",),
        fields={
            "prompt": "orig_instruction",
            "completions": "orig_response_A+orig_response_B",
            "scores": "orig_score_A+orig_score_B",
            "winner": "orig_preference",
        },
        origin="Prometheus 2 (https://huggingface.co/datasets/prometheus-eval/Preference-Collection)",
        example=(
            '{"orig_criteria": "Is it right?", "orig_feedback_A": "x", "orig_feedback_B": "y", '
            '"orig_instruction": "Is 7 even?", "orig_reference_answer": "No.", "orig_response_A": "Yes.", '
            '"orig_response_B": "No.", "orig_score_A": "1", "orig_score_B": "5", "orig_preference": "B", '
            '"instruction": "Compare them.", "output": "B is better."}'
        ),
    ),
    Layout(
        name="label_studio",
        summary="two answers per row, of which most annotators selected the left or the right one",
        shape="sets",
        needs=("data.prompt", SELECTED),
        prepare=votes,
        adds=("selected",),
        reads=("annotations",),
        fields={
            "prompt": "data.prompt",
            "completions": ("data.answer1+data.answer2", "data.response1+data.response2"),
            "winner": "selected",
        },
        origin="Label Studio's pairwise exports (https://labelstud.io/templates/pairwise_comparison)",
        example=(
            '{"id": 1, "data": {"prompt": "Is 7 even?", "answer1": "No.", "answer2": "Yes."}, '
            '"annotations": ['
            '{"id": 1, "result": [{"type": "pairwise", "value": {"selected": "left"}, '
            '"from_name": "comparison"}]}]}'
        ),
    ),
    Layout(
        name="llmbar",
        summary="two outputs per row, and the better one's number",
        shape="sets",
        needs=("input", "label"),
        needs_none=("instruction", "prompt", "question", "query"),
        fields={"prompt": "input", "completions": "output_1+output_2", "winner": "label"},
        origin="LLMBar (https://github.com/princeton-nlp/LLMBar)",
        example='{"input": "Is 7 even?", "output_1": "Yes.", "output_2": "No.", "label": 2}',
    ),
    Layout(
        name="compared_dialogues",
        summary="a column per dialogue, which differ in the last reply, and which one is better",
        shape="sets",
        prepare=up_to_turn,
        fields={**COMPARED, "completions": "conversation_a+conversation_b"},
        origin="MT-bench's human judgments (https://huggingface.co/datasets/lmsys/mt_bench_human_judgments)",
        example=(
            '{"conversation_a": [{"content": "Is 7 even?", "role": "user"}, {"content": "Yes.", '
            '"role": "assistant"}], '
            '"conversation_b": [{"content": "Is 7 even?", "role": "user"}, {"content": "No.", '
            '"role": "assistant"}], '
            '"winner": "B"}'
        ),
    ),
    Layout(
        name="compared",
        summary="a column per completion, with scores or which one is better if that is given",
        shape="sets",
        fields={"prompt": ASKED, "messages": MESSAGES, **COMPARED, **ALWAYS},
        origin="JudgeBench (https://huggingface.co/datasets/ScalerLab/JudgeBench), "
        "PPE (https://huggingface.co/datasets/lmarena-ai/PPE-Human-Preference-V1), AlpacaFarm and others",
        example='{"prompt": "Is 7 even?", "response_a": "No.", "response_b": "Yes.", "winner": "A"}',
    ),
)
