"""A candidate set as lines of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairkit.progress import visible

WIDTH = 160  # characters of a text
TURNS = 6  # of a prompt: the first ones and the last
COMPLETIONS = 8


def render_set(row: Mapping[str, Any]) -> list[str]:
    """Render a row of `SETS`: the turns of the prompt, then each completion with its rank and scores."""
    lines = [
        f"{name}: {visible(row[name], WIDTH)}" for name in ("tools", "chat_template_kwargs") if row[name]
    ]
    lines += [line for turn in _shortened(row["prompt"]) for line in _turn(turn)]
    completions = row["completions"]
    lines += [line for each in completions[:COMPLETIONS] for line in _completion(each)]
    if len(completions) > COMPLETIONS:
        lines.append(f"> {len(completions) - COMPLETIONS:,} more completions")
    if not completions:
        lines.append("> no completion")
    return lines


def _shortened(turns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if len(turns) <= TURNS:
        return list(turns)
    omission = {"role": "…", "content": f"{len(turns) - TURNS:,} more turns"}
    return [*turns[: TURNS - 1], omission, turns[-1]]


def _turn(turn: Mapping[str, Any]) -> Iterator[str]:
    role = visible(turn["role"], WIDTH)
    yield from _beside(turn, f"{role} ")
    yield f"{role}: {visible(turn['content'], WIDTH)}"


def _completion(completion: Mapping[str, Any]) -> Iterator[str]:
    numbers = [("rank", completion["rank"]), ("score", completion["score"])]
    numbers += [(each["name"], each["value"]) for each in completion["scores"] or ()]
    parts = [f"{visible(name, WIDTH)} {value:g}" for name, value in numbers if value is not None]
    parts += [f"by {visible(completion['model'], WIDTH)}"] if completion["model"] else []
    yield f"> {', '.join(parts) or 'no rank'}: {visible(completion['text'], WIDTH)}"
    yield from _beside(completion, "  ")


def _beside(holder: Mapping[str, Any], start: str) -> Iterator[str]:
    """Yield the thought and the tool calls of a turn or a completion."""
    for name, label in (("reasoning_content", "thought"), ("tool_calls", "tool calls")):
        if holder.get(name):
            yield f"{start}{label}: {visible(holder[name], WIDTH)}"
