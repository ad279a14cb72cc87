"""berkeley-nest/Nectar: 183,000 prompts with seven completions each, ranked by GPT-4."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import listed, mask, present
from pairkit.readers.json_text import json_objects
from pairkit.sources.base import Draft, SourceRecipe
from pairkit.sources.reading.columns import Columns, completions
from pairkit.sources.reading.messages import cut_last, transcripts


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Convert rows to sets; an answer's rank is a whole number written as a float."""
    columns = Columns.of(table)
    turns = cut_last(transcripts(columns, "prompt"))
    # A prompt ends in "Assistant:" with nothing after it; any text there is the start of a reply.
    begun = present(turns.reply) & mask(pc.greater(pc.utf8_length(turns.reply), 0))
    no_turn = present(columns.text("prompt")) & ~present(turns.reply)
    columns.report(begun, "unsupported_content", "the last assistant turn is not empty", "prompt")
    columns.report(no_turn, "unsupported_content", "does not end in an assistant turn", "prompt")
    offsets, answers = columns.items("answers")
    flat = completions(
        answers.text("answer"),
        model=answers.text("model"),
        rank=answers.rank("rank"),
        metadata=json_objects(answers.rest(["answer", "model", "rank"]), answers.size),
    )
    metadata = json_objects(columns.rest(["prompt", "answers"]), columns.size)
    return Draft(turns.prompt, listed(offsets, flat), metadata, columns.problems)
