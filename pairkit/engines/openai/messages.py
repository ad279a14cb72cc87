"""The messages of a conversation as OpenAI writes them: those that are sent, and the one that is received."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pairkit.engines.base import FinishReason, Request
from pairkit.engines.recipe import EngineRecipe
from pairkit.models.chat.messages import from_json, with_system
from pairkit.schema import canonical_json

_REASONS: dict[str, FinishReason] = {"length": "length", "max_tokens": "length", "content_filter": "refused"}
# The names that servers have for a thought: the second is that of newer vLLM and of OpenRouter.
THOUGHTS = ("reasoning_content", "reasoning")


class Received(NamedTuple):
    """A message of a server. `tool_calls` is the JSON list that `Completion` has."""

    text: str
    reason: FinishReason
    thought: str | None
    tool_calls: str | None


def sent(recipe: EngineRecipe, request: Request) -> dict[str, Any]:
    """Return the fields of a request's body that depend on the prompt; None is no field.

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
    """Read the message of a choice; None if it is incomplete."""
    message = choice.get("message") if isinstance(choice, Mapping) else None
    # Without a reason the answer broke off, so its text may be cut.
    if not isinstance(message, Mapping) or not isinstance(choice.get("finish_reason"), str):
        return None
    # Servers have names of their own for a usual end, such as "eos"; that of a tool call is one too.
    reason = _REASONS.get(choice["finish_reason"], "stop")
    thought = next((message[name] for name in THOUGHTS if isinstance(message.get(name), str)), None)
    calls = message.get("tool_calls") or []
    refusal, content = message.get("refusal"), message.get("content")
    if isinstance(refusal, str) and refusal and not content:
        content, reason = refusal, "refused"
    # A content filter, a tool call and a thought that was cut may leave no text, which is no fault.
    if content is None and (reason == "refused" or calls or thought):
        content = ""
    if not isinstance(content, str) or not isinstance(calls, list) or not all(map(_is_call, calls)):
        return None
    # Null where there is none: an empty thought or list is nothing that a column should distinguish.
    written = canonical_json([_received_call(call) for call in calls]) if calls else None
    return Received(
        _encodable(content), reason, _encodable(thought) if thought else None, written and _encodable(written)
    )


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
    return isinstance(function, Mapping) and all(
        isinstance(function.get(name), str) for name in ("name", "arguments")
    )


def _received_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call without what servers add to it, such as its index."""
    function = {name: call["function"][name] for name in ("name", "arguments")}
    identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**identity, "type": "function", "function": function}


def _encodable(text: str) -> str:
    # JSON can encode half of a surrogate pair, which no UTF-8 file can hold.
    return text.encode("utf-8", "replace").decode("utf-8")
