"""The part of a judge's answer in which a verdict counts: without drafts, and without what may follow one."""

from __future__ import annotations

import re
import unicodedata

from pairkit.rankers.spellings import endings, marks

_FLAGS = re.ASCII | re.IGNORECASE
# Tokens that end a turn, and tags that a judge closes around its verdict.
_STRAY = re.compile(
    r"(?:<[|｜][^<>\s]{1,64}[|｜]?>|<[^<>|｜\s]{1,64}[|｜]>|</?(?:s|eos|bos|pad|unk|end_of_turn|end_of_text)>"
    r"|<br\s{0,2}/?>"
    r"|</[A-Za-z_][A-Za-z0-9_ -]{0,31}>|\[/?(?:INST|EOS)\]|\\\])\Z",
    _FLAGS,
)
_LONGEST_STRAY = 80  # characters
# Other pictures may take a verdict back.
_PRAISE = frozenset("✅✔☑✓🎉🏆🥇👍👏🙂😊⭐🌟💯\ufe0f")
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
    all_marks = list(marks(answer))
    ending = endings(all_marks)
    pieces: list[str] = []
    start = read = 0
    first = True
    while read < len(all_marks):
        mark = all_marks[read]
        if mark.closes and not mark.alone:
            read += 1
            continue
        if not mark.closes:
            pieces.append(answer[start : mark.start])
            last = ending[read]
        # Models end a draft twice.
        elif first or not answer[start : mark.start].strip():
            last = read
        else:
            return answer
        if last is None:
            return ""
        start, read, first = all_marks[last].end, last + 1, False
    if start and not verdict_end(answer[start:]):
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


def _may_follow(mark: str) -> bool:
    if mark in _BRACKETS:
        return False
    kind = unicodedata.category(mark)
    if kind[0] in "ZC" or mark in "`$" or mark in _PRAISE:
        return True
    # A question is no verdict.
    return kind[0] == "P" and not any(word in unicodedata.name(mark, "") for word in ("QUESTION", "INTERRO"))


def _says_something(token: str) -> bool:
    """Return whether a token at the end belongs to a verdict or to a draft."""
    if re.fullmatch(r"</(?:verdict|rating|ranking)>", token, _FLAGS):
        return True
    return any(not mark.closes or mark.alone for mark in marks(token))
