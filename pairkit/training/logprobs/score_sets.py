"""Log-probs of every completion of candidate sets under a model: the numbers that all losses start from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pairkit.models.chat.settings import Template, uses_own
from pairkit.models.load import load_model, load_tokenizer, positions
from pairkit.models.new_tokens import NewTokens, fit_tokens, has_tokens, new_ids
from pairkit.progress import progress
from pairkit.training.distributed.processes import current_processes
from pairkit.training.logprobs.forward import score_all
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.tokens.sets import Tokenized
from pairkit.training.tokens.tokenize import tokenize

Values = npt.NDArray[np.float32] | npt.NDArray[np.int32]
# One row per set. `logps` and `tokens` have one entry per completion, in the set's order: the log-prob in
# nats, summed over its scored tokens, and their number. Both are null where `reason` says why there is none.
LOGPS = pa.schema(
    [
        ("set_id", pa.string()),
        ("logps", pa.list_(pa.float32())),
        ("tokens", pa.list_(pa.int32())),
        ("reason", pa.string()),
    ]
)


def score_sets(
    model: str,
    tables: Iterable[pa.Table],
    *,
    count: int,
    tokenizer: str | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    max_length: int = 2048,
    tokens_per_micro_batch: int = 8192,
    trust_remote_code: bool = False,
    template: Template | None = None,
    tokens: NewTokens | None = None,
    seed: int = 0,
) -> pa.Table:
    """Compute a `LOGPS` table: one row per set of `tables`, in their order.

    Tokens are those of training: the prompt in the chat template, the completion, and the end of its turn.

    Args:
        count: the number of sets, for the progress bars.
        max_length: tokens of a prompt with its completion, at most the model's positions; as in training a
            longer prompt loses its beginning and a longer completion its end.
        template: how conversations become text; None: by the tokenizer's own template.
        tokens: those of `tokenizer` that training has added; a model without them gets rows from `seed`, as
            a reference does in training.

    Raises:
        ModelError: a model or tokenizer that cannot be loaded.
    """
    encoder = load_tokenizer(
        tokenizer or model,
        revision=revision,
        trust_remote_code=trust_remote_code,
        texts=iter(()),
        needs_template=template is None or uses_own(template),
    )
    # At most the model's positions, because beyond them rotary ones give wrong numbers without an error.
    limit = min(max_length, positions(model, revision, trust_remote_code) or max_length)
    with progress("tokenizing", count, unit="sets") as advance:
        tokenized = tokenize(
            tables,
            encoder,
            max_length=limit,
            max_prompt_length=max(1, limit * 7 // 8),  # the rest is left to the completion
            wanted="all",
            advance=advance,
            template=template,
        )
    added = new_ids(encoder, tokens)
    network = load_model(
        model,
        revision=revision,
        dtype=dtype,
        attention=None,
        trust_remote_code=trust_remote_code,
        vocabulary=len(encoder) if model.endswith(".json") else min([1 + tokenized.largest_id(), *added]),
        seed=0,  # of random weights only: nothing is sampled
    )
    if tokens and not has_tokens(
        model, added, tokens, revision=revision, trust_remote_code=trust_remote_code
    ):
        fit_tokens(network, added, tokens, seed)
    network = network.to(current_processes().device).eval()
    work = [SetSelection.all(each) for each in tokenized.sets]
    logps = [np.zeros(len(item.columns), np.float32) for item in work]  # per set [K], nats
    with progress("log-probs", sum(map(len, logps)), unit="completions") as advance:
        for rows, scores in score_all(network, work, tokens_per_micro_batch):
            for (position, part), sums in zip(rows, scores.policy.sum.tolist(), strict=True):
                logps[position][list(part)] = sums[: len(part)]  # the rest of a row is padding
                advance(len(part))
    lengths = [np.array([column.length for column in item.picked], np.int32) for item in work]
    return _table(tokenized, logps, lengths)


def _table(tokenized: Tokenized, logps: Sequence[Values], lengths: Sequence[Values]) -> pa.Table:
    """One row per set that was read: `logps` and `lengths` are those of the sets that were scored."""
    entries = zip(logps, lengths, strict=True)
    columns: dict[str, list[object]] = {name: [] for name in LOGPS.names}
    for batch in tokenized.batches:
        columns["set_id"] += batch["set_id"].to_pylist()
        columns["reason"] += (reasons := batch["reason"].to_pylist())
        for reason in reasons:
            values = next(entries) if reason is None else (None, None)
            columns["logps"].append(values[0])
            columns["tokens"].append(values[1])
    return pa.table([pa.array(columns[field.name], field.type) for field in LOGPS], schema=LOGPS)
