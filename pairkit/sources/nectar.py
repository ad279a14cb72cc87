"""berkeley-nest/Nectar: 183,000 prompts with seven completions each, ranked by GPT-4."""

from __future__ import annotations

import pyarrow as pa

from pairkit.arrow import listed
from pairkit.readers.json_text import json_objects
from pairkit.sources.base import Draft, SourceRecipe
from pairkit.sources.reading.columns import Columns, completions
from pairkit.sources.reading.messages import open_transcripts


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Convert rows to sets; an answer's rank is a whole number written as a float."""
    columns = Columns.of(table)
    prompt = open_transcripts(columns, "prompt")
    offsets, answers = columns.items("answers")
    flat = completions(
        answers.text("answer"),
        model=answers.text("model"),
        rank=answers.rank("rank"),
        metadata=json_objects(answers.rest(["answer", "model", "rank"]), answers.size),
    )
    metadata = json_objects(columns.rest(["prompt", "answers"]), columns.size)
    return Draft(prompt, listed(offsets, flat), metadata, columns.problems)
