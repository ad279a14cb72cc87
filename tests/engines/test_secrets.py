"""A secret that a server repeats is hidden in the spellings that SECURITY.md names, within any text."""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable

import pytest

from pairkit.engines.openai.secrets import Secrets

KEY = "sk-4of8>>the15??server~~"
# Spelling -> how to write a text so.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "json": lambda text: "".join(f"\\u{ord(each):04x}" for each in text),
    "json_upper": lambda text: "".join(f"\\u{ord(each):04X}" for each in text),
    "bytes": lambda text: "".join(f"\\x{ord(each):02x}" for each in text),
    "percent": lambda text: "".join(f"%{ord(each):02X}" for each in text),
    "percent_lower": lambda text: "".join(f"%{ord(each):02x}" for each in text),
    "hex": lambda text: text.encode().hex(),
    "hex_upper": lambda text: text.encode().hex().upper(),
    "base64": lambda text: b64encode(text.encode()).decode(),
    "urlsafe": lambda text: urlsafe_b64encode(text.encode()).decode(),
    "base64_twice": lambda text: b64encode(b64encode(text.encode())).decode(),
    "urlsafe_twice": lambda text: urlsafe_b64encode(urlsafe_b64encode(text.encode())).decode(),
    "both_alphabets": lambda text: b64encode(urlsafe_b64encode(text.encode())).decode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("before", ["", "B", "Be", "Bea", "Bearer ", "a longer text before the key: "])
@pytest.mark.parametrize("after", ["", ".", ", and", " and a longer text after it"])
def test_a_secret_is_hidden_in_every_spelling(spelling: str, before: str, after: str) -> None:
    write = SPELLINGS[spelling]
    said = f"I got {write(before + KEY + after)}."
    hidden = Secrets([KEY]).hide(said)
    assert "***" in hidden
    # What is left is what is around the key, and of base64 a letter or two that share a byte with it.
    left = hidden.removeprefix("I got ").removesuffix(".").replace("***", "")
    assert len(left) <= len(write(before)) + len(write(after)) + 8
    key, third = write(KEY), len(write(KEY)) // 3
    assert not any(key[at : at + third] in left for at in range(len(key) - third))


def test_other_texts_stay() -> None:
    texts = ["sk-4of8", b64encode(b"another text of the same length").decode(), "%41%42%43", "***", "\\u0073"]
    for text in texts:
        assert Secrets([KEY]).hide(text) == text


def test_letters_beyond_ascii() -> None:
    key = "schlüssel-\U0001f511-1234"
    escaped = "".join(rf"\u{each}" for each in re.findall("....", key.encode("utf-16-be").hex()))
    assert Secrets([key]).hide(f"{escaped} {b64encode(key.encode()).decode()}").count("***") == 2
