"""Errors of servers as data: the status, the server's words, the fields they name, and the setting to give.

Servers write them in many forms, some of them with status 200. What is matched here are words of OpenAI's,
Azure's, vLLM's, FastAPI's, llama.cpp's, Mistral's, Groq's and Google's messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pairkit.engines.openai.secrets import NO_SECRETS, Secrets
from pairkit.engines.recipe import EngineRecipe
from pairkit.masking import masked

# Statuses that are worth another try.
TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
# The fields of an error that hold its text.
_TEXTS = ("message", "detail", "msg", "status_msg", "error_msg")
_CUT = 300  # characters of a server's text in a message
_READ = 20_000  # characters of it that are looked at
# Words of an error without a number -> the status that they stand for; the first that is found counts.
_STATUSES = (
    (r"insufficient[_ ](?:quota|credit|balance)", 402),
    (r"rate.?limit|too.?many|resource.?exhausted|overloaded|capacity|try again", 429),
    (r"authenticat|unauthorized|(?:api|secret).?key|login fail", 401),
    (r"permission|forbidden", 403),
    (r"not.?found|not.?available|does not exist", 404),
    (
        r"invalid|unsupported|not.?supported|bad.?request|content.?filter|sensitive|not.?permitted|forbidden",
        400,
    ),
)
_NO_MODEL = re.compile(
    r"\bmodel\b.{0,80}?\b(?:not (?:available|found|a valid)|does ?n[o']t exist|does not exist|unavailable)"
    r"|\bnot a valid model\b|\b(?:unknown|invalid|no such) model"
    r"|\bmodel\b\W+\S+\W+is not supported|model_not_found",
    re.IGNORECASE,
)
_NO_KEY = re.compile(
    r"\b(?:api|secret).?key\b.{0,40}(?:not valid|invalid|expired|not found|incorrect|missing)"
    r"|\b(?:invalid|incorrect|missing|no|expired)\b.{0,10}\b(?:api|secret).?key\b|api_key_invalid",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context|too long|maximum.{0,20}tokens|reduce the length|prompt.{0,20}tokens", re.IGNORECASE
)
_FILTERED = re.compile(
    r"\bfiltered\b|content.?filter|content management|moderation|safety|sensitive|flagged", re.IGNORECASE
)
_UNFINISHED = re.compile(r"(?:not|n't) finish|output limit", re.IGNORECASE)
_NO_SYSTEM = re.compile(
    r"\bsystem\b.{0,40}\b(?:role|message|turn|instruction|prompt)|\brole\b.{0,40}\bsystem\b"
    r"|developer instruction",
    re.IGNORECASE,
)
# Of templates that servers apply: about a system turn only where one was sent.
_OTHER_ROLES = re.compile(r"only \W?user\b.{0,40}\broles?\b|roles must alternate", re.IGNORECASE)
_TAKEN = re.compile(
    r"(?<!not )\b(?:supported|allowed|valid|accepted|expected|permitted)\b[^.:]{0,30}:.*",
    re.IGNORECASE | re.DOTALL,
)
# Fields whose names are also words of other sentences count only in quotes or as the named parameter.
_COMMON = frozenset({"model", "messages", "n", "stream", "stop", "tools", "user"})


class ServerError(NamedTuple):
    """What a server answers instead of completions.

    Attributes:
        message: its words in one line, shortened and without secrets.
        words: all of its words that may be about the reason, without a list of what the server does take.
        fields: the fields of a request that it names as the reason, outside the message.
        after: the seconds to wait that it asks for, if it does.
    """

    status: int
    message: str
    words: str
    fields: tuple[str, ...] = ()
    after: float | None = None

    @property
    def no_model(self) -> bool:
        """Whether the server does not have the model."""
        return self.status in (400, 404, 422) and bool(_NO_MODEL.search(self.words))

    @property
    def no_key(self) -> bool:
        """Whether the server does not take the key, which Google's says with status 400."""
        return self.status in (401, 403) or (self.status == 400 and bool(_NO_KEY.search(self.words)))

    @property
    def filtered(self) -> bool:
        """Whether the server does not take this prompt for what is in it."""
        return bool(_FILTERED.search(self.words))

    def named(self, body: Mapping[str, Any]) -> list[str]:
        """Return the fields of the request `body` that the error names, the most likely reason first."""
        quoted = re.findall(r"['\"`‘“]([\w.]+)['\"`’”]", self.words)
        # The last part: some servers name a field by its path in a request of their own.
        names = [name.rpartition(".")[2] for name in (*self.fields, *quoted)]
        bare = [name for name in re.findall(r"\w+", self.words) if name not in _COMMON]
        return [name for name in dict.fromkeys([*names, *bare]) if name in body]


def server_error(status: int, content: bytes, secrets: Secrets = NO_SECRETS) -> ServerError:
    """Read the answer with an error status. What is neither JSON nor UTF-8 is a message too."""
    text = content.decode("utf-8", "replace")
    try:
        return _error(status, json.loads(text), secrets)
    # Nested deeper than Python's stack, or no JSON.
    except (ValueError, RecursionError):
        return _error(status, text, secrets)


