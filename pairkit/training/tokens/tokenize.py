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
import numpy.typing as npt
import pyarrow as pa

from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.hidden import Rendered
from pairkit.models.chat.messages import PromptRefused, from_json
from pairkit.models.chat.settings import Template
from pairkit.training.tokens.choose import Completion, Unusable, Wanted, choose, label
from pairkit.training.tokens.dialogue import Turns, dialogue
from pairkit.training.tokens.sets import Tokenized, record_batch
from pairkit.training.tokens.thoughts import thought_length
from pairkit.training.tokens.token_set import Column, Mask, Refused, TokenSet, Whole, checked
from pairkit.training.tokens.truncation import distinct
from pairkit.training.tokens.writing import SAME, Part, Prompt, Thoughts, part

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class _Written(NamedTuple):
    """A set as texts: the beginning of its prompt, the rest of it, and the parts of each of its columns."""

    set_id: str
    prompt: Rendered
    history: list[Part]
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
            ones that have a score; a set with fewer than two is refused (`unscored`). "labeled": as
            "ranked", or the only completion, where its score is the label 1 or 0.
        advance: called with the number of sets done.
        thoughts: whether thoughts are scored, masked (part of the column, but not scored) or removed.
        assistant_turns: "last": a column is a completion. "all": the assistant's earlier turns count too.
            Where the first completion is all that is wanted, its column begins with them and what is between
            them; otherwise they stay in the prompt, which all completions share (`TokenSet.turns`).

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
        items = [_write(row, format, wanted, thoughts, assistant_turns) for row in table.to_pylist()]
        usable = [item for item in items if isinstance(item, _Written)]
        # One call per table, because fast tokenizers work on many texts in parallel.
        prompts = iter(format.encode_prompts([item.prompt for item in usable]))
        parts = [each for item in usable for texts in _texts(item) for each in texts]
        texts = iter(format.encode_following([each.text for each in parts if each.ids is None]))
        rows: list[TokenSet | Refused] = []
        wholes: list[Whole | None] = []
        for item in items:
            if isinstance(item, Refused):
                rows.append(item)
                wholes.append(None)
                continue
            prompt = _prompt(next(prompts), _joined(format, item.history, texts))
            columns = [(c, _joined(format, column, texts)) for c, column in item.columns]
            # Where all are wanted each is scored for itself: equal ones are no loss.
            remaining = columns if wanted == "all" else _different(columns, item.counts)
            if not remaining:
                rows.append(Refused(item.set_id, SAME, "chosen and rejected are the same tokens"))
                wholes.append(None)
                continue
            row, whole = limits.cut(item.set_id, prompt, remaining, format.tokenizer.bos_token_id)
            rows.append(row)
            wholes.append(whole)
        row_counts = [{} if isinstance(item, Refused) else item.counts for item in items]
        yield record_batch(rows, wholes, row_counts)
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
        columns = [(c, [part(format, prompt, c, thoughts, counts)]) for c in completions]
        if wanted == "first":  # nothing shares the prompt
            columns, history = [(c, [*history, *column]) for c, column in columns], []
    except (Unusable, PromptRefused) as refusal:
        return Refused(row["set_id"], refusal.reason, refusal.detail)
    return _Written(row["set_id"], text, history, columns, counts)


def _texts(item: _Written) -> Iterator[list[Part]]:
    """Yield the parts of a set in the order in which they are joined."""
    yield item.history
    yield from (column for _, column in item.columns)


class _Ids(NamedTuple):
    """The ids of a column before it is cut, and which of them count; None: all. Of a prompt, None: none."""

    ids: list[int]
    scored: list[bool] | None


def _prompt(beginning: list[int], history: _Ids) -> _Ids:
    """Join a prompt of its beginning, which counts nowhere, and what follows from the first turn on."""
    if not history.ids:
        return _Ids(beginning, None)
    counts = history.scored or [True] * len(history.ids)
    return _Ids(beginning + history.ids, [False] * len(beginning) + counts)


def _joined(format: ChatFormat, parts: Sequence[Part], texts: Iterator[list[int]]) -> _Ids:
    """Join the parts of a column; `texts` yields the ids of those whose ids are not known."""
    ids: list[int] = []
    counted: list[tuple[int, int]] = []  # of each part, how many ids do not count, and how many then do
    for each in parts:
        own = list(each.ids) if each.ids is not None else next(texts)
        hidden = 0 if each.thought is None else thought_length(format.tokenizer, own, *each.thought)
        own += each.end
        ids += own
        hidden = min(hidden, len(own)) if each.scored else len(own)
        counted.append((hidden, len(own) - hidden))
    if not any(hidden for hidden, _ in counted):
        return _Ids(ids, None)
    return _Ids(ids, [place >= hidden for hidden, rest in counted for place in range(hidden + rest)])


def _different(columns: list[tuple[Completion, _Ids]], counts: Counter[str]) -> list[tuple[Completion, _Ids]]:
    """Leave out, and count, negatives with the ids of the chosen completion; nothing remains without any."""
    chosen, *negatives = columns
    remaining = [negative for negative in negatives if negative[1].ids != chosen[1].ids]
    if len(remaining) == len(negatives):
        return columns
    counts[SAME] += len(negatives) - len(remaining)
    return [chosen, *remaining] if remaining else []


@dataclass(frozen=True)
class _Limits:
    """Cuts sets to their lengths."""

    max_length: int
    max_prompt_length: int
    wanted: Wanted

    def cut(
        self, set_id: str, prompt: _Ids, columns: Sequence[tuple[Completion, _Ids]], bos: int | None
    ) -> tuple[TokenSet | Refused, Whole | None]:
        """Return a set within the limits, or why it cannot be used, and its sizes before."""
        positions = _kept(prompt.ids, bos, self.max_prompt_length)
        room = self.max_length - len(positions)  # tokens
        token_columns = tuple(_column(column, completion, room) for completion, column in columns)
        set_label = label([c for c, _ in columns]) if self.wanted == "labeled" else None
        ids = np.asarray(prompt.ids, np.int32)[positions]
        row = checked(TokenSet(set_id, ids, token_columns, set_label, _turns(prompt, positions)))
        if isinstance(row, Refused):
            return row, None
        whole = Whole(len(prompt.ids), tuple(len(column.ids) for _, column in columns))
        return (row, whole) if self.wanted == "all" else distinct(row, whole, self.max_length)


def _column(column: _Ids, completion: Completion, room: int) -> Column:
    mask = None if column.scored is None else np.asarray(column.scored[:room], np.bool_)
    ids = np.asarray(column.ids[:room], np.int32)
    return Column(ids, completion["rank"], completion["score"], completion["origin"], mask)


def _kept(ids: list[int], bos: int | None, limit: int) -> npt.NDArray[np.int64]:
    """Return which ids of a prompt remain, by their places."""
    places = np.arange(len(ids))
    if len(ids) <= limit:
        return places
    # The beginning goes, because the end holds the question and the assistant header.
    leading = 1 if ids[0] == bos and limit > 1 else 0
    return np.concatenate([places[:leading], places[len(ids) - limit + leading :]])


def _turns(prompt: _Ids, positions: npt.NDArray[np.int64]) -> Mask | None:
    """Return `TokenSet.turns` of a cut prompt; None where nothing of the turns is left."""
    if prompt.scored is None:
        return None
    turns = np.asarray(prompt.scored, np.bool_)[positions]
    turns[:1] = False  # nothing comes before it that could predict it
    return turns if turns.any() else None
