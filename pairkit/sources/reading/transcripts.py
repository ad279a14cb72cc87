"""Texts that spell a dialogue with the names of its speakers: "Human: ... Assistant: ...".

A text is a transcript if it begins with the mark of a user and has the mark of an answer in the same style:
`Human:` with `Assistant:`, `USER:` with `ASSISTANT:`, `### Instruction:` with `### Response:`. A text that
only mentions `Human:`, or that has no answer's mark, stays a text, and so do exercises of `Q:` and `A:`.
"""

from __future__ import annotations

import re
from functools import cache

from pairkit.sources.reading.chat_marks import HUMAN
from pairkit.sources.reading.literals import OtherKind

_SYSTEMS, _USERS = "System|SYSTEM|system", "Human|HUMAN|human|User|USER|user|Prompter|prompter"
_ANSWERS = ("Assistant", "AI", "Bot", "Chatbot", "ChatGPT")
# "### Human:", "**Human:**", "<human>:", "[User]:"
_BEFORE, _AFTER = r"#{2,4} ?|\*\*|<|\[|", r":\*\*|\*\*:|>:|\]:|:"
_OPENING = re.compile(rf"({_BEFORE})({_SYSTEMS}|{_USERS}|Instruction)({_AFTER})")
# What templates put before the first turn: a mark, and instructions.
_START = "BEGINNING OF CONVERSATION:"
_PREAMBLES = ("A chat between ", "Below is an instruction ")
_PREAMBLE = 1000  # characters of instructions at most
# Of NVIDIA's datasets; the first turn, which is the user's, has no mark.
_EXTRA = re.compile(r"(?:^|\n)<extra_id_[01]>(System|User|Assistant)\n?")
_ENDS = re.compile(r"(?:\s*</s>)+$")
_MARKS = (
    rf"(?:{_START}|{'|'.join(_PREAMBLES)}|(?:{_BEFORE})(?:{_SYSTEMS}|{_USERS}|Instruction)(?:{_AFTER}))"
    r"|(?:^|\n)<extra_id_[01]>(?:System|User|Assistant)"
)
# How transcripts begin, for Rust's regular expressions.
SPELLED = rf"^\s*{_MARKS}"
# Without those of HH-RLHF, which are many and are read by columns (messages.py).
SPELLED_OTHERWISE = rf"^\n?[ \t]*{_MARKS}"

Message = dict[str, str]


def transcript_in(text: str, *, reply: bool = False) -> list[Message] | None:
    """Return the turns of a transcript, None for any other text; an open turn at the end is left out.

    Raises `OtherKind` for a `reply` that other turns follow.
    """
    match = _EXTRA.search(text)
    if match is not None:
        question = text[: match.start()].strip()
        if reply and question:
            raise OtherKind(f"continues with other turns after {match[0].strip()!r}; give the reply alone")
        first = [{"role": "user", "content": question}] if question else []
        return _without_open([*first, *_cut(text, _EXTRA)])
    begin, system = _beginning(text)
    opening = _OPENING.match(text, begin)
    if opening is None:
        return None
    turns = _cut(text[begin:], _style(*opening.groups()))
    # HH-RLHF's mark, after a blank line, is no beginning of an ordinary text.
    if not _asks_and_answers([turn["role"] for turn in turns]) and not text.startswith(HUMAN):
        return None
    return _without_open([{"role": "system", "content": system}, *_joined(turns)])


def _beginning(text: str) -> tuple[int, str]:
    """Return where the first turn begins, and the instructions before it."""
    begin = len(text) - len(text.lstrip())
    if text.startswith(_START, begin):
        begin += len(_START)
        return begin + len(text[begin:]) - len(text[begin:].lstrip()), ""
    if not text.startswith(_PREAMBLES, begin):
        return begin, ""
    for opening in _OPENING.finditer(text, begin, begin + _PREAMBLE):
        if opening[1].startswith("#") or text[opening.start() - 1].isspace():
            return opening.start(), text[begin : opening.start()].strip()
    return begin, ""


@cache
def _style(before: str, name: str, after: str) -> re.Pattern[str]:
    """Return what marks turns in the style of the first mark: its signs, around names of its case."""
    if name == "Instruction":
        names = ["System", "Instruction", "Input", "Response"]
    else:
        case = str.upper if name.isupper() else str.lower if name.islower() else str
        users = _USERS if re.fullmatch(_SYSTEMS, name) else name
        names = [*map(case, ("System", *_ANSWERS)), *users.split("|")]
    # Vicuna's turns are on one line, and only capitals are marks there; ### is one anywhere.
    start = r"(?:^|\s|</s>)" if name.isupper() else r"\s*" if before.startswith("#") else r"(?:^|\n)[ \t]*"
    return re.compile(f"{start}{re.escape(before)}({'|'.join(names)}){re.escape(after)}")


def _cut(text: str, mark: re.Pattern[str]) -> list[Message]:
    turns = list(mark.finditer(text))
    ends = [turn.start() for turn in turns[1:]] + [len(text)]
    return [
        {"role": turn[1], "content": text[turn.end() : end]} for turn, end in zip(turns, ends, strict=True)
    ]


def _asks_and_answers(names: list[str]) -> bool:
    """Return whether a user and then an assistant speak; `System` may come before both."""
    roles = [_role(name) for name in names]
    return "assistant" in roles and roles[: 1 + (roles[0] == "system")][-1] == "user"


def _role(name: str) -> str:
    if name.lower() == "system":
        return "system"
    users = (*_USERS.split("|"), "Instruction", "Input")
    return "user" if name in users else "assistant"


def _joined(turns: list[Message]) -> list[Message]:
    """Return the turns, with an `Input` as the end of its instruction."""
    messages: list[Message] = []
    for turn in turns:
        if turn["role"] == "Input" and messages:
            messages[-1]["content"] += "\n\n" + turn["content"].strip()
        else:
            messages.append(dict(turn))
    return messages


def _without_open(turns: list[Message]) -> list[Message]:
    messages = [
        {"role": _role(turn["role"]), "content": _ENDS.sub("", turn["content"]).strip()} for turn in turns
    ]
    closed_turns = messages if messages[-1]["content"] else messages[:-1]
    return [each for each in closed_turns if each["content"] or each["role"] != "system"]
