"""The state of the strict hub: its repositories, what it has received, and the faults to come."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

TOKEN, READ_TOKEN = "hf_WriteSecret0123456789abcdefghijkl", "hf_ReadSecret0123456789abcdefghijklm"
OWNERS = ("user", "someone", "openai")  # accounts that the token may write to
LARGE = (".parquet", ".safetensors")
INVALID = "Invalid credentials in Authorization header"


@dataclass
class Repo:
    """`commits` holds the files of each commit by its id, `branches` the id of each head."""

    private: bool
    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str]
    messages: list[str] = field(default_factory=list)  # of the commits, in order
    words: dict[str, tuple[str, str]] = field(default_factory=dict)  # message and description of each commit
    parents: dict[str, str | None] = field(default_factory=dict)  # None for the first commit
    tags: dict[str, tuple[str, str]] = field(default_factory=dict)  # commit and message of each tag


@dataclass
class Fault:
    """Another or a later answer to requests whose "METHOD /path" matches."""

    pattern: str
    status: int | None = None
    times: float = 1
    skip: int = 0  # matching requests that pass first
    seconds: float = 0
    message: str = "out of order"
    then: Callable[[], Any] = lambda: None  # runs before the answer


class Hub:
    """The state of the server."""

    def __init__(self, *, large: tuple[str, ...] = LARGE) -> None:
        self.large = large
        self.endpoint = ""
        self.repos: dict[tuple[str, str], Repo] = {}
        self.store: dict[str, bytes] = {}  # large files by their sha256, committed or not
        self.received: list[str] = []  # the sha256 of each large file, in the order of arrival
        self.calls: list[str] = []  # "METHOD /path"
        self.problems: list[str] = []
        self.collections: list[dict[str, Any]] = []  # as the hub describes them
        self.open = 0  # requests that are being answered
        self.faults: list[Fault] = []
        self.lock = Lock()

    def add(self, kind: str, name: str, files: dict[str, bytes], *, private: bool = False) -> Repo:
        """Add a repository with these files in one commit of `main`."""
        repo = Repo(private, {}, {})
        self.repos[kind, name] = repo
        self.commit(repo, "main", files, "initial commit")
        return repo

    def commit(
        self, repo: Repo, branch: str, files: dict[str, bytes], message: str, description: str = ""
    ) -> str:
        repo.messages.append(message)
        content = json.dumps([len(repo.commits), {n: hashlib.sha1(b).hexdigest() for n, b in files.items()}])
        oid = hashlib.sha1(content.encode()).hexdigest()
        repo.commits[oid] = dict(files)
        repo.words[oid], repo.parents[oid] = (message, description), repo.branches.get(branch)
        repo.branches[branch] = oid
        self.store |= {sha256(content): content for name, content in files.items() if self.is_large(name)}
        return oid

    def files(self, kind: str, name: str, branch: str = "main") -> dict[str, bytes]:
        """Return the files of a branch, except those that the hub adds itself."""
        repo = self.repos[kind, name]
        head = repo.commits[repo.branches[branch]]
        return {path: content for path, content in head.items() if path != ".gitattributes"}

    def link(self, kind: str, name: str) -> str:
        return f"{self.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"

    def is_large(self, name: str) -> bool:
        return name.endswith(self.large)

    def fault(self, pattern: str, status: int | None = None, **fields: Any) -> None:
        self.faults.append(Fault(pattern, status, **fields))

    def due(self, call: str) -> Fault | None:
        """Return the next fault for this request, or None."""
        with self.lock:
            for fault in self.faults:
                if re.search(fault.pattern, call):
                    fault.skip -= 1
                    if fault.skip < 0 and fault.times > 0:
                        fault.times -= 1
                        return fault
        return None

    def expect(self, right: bool, problem: str) -> None:
        if not right:
            self.problems.append(problem)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
