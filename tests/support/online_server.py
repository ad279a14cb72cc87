"""A server of the OpenAI API whose answers tell which weights it was started with.

    online_server.py PORT MODEL PIDS [--name NAME] [--slow N] [--load SECONDS]

An answer is a function of the weights, the prompt and the seed. The process id is appended to the file PIDS.
After N answers it prints "slow", and each takes half a second. It knows one model: the directory, or NAME.
It answers after SECONDS.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def answer(weights: bytes, prompt: str, seed: int) -> str:
    """Three digits and the first seven hexadecimal ones of the weights' hash."""
    number = hashlib.sha256(f"{prompt} {seed}".encode()).digest()[0]
    return f"{number} {weights_of(weights)}"


def weights_of(weights: bytes) -> str:
    return hashlib.sha256(weights).hexdigest()[:7]


def handler_of(weights: bytes, name: str, limit: int) -> type[BaseHTTPRequestHandler]:
    """Make the class that answers for these weights."""
    left = [limit]

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

        def do_GET(self) -> None:
            self._send({"object": "list", "data": [{"id": name, "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["model"] != name:
                self.send_error(404, f"no model {body['model']}")
                return
            left[0] -= 1
            if left[0] < 0:
                print("slow", flush=True)
                time.sleep(0.5)
            prompt = body["messages"][-1]["content"]
            choices = [
                {
                    "index": number,
                    "finish_reason": "stop",
                    "message": {
                        "role": "assistant",
                        "content": answer(weights, prompt, body["seed"] + number),
                    },
                }
                for number in range(body.get("n", 1))
            ]
            usage = {
                "prompt_tokens": 5,
                "completion_tokens": 5 * len(choices),
                "total_tokens": 5 + 5 * len(choices),
            }
            self._send(
                {"id": "x", "object": "chat.completion", "model": name, "choices": choices, "usage": usage}
            )

        def _send(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("model", type=Path)
    parser.add_argument("pids", type=Path)
    parser.add_argument("--name")
    parser.add_argument("--slow", type=int, default=10**9)
    parser.add_argument("--load", type=float, default=0)
    given = parser.parse_args()
    with given.pids.open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    weights = (given.model / "model.safetensors").read_bytes()
    print("loading weights", flush=True)
    time.sleep(given.load)
    handler = handler_of(weights, given.name or str(given.model), given.slow)
    ThreadingHTTPServer(("127.0.0.1", given.port), handler).serve_forever()


if __name__ == "__main__":
    main()
