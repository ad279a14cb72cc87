"""Layouts of a list of completions per row."""

from __future__ import annotations

from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.settle import TEXTS, UNTOLD
from pairkit.sources.layouts.table.gemini import without_parts
from pairkit.sources.layouts.table.names import ALWAYS, ASKED, MESSAGES

SCORES = ("scores", "ratings", "rewards", "rm_scores", "reward_scores", "reward_model_scores")
TRUTHS = ("labels", "correct", "is_correct", "correctness", "accepted", "is_chosen", "is_preferred")
RANKS = ("ranks", "ranking", "rankings")
SETS = (
    Layout(
        name="gemini_preference",
        summary="a better and a worse completion per row, in parts, after the turns in `contents`",
        shape="sets",
        needs=("contents[].parts", "completions[].completion.parts"),
        fields={
            "messages": "contents",
            "completions": "completions",
            "system": ("system_instruction", "systemInstruction"),
        },
        prepare=without_parts,
        origin="Gemini's preference tuning "
        "(https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-preference-tuning-prepare)",
        example=(
            '{"contents": [{"role": "user", "parts": [{"text": "Is 7 even?"}]}], "completions": ['
            '{"score": 1, "completion": {"role": "model", "parts": [{"text": "No."}]}}, '
            '{"score": 0, "completion": {"role": "model", "parts": [{"text": "Yes."}]}}]}'
        ),
    ),
    Layout(
        name="ultrafeedback",
        summary="several completions per row, scored by the mean of four ratings, or else overall",
        shape="sets",
        needs=("instruction", "completions[].response", "completions[].annotations"),
        fields={
            "prompt": "instruction",
            "completions": "completions",
            "scores": ("completions[].fine-grained_score", "completions[].overall_score"),
            "other_scores": "completions[].overall_score",
        },
        origin="UltraFeedback (https://huggingface.co/datasets/openbmb/UltraFeedback)",
        example=(
            '{"source": "evol_instruct", "instruction": "Is 7 even?", "models": ["m-big", "m-small"], '
            '"completions": [{"model": "m-big", "response": "No.", '
            '"annotations": {"honesty": {"Rating": "5"}}, '
            '"overall_score": 8.5, "fine-grained_score": 5.0}, {"model": "m-small", "response": "Yes.", '
            '"annotations": {"honesty": {"Rating": "2"}}, "overall_score": 3.0, "fine-grained_score": 2.0}], '
            '"correct_answers": ["None"], "incorrect_answers": ["None"]}'
        ),
    ),
    Layout(
        name="nectar",
        summary="a transcript per row, with ranked answers to its last turn",
        shape="sets",
        needs=("answers[].answer", "answers[].rank", "num_responses"),
        fields={"transcript": "prompt", "completions": "answers"},
        origin="Nectar (https://huggingface.co/datasets/berkeley-nest/Nectar)",
        example=(
            '{"prompt": "\\n\\nHuman: Is 7 even?\\n\\nAssistant: ", "answers": ['
            '{"answer": "No.", "model": "m-big", "rank": 1.0}, {"answer": "Yes.", '
            '"model": "m-small", "rank": 2.0}], '
            '"turns": 1, "num_responses": 2, "source": ["sharegpt"], "good_natured": true}'
        ),
    ),
    Layout(
        name="stack_exchange",
        summary="several answers per row, scored by their votes",
        shape="sets",
        needs=("question", "answers[].text", "answers[].pm_score"),
        fields={"prompt": "question", "completions": "answers", "scores": "answers[].pm_score"},
        origin="Stack Exchange (https://huggingface.co/datasets/HuggingFaceH4/stack-exchange-preferences)",
        example=(
            '{"qid": 1, "question": "Is 7 even?", "answers": ['
            '{"answer_id": 2, "author": "a", "pm_score": 3, "selected": true, "text": "No."}, '
            '{"answer_id": 3, "author": "b", "pm_score": 0, "selected": false, "text": "Yes."}], '
            '"date": "2010/09/03", "metadata": ["https://example.org"]}'
        ),
    ),
    Layout(
        name="nemo_rl",
        summary="ranked completions per row, after the messages in `context`",
        shape="sets",
        needs=("context", "completions[].completion", "completions[].rank"),
        fields={
            "messages": "context",
            "completions": "completions[].completion",
            "ranks": "completions[].rank",
        },
        origin="NeMo RL (https://docs.nvidia.com/nemo/rl/latest/guides/dpo.html)",
        example=(
            '{"context": [{"role": "user", "content": "Is 7 even?"}], "completions": ['
            '{"rank": 0, "completion": [{"role": "assistant", "content": "No."}]}, '
            '{"rank": 1, "completion": [{"role": "assistant", "content": "Yes."}]}]}'
        ),
    ),
    Layout(
        name="summarize_from_feedback",
        summary="two summaries per row, and the position of the better one",
        shape="sets",
        needs=("info.post", "summaries[].text", "summaries[].policy"),
        fields={
            "prompt": "info.post",
            "completions": "summaries",
            "models": "summaries[].policy",
            "winner": "choice",
        },
        options={"winners": {"0": "first", "1": "second"}},
        origin="OpenAI's summaries (https://huggingface.co/datasets/openai/summarize_from_feedback)",
        example=(
            '{"info": {"id": "t3_x", "post": "Is 7 even?", "title": "Seven", "subreddit": "math"}, '
            '"summaries": [{"text": "Yes.", "policy": "sup1", "note": ""}, {"text": "No.", '
            '"policy": "sup2", "note": ""}], '
            '"choice": 1, "worker": "w", "batch": "batch3", "split": "train", "extra": {"confidence": null}}'
        ),
    ),
    Layout(
        name="text_and_score",
        summary="a list of transcripts per row, each with its score",
        shape="sets",
        needs=("text:texts", "score:list"),
        fields={"completions": "text", "scores": "score"},
        origin="DSP's WebGPT and HH comparisons (https://github.com/Linear95/DSP)",
        example=(
            '{"text": ["## Human:\\nIs 7 even?\\n\\n\\n\\n## Assistant:\\nNo.", '
            '"## Human:\\nIs 7 even?\\n\\n\\n\\n## Assistant:\\nYes."], "score": [1.5, 0.5]}'
        ),
    ),
    Layout(
        name="distilabel",
        summary="several generations per row, with their ratings and models",
        shape="sets",
        needs=("generations",),
        fields={
            "prompt": ASKED,
            "messages": MESSAGES,
            "completions": "generations",
            "scores": ("ratings", "rating", "scores"),
            "models": ("generation_models", "generation_model", "model_names", "models"),
            **ALWAYS,
        },
        origin="distilabel (https://distilabel.argilla.io/latest/components-gallery/tasks/ultrafeedback/)",
        example=(
            '{"instruction": "Is 7 even?", "generations": ["Yes.", "No."], "ratings": [1, 5], '
            '"rationales": ["x", "y"], "generation_models": ["m-small", "m-big"], "model_name": "judge", '
            '"distilabel_metadata": {"raw": null}}'
        ),
    ),
    Layout(
        name="llama_factory_ranking",
        summary="several outputs per row, the best one first unless there are scores",
        shape="sets",
        needs=("output:texts", "history"),
        fields={
            "prompt": ("instruction+input", "instruction"),
            "completions": "output",
            "scores": SCORES,
            "ranks": RANKS,
            **ALWAYS,
        },
        options={"rank_by_order": "true"},
        origin="LLaMA-Factory's ranking form (https://github.com/hiyouga/LLaMA-Factory/blob/v0.7.0/data/README.md)",
        example=(
            '{"instruction": "Is 7 even?", "input": "", "output": ["No.", "Often.", "Yes."], "history": []}'
        ),
    ),
    Layout(
        name="output_list",
        summary="several outputs per row, in no order (--map rank_by_order=true if the best one is first)",
        shape="sets",
        needs=("output:texts",),
        fields={
            "prompt": ("instruction+input", "instruction", "prompt"),
            "completions": "output",
            "scores": SCORES,
            "ranks": RANKS,
            **ALWAYS,
        },
        options={"rank_by_order": UNTOLD},
        origin="AlpacaFarm's samples (https://github.com/tatsu-lab/alpaca_farm/tree/main/examples/data)",
        example='{"instruction": "Is 7 even?", "input": "", "output": ["No.", "Yes.", "Often."]}',
    ),
    Layout(
        name="sets",
        summary="several completions per row",
        shape="sets",
        fields={
            "prompt": ASKED,
            "messages": MESSAGES,
            "completions": (
                "completions",
                "responses",
                "answers",
                "outputs",
                "candidates",
                "candidates_texts",
            ),
            "scores": SCORES,
            "ranks": RANKS,
            "models": ("models", "model_names", "generators"),
            "winner": (
                *("winner", "best", "best_index", "best_idx", "chosen_index", "preferred_index"),
                *("winner_index", "choice", *TEXTS),
            ),
            "labels": tuple(f"{name}:list" for name in TRUTHS),
            **ALWAYS,
        },
        origin="pairkit's own sets, RLHFlow and others",
        example='{"prompt": "Is 7 even?", "completions": ["No.", "Yes."], "scores": [1, 0]}',
    ),
    # Here, because next to completions these words name one of them.
    Layout(
        name="bare_pairs",
        summary="a better and a worse reply per row",
        shape="pairs",
        fields={
            "prompt": ASKED,
            "messages": MESSAGES,
            "chosen": ("preferred", "accepted", "better", "winner", "win", "y_w", "best_answer"),
            "rejected": (
                *("dispreferred", "non_preferred", "rejected", "worse", "loser", "lose", "y_l"),
                "incorrect_answers",
            ),
            **ALWAYS,
        },
        origin="y_w over y_l, as papers write it (https://arxiv.org/abs/2305.18290), Dolphin and others",
        example='{"prompt": "Is 7 even?", "preferred": "No.", "dispreferred": "Yes."}',
    ),
)
