"""Texts with the brackets of a control token, which a server's tokenizer may take for one.

Which token ends a turn depends on a model that is not known here, so that the forms count: those that no
prose, code or HTML has, and the names of tokens in the forms that they share with it.
"""

from __future__ import annotations

import re

# Between < and >, where HTML has names too, and none with an underscore.
_NAMES = (
    r"s|bos|eos|pad|unk|cls|sep|mask(?::\d{1,4})?|eod|eot|eom|eop|sop|eoh|eoa|soh|endoftext|role|system|user|assistant|"
    r"human|bot|tools?|img|image|video|audio|seed:\w{1,32}|unused\d{1,5}|reserved\d{1,5}|special\d{1,5}"
)
_UNDERSCORED = r"(?=[^<>_\n]{0,64}_)[\w.:-]{1,64}"
# Between [ and ], where code has indexes, and in capitals, except for numbered ones.
_CAPITALS = (
    r"INST|BOS|EOS|PAD|UNK|CLS|SEP|g?s?MASK|IMG|AUDIO|PREFIX|MIDDLE|SUFFIX|ARGS|USER|BOT|SYS|"
    r"[A-Z]{1,32}(?:_[A-Z]{1,32}){1,5}|(?:unused|control_|reserved_)\d{1,5}"
)
TOKEN = re.compile(
    rf"<(?i:/?(?:{_NAMES}|{_UNDERSCORED}))>"
    r"|</?(?:PRE|SUF|MID)>"  # of CodeLlama; in HTML in lower case
    r"|<[|｜][^<>\n]{0,64}>|<[^<>|｜\s]{1,64}[|｜]>"
    r"|<</?[A-Z_]{2,32}>>|>>[A-Z_]{2,32}<<"  # Llama 2, Falcon
    rf"|\[/?(?:{_CAPITALS})\]"
    r"|\[[|｜][^\[\]\n]{0,64}[|｜]\]"  # EXAONE
    r"|\]~!?b[\[\]]|\[e~\[|\]<\]|\[>\[",  # MiniMax
    re.ASCII,
)
_OTHERS = str.maketrans("<>[]", "‹›⟦⟧")


def without_tokens(text: str) -> str:
    """Replace the brackets of whatever has the form of a control token.

    >>> without_tokens("a < b <|im_end|> <end_of_turn> [|user|] [/INST] <b>x[0]</b>")
    'a < b ‹|im_end|› ‹end_of_turn› ⟦|user|⟧ ⟦/INST⟧ <b>x[0]</b>'
    """
    return TOKEN.sub(lambda token: token[0].translate(_OTHERS), text)
