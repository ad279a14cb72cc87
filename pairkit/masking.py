"""Secrets in texts and recipes: the one place that knows what looks like one, and hides it.

Whatever pairkit writes or prints passes through `masked`: errors, log lines, manifests, records, cards, logs.
Recognized are passwords in URLs, keys of the known forms, values under names such as `api_key`, and the exact
values that were given to `remember`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

MASK = "***"

Value = TypeVar("Value")

_NAME = re.compile(
    r"(?:.*_)?(?:api_?keys?|access_?keys?|private_?keys?|secrets?|secret_?keys?|client_?secret|passwords?|passwd"
    r"|passphrase|credentials?|authorization|cookie"
    r"|(?:api|auth|access|bearer|refresh|session|secret|hf|hub|github"
    r"|wandb|openai|use_auth)_?tokens?)|(?:x_)?tokens?"
)
# Names that end like those and are no secrets: special tokens, and numbers of tokens.
_HARMLESS = re.compile(r"(?:.*_)?(?:bos|eos|pad|unk|sep|cls|mask|stop|max|min|image|special|add|new)_tokens?")
_FORMS = (
    # After a scheme: whatever is before the last @ of the host.
    re.compile(r"(?<=://)[^/\s?#]+(?=@)"),
    # A key is followed by no letter of it; the text before it is no part of a word.
    re.compile(
        r"(?<![A-Za-z0-9])(?:sk-[\w-]{8,}|hf_[A-Za-z0-9]{12,}|gh[pousr]_[A-Za-z0-9]{12,}|github_pat_\w{12,}"
        r"|glpat-[\w-]{12,}|gsk_\w{12,}|nvapi-[\w-]{12,}|xai-\w{16,}|r8_\w{16,}|pplx-\w{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}"
        r"|AIza[\w-]{24,}|xox[abeoprs]-[\w-]{10,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
    ),
    re.compile(r"(?i)(?<=\bbearer )\s*[^\s\"',;<*][^\s\"',;]{5,}|(?<=\bbasic )\s*[A-Za-z0-9+/]{8,}={0,2}"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"),
)
# name=value in a URL or in words, and "name": "value" in what a server echoes.
_NAMED = re.compile(
    r"(?i)((?:[?&](?:key|sig|signature|token)|(?:api[_-]?key|password|passwd|client[_-]?secret|secret[_-]?key"
    r"|(?:access|auth|hf)[_-]?token|x-amz-signature|x-amz-credential))"
    r"(?:=[\"']?|[\"']\s*:\s*[\"']|:\s*[\"']))([^\s\"'&,;}]{4,})"
)
_remembered: set[str] = set()


def remember(secret: str | None) -> None:
    """Hide this value from now on, wherever it occurs; short ones would hide words."""
    if secret and len(secret) >= 6:
        _remembered.add(secret)


def masked(value: Value) -> Value:
    """Return a text, or plain values of a recipe, with all that looks like a secret replaced by `***`.

    >>> masked("https://me:hunter2@host/v1 refused sk-0123456789abcdef")
    'https://***@host/v1 refused ***'
    >>> masked({"api_key": "x1", "max_tokens": 8, "eos_token": "</s>"})
    {'api_key': '***', 'max_tokens': 8, 'eos_token': '</s>'}
    """
    return _masked(value)  # type: ignore[no-any-return]


def places_of_secrets(content: Any, place: str = "") -> Iterator[str]:
    """Yield the keys below which plain values hold what looks like a secret, or the mask of one."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            here = f"{place}.{key}" if place else str(key)
            if _is_secret(key, value):
                yield here
            else:
                yield from places_of_secrets(value, here)
    elif isinstance(content, (list, tuple)):
        for index, value in enumerate(content):
            yield from places_of_secrets(value, f"{place}.{index}")
    elif isinstance(content, str) and (
        content == MASK or _text(content) != content or f"//{MASK}@" in content
    ):
        yield place


def secrets_in(content: Any) -> Iterator[str]:
    """Yield what `masked` hides in plain values, but for the values given to `remember`.

    >>> list(secrets_in({"metadata": {"api_key": "x1"}, "note": "it is sk-0123456789abcdef"}))
    ['x1', 'sk-0123456789abcdef']
    """
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _leaves(value) if _is_secret(key, value) else secrets_in(value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from secrets_in(value)
    elif isinstance(content, str):
        for form in _FORMS:
            yield from (found.group().strip() for found in form.finditer(content))
        yield from (found.group(2) for found in _NAMED.finditer(content))


def looks_secret(text: str) -> bool:
    """Return whether a text holds what looks like a secret."""
    return _text(text) != text


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {key: MASK if _is_secret(key, each) else _masked(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_masked, value)) if type(value) in (list, tuple) else value
    return value


def _is_secret(key: Any, value: Any) -> bool:
    """Return whether the value under a key is one that the key's name calls a secret."""
    name = str(key).lower().replace("-", "_")
    if not _NAME.fullmatch(name) or _HARMLESS.fullmatch(name) or isinstance(value, (bool, Mapping)):
        return False
    # A number of tokens is none; a password may be a number.
    return bool(value) and not (isinstance(value, (int, float)) and "token" in name)


def _leaves(value: Any) -> Iterator[str]:
    """Yield the texts and numbers of a plain value that is a secret."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _leaves(each)
    else:
        yield str(value)


def _text(text: str) -> str:
    # Longest first, because one may contain another.
    for secret in sorted(_remembered, key=len, reverse=True):
        text = text.replace(secret, MASK)
    for form in _FORMS:
        text = form.sub(MASK, text)
    return _NAMED.sub(rf"\g<1>{MASK}", text)
