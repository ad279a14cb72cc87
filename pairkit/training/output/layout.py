"""The names of a run's files. Imports no torch, because a push names them too."""

from __future__ import annotations

from pairkit.models.resolve import RUN_MODEL, RUN_RECORD

RECORD = RUN_RECORD
MODEL = RUN_MODEL
RECIPE = "recipe.yaml"
TAKEN = "steps_taken"  # key of the record: 0 until all steps of the plan are taken, then their number
HASHES = "hashes.json"
METRICS = "metrics.jsonl"
REFUSED = "refused.jsonl"
RECORD_OF_EXPORT = "export.json"  # what an exported model was made of, next to it
