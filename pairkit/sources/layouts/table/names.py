"""The names that columns commonly have, for the table of layouts: the first that exists is used."""

from __future__ import annotations

Names = dict[str, str | tuple[str, ...]]

# Of "instruction+context:text" the second is a text, and not a list of messages or passages.
PROMPT = (
    *("instruction+input", "instruction+context:text", "instruction+question:text", "question+context:text"),
    *("prompt", "instruction", "question", "query"),
)
# Next to replies that are named beyond doubt, these are prompts too.
ASKED = (*PROMPT, "input", "user_prompt", "context")
MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog")
COMPLETION = ("completion", "response", "output", "answer")
# Columns of numbers that say how good a response is: more verbosity, complexity or toxicity is not better.
RATINGS = (
    *("helpfulness", "correctness", "coherence", "honesty", "truthfulness"),
    *("instruction_following", "harmlessness", "safety", "quality", "accuracy", "relevance", "clarity"),
    *("fluency", "completeness", "depth", "creativity", "faithfulness", "factuality", "usefulness"),
    *("rating", "overall", "overall_rating", "overall_score", "reward"),
)
LABEL = (
    *("label", "kto_tag", "is_good", "is_desirable", "desirable", "is_chosen", "is_preferred", "is_correct"),
    *("thumbs", "thumb", "thumbs_up", "vote", "liked", "feedback", "user_feedback", "binary_label"),
    *("accepted", "is_accepted", "approved", "is_positive", "is_helpful"),
)
ALWAYS: Names = {
    "system": ("system", "system_prompt"),
    "history": "history",
    "tools": ("tools", "functions"),
    "chat_template_kwargs": "chat_template_kwargs",
}


# Of a model. `reasoning` next to a label or a rating may be that of a judge.
THOUGHT = ("reasoning_content", "thinking", "thought")
THOUGHTS = (*THOUGHT, "reasoning")


def _sides(side: str) -> Names:
    numbers = ("score", "rating", "reward", "avg_rating")
    thoughts = (f"{side}_{noun}" for noun in THOUGHTS), (f"{noun}_{side}" for noun in THOUGHTS)
    score_names = (name for number in numbers for name in (f"{number}_{side}", f"{side}_{number}"))
    return {
        f"score_{side}": tuple(score_names),
        f"model_{side}": (f"{side}_model", f"model_{side}"),
        f"reasoning_{side}": (*thoughts[0], *thoughts[1]),
    }


SIDES: Names = {**_sides("chosen"), **_sides("rejected")}


def _replies(*sides: str) -> tuple[str, ...]:
    """Return the names of columns of one side, as in `chosen_response` and `response_chosen`."""
    nouns = ("response", "answer", "output", "completion", "reply", "text", "resp", "res")
    dialogues = ("messages", "conversation", "conversations")
    names = (f"{side}_{noun}" for side in sides for noun in (*nouns, *dialogues))
    return (*names, *(f"{noun}_{side}" for side in sides for noun in nouns))


BETTER = _replies("chosen", "preferred", "accepted", "winning", "better", "good", "pos")
WORSE = _replies("rejected", "dispreferred", "non_preferred", "losing", "worse", "bad", "neg")


def _numbered(nouns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of numbered columns: `response_#` is response_a+response_b, as many as exist."""
    return tuple(f"{noun}_#" for noun in nouns)


REPLIES = ("response", "answer", "output", "completion", "generation", "reply", "summary", "text", "sample")
# True where that completion is the better one.
ABOUT_ONE = tuple(
    form.format(side)
    for side in ("a", "b", "first", "second", "response_a", "response_b")
    for form in ("{}_is_better", "is_{}_better", "{}_better", "{}_is_preferred", "{}_preferred", "{}_wins")
)
COMPARED: Names = {
    "completions": (
        *_numbered((*REPLIES, "candidate", "assistant")),
        "model_#_response",
    ),
    "scores": _numbered(("score", "rating", "reward")),
    "reasonings": _numbered(THOUGHTS),
    "ranks": _numbered(("rank", "ranking")),
    "models": (*_numbered(("model", "generator", "model_name")), "model_#_name"),
    "winner": (
        *("winner", "winner_id", "better_response_id", "better_response", "better_answer", "better"),
        *("preferred", "preferred_response", "preferred_answer", "preferred_output", "chosen", "choice"),
        *(
            "best",
            "best_response",
            "best_answer",
            "selected",
            "verdict",
            "judgment",
            "judgement",
            "human_preference",
            "preference",
        ),
        *("comparison", "vote", "winner_model", "winning_model", "preferred_model", "chosen_model"),
        *("gold_label", "human_label", "human_winner", "gold_winner"),
        *("chosen_model_name", *ABOUT_ONE, "label", "labels"),
        *("safer_response_id", "safer_response", "safer"),
    ),
    "strength": ("overall_preference", "preference_strength"),
}
