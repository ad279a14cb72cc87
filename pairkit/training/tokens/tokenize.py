"""From candidate sets to token ids: each prompt and each completion tokenized once, with the chat template.

What is scored is what the model has to produce after the prompt's ids: the completion as it is written and,
where it ended by itself, the end of the turn. Everything in front of it belongs to the prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.models.chat.control import Rendered
from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.messages import PromptRefused, from_json
from pairkit.models.chat.settings import Template
from pairkit.training.tokens.choose import Completion, Unusable, Wanted, choose, label
from pairkit.training.tokens.dialogue import Turns, dialogue
from pairkit.training.tokens.sets import Column, Refused, Tokenized, TokenSet, Whole, checked, record_batch
from pairkit.training.tokens.thoughts import thought_length
from pairkit.training.tokens.truncation import distinct
from pairkit.training.tokens.writing import SAME, Part, Prompt, Thoughts, part

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class _Written(NamedTuple):
    """A set as texts: its prompt, and the parts of each of its columns."""

    set_id: str
    prompt: Rendered
    columns: list[tuple[Completion, list[Part]]]
    counts: Counter[str]


def tokenize(
    tables: Iterable[pa.Table],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    max_prompt_length: int,
    wanted: Wanted,
    advance: Callable[[int], None],
    template: Template | None = None,
    thoughts: Thoughts = "train",
    assistant_turns: Turns = "last",
) -> Tokenized:
    """Tokenize with `token_batches`, in memory."""
    batches = token_batches(
        tables,
        ChatFormat(tokenizer, template),
        max_length=max_length,
        max_prompt_length=max_prompt_length,
        wanted=wanted,
        advance=advance,
        thoughts=thoughts,
        assistant_turns=assistant_turns,
    )
    return Tokenized(list(batches))


def token_batches(
    tables: Iterable[pa.Table],
    format: ChatFormat,
    *,
    max_length: int,
    max_prompt_length: int,
    wanted: Wanted,
    advance: Callable[[int], None],
    thoughts: Thoughts = "train",
    assistant_turns: Turns = "last",
) -> Iterator[pa.RecordBatch]:
    """Tokenize tables of `schema.SETS`: yield one batch of `sets.SCHEMA` per table, row for row.

    Args:
        wanted: which completions of a set. "all": every one, ranked or not. "first": its first one. "ranked":
            its best one and those that rank below it (a tie gives no pair; noise ranks below all); a set
            without ranks (`unranked`) or in which all tie (`no_choice`) is refused. "scored": of those, the
            ones that have a score; a set with fewer than two is refused (`unscored`). "labelled": as
            "ranked", or the only completion, where its score is the label 1 or 0.
        advance: called with the number of sets done.
        thoughts: whether thoughts are scored, masked (part of the column, but not scored) or removed.
        assistant_turns: "last": a column is a completion. "all": the assistant's earlier turns and what is
            between them come before it, and the turns are scored too.

    A prompt longer than `max_prompt_length` is cut at its beginning, BOS kept; a completion is cut at its
    end where both exceed `max_length`, and then does not end its turn. A set is refused where the template
    refuses it (`template_refused`), drops its system turn (`system_dropped`) or tools (`tools_dropped`), does
    not write a message of tool calls or with a thought of its own (`template_changes_text`) or not after the
    same prompt (`template_not_a_prefix`), where its prompt opens a thought that is to be removed
    (`thought_opened`) or a completion that ended by itself never closes one that is to be masked
    (`thought_not_closed`), where the prompt or a completion has no token (`empty_prompt`,
    `empty_completion`) or a completion none that is scored (`nothing_scored`), or where no negative has other
    ids than the chosen completion, from the beginning (`identical_completions`) or once both are cut
    (`identical_after_truncation`). Negatives with the ids of the chosen completion are left out and counted.
    """
    limits = _Limits(max_length, max_prompt_length, wanted)
    for table in tables:
        written = [_write(row, format, wanted, thoughts, assistant_turns) for row in table.to_pylist()]
        usable = [item for item in written if isinstance(item, _Written)]
        # One call per table, because fast tokenizers work on many texts in parallel.
        prompts = iter(format.encode_prompts([item.prompt for item in usable]))
        parts = [each for item in usable for _, column in item.columns for each in column]
        texts = iter(format.encode_following([each.text for each in parts if each.ids is None]))
        rows: list[TokenSet | Refused] = []
        wholes: list[Whole | None] = []
        for item in written:
            if isinstance(item, Refused):
                rows.append(item)
                wholes.append(None)
                continue
            columns = [(c, _joined(format, column, texts)) for c, column in item.columns]
            ids = next(prompts)
            # Where all are wanted each is scored for itself: equal ones are no loss.
            left = columns if wanted == "all" else _different(columns, item.counts)
            if not left:
                rows.append(Refused(item.set_id, SAME, "chosen and rejected are the same tokens"))
                wholes.append(None)
                continue
            row, whole = limits.cut(item.set_id, ids, left, format.tokenizer.bos_token_id)
            rows.append(row)
            wholes.append(whole)
        noted = [{} if isinstance(item, Refused) else item.counts for item in written]
        yield record_batch(rows, wholes, noted)
        advance(table.num_rows)


def _write(
    row: Mapping[str, Any], format: ChatFormat, wanted: Wanted, thoughts: Thoughts, turns: Turns
) -> _Written | Refused:
    """Write a row of `schema.SETS` as texts."""
    counts: Counter[str] = Counter()
    try:
        completions = choose(row["completions"], wanted)
        kwargs = row.get("chat_template_kwargs")
        kwargs = from_json(kwargs, dict, "chat_template_kwargs") if kwargs is not None else None
        messages, tools = row["prompt"], row.get("tools")
        # Rendered once per prompt, not per completion, because a template is an interpreted program.
        text = format.prompt(messages, tools=tools, kwargs=kwargs)
        prompt = Prompt(messages, text, tools, kwargs, format.opened(text))
        history: list[Part] = []
        if turns == "all":
            text, history = dialogue(format, prompt, thoughts)
        columns = [(c, [*history, part(format, prompt, c, thoughts, counts)]) for c in completions]
    except (Unusable, PromptRefused) as refused:
        return Refused(row["set_id"], refused.reason, refused.detail)
    return _Written(row["set_id"], text, columns, counts)


class _Ids(NamedTuple):
    """The ids of a column before it is cut, and which of them count; None: all."""

    ids: list[int]
    scored: list[bool] | None


def _joined(format: ChatFormat, parts: Sequence[Part], texts: Iterator[list[int]]) -> _Ids:
    """Join the parts of a column; `texts` yields the ids of those whose ids are not known."""
    ids: list[int] = []
    scored: list[bool] = []
    for each in parts:
        own = list(each.ids) if each.ids is not None else next(texts)
        hidden = 0 if each.thought is None else thought_length(format.tokenizer, own, *each.thought)
        own += each.end
        ids += own
        scored += [each.scored and position >= hidden for position in range(len(own))]
    return _Ids(ids, None if all(scored) else scored)


def _different(columns: list[tuple[Completion, _Ids]], counts: Counter[str]) -> list[tuple[Completion, _Ids]]:
    """Leave out, and count, negatives with the ids of the chosen completion; nothing remains without any."""
    chosen, *negatives = columns
    kept = [negative for negative in negatives if negative[1].ids != chosen[1].ids]
    if len(kept) == len(negatives):
        return columns
    counts[SAME] += len(negatives) - len(kept)
    return [chosen, *kept] if kept else []


@dataclass(frozen=True)
class _Limits:
    """Cuts sets to their lengths."""

    max_length: int
    max_prompt_length: int
    wanted: Wanted

    def cut(
        self, set_id: str, ids: list[int], columns: Sequence[tuple[Completion, _Ids]], bos: int | None
    ) -> tuple[TokenSet | Refused, Whole | None]:
        """Return a set within the limits, or why it cannot be used, and its sizes before."""
        prompt = _cut_prompt(ids, bos, self.max_prompt_length)
        room = self.max_length - len(prompt)  # tokens
        made = tuple(_column(column, completion, room) for completion, column in columns)
        marked = label([c for c, _ in columns]) if self.wanted == "labelled" else None
        row = checked(TokenSet(set_id, np.asarray(prompt, np.int32), made, marked))
        if isinstance(row, Refused):
            return row, None
        whole = Whole(len(ids), tuple(len(column.ids) for _, column in columns))
        return (row, whole) if self.wanted == "all" else distinct(row, whole, self.max_length)


def _column(column: _Ids, completion: Completion, room: int) -> Column:
    scored = None if column.scored is None else np.asarray(column.scored[:room], np.bool_)
    ids = np.asarray(column.ids[:room], np.int32)
    return Column(ids, completion["rank"], completion["score"], completion["origin"], scored)


def _cut_prompt(ids: list[int], bos: int | None, limit: int) -> list[int]:
    if len(ids) <= limit:
        return ids
    # The beginning goes, because the end holds the question and the assistant header.
    leading = ids[:1] if ids[0] == bos and limit > 1 else []
    return leading + ids[len(ids) - limit + len(leading) :]
