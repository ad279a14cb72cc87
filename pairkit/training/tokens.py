"""Candidate sets as token ids: each prompt and each completion tokenized once, with the chat template.

What is scored is what the model would have to produce after the prompt's ids: the completion and, where the
completion ended by itself, the end-of-turn token. The assistant header belongs to the prompt; whatever the
template writes after the end of the turn is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pairkit.chat import Messages, one_bos, render
from pairkit.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = npt.NDArray[np.int32]
Completion = Mapping[str, Any]  # a row of `schema.COMPLETION`
Wanted = Literal["first", "ranked", "scored", "labelled"]


class Column(NamedTuple):
    """One completion of a set, ready to be scored."""

    ids: Ids  # end-of-turn token included where the completion ended
    rank: int | None
    score: float | None
    origin: str


class TokenSet(NamedTuple):
    """A candidate set as token ids; the columns stand in the set's order, best first.

    `label` says whether the only completion of a labelled set is desirable; None for any other set.
    """

    set_id: str
    prompt: Ids
    columns: tuple[Column, ...]
    label: bool | None = None


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

    def largest_id(self) -> int:
        """The largest token id of all sets; -1 without any."""
        texts = (ids for item in self.sets for ids in (item.prompt, *(column.ids for column in item.columns)))
        return max((int(ids.max()) for ids in texts), default=-1)

    def longest(self) -> int:
        """The most tokens of a prompt with one of its completions; 0 without any."""
        return max((len(item.prompt) + len(c.ids) for item in self.sets for c in item.columns), default=0)

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
    lead: str
    tail: str


class _Written(NamedTuple):
    """A completion as the template writes it: `header` + `text` + the end of the turn."""

    header: str  # what the template puts before it, up to its last special token
    text: str
    end: list[int]  # the ids that end the turn


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
    """Tokenizes the sets of some tables of `schema.SETS`.

    Args:
        wanted: the columns of a set. "first": its first completion. "ranked": its best completion and those
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
    found = Tokenized([], [])
    encode_texts, template = _text_encoder(tokenizer), _Template(tokenizer)
    for table in tables:
        usable: list[tuple[str, str, list[tuple[Completion, _Written]]]] = []
        for row in table.to_pylist():
            try:
                picked = _columns(row["completions"], wanted)
                frame = template.frame(row["prompt"])
                written = [template.written(row["prompt"], frame, c["text"]) for c in picked]
                usable.append((row["set_id"], frame.prompt, list(zip(picked, written, strict=True))))
            except _Refused as refused:
                found.refused.append(Refused(row["set_id"], refused.reason, refused.detail))
        prompts = _ids(tokenizer, [prompt for _, prompt, _ in usable])
        texts = encode_texts([written.text for _, _, columns in usable for _, written in columns])
        for (set_id, _, pairs), ids in zip(usable, prompts, strict=True):
            prompt = _cut_prompt(one_bos(tokenizer, ids), tokenizer.bos_token_id, max_prompt_length)
            room = max_length - len(prompt)
            columns = tuple(
                _column(template.header_ids[written.header] + next(texts), written.end, completion, room)
                for completion, written in pairs
            )
            if not prompt:
                found.refused.append(Refused(set_id, "empty_prompt", "the prompt has no token"))
            elif all(len(column.ids) for column in columns):
                label = _label([c for c, _ in pairs]) if wanted == "labelled" else None
                found.sets.append(TokenSet(set_id, np.asarray(prompt, np.int32), columns, label))
            else:
                found.refused.append(Refused(set_id, "empty_completion", "a completion has no token"))
        advance(table.num_rows)
    return found


def _columns(completions: Sequence[Completion], wanted: Wanted) -> list[Completion]:
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
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, split_special_tokens=plain)["input_ids"]
    return ids
