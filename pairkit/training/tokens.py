"""Candidate sets as token ids: each prompt and each completion tokenized once, with the chat template.

What is scored is what the model would have to produce after the prompt's ids: the completion and, where the
completion ended by itself, the end-of-turn token. The assistant header belongs to the prompt; whatever the
template writes after the end of the turn is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pairkit.chat import Messages, one_bos, render
from pairkit.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = npt.NDArray[np.int32]
Completion = Mapping[str, Any]  # a row of `schema.COMPLETION`


class Column(NamedTuple):
    """One completion of a set, ready to be scored."""

    ids: Ids  # end-of-turn token included where the completion ended
    rank: int | None
    score: float | None
    origin: str


class TokenSet(NamedTuple):
    """A candidate set as token ids; the columns stand in the set's order, best first."""

    set_id: str
    prompt: Ids
    columns: tuple[Column, ...]


class Refused(NamedTuple):
    """A set that cannot be used, and why."""

    set_id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Tokenized:
    """The sets that can be used, and those that cannot."""

    sets: list[TokenSet]
    refused: list[Refused]

    def counts(self) -> dict[str, Any]:
        """How many sets are used, and how many are not for which reason."""
        reasons = Counter(one.reason for one in self.refused)
        return {"used": len(self.sets), "refused": dict(sorted(reasons.items()))}

    def refusals(self) -> str:
        """In a line: how many sets cannot be used for which reason, with the first of each."""
        first = {one.reason: one for one in reversed(self.refused)}
        return "; ".join(
            f"{count} sets {reason} (set {first[reason].set_id}: {first[reason].detail})"
            for reason, count in self.counts()["refused"].items()
        )


class _Refused(Exception):
    """A set that cannot be used: the reason, and what a person should know."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class _Frame(NamedTuple):
    """A prompt as the template renders it, and what the template puts around a completion that follows."""

    prompt: str
    lead: str  # text between the prompt and the completion
    end: list[int]  # the ids that end the turn
    strips: bool  # whether the template strips white space off the completion


def tokenize(
    tables: Iterable[pa.Table],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    max_prompt_length: int,
    compare: bool,
    advance: Callable[[int], None],
) -> Tokenized:
    """Tokenizes the sets of some tables of `schema.SETS`.

    Args:
        compare: whether the loss sets completions against each other. Then a set's columns are its best
            completion and those that stand below it (a tie is no choice; noise stands below all), and a set
            without ranks (`unranked`) or without a choice (`no_choice`) is refused. Else its column is its
            first completion.
        advance: told how many sets are done.

    A prompt longer than `max_prompt_length` is cut at its beginning, BOS kept; a completion is cut at its
    end where both exceed `max_length`, and then does not end its turn. A set is refused where the template
    refuses it (`template_refused`), drops its system turn (`system_dropped`), does not repeat the prompt's
    rendering when the completion follows (`template_not_a_prefix`), changes the completion's text
    (`template_changes_text`), or where a completion has no token (`empty_completion`).
    """
    found = Tokenized([], [])
    encode_texts, ends = _text_encoder(tokenizer), _Ends(tokenizer)
    for table in tables:
        framed: list[tuple[str, _Frame, list[Completion]]] = []
        for row in table.to_pylist():
            try:
                picked = _columns(row["completions"], compare)
                frame = _frame(row["prompt"], picked[0]["text"], tokenizer, ends)
                framed.append((row["set_id"], frame, picked))
            except _Refused as refused:
                found.refused.append(Refused(row["set_id"], refused.reason, refused.detail))
        prompts = _ids(tokenizer, [frame.prompt for _, frame, _ in framed])
        texts = encode_texts([frame.lead + _text(c, frame) for _, frame, picked in framed for c in picked])
        for (set_id, frame, picked), ids in zip(framed, prompts, strict=True):
            prompt = _cut_prompt(one_bos(tokenizer, ids), tokenizer.bos_token_id, max_prompt_length)
            room = max_length - len(prompt)
            columns = tuple(_column(next(texts), frame, completion, room) for completion in picked)
            if all(len(column.ids) for column in columns):
                found.sets.append(TokenSet(set_id, np.asarray(prompt, np.int32), columns))
            else:
                found.refused.append(Refused(set_id, "empty_completion", "a completion has no token"))
        advance(table.num_rows)
    return found


def _columns(completions: Sequence[Completion], compare: bool) -> list[Completion]:
    if not completions or completions[0]["origin"] == "noise":
        raise _Refused("no_completion", "it has no completion but noise")
    best = completions[0]
    if not compare:
        return [best]
    if best["rank"] is None:
        raise _Refused("unranked", "its completions have no ranks; --loss sft needs none")
    below = [c for c in completions[1:] if c["origin"] == "noise" or (c["rank"] or 0) > best["rank"]]
    if not below:
        raise _Refused("no_choice", "no completion stands above another; --loss sft needs one only")
    return [best, *below]


def _cut_prompt(ids: list[int], bos: int | None, limit: int) -> list[int]:
    if len(ids) <= limit:
        return ids
    kept = ids[:1] if ids[0] == bos and limit > 1 else []
    return kept + ids[len(ids) - limit + len(kept) :]


def _column(ids: list[int], frame: _Frame, completion: Completion, room: int) -> Column:
    ended = completion["finish_reason"] != "length"
    tokens = (ids + frame.end if ended else ids)[:room]
    return Column(np.asarray(tokens, np.int32), completion["rank"], completion["score"], completion["origin"])


def _text(completion: Completion, frame: _Frame) -> str:
    text: str = completion["text"]
    return text.strip() if frame.strips else text


def _frame(prompt: Messages, text: str, tokenizer: PreTrainedTokenizerBase, ends: _Ends) -> _Frame:
    """Renders a prompt, and what stands around a completion of it, found by rendering one."""
    try:
        before = render(tokenizer, prompt, add_generation_prompt=True)
        whole = render(
            tokenizer, [*prompt, {"role": "assistant", "content": text}], add_generation_prompt=False
        )
    except ModelError as error:
        raise _Refused("template_refused", str(error)) from error
    for message in prompt:
        if message["role"] == "system" and message["content"].strip() not in before:
            raise _Refused("system_dropped", "the template leaves the system turn out")
    if not whole.startswith(before):
        raise _Refused("template_not_a_prefix", "the prompt is rendered differently when an answer follows")
    after = whole[len(before) :]
    strips = text not in after
    inner = text.strip() if strips else text
    if inner not in after:
        raise _Refused("template_changes_text", "the template does not write the completion as it is")
    lead, _, tail = after.partition(inner)
    return _Frame(before, lead, ends[tail], strips)


class _Ends(dict[str, list[int]]):
    """By the text that a template writes after a completion: the ids of it that end the turn.

    They go up to its first special token; a template that writes none is ended by the EOS token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, tail: str) -> list[int]:
        special = set(self._tokenizer.all_special_ids) | set(self._tokenizer.added_tokens_decoder)
        ids = _ids(self._tokenizer, [tail])[0]
        first = next((position for position, token in enumerate(ids) if token in special), None)
        if first is not None:
            end = ids[: first + 1]
        elif self._tokenizer.eos_token_id is not None:
            end = [int(self._tokenizer.eos_token_id)]
        else:
            raise ModelError(
                f"the tokenizer {self._tokenizer.name_or_path!r} has no token that ends a turn: "
                "its template writes no special one, and it has no EOS token"
            )
        self[tail] = end
        return end


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
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, split_special_tokens=plain)["input_ids"]
    return ids
