"""Anthropic/hh-rlhf: two whole dialogues per row, of which people preferred the first."""

from __future__ import annotations

import pyarrow as pa

from pairkit.arrow import interleave, present
from pairkit.readers.json_text import json_objects
from pairkit.sources.base import Draft, SourceRecipe
from pairkit.sources.reading.columns import Columns, completions
from pairkit.sources.reading.messages import cut_last, same_messages, transcripts


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Convert rows to sets of two: the shared turns as prompt and the last replies, ranked 1 and 2.

    Dialogues that differ before the last reply have no common prompt and are `diverging_prompts`. An empty
    reply is no problem here, because mining drops and counts it.
    """
    columns = Columns.of(table)
    chosen, rejected = (cut_last(transcripts(columns, name)) for name in ("chosen", "rejected"))
    # A missing dialogue is reported by the checks of every source, not here a second time.
    both = present(columns.text("chosen")) & present(columns.text("rejected"))
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        columns.report(
            both & ~present(turns.reply), "unsupported_content", "does not end in an assistant turn", name
        )
    apart = both & ~same_messages(chosen.prompt, rejected.prompt)
    detail = "the two dialogues differ before the last reply"
    columns.report(apart, "diverging_prompts", detail, "rejected")
    # Ranks, because people compared the two and gave no scores.
    sets = interleave([completions(chosen.reply, rank=1), completions(rejected.reply, rank=2)])
    metadata = json_objects(columns.rest(["chosen", "rejected"]), columns.size)
    return Draft(chosen.prompt, sets, metadata, columns.problems)
