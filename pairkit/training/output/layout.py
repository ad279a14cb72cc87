"""The files of a run, by name. Imports no torch, so that a push can name them."""

from __future__ import annotations

RECORD = "run.json"
MODEL = "model"
HASHES = "hashes.json"
METRICS = "metrics.jsonl"
REFUSED = "refused.jsonl"
