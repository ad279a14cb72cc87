"""The messages of a conversation as OpenAI writes them: those that are sent, and the one that is received."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pairkit.engines.base import FinishReason, Request, TopLogprobs
from pairkit.engines.openai.wire import check_depth, joined_halves, json_of
from pairkit.engines.recipe import EngineRecipe
from pairkit.models.chat.messages import from_json, with_system
from pairkit.schema import canonical_json

# Names that servers have for the end of an answer, in lower case.
_KNOWN = frozenset({"stop", "tool_calls", "function_call"})
_LENGTH = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "token_limit"})
_REFUSED = frozenset({"content_filter", "safety", "refusal", "recitation", "prohibited_content", "sensitive"})
# The server ended the answer, so that its text may be cut anywhere.
_BROKEN = frozenset(
    {"error", "abort", "aborted", "cancelled", "network_error", "insufficient_system_resource"}
)
# The names that servers have for a thought: vLLM's older and newer ones, OpenRouter's, Ollama's, LiteLLM's.
THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
# The fields of a part of a message that hold its text.
_TEXTS = ("text", "thinking", "content", "reasoning", "summary", "refusal")


class Received(NamedTuple):
    """A message of a server. `tool_calls` is the JSON list that `Completion` has.

    `known_end`: whether its finish reason is one of OpenAI's.
    """

    text: str
    reason: FinishReason
    thought: str | None
    tool_calls: str | None
    known_end: bool
    logprobs: TopLogprobs | None = None  # of its first token


def sent(recipe: EngineRecipe, request: Request) -> dict[str, Any]:
    """Return the fields of a request's body that depend on the prompt; None leaves the field out.

    Tools, calls and arguments of the template are the objects that their JSON texts stand for. Raises
    `PromptRefused` for texts that stand for none, and for a system turn that cannot be folded.
    """
    messages = [_sent_message(message) for message in request.prompt if isinstance(message, Mapping)]
    template = recipe.template
    assert not isinstance(template, str)  # `EngineRecipe` refuses "none" for this engine
    return {
        "messages": with_system(messages, template.system),
        "tools": None if request.tools is None else from_json(request.tools, list, "tools"),
        # Read by vLLM and SGLang. Other servers refuse it, so it is not sent empty.
        "chat_template_kwargs": (template.kwargs | request.arguments) or None,
    }


def received(choice: Any) -> Received | None:
    """Read the message of a choice; None if it is incomplete.

    Raises `Unreadable` for one that cannot be kept as it is.
    """
    if not isinstance(choice, Mapping):
        return None
    end = choice.get("finish_reason")
    name = end.lower() if isinstance(end, str) else None
    # Servers have names of their own for a usual end, such as "eos_token", or none.
    reason: FinishReason = "length" if name in _LENGTH else "refused" if name in _REFUSED else "stop"
    message = _message(choice, ended=reason != "stop")
    if message is None or name in _BROKEN:
        return None
    calls = message.get("tool_calls") or []
    content, thought, refusal = _parts(message.get("content"))
    thought = next(filter(None, (_text(message.get(name)) for name in THOUGHTS)), "") or thought
    refusal = message["refusal"] if isinstance(message.get("refusal"), str) else refusal
    if refusal and not content:
        content, reason = refusal, "refused"
    # A content filter, a tool call and a thought up to the limit leave no text, which is not a fault.
    if content is None and (reason != "stop" or calls or thought):
        content = ""
    # Without a reason and without a text, nothing shows that the answer was complete.
    if content is None or (name is None and not (content or calls or thought)):
        return None
    # A thought that no answer follows was cut, even if the server does not report it.
    if name is None and not (content or calls):
        reason = "length"
    if not isinstance(calls, list) or not all(map(_is_call, calls)):
        return None
    # Null where there is none: an empty thought or list is nothing that a column should distinguish.
    calls_json = json_of([_received_call(call) for call in calls]) if calls else None
    return Received(
        joined_halves(content, cut=reason == "length"),
        reason,
        joined_halves(thought, cut=reason == "length") if thought else None,
        calls_json and joined_halves(calls_json),
        name in _KNOWN | {"length", "content_filter"},
        top_logprobs(choice),
    )


def top_logprobs(choice: Mapping[str, Any]) -> TopLogprobs | None:
    """Read the most probable first tokens of a choice; None if the server sent none that can be read."""
    value: Any = choice
    try:
        entries = value["logprobs"]["content"][0]["top_logprobs"]
        top = [(str(entry["token"]), float(entry["logprob"])) for entry in entries]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    # Positive ones and NaN are no log-probs. The most probable first, as not every server sorts them.
    pairs = [(_encodable(token), logprob) for token, logprob in top if logprob <= 0]
    return tuple(sorted(pairs, key=lambda entry: -entry[1])) or None


def _message(choice: Mapping[str, Any], *, ended: bool) -> Mapping[str, Any] | None:
    """Return the message of a choice, which older servers write as its text; None if it has none.

    `ended`: whether a limit or a filter ended the choice, which Google's servers then send without a content.
    """
    message = choice.get("message")
    if message is None or message == {}:
        message = choice.get("delta", message)
    if message is None and isinstance(choice.get("text"), str):
        return {"content": choice["text"]}
    if message is None and ended:
        return {}
    if not isinstance(message, Mapping) or not isinstance(
        message.get("content"), (str, list, Mapping, type(None))
    ):
        return None
    return message if ended or {"content", "refusal", "tool_calls", *THOUGHTS} & message.keys() else None


def _parts(content: Any) -> tuple[str | None, str, str]:
    """Return the text, the thought and the refusal of a message's content, which may be a list of parts."""
    if content is None or isinstance(content, str):
        return content, "", ""
    texts: dict[str, list[str]] = {"text": [], "thought": [], "refusal": []}
    for part in content if isinstance(content, list) else [content]:
        kind = str(part.get("type", "text")) if isinstance(part, Mapping) else "text"
        if kind in ("text", "output_text"):
            texts["text"].append(_text(part))
        elif kind == "refusal":
            texts["refusal"].append(_text(part))
        elif "thinking" in kind or "reasoning" in kind:
            texts["thought"].append(_text(part))
    text, thought, refusal = ("".join(texts[kind]) for kind in ("text", "thought", "refusal"))
    return text if texts["text"] else None, thought, refusal


