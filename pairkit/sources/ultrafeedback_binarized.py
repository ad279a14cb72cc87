"""HuggingFaceH4/ultrafeedback_binarized: the best of UltraFeedback's four completions and one of the others.

Reads also the flat form of the same pairs: prompt, chosen and rejected as texts, the scores in `metadata`.
"""

from __future__ import annotations

import pyarrow as pa

from pairkit.readers.json_text import json_objects
from pairkit.sources.base import Draft, SourceRecipe
from pairkit.sources.reading.cells import DIALOGUE, read_apart
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.messages import read_messages
from pairkit.sources.reading.pairs import pair, read_reply, report_contradictions, shared_prompt

SCORES = ("score_chosen", "score_rejected")
USED = ("prompt", "chosen", "rejected", "messages", *SCORES)  # `messages` repeats prompt and chosen


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Convert rows to sets of two with their scores; equal scores share a rank later."""
    columns = Columns.of(table)
    prompt, sets = read_apart(columns, dict.fromkeys(("prompt", "chosen", "rejected"), DIALOGUE), _read)
    rest = columns.rest([*USED, "metadata"]) | columns.struct("metadata").rest(SCORES)
    return Draft(prompt, sets, json_objects(rest, columns.size), columns.problems)


def _read(columns: Columns) -> tuple[pa.Array, pa.Array]:
    whole = "prompt" not in columns
    chosen, rejected = (read_reply(columns, name, whole=whole) for name in ("chosen", "rejected"))
    column = None if whole else read_messages(columns, "prompt")
    metadata = columns.struct("metadata")
    first, second = ((columns if name in columns else metadata).number(name) for name in SCORES)
    report_contradictions(columns, (first, second), SCORES[0])
    prompt = shared_prompt(columns, column, chosen, rejected, "rejected")
    return prompt, pair(chosen, rejected, (first, second))
