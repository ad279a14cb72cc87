"""A repository on the hub as a push finds it: its name, what is in it, and what the hub refuses.

The token is huggingface_hub's: HF_TOKEN, or what `hf auth login` has kept. It goes into the header of
requests and nowhere else; whatever a library or a server says is passed on without it.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairkit.errors import HubError, InputError, PairkitError, RecipeError
from pairkit.hub.content import File, Kind
from pairkit.schema import MANIFEST

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TIMEOUT = 20.0  # seconds until the hub has answered the first question
LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


@dataclass(frozen=True)
class Repository:
    """The name of a repository, and the hub that it is on."""

    kind: Kind
    name: str
    endpoint: str
    revision: str  # a branch

    @property
    def link(self) -> str:
        prefix = "datasets/" if self.kind == "dataset" else ""
        branch = "" if self.revision == "main" else f"/tree/{self.revision}"
        return f"{self.endpoint}/{prefix}{self.name}{branch}"


@dataclass(frozen=True)
class Present:
    """What is in a repository: None for a `commit` that is not there yet, the branch or the repository."""

    exists: bool
    private: bool
    commit: str | None
    files: Mapping[str, Any]  # huggingface_hub's RepoFile by name


@dataclass(frozen=True)
class Difference:
    """What a push changes; the names in each list are in order."""

    new: list[str]
    changed: list[str]
    same: list[str]
    deleted: list[str]

    @property
    def sent(self) -> list[str]:
        return self.new + self.changed

    def __bool__(self) -> bool:
        return bool(self.sent or self.deleted)


def check_name(name: str) -> None:
    """Raises `RecipeError` for a name that the hub would refuse."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    where = f"repository name {name!r}"
    if name.startswith(("http://", "https://")) or name.count("/") != 1 or not all(name.split("/")):
        raise RecipeError(f"{where}: write user/name, the owner (you, or an organisation) and a name")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        rules = "letters, digits, '-', '_' and '.'; no '-' or '.' at an end, no '--', '..' or '.git'"
        raise RecipeError(f"{where}: the hub takes at most 96 {rules}") from error


def check_branch(name: str) -> None:
    """Raises `RecipeError` for a branch name that git would refuse."""
    if not re.fullmatch(r"[A-Za-z0-9][\w./-]*", name) or re.search(r"\.\.|//|[./]$|\.lock$", name):
        raise RecipeError(f"--revision {name!r}: not the name of a branch; write letters, digits, - and _")


def look(api: HfApi, repository: Repository) -> Present:
    """What is in the repository's branch now. Raises `HubError`."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.hf_api import RepoFile

    where: dict[str, Any] = {"repo_id": repository.name, "repo_type": repository.kind}
    try:
        try:
            found = api.repo_info(**where, timeout=TIMEOUT)
        except RepositoryNotFoundError as error:
            if status(error) == 401:  # a hub that hides what there is behind the question who asks
                raise
            return Present(False, True, None, {})
        try:
            commit = api.repo_info(**where, revision=repository.revision, timeout=TIMEOUT).sha
        except RevisionNotFoundError:
            return Present(True, bool(found.private), None, {})
        tree = api.list_repo_tree(**where, revision=commit, recursive=True)
        files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    except Exception as error:  # any of a dozen types of httpx, the hub's client and its validators
        raise refusal(repository, error) from error
    return Present(True, bool(found.private), commit, files)


def difference(files: Mapping[str, File], there: Present, stale: set[str]) -> Difference:
    """What has to be sent so that the repository holds `files`, and of `stale` ones none."""
    new = [name for name in files if name not in there.files]
    same = [name for name in files if name in there.files and _same(files[name], there.files[name])]
    changed = [name for name in files if name not in new and name not in same]
    return Difference(sorted(new), sorted(changed), sorted(same), sorted(stale & there.files.keys()))


def _same(file: File, there: Any) -> bool:
    if there.lfs is not None:
        return bool(there.lfs.sha256 == file.sha256)
    return there.size == file.bytes and bool(there.blob_id == file.git_oid())


def pushed_before(api: HfApi, repository: Repository, there: Present) -> set[str] | None:
    """The names of the files that an earlier push put there, by its manifest; None where none did."""
    if MANIFEST not in there.files or there.commit is None:
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = api.hf_hub_download(
                repository.name,
                MANIFEST,
                repo_type=repository.kind,
                revision=there.commit,
                local_dir=folder,
            )
            manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        return None
    except Exception as error:  # as above
        raise refusal(repository, error) from error
    files = manifest.get("files") if isinstance(manifest, dict) else None
    return {*files, MANIFEST} if isinstance(files, dict) else None


def status(error: BaseException) -> int | None:
    """The number with which the hub has refused; None where it has said nothing."""
    answer = _answer(error)
    return None if answer is None else int(answer.response.status_code)


def of_commit(error: BaseException) -> bool:
    """Whether it was the commit that the hub refused, for its parent, or failed to answer.

    Another one on what is there then may be made: it holds nothing twice.
    """
    answer = _answer(error)
    if answer is None or "/commit/" not in str(answer.response.url):
        return False
    code = int(answer.response.status_code)
    return code in (409, 412) or code >= 500


def refusal(repository: Repository, error: Exception) -> PairkitError:
    """What the hub, the network or the client has against a push, and what to do."""
    if isinstance(error, PairkitError):
        return error
    name, code, says = repository.name, status(error), _reason(error)
    where = f"{name} on {repository.endpoint}"
    again = "what has arrived is not sent again: give the same command later"
    busy = f"{where}: somebody else changes it at the same time; {again}"
    known = {
        401: f"{where}: the hub does not accept the token; {LOGIN}",
        403: f"{where}: the token may not write there ({says}); it needs the right to write, and "
        f"{name.split('/')[0]!r} has to be you or an organisation that lets you",
        404: f"{where}: not found ({says}); check HF_ENDPOINT",
        409: busy,
        412: busy,
        413: f"{where}: too large for the hub ({says})",
        429: f"{where}: the hub wants fewer requests ({says}); {again}",
    }
    if isinstance(error, ValueError) and "metadata in README.md" in str(error):
        return InputError(f"{where}: the hub refuses the front matter of README.md: {says}")
    if code in known:
        return HubError(known[code])
    if code is not None and code >= 500:
        return HubError(f"{where}: the hub fails ({code}), tried again and again; {again}")
    if code is not None:
        return HubError(f"{where}: the hub refuses ({code}): {says}")
    if type(error).__name__ == "OfflineModeIsEnabled":
        return HubError(f"{where}: HF_HUB_OFFLINE forbids to ask; unset it")
    if isinstance(error, ValueError | TypeError):
        return HubError(f"{where}: the hub's answer is not understood: {says}")
    return HubError(f"{where}: cannot be reached ({says}); check the network and HF_ENDPOINT; {again}")


def _answer(error: BaseException | None) -> Any:
    """The error that holds the hub's answer: this one, or what it was raised from."""
    while error is not None and getattr(error, "response", None) is None:
        error = error.__cause__
    return error


def _reason(error: BaseException) -> str:
    """What was said, in a line, without the token and without what signs an address."""
    from huggingface_hub import get_token

    told = _answer(error)
    if told is not None:
        says = getattr(told, "server_message", None) or f"status {told.response.status_code}"
    else:
        while error.__cause__ is not None:
            error = error.__cause__
        says = str(error) or type(error).__name__
    text = re.sub(r"(https?://[^\s?]+)\?\S+", r"\1", " ".join(says.split()))
    token = get_token()
    return (text.replace(token, "<token>") if token else text).rstrip(".")[:300]