def error_within(answer: Mapping[str, Any], secrets: Secrets = NO_SECRETS) -> ServerError | None:
    """Return the error in an answer with status 200; None if it has none."""
    choices = answer.get("choices")
    whole = choices if isinstance(choices, list) else []
    if not whole and (answer.get("error") or answer.get("object") == "error" or answer.get("errors")):
        return _error(None, answer, secrets)
    for choice in whole:
        if isinstance(choice, Mapping) and choice.get("error"):
            return _error(None, choice, secrets)
    # Gateways answer with the bare text of a server behind them, others with an object of their own.
    for error in (answer, *answer.values()):
        texts = [error.get(name) for name in _TEXTS] if isinstance(error, Mapping) else []
        if choices is None and any(text and isinstance(text, (str, list)) for text in texts):
            return _error(None, error, secrets)
    return None


class Remedy(NamedTuple):
    """What to set after a refusal; `of_all`: every other request of the recipe is refused for the same."""

    text: str
    of_all: bool = False


def remedy(error: ServerError, body: Mapping[str, Any], recipe: EngineRecipe) -> Remedy:
    """Return what to set after a refusal that no other try can change."""
    place = recipe.place
    if error.filtered:
        return Remedy(f"the server filters this prompt; another may not: set {place}model or {place}base_url")
    if _UNFINISHED.search(error.words):
        return Remedy(f"its thought takes more than max_tokens: set a larger {place}max_tokens")
    if _TOO_LONG.search(error.words):
        return Remedy(f"set a smaller {place}max_tokens, or leave out longer prompts")
    for name in error.named(body):
        if name in recipe.extra_body:
            return Remedy(f"remove or change {place}extra_body.{name}", of_all=True)
        if name in ("max_tokens", "max_completion_tokens"):
            return Remedy(f"set another {place}max_tokens", of_all=True)
        if name in ("temperature", "top_p"):
            within = "samples" if place == "generate." else name
            text = f"set another {name} in {place}{within}, or {place}extra_body.{name}=null"
            return Remedy(text, of_all=name not in recipe.varied)
        if name == "chat_template_kwargs":
            return Remedy(f"remove {place}template.kwargs", of_all=True)
        if name not in _COMMON or name in ("tools", "stop"):
            return Remedy(f"set {place}extra_body.{name}=null")
    if _NO_SYSTEM.search(error.words) or (_with_system(body) and _OTHER_ROLES.search(error.words)):
        return Remedy(f"set {place}template.system=fold")
    return Remedy(f"if it refuses a field of the request, leave it out with {place}extra_body.FIELD=null")


def _with_system(body: Mapping[str, Any]) -> bool:
    return any(message.get("role") == "system" for message in body.get("messages", ()))


def _error(status: int | None, answer: Any, secrets: Secrets) -> ServerError:
    error = answer
    if isinstance(answer, list) and len(answer) == 1:  # Google's
        answer = error = answer[0]
    if isinstance(answer, Mapping):
        error = answer.get("error") or answer.get("errors") or answer
    # JSON can encode half of a surrogate pair, which can be neither printed nor stored.
    read = _said(error)[:_READ].encode("utf-8", "replace").decode()
    message = masked(secrets.hide(" ".join(read.split())))
    about = error if isinstance(error, Mapping) else {}
    labels = [str(about[name])[:100] for name in ("code", "type", "status") if about.get(name) is not None]
    words = " ".join([_TAKEN.sub("", message), *labels])
    if status is None:
        status = _status(labels, message)
    fields = [str(about["param"])[:100]] if about.get("param") else []
    cut = message[:_CUT] + "…" * (len(message) > _CUT)
    return ServerError(status, cut or "no reason given", words, (*fields, *_places(error)))


def _said(error: Any) -> str:
    """Return the text of an error, whose form differs between servers."""
    if isinstance(error, list):
        return "; ".join(map(_said, error))
    if not isinstance(error, Mapping):
        return str(error)
    # FastAPI: the place of a wrong value and what is wrong with it.
    if "msg" in error:
        place = error.get("loc")
        path = ".".join(map(str, place)) if isinstance(place, list) else ""
        return f"{path}: {error['msg']}".removeprefix(": ")
    for name in (*_TEXTS, "error", "errors"):
        if error.get(name):
            metadata = error.get("metadata")
            raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
            return _said(error[name]) + (f" ({raw})" if isinstance(raw, str) and raw else "")
    return str(dict(error))


def _places(error: Any) -> list[str]:
    """Return the names at the ends of FastAPI's `loc`, wherever they are in an error."""
    if isinstance(error, list):
        return [name for part in error for name in _places(part)]
    if not isinstance(error, Mapping):
        return []
    place = error.get("loc")
    own = [str(place[-1])] if isinstance(place, list) and place else []
    return own + _places([error[name] for name in ("message", "detail") if name in error])


def _status(labels: list[str], message: str) -> int:
    """Return the HTTP status that an error stands for: that of its code, or that of its words."""
    for label in labels:
        if label.isdecimal() and 400 <= int(label) < 600:
            return int(label)
    # Labels first, because they are made to be told apart.
    for text in (" ".join(labels), message):
        for pattern, status in _STATUSES:
            if re.search(pattern, text, re.IGNORECASE):
                return status
    # Nothing shows that it is the request's fault, so another try may succeed.
    return 502
