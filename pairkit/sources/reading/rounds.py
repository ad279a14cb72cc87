"""Dialogues whose sides are apart: questions as a list in one text, answers in others (Chatbot Arena)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import is_text, mask
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.literals import parse


def with_rounds(columns: Columns, prompt: str, replies: Sequence[str]) -> Columns:
    """Write prompts and replies that are lists of texts of one length as dialogues, and leave all others.

    Only all of them together give this form away: one text that is a list may be an answer.
    """
    names = [prompt, *replies]
    if not replies or not all(name in columns and is_text(columns.arrays[name].type) for name in names):
        return columns
    texts = {name: columns.text(name) for name in names}
    candidates = np.logical_and.reduce(
        [mask(pc.match_substring_regex(each, r"^\s*\[")) for each in texts.values()]
    )
    rows = np.flatnonzero(candidates)
    cells = zip(*(each.take(pa.array(rows)).to_pylist() for each in texts.values()), strict=True)
    changes = {
        int(row): new_texts for row, each in zip(rows, cells, strict=True) if (new_texts := _dialogues(each))
    }
    if not changes:
        return columns
    arrays = dict(columns.arrays)
    for place, name in enumerate(names):
        values = texts[name].to_pylist()
        for row, dialogues in changes.items():
            values[row] = dialogues[place]
        arrays[name] = pa.array(values, pa.string())
    return replace(columns, arrays=arrays)


def _dialogues(texts: Sequence[str]) -> list[str | None] | None:
    """Return no prompt, because each dialogue holds it, and the dialogue of each reply as JSON."""
    try:
        questions, *answers = (parse(text) for text in texts)
    except ValueError:
        return None
    sides = [questions, *answers]
    if not questions or not all(_are_texts(side) and len(side) == len(questions) for side in sides):
        return None
    return [None, *(json.dumps(_messages(questions, side)) for side in answers)]


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(item is None or isinstance(item, str) for item in value)


def _messages(questions: Sequence[Any], answers: Sequence[Any]) -> list[dict[str, Any]]:
    # A model that did not answer said nothing.
    pairs = zip(questions, answers, strict=True)
    return [
        {"role": role, "content": text or ""}
        for question, answer in pairs
        for role, text in (("user", question), ("assistant", answer))
    ]
