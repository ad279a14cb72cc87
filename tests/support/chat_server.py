"""A strict server of OpenAI's chat completions on loopback that fails on request.

    PYTHONPATH=tests python -m support.chat_server --port-file FILE [--faults 0.2] [--latency 0.2]

It replaces a vendor's API, which a test cannot call. The answer is a function of the request alone, and so is
the failure: a faulty body fails in its own way for its own number of tries (always, if it is among
`--hopeless`), and is then answered like any other. A prompt may name its fault: "[429 for 2 tries]"; faults
are those here and the attacks of hostile.py. GET /stats returns what happened so far. Requests that no client
should send (unknown fields, seeds out of range) are refused and counted as violations.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import os
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.hostile import ANSWERED, ATTACKS

FAULTS = (
    "429",
    "429_after",
    "500",
    "503_date",
    "hang",
    "reset",
    "half",
    "invalid_json",
    "no_choice",
    "empty_choice",
    "wrong_n",
)
FIELDS = {
    "model", "messages", "temperature", "top_p", "max_tokens", "seed", "n", "stop",
    "tools", "chat_template_kwargs", "logprobs", "top_logprobs",
}  # fmt: skip
# The fields of a message besides role and content.
MESSAGE_FIELDS = {
    "system": set(),
    "user": set(),
    "assistant": {"tool_calls", "reasoning_content"},
    "tool": {"tool_call_id", "name"},
}
# Texts that break readers which split lines like str.splitlines, and other valid but unusual texts.
ODD = (
    "a\u2028b",
    "c\u2029d",
    "e\x85f",
    "g\x0bh\x0ci",
    "\u202ej",
    "k\r\nl",
    "🙂",
    '"quoted" \\ back',
    "[[A]]",
)


@dataclass
class Server:
    model: str = "tiny"
    key: str | None = None
    faults: float = 0.0
    hopeless: float = 0.0
    latency: float = 0.0
    hang: float = 30.0
    kinds: tuple[str, ...] = FAULTS
    judge: bool = False
    longest: bool = False
    schemas: bool = False  # whether it enforces the form of answers
    tries: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    misbehaved: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)  # the body of the last request that was answered
    flying: int = 0
    most_flying: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                method, path, _ = lines[0].split(" ")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self.respond(method, path, headers, body, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed the connection
        finally:
            writer.close()

    async def respond(
        self, method: str, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer a request; return whether the connection stays open."""
        if (method, path) == ("GET", "/stats"):
            return await self.send(writer, 200, self.stats())
        if "cookie" in headers:
            self.violations.append("a cookie")
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            message = f"Incorrect API key provided: {headers.get('authorization')}"
            return await self.send(writer, 401, {"error": {"message": message}})
        if (method, path) == ("GET", "/v1/models"):
            return await self.send(writer, 200, {"object": "list", "data": [{"id": self.model}]})
        if (method, path) != ("POST", "/v1/chat/completions"):
            return await self.send(writer, 404, {"detail": "Not Found"})
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        try:
            return await self.chat(body, writer)
        finally:
            self.flying -= 1

    async def chat(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        request = json.loads(body)
        form = request.get("response_format") if self.schemas else None
        wrong = violation(request, form)
        if wrong:
            self.violations.append(wrong)
            return await self.send(writer, 400, {"error": {"message": wrong}})
        if request["model"] != self.model:
            message = f"The model `{request['model']}` does not exist."
            return await self.send(writer, 404, {"error": {"message": message, "code": 404}})
        name = hashlib.sha256(body).hexdigest()
        self.tries[name] += 1
        dice = random.Random(name)
        fails = dice.random() < self.faults
        forever = dice.random() < self.hopeless
        kind, times = dice.choice(self.kinds), dice.choice((1, 1, 1, 2, 3))
        if named := re.search(r"\[(\w+) for (\d+) tries\]", request["messages"][-1]["content"]):
            fails, kind, times = True, named[1], int(named[2])
        if forever or (fails and self.tries[name] <= times):
            self.misbehaved[kind] += 1
            return await self.misbehave(kind, request, writer)
        if self.latency:
            await asyncio.sleep(self.latency)
        self.answered[name] += 1
        self.last = request
        return await self.send(writer, 200, self.answer(request))

    async def misbehave(self, kind: str, request: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        error = {"error": {"message": f"misbehaving: {kind}"}}
        if kind in ("429", "429_after"):
            after = {"retry-after": "0.05"} if kind == "429_after" else {}
            return await self.send(writer, 429, error, **after)
        if kind == "500":
            return await self.send(writer, 500, error)
        if kind == "503_date":
            return await self.send(writer, 503, error, **{"retry-after": "Thu, 01 Jan 2026 00:00:00 GMT"})
        if kind == "hang":
            await asyncio.sleep(self.hang)
            return False
        if kind == "reset":
            writer.transport.abort()
            return False
        whole = self.answer(request)
        if kind in ATTACKS:
            for part in ATTACKS[kind](whole):
                if isinstance(part, bytes):
                    writer.write(part)
                    await writer.drain()
                else:
                    await asyncio.sleep(part)
            return kind in ANSWERED
        if kind == "half":
            content = json.dumps(whole).encode()
            writer.write(head(200, len(content)) + content[: len(content) // 2])
            await writer.drain()
            return False
        if kind == "invalid_json":
            content = json.dumps(whole).encode()[:-7]
            writer.write(head(200, len(content)) + content)
            await writer.drain()
            return True
        if kind == "no_choice":
            whole["choices"] = []
        elif kind == "empty_choice":
            whole["choices"][0] = {"index": 0}
        elif kind == "wrong_n":
            whole["choices"].append(whole["choices"][0])
        return await self.send(writer, 200, whole)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        return answer(request, judge=self.judge, longest=self.longest)

    async def send(self, writer: asyncio.StreamWriter, status: int, content: Any, **headers: str) -> bool:
        data = json.dumps(content).encode()
        writer.write(head(status, len(data), **headers) + data)
        await writer.drain()
        return True

    def stats(self) -> dict[str, Any]:
        return {
            "tries": sum(self.tries.values()),
            "bodies": len(self.tries),
            "answered": len(self.answered),
            "answered_again": sum(count - 1 for count in self.answered.values()),
            "misbehaved": dict(self.misbehaved),
            "violations": self.violations,
            "most_flying": self.most_flying,
            "last": self.last,
        }


def head(status: int, length: int, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def violation(request: dict[str, Any], form: Any = None) -> str | None:
    """Return what is wrong with a request; `form`: that of its answer, if it may have one."""
    unknown = request.keys() - FIELDS - ({"response_format"} if form else set())
    if unknown:
        return f"unknown fields {sorted(unknown)}"
    if not request["messages"] or request["messages"][-1]["role"] not in ("user", "tool"):
        return "the messages do not end in the turn of a user or a tool"
    for message in request["messages"]:
        extra = message.keys() - {"role", "content"} - MESSAGE_FIELDS[message["role"]]
        if extra or not isinstance(message["content"], str):
            return f"not a message of {message['role']}: {message}"
        if not all(map(whole_call, message.get("tool_calls", ()))):
            return f"not calls: {message['tool_calls']}"
    for tool in request.get("tools", ()):
        if tool["type"] != "function" or not isinstance(tool["function"]["name"], str):
            return f"not a tool: {tool}"
    for name in ("tools", "chat_template_kwargs"):
        if not request.get(name, True):
            return f"{name} is empty"
    if request.get("logprobs") and not 0 <= request.get("top_logprobs", 0) <= 20:
        return "top_logprobs out of range"
    if form and (wrong := wrong_form(form)):
        return wrong
    if not 0 <= request.get("seed", 0) < 2**53:
        return "seed out of range"
    if not 0 <= request["temperature"] <= 2 or not 0 < request["top_p"] <= 1:
        return "sampling out of range"
    return None


def wrong_form(form: Any) -> str | None:
    """Return what OpenAI refuses of a form: with `strict`, every key is required and no other allowed."""
    about = form.get("json_schema", {})
    schema = about.get("schema", {})
    if form.keys() != {"type", "json_schema"} or form["type"] != "json_schema":
        return f"not a form: {form}"
    if not re.fullmatch(r"[\w-]{1,64}", about.get("name", "")) or about.get("strict") is not True:
        return "Invalid schema for response_format: no name, or not strict"
    if schema["required"] != list(schema["properties"]) or schema["additionalProperties"] is not False:
        return "Invalid schema for response_format: all keys must be required"
    return None


def whole_call(call: Any) -> bool:
    return (
        call.keys() == {"id", "type", "function"}
        and call["type"] == "function"
        and call["function"].keys() == {"name", "arguments"}
        and isinstance(json.loads(call["function"]["arguments"]), dict)
    )


def answer(request: dict[str, Any], *, judge: bool = False, longest: bool = False) -> dict[str, Any]:
    """Answer with texts that are a function of the request: words, some unusual, and a number at the end."""
    choices, tokens = [], 0
    for index in range(request.get("n", 1)):
        dice = random.Random(f"{json.dumps(request, sort_keys=True)}/{index}")
        if judge:
            content, reason = verdict(request["messages"][-1]["content"], dice, longest=longest)
            if "response_format" in request:
                written = in_form(request["response_format"]["json_schema"]["schema"], content)
                content = written if reason == "stop" else written[:-12]
        else:
            content, reason = text(request, dice)
        tokens += len(content.split())
        message = {"role": "assistant", "content": content, "refusal": None}
        if request.get("chat_template_kwargs", {}).get("enable_thinking"):
            message["reasoning_content"] = f"Thought {index}."
        if "tools" in request:  # it always calls the first
            reason = "tool_calls"
            message |= {"content": None, "tool_calls": [call(request)]}
        choice = {"index": index, "message": message, "finish_reason": reason}
        if request.get("top_logprobs"):
            choice["logprobs"] = logprobs(content, request["top_logprobs"])
        choices.append(choice)
    dice = random.Random(json.dumps(request, sort_keys=True))
    dice.shuffle(choices)  # a server may return them in any order
    prompt = sum(len(message["content"].split()) for message in request["messages"])
    usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
    return {"id": "x", "object": "chat.completion", "choices": choices, "usage": usage}


def call(request: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps({"query": request["messages"][-1]["content"]})
    function = {"name": request["tools"][0]["function"]["name"], "arguments": arguments}
    return {"index": 0, "id": "call_1", "type": "function", "function": function}


def text(request: dict[str, Any], dice: random.Random) -> tuple[str, str]:
    if dice.random() < 0.01:
        return "", "stop"
    words = [dice.choice(("so", "then", "we", "add", "carry", *ODD)) for _ in range(dice.randint(3, 20))]
    sums = re.findall(r"\d+", request["messages"][-1]["content"])
    number = sum(map(int, sums[:2])) if dice.random() < 0.5 else dice.randint(0, 99)
    return f"{' '.join(words)}\n#### {number}", "length" if dice.random() < 0.02 else "stop"


def logprobs(content: str, count: int) -> dict[str, Any]:
    """Return what OpenAI returns for the first token, here the first letter, in no order."""
    other = {"m": "M", "M": "m"}.get(content[:1], "?")
    top = [
        (other, math.log(0.2)),
        (content[:1], math.log(0.7)),
        ("The", math.log(0.06)),
        ("A", math.log(0.04)),
    ]
    listed = [{"token": token, "logprob": value, "bytes": list(token.encode())} for token, value in top]
    first = {"token": content[:1], "logprob": top[1][1], "top_logprobs": listed[:count]}
    return {"content": [first], "refusal": None}


def verdict(question: str, dice: random.Random, *, longest: bool) -> tuple[str, str]:
    """Prefer the larger number after `####`, else the first, or the longer text; quote both texts.

    One verdict in fifty is cut off. AlpacaEval's question is answered by the letter of the longer text,
    Arena-Hard's by its label, which is missing at first in one of four.
    """
    if shown := re.findall(r'"output": """(.*?)"""', question, re.DOTALL):
        return "M" if len(shown[1]) > len(shown[0]) else "m", "length"
    if shown := re.findall(r"Start of Assistant .'s Answer\|>\n(.*?)\n<\|The End of", question, re.DOTALL):
        label = "B>>A" if len(shown[1]) > len(shown[0]) else "A>>B"
        return ("I cannot decide." if dice.random() < 0.25 else f"So [[{label}]]."), "stop"
    if question.startswith("continue your judgment"):
        return "[[A=B]]", "stop"
    texts = re.findall(r"\[begin ([0-9a-f]{8})\]\n(.*?)\n\[end \1\]", question, re.DOTALL)
    numbers = [int((re.findall(r"#### (\d+)", content) or [0])[-1]) for _, content in texts[1:]]
    values = [len(content) for _, content in texts[1:]] if longest else numbers
    if len(values) == 1:  # a rating of one text
        return f"{texts[1][1]}\n<rating>{1 + values[0] // 7 % 5}</rating>", "stop"
    better = "B" if values[1] > values[0] else "A"
    content = f"{texts[1][1]}\n{texts[2][1]}\nSo:\n<verdict>{better}</verdict>"
    return (content[:-12], "length") if dice.random() < 0.02 else (content, "stop")


def in_form(schema: dict[str, Any], content: str) -> str:
    """Write a verdict as JSON of that schema; the explanation has all of the answer that it is in."""
    assert set(schema["properties"]) == {"explanation", "verdict"}
    (label,) = re.findall("<verdict>([AB])", content + "<verdict>A")[:1]
    return json.dumps({"explanation": content, "verdict": label})


async def serve(server: Server, port_file: Path) -> None:
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0, backlog=512)
    port = listening.sockets[0].getsockname()[1]
    temporary = port_file.with_suffix(".part")
    temporary.write_text(str(port))
    os.replace(temporary, port_file)
    async with listening:
        await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=list(FAULTS), choices=[*FAULTS, *ATTACKS])
    for name, kind in (("faults", float), ("hopeless", float), ("latency", float), ("hang", float)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Server, name))
    for name in ("model", "key"):
        parser.add_argument(f"--{name}", default=getattr(Server, name))
    for name in ("judge", "longest", "schemas"):
        parser.add_argument(f"--{name}", action="store_true")
    arguments = vars(parser.parse_args())
    port_file = arguments.pop("port_file")
    asyncio.run(serve(Server(**arguments | {"kinds": tuple(arguments["kinds"])}), port_file))


if __name__ == "__main__":
    main()
