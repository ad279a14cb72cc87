"""A repository on the hub: its name, its current content, and the errors of the hub.

The token is huggingface_hub's: HF_TOKEN, or the one that `hf auth login` stored. It is sent in the header of
requests and nowhere else; messages of libraries and servers are repeated without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pairkit.errors import HubError, InputError, PairkitError, RecipeError
from pairkit.hub.content import File, Kind

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TIMEOUT = 20.0  # seconds until the hub answers the first request
# Bytes. Git writes a reference to a file of that name and .lock, and file systems allow 255.
_LONGEST_REFERENCE = 250
LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token with write access"


@dataclass(frozen=True)
class Repository:
    """The name of a repository, its branch, and the hub that it is on."""

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
    """The content of a repository; `commit` is None if the repository or the branch does not exist yet."""

    exists: bool
    private: bool
    commit: str | None
    files: Mapping[str, Any]  # huggingface_hub's RepoFile by name


@dataclass(frozen=True)
class Difference:
    """The changes that a push makes; the names in each list are sorted."""

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
    """Raise `RecipeError` for a name that the hub would refuse."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    where = f"repository name {name!r}"
    if name.startswith(("http://", "https://")) or name.count("/") != 1 or not all(name.split("/")):
        raise RecipeError(f"{where}: write user/name, where user is you or an organization")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        rules = "letters, digits, '-', '_' and '.'; no '-' or '.' at an end, no '--', '..' or '.git'"
        raise RecipeError(f"{where}: the hub allows at most 96 {rules}") from error


def check_reference(flag: str, name: str) -> None:
    """Raise `RecipeError` for the name of a branch or a tag that git would refuse."""
    # The rules of `git check-ref-format` that a person may break by accident.
    if not re.fullmatch(r"[A-Za-z0-9][\w./-]*", name) or re.search(r"\.\.|//|[./]$|\.lock$", name):
        kind = "branch" if flag == "--revision" else "tag"
        raise RecipeError(f"{flag} {name!r}: not a valid {kind} name; use letters, digits, - and _")
    if len(name.encode()) > _LONGEST_REFERENCE:
        raise RecipeError(
            f"{flag} {name[:20] + '...'!r}: {len(name.encode())} bytes are too many for the name of a git "
            f"reference; use at most {_LONGEST_REFERENCE}"
        )


def look(api: HfApi, repository: Repository) -> Present:
    """Read the current content of the repository's branch. Raises `HubError`."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.hf_api import RepoFile

    where: dict[str, Any] = {"repo_id": repository.name, "repo_type": repository.kind}
    try:
        try:
            repo = api.repo_info(**where, timeout=TIMEOUT)
        except RepositoryNotFoundError as error:
            if status(error) == 401:  # because the hub hides what exists from a token that it does not accept
                raise
            return Present(False, True, None, {})
        try:
            commit = api.repo_info(**where, revision=repository.revision, timeout=TIMEOUT).sha
        except RevisionNotFoundError:
            return Present(True, bool(repo.private), None, {})
        # By commit and not by branch, which may move between two pages of the list.
        tree = api.list_repo_tree(**where, revision=commit, recursive=True)
        files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    except Exception as error:  # any of a dozen types of httpx, the hub's client and its validators
        raise refusal(repository, error) from error
    return Present(True, bool(repo.private), commit, files)


def difference(files: Mapping[str, File], there: Present, stale: set[str]) -> Difference:
    """Compute the changes after which the repository holds `files` and none of the `stale` ones."""
    new = [name for name in files if name not in there.files]
    same = [name for name in files if name in there.files and is_same(files[name], there.files[name])]
    changed = [name for name in files if name not in new and name not in same]
    return Difference(sorted(new), sorted(changed), sorted(same), sorted(stale & there.files.keys()))


def is_same(file: File, there: Any) -> bool:
    """Tell whether a file is equal to one on the hub, which huggingface_hub's RepoFile describes."""
    if there.lfs is not None:
        return bool(there.lfs.sha256 == file.sha256)
    # The size first, because git's id needs the whole content.
    return there.size == file.bytes and bool(there.blob_id == file.git_oid())


def status(error: BaseException) -> int | None:
    """Return the status code of the hub's answer; None if it did not answer."""
    answer = _answer(error)
    return None if answer is None else int(answer.response.status_code)


def of_commit(error: BaseException) -> bool:
    """Tell whether the commit itself was refused for its parent, or its answer was lost.

    The push may then compare and commit again, because a commit that did arrive makes no difference.
    """
    answer = _answer(error)
    if answer is None or "/commit/" not in str(answer.response.url):
        return False
    code = int(answer.response.status_code)
    return code in (409, 412) or code >= 500


def refusal(repository: Repository, error: Exception) -> PairkitError:
    """Turn an error of the hub, the network or the client into one that says what to do."""
    if isinstance(error, PairkitError):
        return error
    name, code, reason = repository.name, status(error), _reason(error)
    where = f"{name} on {repository.endpoint}"
    again = "run the same command later: files that arrived are not sent again"
    conflict = f"{where}: somebody else is changing the repository at the same time; {again}"
    by_code = {
        401: f"{where}: the hub does not accept the token; {LOGIN}",
        403: f"{where}: the token has no write access ({reason}); use a token that has it, and an owner "
        f"that is you or an organization where you may write (got {name.split('/')[0]!r})",
        404: f"{where}: not found ({reason}); check HF_ENDPOINT",
        409: conflict,
        412: conflict,
        413: f"{where}: too large for the hub ({reason})",
        429: f"{where}: too many requests ({reason}); {again}",
    }
    if isinstance(error, ValueError) and "metadata in README.md" in str(error):
        return InputError(f"{where}: the hub refuses the front matter of README.md: {reason}")
    if code in by_code:
        return HubError(by_code[code])
    if code is not None and code >= 500:
        return HubError(f"{where}: the hub fails with status {code} after several retries; {again}")
    if code is not None:
        return HubError(f"{where}: the hub refuses with status {code}: {reason}")
    if type(error).__name__ == "OfflineModeIsEnabled":
        return HubError(f"{where}: cannot be reached because HF_HUB_OFFLINE is set; unset it")
    if isinstance(error, ValueError | TypeError):
        return HubError(f"{where}: cannot parse the hub's answer: {reason}")
    return HubError(f"{where}: cannot be reached ({reason}); check the network and HF_ENDPOINT, then {again}")


def _answer(error: BaseException | None) -> Any:
    """Find the error that holds the hub's answer: this one, or one that it was raised from."""
    while error is not None and getattr(error, "response", None) is None:
        error = error.__cause__
    return error


def _reason(error: BaseException) -> str:
    """Summarize an error in one line, without the token and without signed parts of addresses."""
    from huggingface_hub import get_token

    answer = _answer(error)
    if answer is not None:
        message = getattr(answer, "server_message", None) or f"status {answer.response.status_code}"
    else:
        while error.__cause__ is not None:
            error = error.__cause__
        message = str(error) or type(error).__name__
    line = re.sub(r"(https?://[^\s?]+)\?\S+", r"\1", " ".join(message.split()))
    token = get_token()
    return (line.replace(token, "<token>") if token else line).rstrip(".")[:300]
