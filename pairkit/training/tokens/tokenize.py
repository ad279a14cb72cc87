"""From candidate sets to token ids: each prompt and each completion tokenized once, with the chat template.

What is scored is what the model would have to produce after the prompt's ids: the completion and, where the
completion ended by itself, the end-of-turn token. The assistant header belongs to the prompt; whatever the
template writes after the end of the turn is dropped.

The texts of `_Refused` are written into refused.jsonl, so that they are part of the file format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.errors import ModelError
from pairkit.models.chat.render import Messages, begins_with_bos, one_bos, render
from pairkit.training.tokens.sets import Column, Refused, Tokenized, TokenSet, Whole, record_batch
from pairkit.training.tokens.truncation import distinct

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Completion = Mapping[str, Any]  # a row of `schema.COMPLETION`
Wanted = Literal["all", "first", "ranked", "scored", "labelled"]


class _Refused(Exception):
    """An unusable set: the reason, and details for a person."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class _Frame(NamedTuple):
    """A prompt as the template renders it, and what the template puts around a completion after it."""

    prompt: str
    lead: str
    tail: str


class _Answer(NamedTuple):
    """A completion as the template writes it: `header` + `text` + the end of the turn."""

    header: str  # what the template puts before it, up to its last special token
    text: str
    end: list[int]  # the ids that end the turn


class _Rendered(NamedTuple):
    """A set as the template writes it."""

    set_id: str
    prompt: str
    columns: list[tuple[Completion, _Answer]]


# A placeholder completion, to find the text around one; no template writes this by itself.
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
    """Tokenize with `token_batches`, in memory."""
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
    """Tokenize tables of `schema.SETS`: yield one batch of `sets.SCHEMA` per table, row for row.

    Args:
        wanted: which completions of a set. "all": every one, ranked or not. "first": its first one. "ranked":
            its best one and those that rank below it (a tie gives no pair; noise ranks below all); a set
            without ranks (`unranked`) or in which all tie (`no_choice`) is refused. "scored": of those, the
            ones that have a score; a set with fewer than two is refused (`unscored`). "labelled": as
            "ranked", or the only completion, where its score is the label 1 or 0.
        advance: called with the number of sets done.

    A prompt longer than `max_prompt_length` is cut at its beginning, BOS kept; a completion is cut at its
    end where both exceed `max_length`, and then does not end its turn. A set is refused where the template
    refuses it (`template_refused`), drops its system turn (`system_dropped`), does not repeat the prompt's
    rendering when the completion follows (`template_not_a_prefix`), changes the completion's text
    (`template_changes_text`), or where the prompt or a completion has no token (`empty_prompt`,
    `empty_completion`), or where cutting leaves no negative that differs from the chosen completion
    (`identical_after_truncation`). White space that the template strips from a completion is not scored.
    """
    encode_texts, template = _text_encoder(tokenizer), _Template(tokenizer)
    begins = begins_with_bos(tokenizer)
    for table in tables:
        rendered = [_rendered(row, template, wanted) for row in table.to_pylist()]
        usable = [item for item in rendered if isinstance(item, _Rendered)]
        # One call per table, because fast tokenizers work on many texts in parallel.
        prompts = iter(_ids(tokenizer, [item.prompt for item in usable]))
        texts = encode_texts([answer.text for item in usable for _, answer in item.columns])
        rows: list[TokenSet | Refused] = []
        wholes: list[Whole | None] = []
        for item in rendered:
            if isinstance(item, Refused):
                rows.append(item)
                wholes.append(None)
                continue
            ids = one_bos(tokenizer, next(prompts), begins=begins)
            prompt = _cut_prompt(ids, tokenizer.bos_token_id, max_prompt_length)
            room = max_length - len(prompt)  # tokens
            answers = [
                _ended(template.header_ids[answer.header] + next(texts), answer.end, completion)
                for completion, answer in item.columns
            ]
            columns = tuple(
                _column(answer, completion, room)
                for answer, (completion, _) in zip(answers, item.columns, strict=True)
            )
            row: TokenSet | Refused
            whole: Whole | None = None
            if not prompt:
                row = Refused(item.set_id, "empty_prompt", "the prompt has no token")
            elif not all(len(column.ids) for column in columns):
                row = Refused(item.set_id, "empty_completion", "a completion has no token")
            else:
                label = _label([c for c, _ in item.columns]) if wanted == "labelled" else None
                row = TokenSet(item.set_id, np.asarray(prompt, np.int32), columns, label)
                whole = Whole(len(ids), tuple(map(len, answers)))
                # Where all are wanted each is scored for itself: equal ones are no loss.
                if wanted != "all":
                    row, whole = distinct(row, whole, max_length)
            rows.append(row)
            wholes.append(whole)
        yield record_batch(rows, wholes)
        advance(table.num_rows)


