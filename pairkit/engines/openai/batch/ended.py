"""A batch that has ended: its answers, and what becomes of the requests without one."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from typing import BinaryIO, NamedTuple

from pairkit.engines.cache import Cache
from pairkit.engines.openai.account import NO_TOKENS, Tokens
from pairkit.engines.openai.batch.api import State
from pairkit.engines.openai.batch.lines import read_answers
from pairkit.engines.openai.batch.store import Row
from pairkit.engines.openai.chat_api import Parsed
from pairkit.engines.openai.secrets import Secrets
from pairkit.errors import EngineError, OutputError
from pairkit.progress import log, warn

# More tokens of one account are waiting than the server takes: there will be room when others are done.
_FULL = "token_limit_exceeded"
_REASONS = 5  # that a log line has


class Outcome(NamedTuple):
    """What came of a batch.

    Attributes:
        answered: the custom_ids of the answers that were stored.
        used: the tokens of all answers.
        why: why other requests have no answer, counted.
        noted: lines that are no answer to a request, counted by what is wrong with them.
    """

    answered: set[str]
    used: Tokens
    why: Counter[str]
    noted: Counter[str]


def read_outcome(
    rows: Mapping[str, Row],
    state: State,
    download: Callable[[str, BinaryIO], None],
    cache: Cache,
    secrets: Secrets,
) -> Outcome:
    """Download the files of a batch, and store their answers in the cache.

    Raises what `download` raises, and `OutputError`.
    """
    answered_ids, seen_ids = set[str](), set[str]()
    prompt = completion = 0
    why, noted = Counter[str](), Counter[str]()
    for name in filter(None, (state.output, state.errors)):
        # Next to the cache, because /tmp may be small and in memory.
        with _temporary(cache) as file:
            download(name, file)
            for answer in read_answers(file, rows, seen_ids, secrets, noted):
                prompt, completion = prompt + answer.used.prompt, completion + answer.used.completion
                if isinstance(answer.content, Parsed):
                    cache.put(answer.row.key, (answer.content.completions,))
                    answered_ids.add(answer.row.custom_id)
                else:
                    why[answer.content.why] += 1
    why["without an answer"] += len(rows) - len(answered_ids) - why.total()
    return Outcome(answered_ids, Tokens(prompt, completion) if seen_ids else NO_TOKENS, +why, noted)


def report(where: str, state: State, outcome: Outcome, total: int, *, others: bool) -> None:
    """Log how a batch of `total` requests ended; `others`: whether further batches are waited for.

    Raises `EngineError` for one whose requests are neither answered nor asked by this run.
    """
    if outcome.noted:
        lines = ", ".join(f"{count:,} {what}" for what, count in outcome.noted.most_common(_REASONS))
        warn(f"{where}: lines of its files are no answers: {lines}")
    tally = f"{len(outcome.answered):,} of {total:,} requests are answered"
    if state.status == "failed" and state.code == _FULL and others:
        log(f"{where} is submitted again when others are done: {state.why}")
    elif state.status == "failed":
        code = f" ({state.code})" if state.code else ""
        raise EngineError(
            f"{where} failed: {state.why}{code}; nothing of it was asked. Run the same command again to "
            "submit it again, with calls.batches.requests=N for smaller batches, or with "
            "calls.batch=false to ask directly"
        )
    elif state.status == "cancelled":
        raise EngineError(
            f"{where} was cancelled; {tally} and kept. Run the same command again to submit the others, or "
            "with calls.batch=false to ask them directly"
        )
    else:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in outcome.why.most_common(_REASONS))
        note = f"; the others are asked directly: {reasons}" if outcome.why else ""
        log(f"{where} {state.status}: {tally}{note}")


def _temporary(cache: Cache) -> BinaryIO:
    try:
        return tempfile.TemporaryFile(dir=cache.path.parent)
    except OSError as error:
        raise OutputError(f"{cache.path.parent}: cannot be written to: {error.strerror}") from error
