"""Secrets in texts and recipes: the one place that knows what looks like one, and hides it.

Whatever pairkit writes or prints passes through `masked`: errors, log lines, manifests, records, cards, logs.
Recognized are passwords in URLs, keys of the known forms, values under names such as `api_key`, and the exact
values that were given to `remember`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

MASK = "***"

Value = TypeVar("Value")

_NAME = re.compile(
    r"(?:.*_)?(?:api_?keys?|(?:access|private|secret|subscription|account|license|signing|encryption|ssh|master"
    r"|openai|anthropic|azure|google|gemini|mistral|groq|token)_?keys?(?:_id)?|secrets?|client_?secret"
    r"|passwords?|passwd|pwd|passphrase|credentials?|authorization|cookie|connection_?string|dsn"
    r"|(?:api|auth|access|bearer|refresh|session|secret|security|id|hf|hub|github|wandb|openai|use_auth)_?tokens?)"
    r"|(?:x_)?tokens?|pass|auth|bearer|sas"
)
# Names that end like those and are no secrets: special tokens, and numbers of tokens.
_HARMLESS = re.compile(r"(?:.*_)?(?:bos|eos|pad|unk|sep|cls|mask|stop|max|min|image|special|add|new)_tokens?")
_FORMS = (
    # After a scheme, also an encoded one: whatever is before the last @ of the host.
    re.compile(r"(?<=://)[^/\s?#]+(?=@)"),
    re.compile(r"(?i)(?<=%3A%2F%2F)(?:[^/\s?#&%]|%(?!40|2F)[0-9A-F]{2})+(?=%40)"),
    # A key is followed by no letter of it; the text before it is no part of a word.
    re.compile(
        r"(?<![A-Za-z0-9])(?:c?sk-[\w-]{8,}|[rs]k_(?:live|test)_\w{8,}|hf_[A-Za-z0-9]{12,}"
        r"|gh[pousr]_[A-Za-z0-9]{12,}|github_pat_\w{12,}|glpat-[\w-]{12,}|gsk_\w{12,}|nvapi-[\w-]{12,}"
        r"|xai-\w{16,}|r8_\w{16,}|pplx-\w{16,}|tgp_v1_[\w-]{16,}|fw_[A-Za-z0-9]{16,}|wandb_v1_\w{16,}"
        r"|npm_[A-Za-z0-9]{20,}|pypi-\w{16,}|do[opr]_v1_\w{16,}|dapi[0-9a-f]{32}|lsv2_\w{16,}"
        r"|SG\.[\w-]{16,}\.[\w-]{16,}|ya29\.[\w-]{12,}|GOCSPX-[\w-]{12,}|AIza[\w-]{24,}"
        r"|(?:AKIA|ASIA)[0-9A-Z]{16}|xox[abeoprs]-[\w-]{10,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
    ),
    re.compile(r"(?<=hooks\.slack\.com/services/)[\w/]{8,}|(?<=api\.telegram\.org/bot)[\w:-]{8,}"),
    re.compile(r"(?i)(?<=\bbearer )\s*[^\s\"',;<*][^\s\"',;]{5,}|(?<=\bbasic )\s*[A-Za-z0-9+/]{8,}={0,2}"),
    re.compile(
        r"(?i)(?<=authorization: )(?:(?:token|apikey|negotiate)\s+[^\s\"',;*][^\s\"',;]*"
        r"|(?:digest|aws4-hmac-sha256)\s+[^\r\n*][^\r\n]*)"
    ),
    re.compile(r"(?i)(?<=cookie: )[^\r\n\"'*][^\r\n\"']*"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z ]*KEY[A-Z ]*-----|$)"),
)
# Parameters of URLs whose names are words elsewhere.
_QUERY = re.compile(
    r"(?i)(?<=[?&;])((?:key|code|sig|signature|token|jwt|sas|secret|pass|pwd|auth|apikey|session|credential"
    r"|x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid"
    r"|(?:shared)?accesskey)=)[^\s&;#\"'<>]+"
)
# name=value and --name value in words, "name": "value" in what a server echoes, ("name", "value") of headers.
_ASSIGNED = re.compile(
    r"(?<![\w.-])((?:--)?)([A-Za-z][\w.-]{0,99})"
    r"([\"']\s{0,2}[:=,]\s{0,2}[\"']|\s{0,2}[:=]\s{0,2}[\"']|\s?=\s?|:\s{0,2}|\s)"
)
_VALUE = re.compile(r"[^\s\"'&,;}]*")
_NO_VALUES = frozenset({"none", "null", "true", "false", MASK})
_remembered: set[str] = set()


def remember(secret: str | None) -> None:
    """Hide this value from now on, wherever it occurs; short ones would hide words."""
    if secret and len(secret) >= 6:
        # As it is, in a URL, and in JSON.
        _remembered.update({secret, quote(secret, safe=""), json.dumps(secret)[1:-1]})


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
            if _is_secret(key, value) or looks_secret(str(key)):
                yield here
            else:
                yield from places_of_secrets(value, here)
    elif isinstance(content, (list, tuple)):
        if _is_header(content):
            yield f"{place}.1"
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
            yield from (match.group().strip() for match in form.finditer(content))
        yield from (match.group().removeprefix(match[1]) for match in _QUERY.finditer(content))
        yield from (content[start:end] for start, end in _assigned(content))


def looks_secret(text: str) -> bool:
    """Return whether a text holds what looks like a secret."""
    return _text(text) != text


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {
            _text(key) if isinstance(key, str) else key: MASK if _is_secret(key, each) else _masked(each)
            for key, each in value.items()
        }
    if type(value) in (list, tuple):
        return type(value)((value[0], MASK) if _is_header(value) else map(_masked, value))
    return value


def _is_secret(key: Any, value: Any) -> bool:
    """Return whether the value under a key is one that the key's name calls a secret."""
    name = _name_of_secret(str(key))
    if name is None or isinstance(value, bool):
        return False
    # A number of tokens or of what has passed is none, nor a block about tokens; a password may be a number.
    countable = "token" in name or name in ("pass", "auth", "bearer", "sas", "cookie")
    return bool(value) and not (countable and isinstance(value, (int, float, Mapping)))


