"""From candidate sets to the token ids that a reward model reads: whole conversations.

The ids are those of the ranker `reward_model`: prompt and answer rendered as one conversation by the chat
template, the end of the turn and whatever follows it included, with exactly one BOS. The prompt of a
`TokenSet` is the ids with which all conversations of a set begin, so that they pass once; a column is the
rest of a conversation, one id at least. Nothing is cut, because the reward of a cut text is that of another
text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.errors import ModelError
from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.hidden import Rendered
from pairkit.models.chat.messages import PromptRefused, from_json
from pairkit.rankers.shown import shown_texts
from pairkit.schema import COMPLETION
from pairkit.training.tokens.choose import Completion, Unusable, Wanted, choose
from pairkit.training.tokens.sets import record_batch
from pairkit.training.tokens.token_set import Column, Refused, TokenSet, Whole
from pairkit.training.tokens.writing import SAME

# What a ranker calls the two settings of thoughts that fit a text without masks.
SHOWN: dict[str, Literal["show", "strip"]] = {"train": "show", "strip": "strip"}


class _Written(NamedTuple):
    """The conversations of a set, one per completion, as texts."""

    set_id: str
    completions: Sequence[Completion]
    conversations: list[Rendered]


def conversation_batches(
    tables: Iterable[pa.Table],
    format: ChatFormat,
    *,
    max_length: int,
    wanted: Wanted,
    advance: Callable[[int], None],
    thoughts: Literal["train", "strip"] = "train",
) -> Iterator[pa.RecordBatch]:
    """Tokenize tables of `schema.SETS`: yield one batch of `sets.SCHEMA` per table, row for row.

    A set is refused where `choose` refuses it, where the template refuses a conversation, and where one is
    longer than `max_length` (`too_long`). Completions with the ids of the best one are left out and counted;
    a set without another one is refused (`identical_completions`). Where each completion counts for itself
    ("rated"), all stay.

    Args:
        wanted: "ordered", "ordered_scored" or "rated"; see `choose`.
        advance: called with the number of sets done.
        thoughts: whether the thoughts of completions are a part of the conversation, or left out.
    """
    for table in tables:
        items = [_write(row, format, wanted, SHOWN[thoughts]) for row in table.to_pylist()]
        usable = [item for item in items if isinstance(item, _Written)]
        # One call per table, because fast tokenizers work on many texts in parallel.
        ids = iter(format.encode_prompts([text for item in usable for text in item.conversations]))
        rows: list[TokenSet | Refused] = []
        wholes: list[Whole | None] = []
        row_counts: list[Mapping[str, int]] = []
        for item in items:
            counts: Counter[str] = Counter()
            row: TokenSet | Refused = item if isinstance(item, Refused) else _set(item, ids, wanted, counts)
            if isinstance(row, TokenSet) and (longest := _longest(row)) > max_length:
                detail = f"a conversation of {longest} tokens; max_length is {max_length}"
                row = Refused(row.set_id, "too_long", detail)
            rows.append(row)
            sizes = tuple(len(column.ids) for column in row.columns) if isinstance(row, TokenSet) else ()
            wholes.append(Whole(len(row.prompt), sizes) if isinstance(row, TokenSet) else None)
            row_counts.append(counts)
        yield record_batch(rows, wholes, row_counts)
        advance(table.num_rows)


def _write(
    row: Mapping[str, Any], format: ChatFormat, wanted: Wanted, thoughts: Literal["show", "strip"]
) -> _Written | Refused:
    """Render the conversations of a row of `schema.SETS`."""
    try:
        completions = choose(row["completions"], wanted)
        texts = shown_texts(pa.array(completions, COMPLETION), thoughts)
        kwargs = from_json(row.get("chat_template_kwargs") or "{}", dict, "chat_template_kwargs")
        conversations = [
            format.conversation(
                [*row["prompt"], {"role": "assistant", "content": text}],
                tools=row.get("tools"),
                kwargs=kwargs,
            )
            for text in texts
        ]
    except (Unusable, PromptRefused) as refusal:
        return Refused(row["set_id"], refusal.reason, refusal.detail)
    except ModelError as error:  # as the ranker takes it
        return Refused(row["set_id"], "template_refused", str(error))
    return _Written(row["set_id"], completions, conversations)


def _set(
    item: _Written, ids: Iterator[list[int]], wanted: Wanted, counts: Counter[str]
) -> TokenSet | Refused:
    """Divide the conversations of a set into what they share and the rest of each."""
    conversations = [(completion, next(ids)) for completion in item.completions]
    if wanted != "rated":
        (best, chosen), *others = conversations
        different = [(completion, each) for completion, each in others if each != chosen]
        counts[SAME] += len(others) - len(different)
        counts += Counter()  # without zeros
        if not different or not _ordered([best, *(completion for completion, _ in different)]):
            return Refused(item.set_id, SAME, "chosen and rejected are the same tokens")
        conversations = [(best, chosen), *different]
    shared = _shared([each for _, each in conversations])
    if not shared:
        return Refused(item.set_id, "empty_prompt", "its conversations begin with different tokens")
    columns = tuple(
        Column(
            np.asarray(each[shared:], np.int32), completion["rank"], completion["score"], completion["origin"]
        )
        for completion, each in conversations
    )
    prompt = np.asarray(conversations[0][1][:shared], np.int32)
    return TokenSet(item.set_id, prompt, columns)


def _shared(conversations: Sequence[Sequence[int]]) -> int:
    """Return with how many ids all begin; each has at least one more."""
    most = min(map(len, conversations)) - 1
    first = conversations[0]
    return next((i for i in range(most) if any(each[i] != first[i] for each in conversations)), most)


def _ordered(completions: Sequence[Completion]) -> bool:
    """Return whether one completion ranks above another."""
    best, *others = completions
    return any(other["origin"] == "noise" or other["rank"] != best["rank"] for other in others)


def _longest(item: TokenSet) -> int:
    return len(item.prompt) + max(len(column.ids) for column in item.columns)
