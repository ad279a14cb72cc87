"""Candidate sets become token ids: each prompt and each completion tokenized once, with the chat template.

What is scored is what the model would have to produce after the prompt's ids: the completion and, where the
completion ended by itself, the end-of-turn token. The assistant header belongs to the prompt; whatever the
template writes after the end of the turn is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.errors import ModelError
from pairkit.models.chat import Messages, begins_with_bos, one_bos, render
from pairkit.training.tokens.sets import Column, Refused, Tokenized, TokenSet, record_batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Completion = Mapping[str, Any]  # a row of `schema.COMPLETION`
Wanted = Literal["all", "first", "ranked", "scored", "labelled"]


class _Refused(Exception):
    """A set that cannot be used: the reason, and what a person should know."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class _Frame(NamedTuple):
    """A prompt as the template renders it, and what the template puts around a completion that follows."""

    prompt: str
    lead: str
    tail: str


class _Written(NamedTuple):
    """A completion as the template writes it: `header` + `text` + the end of the turn."""

    header: str  # what the template puts before it, up to its last special token
    text: str
    end: list[int]  # the ids that end the turn


class _Rendered(NamedTuple):
    """A set as the template writes it."""

    set_id: str
    prompt: str
    columns: list[tuple[Completion, _Written]]


# Stands for a completion where only the text around it is wanted; no template writes it of itself.
MARK = "pairkit:completion"


def tokenize(
    tables: Iterable[pa.Table],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    max_prompt_length: int,
    wanted: Wanted,
    advance: Callable[[int], None],
) -> Tokenized:
    """The sets that `token_batches` makes, in memory."""
    limits = {"max_length": max_length, "max_prompt_length": max_prompt_length}
    return Tokenized(list(token_batches(tables, tokenizer, **limits, wanted=wanted, advance=advance)))


def token_batches(
    tables: Iterable[pa.Table],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    max_prompt_length: int,
    wanted: Wanted,
    advance: Callable[[int], None],
) -> Iterator[pa.RecordBatch]:
    """Tokenizes the sets of some tables of `schema.SETS`: for each a batch of `tokens.SCHEMA`, row for row.

    Args:
        wanted: the columns of a set. "all": every completion, ranked or not.
            "first": its first completion. "ranked": its best completion and those
            that stand below it (a tie is no choice; noise stands below all); a set without ranks
            (`unranked`) or without a choice (`no_choice`) is refused. "scored": of those, the ones that have
            a score; a set with fewer than two is refused (`unscored`). "labelled": as "ranked", or the only
            completion, where its score is the label 1 or 0.
        advance: told how many sets are done.

    A prompt longer than `max_prompt_length` is cut at its beginning, BOS kept; a completion is cut at its
    end where both exceed `max_length`, and then does not end its turn. A set is refused where the template
    refuses it (`template_refused`), drops its system turn (`system_dropped`), does not repeat the prompt's
    rendering when the completion follows (`template_not_a_prefix`), changes the completion's text
    (`template_changes_text`), or where the prompt or a completion has no token (`empty_prompt`,
    `empty_completion`). White space that the template strips off a completion is not scored.
    """
    encode_texts, template = _text_encoder(tokenizer), _Template(tokenizer)
    begins = begins_with_bos(tokenizer)
    for table in tables:
        rendered = [_rendered(row, template, wanted) for row in table.to_pylist()]
        usable = [one for one in rendered if isinstance(one, _Rendered)]
        prompts = iter(_ids(tokenizer, [one.prompt for one in usable]))
        texts = encode_texts([written.text for one in usable for _, written in one.columns])
        rows: list[TokenSet | Refused] = []
        for one in rendered:
            if isinstance(one, Refused):
                rows.append(one)
                continue
            ids = one_bos(tokenizer, next(prompts), begins=begins)
            prompt = _cut_prompt(ids, tokenizer.bos_token_id, max_prompt_length)
            room = max_length - len(prompt)
            columns = tuple(
                _column(template.header_ids[written.header] + next(texts), written.end, completion, room)
                for completion, written in one.columns
            )
            if not prompt:
                rows.append(Refused(one.set_id, "empty_prompt", "the prompt has no token"))
            elif all(len(column.ids) for column in columns):
                label = _label([c for c, _ in one.columns]) if wanted == "labelled" else None
                rows.append(TokenSet(one.set_id, np.asarray(prompt, np.int32), columns, label))
            else:
                rows.append(Refused(one.set_id, "empty_completion", "a completion has no token"))
        yield record_batch(rows)
        advance(table.num_rows)


def _rendered(row: Mapping[str, Any], template: _Template, wanted: Wanted) -> _Rendered | Refused:
    """A row of `schema.SETS` as the template writes it."""
    try:
        picked = _columns(row["completions"], wanted)
        frame = template.frame(row["prompt"])
        written = [template.written(row["prompt"], frame, c["text"]) for c in picked]
    except _Refused as refused:
        return Refused(row["set_id"], refused.reason, refused.detail)
    return _Rendered(row["set_id"], frame.prompt, list(zip(picked, written, strict=True)))


def _columns(completions: Sequence[Completion], wanted: Wanted) -> list[Completion]:
    if wanted == "all" and completions:  # ranked or not, noise too
        return list(completions)
    if not completions or completions[0]["origin"] == "noise":
        raise _Refused("no_completion", "it has no completion but noise")
    best = completions[0]
    if wanted == "first" or (wanted == "labelled" and _label(completions) is not None):
        return [best]
    if best["rank"] is None:
        raise _Refused("unranked", "its completions have no ranks; --loss sft needs none")
    below = [c for c in completions[1:] if c["origin"] == "noise" or (c["rank"] or 0) > best["rank"]]
    if not below:
        raise _Refused("no_choice", "no completion stands above another; --loss sft needs one only")
    if wanted != "scored":
        return [best, *below]
    scored = [c for c in below if c["score"] is not None]
    if best["score"] is None or not scored:
        raise _Refused("unscored", "fewer than two completions have a score, which the loss needs")
    return [best, *scored]


