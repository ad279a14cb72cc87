"""The part of a judge's answer in which a verdict counts: without drafts, and without what may follow one."""

from __future__ import annotations

import re
import unicodedata

from pairkit.models.chat.marks import THINK, THOUGHTS

_FLAGS = re.ASCII | re.IGNORECASE
# Tags in which judges think, by themselves or because a prompt asks for it.
DRAFTS = "think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad|seed:think"
_SPECIAL = [family for family in THOUGHTS if family is not THINK and not family.sign.startswith("<seed")]
DRAFT_MARK = re.compile(
    "|".join(
        [
            rf"<\s{{0,8}}(?P<end>/?)\s{{0,8}}(?P<tag>{DRAFTS})\s{{0,8}}>",
            *(
                rf"(?P<open{number}>{re.escape(family.open.strip())})|(?P<close{number}>{family.close})"
                for number, family in enumerate(_SPECIAL)
            ),
        ]
    ),
    _FLAGS,
)
# These end a turn as well, so alone they end no draft.
_AMBIGUOUS = re.compile(r"<\|(?:end|eom)\|>", _FLAGS)
# Tokens that end a turn, and tags that a judge closes around its verdict.
_STRAY = re.compile(
    r"(?:<[|｜][^<>\s]{1,64}[|｜]?>|<[^<>|｜\s]{1,64}[|｜]>|</?(?:s|eos|end_of_turn|end_of_text)>"
    r"|</[A-Za-z_][A-Za-z0-9_ -]{0,31}>|\[/?(?:INST|EOS)\]|\\\])\Z",
    _FLAGS,
)
_LONGEST_STRAY = 80  # characters
# Brackets may be those of a verdict itself.
_BRACKETS = frozenset("]}")


def spoken(answer: str) -> str:
    """Return an answer without drafts; "" for one that ends in a draft, which may take all back.

    What precedes the end of a draft that never began is a draft, because the chat template had opened it. An
    end in any other place leaves open where the draft stops, so all of the answer is returned, and verdicts
    conflict.

    >>> spoken("<thinking>B?</thinking> No. [THINK]Hm.[/THINK]A"), spoken("B? No.</think>A")
    (' No. \\nA', 'A')
    """
    pieces: list[str] = []
    start, inside = 0, None
    first = True
    for mark in DRAFT_MARK.finditer(answer):
        name, ends = _name(mark)
        if inside is None and ends and _AMBIGUOUS.match(mark[0]):
            continue
        if inside is None and ends:
            if not first:
                return answer
            start = mark.end()
        elif inside is None:
            pieces.append(answer[start : mark.start()])
            inside = name
        elif ends and name == inside:
            start, inside = mark.end(), None
        first = False
    if inside is not None or not answer[start:].strip():
        return ""
    pieces.append(answer[start:])
    # Apart, so that no verdict is made of what stood around a draft.
    return "\n".join(piece for piece in pieces if piece.strip())


def verdict_end(text: str) -> int:
    """Return where a text ends without the punctuation, of any script, and the stray tokens at its end.

    >>> text = "<verdict>A</verdict>**。<|im_end|>"
    >>> text[: verdict_end(text)]
    '<verdict>A</verdict>'
    """
    end = len(text)
    while True:
        while end and _may_follow(text[end - 1]):
            end -= 1
        stray = _STRAY.search(text, max(0, end - _LONGEST_STRAY), end)
        if stray is None or _says_something(stray[0]):
            return end
        end = stray.start()


def _name(mark: re.Match[str]) -> tuple[str, bool]:
    """Return what a mark belongs to, and whether it ends a draft."""
    if mark["tag"]:
        return mark["tag"].lower(), bool(mark["end"])
    name = next(name for name, value in mark.groupdict().items() if value and name != "end")
    return name.removeprefix("open").removeprefix("close"), name.startswith("close")


def _may_follow(mark: str) -> bool:
    if mark in _BRACKETS:
        return False
    kind = unicodedata.category(mark)
    if kind[0] in "ZC" or mark in "`$":
        return True
    # A question is no verdict.
    return kind[0] == "P" and not any(word in unicodedata.name(mark, "") for word in ("QUESTION", "INTERRO"))


def _says_something(token: str) -> bool:
    """Return whether a token at the end belongs to a verdict or to a draft."""
    if re.fullmatch(r"</(?:verdict|rating|ranking)>", token, _FLAGS):
        return True
    return DRAFT_MARK.fullmatch(token) is not None and not _AMBIGUOUS.fullmatch(token)
