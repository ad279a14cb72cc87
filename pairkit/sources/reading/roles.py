"""The names that datasets give to the speakers of a chat, and the roles that they are."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

# Of OpenAI, ShareGPT (FastChat), OpenAssistant, ms-swift, LangChain, Gemini, Llama; without regard to case.
ROLE_NAMES = {
    **dict.fromkeys(("system", "developer", "sys", "system_prompt"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "usr", "customer", "client", "questioner"), "user"),
    **dict.fromkeys(("question", "query"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai", "llm"), "assistant"),
    **dict.fromkeys(("ai_assistant", "agent", "bing", "bard", "answer", "response"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython"), "tool"),
    **dict.fromkeys(
        (f"{what}_{noun}" for what in ("tool", "function") for noun in ("response", "result", "output")),
        "tool",
    ),
    # The content of these is the call, as JSON.
    "function_call": "assistant",
    "tool_call": "assistant",
}
CALLERS = ("function_call", "tool_call")
_FRAME = " \t\r\n:<>|*#"  # "Human:", "<|user|>"
_GAPS = r"[\s-]+"
SHOWN = 60  # characters of an unknown name in a message


def normal(name: str) -> str:
    """Return the form in which a speaker's name is looked up: "Tool-Response:" is `tool_response`."""
    return re.sub(_GAPS, "_", name.strip(_FRAME).lower())


def known_roles(roles: Mapping[str, str]) -> dict[str, str]:
    """Return the role of every known name; those that a user gave come first."""
    return ROLE_NAMES | {normal(name): role for name, role in roles.items()}


def normal_names(names: pa.Array) -> pa.Array:
    """Do what `normal` does, for a column."""
    bare = pc.utf8_lower(pc.utf8_trim(names, characters=_FRAME))
    return pc.replace_substring_regex(bare, _GAPS, "_")


def unknown_role(name: str) -> str:
    """Describe that a name is not a known role, and how to give it one."""
    shown = name if len(name) <= SHOWN else name[:SHOWN] + "…"
    # A quote or a brace would end the flow mapping of the advice.
    example = shown if re.fullmatch(r"[\w .-]+", shown) else "NAME"
    return (
        f"is {shown!r}, which is not a known role; state which one it is, as in "
        f"--map 'roles={{{example}: user}}' (or system, assistant, tool)"
    )
