"""Fields of a recipe that may change when a run resumes. Imports no torch, because reports read them too."""

from __future__ import annotations

# Fields that may change when a run resumes, because they do not affect the result.
RESUMABLE_FIELDS = frozenset(
    {
        "tokens_per_micro_batch",
        "gradient_checkpointing",
        "share_prompts",
        "shard",
        "compile",
        "max_skipped",
        "log_every",
        "trackers",
        "save_every",
        "keep",
        "keep_best",
        "save_dtype",
        "card",
        "eval",
        "record",
    }
)

# How long a run is: it may get longer when it resumes, and no shorter than it already is.
LENGTH_FIELDS = frozenset({"epochs", "max_steps"})