def _label(completions: Sequence[Completion]) -> bool | None:
    """What the only completion of a set is labelled: its score is 1 or 0."""
    score = completions[0]["score"]
    return bool(score) if len(completions) == 1 and score in (0, 1) else None


def _cut_prompt(ids: list[int], bos: int | None, limit: int) -> list[int]:
    if len(ids) <= limit:
        return ids
    kept = ids[:1] if ids[0] == bos and limit > 1 else []
    return kept + ids[len(ids) - limit + len(kept) :]


def _column(ids: list[int], end: list[int], completion: Completion, room: int) -> Column:
    ended = completion["finish_reason"] != "length"
    tokens = (ids + end if ended else ids)[:room]
    return Column(np.asarray(tokens, np.int32), completion["rank"], completion["score"], completion["origin"])


class _Template:
    """A tokenizer's chat template: what it writes around completions, and the ids of that."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self._special = {str(token) for token in added.values() if token.special}
        # Some vocabularies have runs of white space as added tokens: those end nothing.
        self._ending = {id for id, token in added.items() if not str(token).isspace()}
        self._ending |= set(tokenizer.all_special_ids)
        self._ends = _Cache(self._end)
        self.header_ids = _Cache(lambda header: _ids(tokenizer, [header])[0] if header else [])

    def frame(self, prompt: Messages) -> _Frame:
        """Renders a prompt, and finds what stands around a completion of it."""
        try:
            before = render(self._tokenizer, prompt, add_generation_prompt=True)
        except ModelError as error:
            raise _Refused("template_refused", str(error)) from error
        for message in prompt:
            if message["role"] == "system" and message["content"].strip() not in before:
                raise _Refused("system_dropped", "the template leaves the system turn out")
        lead, mark, tail = self._after(prompt, before, MARK).partition(MARK)
        if not mark:
            raise _Refused("template_changes_text", "the template does not write the completion as it is")
        return _Frame(before, lead, tail)

    def written(self, prompt: Messages, frame: _Frame, text: str) -> _Written:
        """A completion as the template writes it: in its frame, but for white space at its ends.

        The text alone would not say where it begins: a short one can stand in the template's own text too,
        and one that brings its own reasoning gets another lead.
        """
        after, core = self._after(prompt, frame.prompt, text), text.strip()
        stop = len(after) - len(frame.tail)
        start = len(frame.lead) if after.startswith(frame.lead) else after.rfind(core, 0, stop)
        if not (0 <= start <= stop and after.endswith(frame.tail) and after[start:stop].strip() == core):
            raise _Refused("template_changes_text", "the template does not write the completion as it is")
        special = max(
            (after.rfind(s, 0, start) + len(s) for s in self._special if s in after[:start]), default=0
        )
        return _Written(after[:special], after[special:stop], self._ends[frame.tail])

    def _after(self, prompt: Messages, before: str, text: str) -> str:
        """What the template writes after the prompt's rendering if `text` answers it."""
        answer = {"role": "assistant", "content": text}
        try:
            whole = render(self._tokenizer, [*prompt, answer], add_generation_prompt=False)
        except ModelError as error:
            raise _Refused("template_refused", str(error)) from error
        if not whole.startswith(before):
            raise _Refused(
                "template_not_a_prefix", "the prompt is rendered differently when an answer follows"
            )
        return whole[len(before) :]

    def _end(self, tail: str) -> list[int]:
        """Up to the first special token; a template that writes none is ended by the EOS token."""
        ids = _ids(self._tokenizer, [tail])[0]
        first = next((position for position, token in enumerate(ids) if token in self._ending), None)
        if first is not None:
            return ids[: first + 1]
        if self._tokenizer.eos_token_id is not None:
            return [int(self._tokenizer.eos_token_id)]
        raise ModelError(
            f"the tokenizer {self._tokenizer.name_or_path!r} has no token that ends a turn: "
            "its template writes no special one, and it has no EOS token"
        )


class _Cache(dict[str, list[int]]):
    """Token ids by the text of a template, of which there are few."""

    def __init__(self, make: Callable[[str], list[int]]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: str) -> list[int]:
        self[text] = made = self._make(text)
        return made


def _text_encoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[str]], Iterator[list[int]]]:
    """Encodes texts that follow other text.

    SentencePiece tokenizers put a space in front of every text that they are given, also of one that goes
    on from a prompt. For those a newline, which no other token swallows, is encoded with it and cut off.
    """
    anchor, joined, alone = _ids(tokenizer, ["\n", "\nx", "x"])
    anchored = anchor + alone != joined and joined[: len(anchor)] == anchor

    def encode_texts(texts: list[str]) -> Iterator[list[int]]:
        if not anchored:
            return iter(_ids(tokenizer, texts, plain=True))
        return (ids[len(anchor) :] for ids in _ids(tokenizer, ["\n" + text for text in texts], plain=True))

    return encode_texts


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str], *, plain: bool = False) -> list[list[int]]:
    """With `plain`, a special token that a text spells out is text: nothing learns to end its turn there."""
    if not texts:
        return []
    encoded = tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=plain,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids
