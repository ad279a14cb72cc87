"""The names of a run's files. Imports no torch, because a push names them too."""

from __future__ import annotations

RECORD = "run.json"
MODEL = "model"
HASHES = "hashes.json"
METRICS = "metrics.jsonl"
REFUSED = "refused.jsonl"