def _rendered(row: Mapping[str, Any], template: _Template, wanted: Wanted) -> _Rendered | Refused:
    """Render a row of `schema.SETS`."""
    try:
        completions = _columns(row["completions"], wanted)
        frame = template.frame(row["prompt"])
        answers = [template.answer(row["prompt"], frame, c["text"]) for c in completions]
    except _Refused as refused:
        return Refused(row["set_id"], refused.reason, refused.detail)
    return _Rendered(row["set_id"], frame.prompt, list(zip(completions, answers, strict=True)))


def _columns(completions: Sequence[Completion], wanted: Wanted) -> list[Completion]:
    """Select the completions that a loss needs; see `token_batches`."""
    if wanted == "all" and completions:  # ranked or not, noise too
        return list(completions)
    if not completions or completions[0]["origin"] == "noise":
        raise _Refused("no_completion", "it has no completion but noise")
    best = completions[0]
    # Completions are sorted best first, so that the first one is the preferred one.
    if wanted == "first" or (wanted == "labelled" and _label(completions) is not None):
        return [best]
    if best["rank"] is None:
        raise _Refused("unranked", "its completions have no ranks; --loss sft needs none")
    # Ties are left out, because a loss needs to know which of two is better; noise is below any.
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
    """Return the label of a set's only completion, a score of 1 or 0; None for any other set."""
    score = completions[0]["score"]
    return bool(score) if len(completions) == 1 and score in (0, 1) else None


def _cut_prompt(ids: list[int], bos: int | None, limit: int) -> list[int]:
    if len(ids) <= limit:
        return ids
    # The beginning goes, because the end holds the question and the assistant header.
    leading = ids[:1] if ids[0] == bos and limit > 1 else []
    return leading + ids[len(ids) - limit + len(leading) :]


def _ended(ids: list[int], end: list[int], completion: Completion) -> list[int]:
    # An end that the model never wrote would teach it to stop there.
    return ids + end if completion["finish_reason"] != "length" else ids


def _column(ids: list[int], completion: Completion, room: int) -> Column:
    tokens = np.asarray(ids[:room], np.int32)
    return Column(tokens, completion["rank"], completion["score"], completion["origin"])