def _text(value: Any) -> str:
    """Return the text in a value: itself, that of its field, or those of its parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_text, value))
    if isinstance(value, Mapping):
        return next(filter(None, (_text(value.get(name)) for name in _TEXTS)), "")
    return ""


def _sent_message(message: Mapping[str, Any]) -> dict[str, Any]:
    if message.get("tool_calls") is None:
        return dict(message)
    calls = from_json(message["tool_calls"], list, "tool_calls")
    return {**message, "tool_calls": [_sent_call(call) for call in calls]}


def _sent_call(call: Any) -> Any:
    """Return a call whose arguments are JSON, as servers require; datasets often have the object."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or isinstance(function.get("arguments"), str):
        return call
    arguments = canonical_json(function.get("arguments") or {})
    return {"type": "function", **call, "function": {**function, "arguments": arguments}}


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, Mapping) else None
    return (
        isinstance(function, Mapping)
        and isinstance(function.get("name"), str)
        # An object, as Ollama's own interface has it.
        and isinstance(function.get("arguments"), (str, Mapping))
    )


def _received_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call without what servers add to it, such as its index."""
    arguments = call["function"]["arguments"]
    if not isinstance(arguments, str):
        arguments = json_of(arguments)
    check_depth(arguments)
    function = {"name": call["function"]["name"], "arguments": arguments}
    identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**identity, "type": "function", "function": function}


def _encodable(text: str) -> str:
    # JSON can encode half of a surrogate pair, which no UTF-8 file can hold.
    return text.encode("utf-8", "replace").decode("utf-8")
