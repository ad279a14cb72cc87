"""The languages that a card may name, as the hub spells them.

Source: ISO 639-1, with `sh`, which the hub knows too. Codes of three letters (ISO 639-3) are thousands, so
that only their form is checked.
"""

from __future__ import annotations

import re

_TWO_LETTERS = """
aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el
en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it
iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt
my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk
sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi
yo za zh zu
"""
LANGUAGES = frozenset(_TWO_LETTERS.split())
# With what BCP 47 may add, and the two words that the hub has besides.
_CODE = re.compile(r"([a-z]{2,3})(-[A-Za-z0-9]{2,8})*|code|multilingual")


def is_language(code: str) -> bool:
    """Return whether a text is the code of a language, or one of the hub's words for none and several.

    >>> [is_language(code) for code in ("en", "zh-TW", "yue", "multilingual", "xx", "English")]
    [True, True, True, True, False, False]
    """
    match = _CODE.fullmatch(code)
    return match is not None and (match[1] is None or len(match[1]) == 3 or match[1] in LANGUAGES)
