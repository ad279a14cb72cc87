"""A strict server of OpenAI's files and batches on loopback, next to its chat completions.

    PYTHONPATH=tests python -m support.batch_server --port-file FILE [--plan FILE]

A file is checked as OpenAI checks it: one request per line, to the endpoint of the batch, each with a
custom_id of its own, within the limits. What no client should send is a violation (GET /stats). A batch is
answered when it was looked at `--looks` times, by the answers that chat_server.py gives. `--plan` is a JSON
file, read at each look, of what becomes of batches by their number:
`{"1": {"status": "expired", "answer": 0.5, "lines": "wrong_ids"}, ...}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import chat_server
from support.chat_server import head, violation

# What a plan may do to the lines of the answers, each a JSON text.
LINES: dict[str, Callable[[list[str]], list[str]]] = {
    "backwards": lambda lines: lines[::-1],
    "wrong_ids": lambda lines: [
        re.sub(r'"custom_id": "\w+"', '"custom_id": "other"', lines[0]),
        *lines[1:],
    ],
    # The second time with another answer, which must not replace the first.
    "repeated": lambda lines: [
        *lines,
        *(line.replace('"content": "', '"content": "again ') for line in lines),
    ],
    "oversized": lambda lines: [lines[0][:-1] + " " * 12_000_000 + "}", *lines[1:]],
    "not_json": lambda lines: [lines[0][:-20], "[1]", '"text"', "", *lines[1:]],
    "deep": lambda lines: ["[" * 100_000, *lines],
    "wrong_n": lambda lines: [lines[0].replace('"choices": [', '"choices": [{"index": 9}, '), *lines[1:]],
    "no_id": lambda lines: [re.sub(r'"custom_id": "\w+"', '"custom_id": 7', lines[0]), *lines[1:]],
}


@dataclass
class Batches(chat_server.Server):
    plan: Path | None = None
    looks: int = 2
    most_requests: int = 50_000
    most_bytes: int = 200_000_000
    no_batches: bool = False
    lost_create: int = 0  # creations whose answer is lost
    lost_metadata: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    looked: dict[str, int] = field(default_factory=dict)

    async def respond(
        self, method: str, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        place = path.partition("?")[0]
        if not place.startswith(("/v1/files", "/v1/batches")):
            return await super().respond(method, path, headers, body, writer)
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            return await self.refuse(writer, 401, "Incorrect API key provided")
        if self.no_batches:
            return await self.send(writer, 404, {"detail": "Not Found"})
        if (method, place) == ("POST", "/v1/files"):
            return await self.upload(headers, body, writer)
        if (method, place) == ("POST", "/v1/batches"):
            return await self.create(json.loads(body), writer)
        if (method, place) == ("GET", "/v1/batches"):
            return await self.list(path, writer)
        if method == "GET" and place.endswith("/content"):
            content = self.files.get(place.split("/")[3])
            if content is None:
                return await self.refuse(writer, 404, "No such File object")
            writer.write(head(200, len(content)) + content)
            await writer.drain()
            return True
        if method == "GET" and place.startswith("/v1/batches/"):
            return await self.look(place.split("/")[3], writer)
        return await self.send(writer, 405, {"error": {"message": "Method not allowed"}})

    async def refuse(self, writer: asyncio.StreamWriter, status: int, message: str) -> bool:
        self.violations.append(message)
        return await self.send(writer, status, {"error": {"message": message}})

    async def upload(self, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        boundary = headers["content-type"].partition("boundary=")[2].strip('"').encode()
        parts = dict(map(_part, body.split(b"--" + boundary)[1:-1]))
        if parts.get("purpose") != b"batch" or "file" not in parts:
            return await self.refuse(writer, 400, "not a file of a batch")
        if len(parts["file"]) > self.most_bytes:
            return await self.refuse(writer, 400, "the file is too large")
        name = f"file-{len(self.files)}"
        self.files[name] = parts["file"]
        return await self.send(writer, 200, {"id": name, "object": "file", "purpose": "batch"})

    async def create(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        if asked.keys() - {"metadata"} != {"input_file_id", "endpoint", "completion_window"}:
            return await self.refuse(writer, 400, f"wrong fields {sorted(asked)}")
        if asked["endpoint"] != "/v1/chat/completions" or asked["completion_window"] != "24h":
            return await self.refuse(writer, 400, "wrong endpoint or window")
        if asked["input_file_id"] not in self.files:
            return await self.refuse(writer, 400, "no such file")
        if any(batch["input_file_id"] == asked["input_file_id"] for batch in self.batches.values()):
            self.violations.append("a file was submitted twice")
        if wrong := self.wrong(self.files[asked["input_file_id"]]):
            return await self.refuse(writer, 400, wrong)
        name = f"batch_{len(self.batches) + 1}"
        made = {
            "id": name,
            "object": "batch",
            "status": "validating",
            "number": len(self.batches) + 1,
            **asked,
        }
        if self.lost_metadata:
            del made["metadata"]
        self.batches[name] = made
        if self.lost_create:
            self.lost_create -= 1
            writer.transport.abort()
            return False
        return await self.send(writer, 200, made)

    def wrong(self, content: bytes) -> str | None:
        """Return what is wrong with the file of a batch."""
        lines = content.decode().split("\n")
        if lines.pop() != "" or not lines or len(lines) > self.most_requests:
            return f"{len(lines)} requests"
        asked = [json.loads(line) for line in lines]
        if len({each["custom_id"] for each in asked}) < len(asked):
            return "a custom_id occurs twice"
        for each in asked:
            if each.keys() != {"custom_id", "method", "url", "body"} or len(each["custom_id"]) > 64:
                return f"wrong line {sorted(each)}"
            if (each["method"], each["url"]) != ("POST", "/v1/chat/completions"):
                return "wrong method or url"
            if wrong := violation(each["body"], self.schemas and each["body"].get("response_format")):
                return wrong
            if each["body"]["model"] != self.model:
                return "wrong model"
        return None

    async def list(self, path: str, writer: asyncio.StreamWriter) -> bool:
        newest = list(self.batches.values())[::-1]
        after = re.search(r"after=(\w+)", path)
        begin = [each["id"] for each in newest].index(after[1]) + 1 if after else 0
        page = newest[begin : begin + 2]  # small, so that there are pages
        return await self.send(
            writer, 200, {"object": "list", "data": page, "has_more": len(newest) > begin + 2}
        )

    async def look(self, name: str, writer: asyncio.StreamWriter) -> bool:
        if name not in self.batches:
            return await self.refuse(writer, 404, f"No batch found with id '{name}'")
        batch = self.batches[name]
        self.looked[name] = self.looked.get(name, 0) + 1
        planned = json.loads(self.plan.read_text()) if self.plan and self.plan.exists() else {}
        step = planned.get(str(batch["number"]), planned.get("*", {}))
        if batch["status"] in ("validating", "in_progress"):
            batch["status"] = "in_progress"
            if self.looked[name] >= self.looks and step.get("status") != "in_progress":
                self.finish(batch, step)
        return await self.send(writer, 200, batch)

    def finish(self, batch: dict[str, Any], step: dict[str, Any]) -> None:
        status = batch["status"] = step.get("status", "completed")
        asked = [json.loads(line) for line in self.files[batch["input_file_id"]].decode().splitlines()]
        if status == "failed":
            code = step.get("code", "invalid_request")
            batch["errors"] = {"object": "list", "data": [{"code": code, "message": "It cannot be run."}]}
            return
        answered = asked[: round(len(asked) * step.get("answer", 1))]
        lines = [json.dumps(self.line(each)) for each in answered]
        lines = LINES[step["lines"]](lines) if "lines" in step else lines
        code = {"expired": "batch_expired", "cancelled": "batch_cancelled"}.get(status, "server_error")
        errors = [
            json.dumps({"custom_id": each["custom_id"], "response": None, "error": {"code": code}})
            for each in asked[len(answered) :]
        ]
        for field_, content in (("output_file_id", lines), ("error_file_id", errors)):
            if content and not step.get("lose"):
                name = f"file-{len(self.files)}"
                self.files[name] = "\n".join([*content, ""]).encode("utf-8", "surrogatepass")
                batch[field_] = name
        batch["request_counts"] = {"total": len(asked), "completed": len(answered), "failed": len(errors)}
        for each in answered:
            self.answered[json.dumps(each["body"])] += 1

    def line(self, asked: dict[str, Any]) -> dict[str, Any]:
        body = self.answer(asked["body"])
        response = {"status_code": 200, "request_id": "r", "body": body}
        if "[refused in batches]" in asked["body"]["messages"][-1]["content"]:
            response = {"status_code": 400, "request_id": "r", "body": {"error": {"message": "No."}}}
        return {"id": "x", "custom_id": asked["custom_id"], "response": response, "error": None}

    def stats(self) -> dict[str, Any]:
        lines = {name: self.files[each["input_file_id"]].count(b"\n") for name, each in self.batches.items()}
        return {**super().stats(), "batches": lines}


def _part(part: bytes) -> tuple[str, bytes]:
    about, _, content = part.partition(b"\r\n\r\n")
    name = re.search(rb'name="(\w+)"', about)
    return (name[1].decode() if name else "", content.removesuffix(b"\r\n"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--plan", type=Path)
    for name in ("looks", "most_requests", "most_bytes", "lost_create"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Batches, name))
    for name in ("judge", "longest", "schemas", "no_batches", "lost_metadata"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--key")
    parser.add_argument("--model", default=Batches.model)
    arguments = vars(parser.parse_args())
    port_file = arguments.pop("port_file")
    asyncio.run(chat_server.serve(Batches(**arguments), port_file))


if __name__ == "__main__":
    main()