# The keys of a recipe or a call are asked for again with each of them.
@functools.lru_cache(1024)
def _name_of_secret(key: str) -> str | None:
    """Return a key as one form of a name, None where that is no name of a secret."""
    # As one form: apiKey, API-Key, api_key.
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower().replace("-", "_")
    return name if _NAME.fullmatch(name) and not _HARMLESS.fullmatch(name) else None


def _is_header(value: Sequence[Any]) -> bool:
    """Return whether two texts are a name and the secret that it names."""
    return len(value) == 2 and all(isinstance(each, str) for each in value) and _is_secret(*value)


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
    text = _QUERY.sub(rf"\g<1>{MASK}", text)
    parts, last = [], 0
    for start, end in _assigned(text):
        parts += [text[last:start], MASK]
        last = end
    return "".join([*parts, text[last:]])


def _assigned(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each value after a name that tells that it is a secret."""
    last = 0
    for match in _ASSIGNED.finditer(text):
        # Only for names of secrets, because values may be long, and one may hold the next name.
        if match.end() < last or not _is_secret(match[2].rpartition(".")[2], "a value"):
            continue
        value = _VALUE.match(text, match.end())
        size = _size_of_secret(match[1], match[2], match[3], value[0]) if value else 0
        if size:
            last = match.end() + size
            yield match.end(), last


def _size_of_secret(dashes: str, name: str, separator: str, value: str) -> int:
    """Return how many characters of the value after a name and a separator are a secret."""
    last = name.rpartition(".")[2]
    secret = value.rstrip(".)]>")
    number = secret.isdigit() and "token" in last.lower()
    if not secret or number or secret.lower() in _NO_VALUES or secret.startswith(MASK):
        return 0
    word = "".join(separator.split())
    # In prose a name may be followed by a colon and what is wrong: only what is no word counts there. The
    # name of a header is no word.
    in_prose = (word == ":" and "-" not in last) or (
        word in (":'", ':"') and last.lower() in ("token", "tokens")
    )
    if (not word and not dashes) or (in_prose and not (len(secret) >= 6 and any(map(str.isdigit, secret)))):
        return 0
    return len(secret)
