"""Replies next to a prompt that are transcripts: the prompt again and the reply, or a dialogue as a reply.

Only a transcript that ends in the row's own prompt and a reply is read as turns. Any other may be an answer,
such as a scene between a user and an assistant, whose turns would take the place of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pairkit.arrow import flatten, is_list, is_text
from pairkit.sources.reading.cells import REPLY, candidates
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.dialogues import dialogue_in
from pairkit.sources.reading.literals import OtherKind
from pairkit.sources.reading.roles import known_roles
from pairkit.sources.reading.transcripts import transcript_in

OTHER = (
    "is a transcript whose question is not the prompt; give the reply alone, as text or as "
    '[{"role": "assistant", "content": ...}]'
)
LISTED = 'is a transcript in a list; give each reply as [{"role": "assistant", "content": ...}]'


def report_spelled(columns: Columns, prompt: str, replies: Sequence[str]) -> None:
    """Report replies that spell the turns of another dialogue than the one of the prompt."""
    for name in replies:
        if name not in columns:
            continue
        kind = columns.arrays[name].type
        if is_text(kind):
            _report(columns, prompt, name)
        elif is_list(kind) and is_text(kind.value_type):
            _report_listed(columns, name)


def _report(columns: Columns, prompt: str, name: str) -> None:
    rows = np.flatnonzero(candidates(columns.arrays[name], REPLY.begins))
    texts = columns.arrays[name].take(rows).to_pylist()
    prompts = columns.arrays[prompt].take(rows).to_pylist() if prompt in columns else [None] * len(rows)
    roles = known_roles(columns.roles)
    other = [
        row
        for row, text, question in zip(rows.tolist(), texts, prompts, strict=True)
        if (turns := _turns(text)) is not None and not _follows(turns, _contents(question, roles))
    ]
    where = np.isin(np.arange(columns.size), other)
    columns.report(where, "diverging_prompts", OTHER, name)


def _turns(text: str) -> list[str] | None:
    """Return what a transcript says before its last turn, None for other texts."""
    try:
        turns = transcript_in(text, reply=True)
    except OtherKind:  # reported where the cell is read
        return None
    return None if turns is None else [turn["content"] for turn in turns[:-1]]


def _contents(prompt: Any, roles: Any) -> list[Any]:
    """Return what the turns of a prompt say, of which a text is one."""
    if isinstance(prompt, str):
        try:
            prompt = transcript_in(prompt) or dialogue_in(prompt, roles) or prompt
        except ValueError:  # reported where the cell is read
            return []
    turns = prompt if isinstance(prompt, list) else [prompt]
    contents = [
        next((turn[key] for key in ("content", "value") if turn.get(key)), None)
        if isinstance(turn, dict)
        else turn
        for turn in turns
    ]
    return [each.strip() if isinstance(each, str) else each for each in contents if each not in (None, "")]


def _follows(turns: Sequence[str], contents: Sequence[Any]) -> bool:
    return not contents or list(turns[-len(contents) :]) == list(contents)


def _report_listed(columns: Columns, name: str) -> None:
    cuts, flat = flatten(columns.arrays[name])
    places = np.flatnonzero(candidates(flat, REPLY.begins))
    hits = [
        place
        for place, text in zip(places.tolist(), flat.take(places).to_pylist(), strict=True)
        if _turns(text) is not None
    ]
    owners = np.repeat(np.arange(columns.size), np.diff(cuts))
    columns.report(np.isin(np.arange(columns.size), owners[hits]), "unsupported_content", LISTED, name)
