"""The candidate set: one row per prompt, its K completions with ranks, scores and provenance.

Every stage reads and writes Arrow tables of exactly `SETS`. Polars returns `large_string` and
`large_list`, and `datasets` knows no map type, so `to_sets` casts before every write and the named
scores of a completion are a list of structs, names unique and sorted.

A stage of a build is a function from a table of sets to a `StageResult`.
"""

from __future__ import annotations

from pairkit.schema.checks import (
    check_sets,
)
from pairkit.schema.columns import (
    COMPLETION,
    COMPLETION_SINCE_2,
    DROPPED,
    MANIFEST,
    MESSAGE,
    ORIGINS,
    PROMPT,
    PROMPT_ENDS,
    QUARANTINE,
    ROLES,
    SAMPLING,
    SCHEMA_VERSION,
    SCORES,
    SETS,
    SETS_1,
    SINCE_2,
    UNIDENTIFIED,
    VERDICTS,
    to_sets,
    with_all_columns,
)
from pairkit.schema.identity import (
    canonical_json,
    identify,
    plain_messages,
    prompt_ids,
    short_hash,
)
from pairkit.schema.occurrences import (
    Occurrences,
)
from pairkit.schema.stages import (
    StageResult,
    plain_row,
    quarantine_counts,
    quarantine_rows,
    quarantined,
)

__all__ = [
    "COMPLETION",
    "COMPLETION_SINCE_2",
    "DROPPED",
    "MANIFEST",
    "MESSAGE",
    "ORIGINS",
    "PROMPT",
    "PROMPT_ENDS",
    "QUARANTINE",
    "ROLES",
    "SAMPLING",
    "SCHEMA_VERSION",
    "SCORES",
    "SETS",
    "SETS_1",
    "SINCE_2",
    "UNIDENTIFIED",
    "VERDICTS",
    "Occurrences",
    "StageResult",
    "canonical_json",
    "check_sets",
    "identify",
    "plain_messages",
    "plain_row",
    "prompt_ids",
    "quarantine_counts",
    "quarantine_rows",
    "quarantined",
    "short_hash",
    "to_sets",
    "with_all_columns",
]
