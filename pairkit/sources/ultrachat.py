"""HuggingFaceH4/ultrachat_200k: 200,000 dialogues of several turns, for supervised fine-tuning.

The last reply is the completion. Those before it are turns of the prompt, where training with
`assistant_turns=all` scores them too.
"""

from __future__ import annotations

import pyarrow as pa

from pairkit.arrow import interleave
from pairkit.readers.json_text import json_objects
from pairkit.sources.base import Draft, SourceRecipe
from pairkit.sources.reading.cells import DIALOGUE, read_apart
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.pairs import read_reply

USED = ("messages", "prompt")  # `prompt` repeats the first message


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Convert rows to sets of one completion, without rank or score."""
    columns = Columns.of(table)
    prompt, sets = read_apart(columns, {"messages": DIALOGUE}, _read)
    return Draft(prompt, sets, json_objects(columns.rest(USED), columns.size), columns.problems)


def _read(columns: Columns) -> tuple[pa.Array, pa.Array]:
    dialogue = read_reply(columns, "messages", whole=True)
    return dialogue.prompt, interleave([dialogue.completions()])
