"""The folders and columns of what a run records. Imports no torch, because reports read these files too."""

from __future__ import annotations

import pyarrow as pa

from pairkit import schema

FOLDERS = PAIRS, SAMPLES = ("pairs", "samples")  # with a file per step

# Log-probs and divergences are sums over the scored tokens, nats.
PAIR_ROWS = pa.schema(
    [
        ("split", pa.string()),
        ("set_id", pa.string()),
        ("column", pa.int32()),  # 0 is the chosen completion
        ("rank", pa.int32()),  # null: noise, or a set without ranks
        ("origin", pa.string()),
        ("length", pa.int32()),  # tokens
        ("logp", pa.float32()),
        ("ref_logp", pa.float32()),  # null without a reference
        ("token_kl", pa.float32()),  # KL(reference || policy); null where no reference runs
        ("drawn", pa.int64()),  # times drawn as a negative so far; null: not a training set, or not known
    ]
)

SAMPLE_ROWS = pa.schema(
    [
        ("set_id", pa.string()),
        ("sample", pa.int32()),  # its number among those of the prompt
        ("prompt", schema.PROMPT),
        ("text", pa.string()),
        ("entropy", pa.float32()),  # mean over its tokens of the policy's entropy at temperature 1, nats
        ("length", pa.int32()),  # tokens, the end included
        ("finish_reason", pa.string()),
        ("repeated", pa.float64()),  # share of runs of four words that it has had before
        ("distinct", pa.float64()),  # different words over words
        ("foreign", pa.float64()),  # share of characters that are letters of scripts that no prompt has
        ("score", pa.float64()),  # of the check; null without one
    ]
)
