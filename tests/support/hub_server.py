"""A strict hub on loopback: it answers only requests that it was set up for, and checks everything.

It implements the part of the hub's interface that reading, and publishing without Xet, need. Every call needs
the bearer token, except for the signed address of a large file, which must not get it. Uploads are compared
with the announced sha256 and size, and a commit's parent with the head. Anything that a client of the hub
would not do becomes a line of `problems`.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from support import hub_names
from support.hub_state import INVALID, OWNERS, READ_TOKEN, TOKEN, Hub, Repo, git_oid, sha256
from support.serving import Handler as Answering
from support.serving import listening


class Handler(Answering):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined]

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.reply(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def refuse(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        payload = {"X_Error_Message": message, **headers} | ({"X_Error_Code": code} if code else {})
        self.json({"error": message}, status, **payload)

    def answer(self) -> None:
        with self.hub.lock:
            self.hub.open += 1
        try:
            self._answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client was killed while it waited for the answer
        finally:
            with self.hub.lock:
                self.hub.open -= 1

    def _answer(self) -> None:
        announced = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(announced)
        if len(self.body) < announced:  # the client was killed while it sent: nobody waits for an answer
            self.close_connection = True
            return None
        url = urlsplit(self.path)
        call = f"{self.command} {unquote(url.path)}"
        with self.hub.lock:
            self.hub.calls.append(call)
        fault = self.hub.due(call)
        if fault is not None:
            fault.then()
            time.sleep(fault.seconds)
            if fault.status is not None:
                return self.refuse(fault.status, fault.message)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if self.command == "PUT" and parts[0] == "storage":
            return self.receive(parts[1], parse_qs(url.query))
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.token not in (TOKEN, READ_TOKEN):
            reading = self.command in ("GET", "HEAD")
            return self.refuse(401, INVALID, "RepoNotFound" if reading else None)
        self.query = parse_qs(url.query)
        return self.route(parts)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def route(self, parts: list[str]) -> None:
        writes = {
            ("api", "repos", "create"): self.create,
            ("api", "validate-yaml"): self.validate_yaml,
            ("api", "verify"): self.verify,
        }
        if self.command == "POST" and tuple(parts) in writes:
            return writes[tuple(parts)](json.loads(self.body))
        if parts[-4:] == ["info", "lfs", "objects", "batch"] and self.command == "POST":
            return self.batch(json.loads(self.body))
        if parts[:2] == ["api", "collections"]:
            return hub_names.collections(self, parts[2:])
        if parts[0] == "api" and parts[1] in ("datasets", "models") and len(parts) >= 4:
            kind = parts[1].removesuffix("s")
            return self.repository(kind, "/".join(parts[2:4]), parts[4:])
        kind = "dataset" if parts[0] == "datasets" else "model"
        where = parts[1:] if kind == "dataset" else parts
        if len(where) > 3 and where[2] == "resolve" and self.command in ("GET", "HEAD"):
            return self.resolve(kind, "/".join(where[:2]), where[3], "/".join(where[4:]))
        return self.unexpected()

    def unexpected(self) -> None:
        """Refuse a request that no test expects."""
        self.hub.problems.append(f"{self.command} {self.path}")
        self.refuse(404, "no such route")

    # Reading

    def repository(self, kind: str, name: str, rest: list[str]) -> None:
        repo = self.hub.repos.get((kind, name))
        if repo is None:
            return self.refuse(404, "Repository not found", "RepoNotFound")
        if self.command == "POST":
            return self.write(repo, name, kind, rest)
        if not rest or rest[0] == "revision":
            return self.describe(repo, name, rest[1] if rest else "main")
        if rest == ["refs"]:
            return hub_names.references(self, repo)
        commit = repo.branches.get(rest[1], rest[1])
        if rest[0] == "commits" and commit in repo.commits:
            return hub_names.history(self, repo, commit)
        if rest[0] == "tree" and commit in repo.commits:
            recursive = self.query.get("recursive", [""])[0].lower() == "true"
            return self.tree(repo.commits[commit], "/".join(rest[2:]), recursive)
        return self.unexpected()

    def describe(self, repo: Repo, name: str, revision: str) -> None:
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            return self.refuse(404, "Invalid rev id", "RevisionNotFound")
        files = [{"rfilename": file} for file in repo.commits[commit]]
        about = {"id": name, "sha": commit, "private": repo.private, "tags": [], "siblings": files}
        return self.json(about)

    def tree(self, files: dict[str, bytes], folder: str, recursive: bool) -> None:
        prefix = folder + "/" if folder else ""
        entries: dict[str, Any] = {}
        for file, content in files.items():
            if file.startswith(prefix):
                *folders, _ = file.removeprefix(prefix).split("/")
                if folders:
                    path = prefix + folders[0]
                    entries[path] = {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
                if not folders or recursive:
                    entries[file] = self.entry(file, content)
        if folder and not entries:
            return self.refuse(404, "no entry", "EntryNotFound")
        return self.json([*entries.values()])

    def entry(self, file: str, content: bytes) -> dict[str, Any]:
        about = {"type": "file", "path": file, "oid": git_oid(content), "size": len(content)}
        if self.hub.is_large(file):
            about["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
        return about

    def resolve(self, kind: str, name: str, revision: str, file: str) -> None:
        repo = self.hub.repos.get((kind, name))
        if repo is None:
            return self.refuse(404, "Repository not found", "RepoNotFound")
        revision = repo.branches.get(revision, revision)
        if revision not in repo.commits:
            return self.unexpected()
        content = repo.commits[revision].get(file)
        if content is None:
            return self.refuse(404, "no entry", "EntryNotFound", X_Repo_Commit=revision)
        etag = sha256(content) if self.hub.is_large(file) else git_oid(content)
        headers = {"ETag": f'"{etag}"', "X_Repo_Commit": revision, "Accept_Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            return self.reply(200, content, **headers)
        first, last = int(asked[1]), int(asked[2] or len(content) - 1)
        part = content[first : last + 1]
        where = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        return self.reply(206, part, Content_Range=where, **headers)

    # Writing

    def may_write(self, name: str) -> bool:
        if self.token == TOKEN and name.split("/")[0] in OWNERS:
            return True
        self.refuse(403, "you don't have the rights")
        return False

    def create(self, wanted: dict[str, Any]) -> None:
        name, kind = f"{wanted['organization']}/{wanted['name']}", wanted.get("type", "model")
        self.hub.expect(kind in ("dataset", "model"), f"a repository of type {kind!r}")
        if not self.may_write(name):
            return None
        if (kind, name) in self.hub.repos:
            return self.refuse(409, "You already created this repo")
        private = wanted.get("visibility") == "private" or wanted.get("private") is True
        self.hub.add(kind, name, {".gitattributes": b"*.parquet filter=lfs\n"}, private=private)
        return self.json({"url": self.hub.link(kind, name)})

    def validate_yaml(self, card: dict[str, str]) -> None:
        try:
            front = yaml.safe_load(card["content"].split("---\n")[1])
            wrong = [] if isinstance(front, dict) else ["is no mapping"]
            license = front.get("license")
            if license is not None and not re.fullmatch(r"[a-z0-9.-]+", license):
                wrong.append('"license" must be one of the known ones')
        except (yaml.YAMLError, IndexError):
            wrong = ["cannot be read"]
        payload = {"errors": [{"message": line} for line in wrong], "warnings": []}
        return self.json(payload, 400 if wrong else 200)

    def batch(self, wanted: dict[str, Any]) -> None:
        name = "/".join(self.path.split(".git/")[0].strip("/").split("/")[-2:])
        if not self.may_write(name):
            return None
        self.hub.expect(
            wanted["operation"] == "upload" and wanted["hash_algo"] == "sha256", f"a batch: {wanted}"
        )
        objects = []
        for one in wanted["objects"]:
            payload = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.store:
                payload["actions"] = {
                    "upload": {"href": f"{self.hub.endpoint}/storage/{one['oid']}?signature={one['size']}"},
                    "verify": {"href": f"{self.hub.endpoint}/api/verify"},
                }
            objects.append(payload)
        return self.json({"transfer": "basic", "objects": objects})

    def receive(self, oid: str, query: dict[str, list[str]]) -> None:
        self.hub.expect(self.headers.get("Authorization") is None, f"the storage got a token: {oid}")
        if sha256(self.body) != oid or str(len(self.body)) != query["signature"][0]:
            self.hub.problems.append(f"{oid} is not what arrived")
            return self.refuse(400, "not what was announced")
        with self.hub.lock:
            self.hub.store[oid] = self.body
            self.hub.received.append(oid)
        return self.reply(200)

    def verify(self, payload: dict[str, Any]) -> None:
        there = self.hub.store.get(payload["oid"])
        right = there is not None and len(there) == payload["size"]
        self.hub.expect(right, f"verified but not there: {payload}")
        return self.json({}, 200 if right else 404)

    def write(self, repo: Repo, name: str, kind: str, rest: list[str]) -> None:
        if not self.may_write(name):
            return None
        if len(rest) == 2 and rest[0] == "tag":
            return hub_names.tag(self, repo, rest[1])
        if len(rest) == 2 and rest[0] in ("preupload", "commit", "branch"):
            if rest[0] != "branch" and rest[1] not in repo.branches:
                return self.refuse(404, "Invalid rev id", "RevisionNotFound")
            return {"preupload": self.preupload, "commit": self.take, "branch": self.branch}[rest[0]](
                repo, rest[1]
            )
        return self.unexpected()

    def branch(self, repo: Repo, branch: str) -> None:
        if branch in repo.branches:
            return self.refuse(409, "Reference already exists")
        repo.branches[branch] = repo.branches["main"]
        return self.json({}, 201)

    def preupload(self, repo: Repo, branch: str) -> None:
        files, payload = repo.commits[repo.branches[branch]], []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            here = files.get(path)
            large = self.hub.is_large(path)
            about = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if here is not None:
                about["oid"] = sha256(here) if large else git_oid(here)
            payload.append(about)
        return self.json({"files": payload})

    def take(self, repo: Repo, branch: str) -> None:
        """Apply a commit, completely or not at all."""
        header, *operations = (json.loads(line) for line in self.body.splitlines())
        head = repo.branches[branch]
        parent = header["value"].get("parentCommit")
        self.hub.expect(
            header["key"] == "header" and bool(header["value"]["summary"]), "a commit without header"
        )
        self.hub.expect(parent is not None, "a commit that names no parent")
        if parent != head:
            return self.refuse(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.commits[head])
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "deletedFile":
                self.hub.expect(files.pop(value["path"], None) is not None, f"deleted twice: {value}")
            elif operation["key"] == "lfsFile":
                content = self.hub.store.get(value["oid"])
                if content is None or (value["algo"], value["size"]) != ("sha256", len(content)):
                    self.hub.problems.append(f"committed but not there: {value}")
                    return self.refuse(400, "an object is missing")
                files[value["path"]] = content
            else:
                self.hub.expect((operation["key"], value["encoding"]) == ("file", "base64"), str(operation))
                self.hub.expect(
                    not self.hub.is_large(value["path"]), f"large, in the commit: {value['path']}"
                )
                files[value["path"]] = base64.b64decode(value["content"], validate=True)
        self.hub.expect(files != repo.commits[head], "an empty commit")
        oid = self.hub.commit(repo, branch, files, header["value"]["summary"], header["value"]["description"])
        kind, _, rest = self.path.removeprefix("/api/").partition("/")
        address = self.hub.link(kind.removesuffix("s"), rest.split("/commit/")[0])
        return self.json({"success": True, "commitOid": oid, "commitUrl": f"{address}/commit/{oid}"})


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the hub at an address of its own, its `endpoint`."""
    with listening(Handler) as server:
        server.hub = hub  # type: ignore[attr-defined]
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        yield hub


def environment(hub: Hub, home: Path, *, token: str = TOKEN, **more: str) -> dict[str, str]:
    """Return the environment of a process whose libraries use this hub alone, with an empty cache."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **more,
    }


def process(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in this environment, which libraries read when they are imported."""
    command = [sys.executable, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
