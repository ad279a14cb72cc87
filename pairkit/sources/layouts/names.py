"""The names that columns commonly have, for the table of layouts: the first that exists is used."""

from __future__ import annotations

Names = dict[str, str | tuple[str, ...]]

PROMPT = ("instruction+input", "prompt", "instruction", "question", "query")
# Next to replies that are named beyond doubt, these are prompts too.
ASKED = (*PROMPT, "input", "Prompt", "Instruction", "Question", "Input", "user_prompt", "context")
MESSAGES = ("messages", "conversations", "conversation")
COMPLETION = ("completion", "response", "output", "answer")
# Columns of numbers that say how good a response is.
RATINGS = (
    *("helpfulness", "correctness", "coherence", "complexity", "verbosity", "honesty", "truthfulness"),
    *("instruction_following", "harmlessness", "safety", "quality", "accuracy", "relevance", "clarity"),
    *("fluency", "completeness", "depth", "creativity", "faithfulness", "factuality", "usefulness"),
    *("rating", "overall", "overall_rating", "overall_score", "reward"),
)
LABEL = (
    *("label", "kto_tag", "is_good", "is_desirable", "desirable", "is_chosen", "is_preferred", "is_correct"),
    *("thumbs", "thumb", "thumbs_up", "vote", "feedback"),
)
ALWAYS: Names = {
    "system": ("system", "system_prompt"),
    "history": "history",
    "tools": ("tools", "functions"),
    "chat_template_kwargs": "chat_template_kwargs",
}


def _sides(side: str) -> Names:
    numbers = ("score", "rating", "reward", "avg_rating")
    written = (
        pattern.format(side, number) for number in numbers for pattern in ("{1}_{0}", "{0}_{1}", "{0}-{1}")
    )
    return {
        f"score_{side}": tuple(written),
        f"model_{side}": (f"{side}_model", f"{side}-model", f"model_{side}"),
    }


SIDES: Names = {**_sides("chosen"), **_sides("rejected")}


def _numbered(nouns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of columns next to each other, as in `response_a+response_b`; more columns first."""
    return tuple(
        "+".join(f"{noun}{mark}{end}" for end in ends[:count])
        for count in (4, 3, 2)
        for noun in nouns
        for mark in ("_", "", "-", " ")
        for ends in ("abcd", "ABCD", "0123", "1234")
    )


COMPARED: Names = {
    "completions": (
        *_numbered(("response", "answer", "output", "completion", "generation", "reply", "summary", "text")),
        *("model_a_response+model_b_response", "response_j+response_k"),
    ),
    "scores": _numbered(("score", "rating", "reward")),
    "models": (*_numbered(("model", "generator", "model_name")), "model_a_name+model_b_name"),
    "winner": (
        *("winner", "winner_id", "better_response_id", "better_response", "better_answer", "better"),
        *("preferred", "preferred_response", "preferred_answer", "preferred_output", "chosen", "choice"),
        *("best", "best_response", "best_answer", "selected", "verdict", "human_preference", "preference"),
        *("label", "labels"),
    ),
    "strength": ("overall_preference", "preference_strength"),
}