class _Template:
    """A tokenizer's chat template: what it writes around completions, and the token ids of that."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        # By their text, because the template writes text and a header ends with the last of them.
        self._special = {str(token) for token in added.values() if token.special}
        # Not white space, because some vocabularies have runs of it as added tokens: they end no turn.
        self._ending = {id for id, token in added.items() if not str(token).isspace()}
        self._ending |= set(tokenizer.all_special_ids)
        self._ends = _Cache(self._end)
        self.header_ids = _Cache(lambda header: _ids(tokenizer, [header])[0] if header else [])

    def frame(self, prompt: Messages) -> _Frame:
        """Render a prompt, and find what the template puts around a completion of it."""
        try:
            # With the header of the answer, because at inference the model continues after it.
            before = render(self._tokenizer, prompt, add_generation_prompt=True)
        except ModelError as error:
            raise _Refused("template_refused", str(error)) from error
        for message in prompt:
            # Some templates drop a system turn without an error; the model would train on another prompt.
            if message["role"] == "system" and message["content"].strip() not in before:
                raise _Refused("system_dropped", "the template leaves the system turn out")
        lead, mark, tail = self._after(prompt, before, MARK).partition(MARK)
        if not mark:
            raise _Refused("template_changes_text", "the template does not write the completion as it is")
        return _Frame(before, lead, tail)

    def answer(self, prompt: Messages, frame: _Frame, text: str) -> _Answer:
        """Find a completion in what the template writes: in its frame, up to white space at its ends.

        Searching for the text alone would not tell where it begins, because a short text can occur in the
        template's own text, and one that brings its own reasoning gets another lead.
        """
        after, core = self._after(prompt, frame.prompt, text), text.strip()
        stop = len(after) - len(frame.tail)
        start = len(frame.lead) if after.startswith(frame.lead) else after.rfind(core, 0, stop)
        if not (0 <= start <= stop and after.endswith(frame.tail) and after[start:stop].strip() == core):
            raise _Refused("template_changes_text", "the template does not write the completion as it is")
        special = max(
            (after.rfind(s, 0, start) + len(s) for s in self._special if s in after[:start]), default=0
        )
        # Cut at a special token, because no token spans it: both sides have the ids that they have together.
        return _Answer(after[:special], after[special:stop], self._ends[frame.tail])

    def _after(self, prompt: Messages, before: str, text: str) -> str:
        """Return what the template writes after the prompt's rendering if `text` answers it."""
        answer = {"role": "assistant", "content": text}
        try:
            whole = render(self._tokenizer, [*prompt, answer], add_generation_prompt=False)
        except ModelError as error:
            raise _Refused("template_refused", str(error)) from error
        # Or the prompt's ids, made once, would not be those that the completion follows.
        if not whole.startswith(before):
            raise _Refused(
                "template_not_a_prefix", "the prompt is rendered differently when an answer follows"
            )
        return whole[len(before) :]

    def _end(self, tail: str) -> list[int]:
        """Return the ids that end a turn: up to the first special token, or EOS if there is none."""
        ids = _ids(self._tokenizer, [tail])[0]
        first = next((position for position, token in enumerate(ids) if token in self._ending), None)
        if first is not None:  # what the template writes after it is never produced
            return ids[: first + 1]
        if self._tokenizer.eos_token_id is not None:
            return [int(self._tokenizer.eos_token_id)]
        raise ModelError(
            f"the tokenizer {self._tokenizer.name_or_path!r} has no end-of-turn token: its chat template "
            "writes no special token and it has no EOS token; choose another with --tokenizer"
        )


class _Cache(dict[str, list[int]]):
    """Token ids by text, for the few texts that a template itself writes."""

    def __init__(self, make: Callable[[str], list[int]]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: str) -> list[int]:
        self[text] = ids = self._make(text)
        return ids


def _text_encoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[str]], Iterator[list[int]]]:
    """Return a function that encodes texts which follow other text.

    SentencePiece tokenizers put a space in front of every text, also of one that continues a prompt. For
    those, a newline, which no other token swallows, is encoded in front of the text and cut off.
    """
    anchor, joined, alone = _ids(tokenizer, ["\n", "\nx", "x"])
    anchored = anchor + alone != joined and joined[: len(anchor)] == anchor

    def encode_texts(texts: list[str]) -> Iterator[list[int]]:
        if not anchored:
            return iter(_ids(tokenizer, texts, plain=True))
        return (ids[len(anchor) :] for ids in _ids(tokenizer, ["\n" + text for text in texts], plain=True))

    return encode_texts


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str], *, plain: bool = False) -> list[list[int]]:
    """Encode texts without adding special tokens.

    Args:
        plain: encode a special token that a text spells out as plain text, because otherwise the model would
            learn to end its turn there.
    """
    if not texts:
        return []
    encoded = tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=plain,  # as text, not as the token it names
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids
