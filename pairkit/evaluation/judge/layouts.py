"""The layouts of files with pairs of answers and a preference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError, RecipeError, unknown

FIELDS = ("prompt", "first", "second", "label", "chosen", "rejected", "subset")


class Layout(NamedTuple):
    """Which columns hold what; several columns are joined with +.

    Attributes:
        first, second: the answers: texts, or conversations that end in them.
        prompt: several columns are joined by a blank line; None: what both conversations begin with.
        label: several columns are several annotators; None: the first answer is the better one.
        one_of: `label` has three columns, of which one is 1: the first answer, the second, neither.
        turns: prompt and answers are lists with a text for each turn.
        subset: the column of the subset, if there is one.
    """

    first: str
    second: str
    prompt: str | None = None
    label: str | None = None
    one_of: bool = False
    turns: bool = False
    subset: str | None = None

    @property
    def columns(self) -> list[str]:
        """All columns but that of the subset."""
        return [
            name
            for names in (self.prompt, self.first, self.second, self.label)
            for name in (names or "").split("+")
            if name
        ]


# The first layout whose columns all exist is used.
LAYOUTS: Mapping[str, Layout] = {
    "PandaLM": Layout("response1", "response2", "instruction+input", "annotator1+annotator2+annotator3"),
    "LLMBar": Layout("output_1", "output_2", "input", "label"),
    "plain": Layout("first", "second", "prompt", "label"),
    # lmarena-ai/arena-human-preference-55k
    "Arena's turns": Layout(
        "response_a",
        "response_b",
        "prompt",
        "winner_model_a+winner_model_b+winner_tie",
        one_of=True,
        turns=True,
    ),
    # lmsys/chatbot_arena_conversations, lmsys/mt_bench_human_judgments, arena-human-preference-100k and -140k
    "Chatbot Arena": Layout("conversation_a", "conversation_b", label="winner"),
    # allenai/reward-bench and -2, and preference data of any origin
    "RewardBench": Layout("chosen", "rejected", "prompt"),
    "chosen and rejected conversations": Layout("chosen", "rejected"),
}


def find_layout(path: Path, columns: Sequence[str], mapped: Mapping[str, str]) -> Layout:
    """Return the layout of a file: that of `mapped` (field -> column), otherwise the first one that fits.

    Raises `RecipeError` for an unknown or a missing field, `InputError` for columns that do not exist or fit
    no layout.
    """
    for field in mapped:
        if field not in FIELDS:
            raise unknown("field of --map", field, FIELDS)
    layout = _mapped(mapped) if mapped else None
    if layout is None:
        layout = next((each for each in LAYOUTS.values() if set(each.columns) <= set(columns)), None)
    elif absent := [name for names in mapped.values() for name in names.split("+") if name not in columns]:
        raise InputError.at(
            f"no such column; the columns are {', '.join(columns)}", file=path, field=absent[0]
        )
    if layout is None:
        raise InputError(
            f"{path}: the columns {', '.join(columns)} are neither LLMBar's nor PandaLM's nor RewardBench's "
            "(prompt, chosen, rejected) nor Chatbot Arena's (conversation_a, conversation_b, winner) nor "
            "prompt, first, second, label; map them with --map "
            "prompt=COLUMN,first=COLUMN,second=COLUMN,label=COLUMN or "
            "prompt=COLUMN,chosen=COLUMN,rejected=COLUMN"
        )
    subset = mapped.get("subset", "subset" if "subset" in columns else None)
    return layout._replace(subset=subset)


def _mapped(mapped: Mapping[str, str]) -> Layout:
    preferred = mapped.keys() & {"chosen", "rejected"}
    if preferred and mapped.keys() & {"first", "second", "label"}:
        raise RecipeError("--map has chosen or rejected next to first, second or label: map one or the other")
    fields = ("prompt", "chosen", "rejected") if preferred else ("prompt", "first", "second", "label")
    if missing := [field for field in fields if field not in mapped]:
        raise RecipeError(f"--map is missing {missing[0]}: map {', '.join(fields[:-1])} and {fields[-1]}")
    prompt, first, second = (mapped[field] for field in fields[:3])
    return Layout(first, second, prompt, mapped.get("label"))
