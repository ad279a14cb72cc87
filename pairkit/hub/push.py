"""`pairkit push`: a built data set or a trained model, checked, in one commit on the hub.

What the hub has already is not sent: files that are the same are found by their hashes, and large files
that arrived before a push failed are known to the hub's storage. One commit holds additions and deletions,
on the commit that was looked at, so that a reader sees all of a push or nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pairkit import __version__
from pairkit.dataset.layout import CARD
from pairkit.errors import ExistingOutputError, HubError, InputError, Interrupted, RecipeError
from pairkit.hub import model
from pairkit.hub.content import Content, File
from pairkit.hub.data_set import data_set
from pairkit.hub.repository import (
    LOGIN,
    Difference,
    Present,
    Repository,
    check_branch,
    check_name,
    difference,
    look,
    of_commit,
    pushed_before,
    refusal,
)
from pairkit.progress import console
from pairkit.schema import MANIFEST
from pairkit.training.output.layout import RECORD

if TYPE_CHECKING:
    from huggingface_hub import HfApi

NOT_OURS = frozenset({".gitattributes"})  # what the hub itself puts into a new repository


@dataclass(frozen=True)
class Pushed:
    """What a push did, or would do.

    `changes` is None where the hub could not be asked, `commit` where none was made.
    """

    repository: Repository
    content: Content
    changes: Difference | None
    private: bool
    commit: str | None = None


def push(
    folder: Path,
    name: str,
    *,
    private: bool = True,
    revision: str = "main",
    message: str | None = None,
    quarantine: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Publishes what `pairkit build` or `pairkit train` left in `folder` as `name` (user/name).

    Args:
        private: what the repository is; one that is there already has to be so.
        revision: the branch; made from `main` where it is missing.
        message: of the commit.
        quarantine: publish the rows that could not be used too.
        force: publish what was changed by hand, or into a repository that holds something else.
        dry_run: check everything, ask the hub what it has, and send nothing.

    Raises:
        RecipeError: a name or branch that the hub would refuse, the quarantine of a model.
        InputError: a directory that is neither, is unfinished, or was changed.
        ExistingOutputError: a repository that is not as `private` as said, or holds something else.
        HubError: no token, a hub that cannot be reached or refuses.
        Interrupted: SIGINT; what arrived is not sent again.
    """
    check_name(name)
    check_branch(revision)
    content = _content(folder, name, quarantine, force)
    for note in content.notes:
        console.print(note, markup=False)
    repository, api = _repository(content, name, revision)
    said = message or f"Push with pairkit {__version__}"
    try:
        with _bars():
            if dry_run:
                return _dry_run(api, repository, content, private, force)
            return _push(api, repository, content, private, said, force)
    except KeyboardInterrupt as error:
        raise Interrupted("stopped; what has arrived is not sent again: the same command goes on") from error


def describe(pushed: Pushed, *, dry_run: bool) -> str:
    """A line a file that was sent or deleted, or would be, and the link."""
    files, changes = pushed.content.files, pushed.changes
    if changes is None:
        lines = _lines("unknown", sorted(files), files)
    else:
        lines = [
            *_lines("new", changes.new, files),
            *_lines("changed", changes.changed, files),
            *_lines("deleted", changes.deleted, {}),
        ]
        lines.append(f"{len(changes.same)} of {len(files)} files were there already")
    if dry_run:
        lines.append("nothing was sent (--dry-run)")
    elif pushed.commit is None:
        lines.append("nothing has changed: no commit")
    return "\n".join([*lines, f"{pushed.repository.link} ({'private' if pushed.private else 'public'})"])


def _content(folder: Path, name: str, quarantine: bool, force: bool) -> Content:
    if not folder.exists():
        raise InputError(f"{folder}: no such directory")
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file; give the directory that `pairkit build` or `train` wrote")
    if (folder / RECORD).is_file():
        if quarantine:
            raise RecipeError(f"--quarantine: {folder} holds a model, which has no such rows")
        return model.trained_model(folder, name, force=force)
    if (folder / MANIFEST).is_file() or (folder / ".build").is_dir():
        return data_set(folder, quarantine=quarantine, force=force)
    if (folder.parent / RECORD).is_file():
        raise InputError(f"{folder}: a part of a training run; give the run's directory, {folder.parent}")
    raise InputError(f"{folder}: neither a built data set (no {MANIFEST}) nor a training run (no {RECORD})")


def _repository(content: Content, name: str, revision: str) -> tuple[Repository, HfApi]:
    from huggingface_hub import HfApi

    api = HfApi(token=True)  # read for every request: one that is renewed while a large file is sent is used
    return Repository(content.kind, name, api.endpoint, revision), api


@contextmanager
def _bars() -> Iterator[None]:
    """huggingface_hub's own bars for what is sent, on a terminal alone: elsewhere they fill a log."""
    from huggingface_hub import constants, utils

    hidden = not console.is_terminal and constants.HF_HUB_DISABLE_PROGRESS_BARS is None
    if hidden:
        utils.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if hidden:
            utils.enable_progress_bars()  # type: ignore[attr-defined]


def _check_token(repository: Repository) -> None:
    from huggingface_hub import get_token

    if not get_token():
        raise HubError(f"{repository.name} on {repository.endpoint}: no token; {LOGIN}")


def _dry_run(api: HfApi, repository: Repository, content: Content, private: bool, force: bool) -> Pushed:
    try:
        _check_token(repository)
        there = look(api, repository)
        stale = _stale(api, repository, there, content, force)
    except HubError as error:
        console.print(f"the hub could not be asked what it has: {error}", markup=False)
        return Pushed(repository, content, None, private)
    _check_visibility(repository, there, private)
    return Pushed(repository, content, difference(content.files, there, stale), private)


def _push(
    api: HfApi,
    repository: Repository,
    content: Content,
    private: bool,
    message: str,
    force: bool,
    *,
    again: bool = True,
) -> Pushed:
    """Commits on what is there, and `again` on what is there then, if that has changed meanwhile."""
    _check_token(repository)
    there = _ready(api, repository, private)
    changes = difference(content.files, there, _stale(api, repository, there, content, force))
    if not changes:
        return Pushed(repository, content, changes, private)
    size = sum(content.files[name].bytes for name in changes.sent)
    console.print(f"{repository.name}: sending {len(changes.sent)} files, {size:,} bytes", markup=False)
    try:
        commit = _commit(api, repository, content, changes, there, message)
    except Exception as error:  # of as many types as in repository.py
        if again and of_commit(error):
            return _push(api, repository, content, private, message, force, again=False)
        raise refusal(repository, error) from error
    return Pushed(repository, content, changes, private, commit)


def _ready(api: HfApi, repository: Repository, private: bool) -> Present:
    """What is in the repository, which is made, as the branch is, where it is not there."""
    there = look(api, repository)
    try:
        if not there.exists:
            api.create_repo(repository.name, repo_type=repository.kind, private=private, exist_ok=True)
            there = look(api, repository)
        _check_visibility(repository, there, private)
        if there.commit is None:
            api.create_branch(
                repository.name, branch=repository.revision, repo_type=repository.kind, exist_ok=True
            )
            there = look(api, repository)
    except Exception as error:  # as above
        raise refusal(repository, error) from error
    return there


def _check_visibility(repository: Repository, there: Present, private: bool) -> None:
    if there.exists and there.private != private:
        is_now, flag = ("private", "--private") if there.private else ("public", "--public")
        raise ExistingOutputError(
            f"{repository.link} is {is_now}: give {flag} to push there, or change it in its settings"
        )


def _stale(api: HfApi, repository: Repository, there: Present, content: Content, force: bool) -> set[str]:
    """The files of an earlier push that this one does not have. Somebody else's are none of these."""
    others = there.files.keys() - content.files.keys() - NOT_OURS
    before = {MANIFEST} if MANIFEST in there.files and not others else pushed_before(api, repository, there)
    if before is not None:
        return {name for name in before & others if not name.startswith(".")}
    foreign = sorted(there.files.keys() - NOT_OURS - {CARD})
    if foreign and not force:
        named = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise ExistingOutputError(
            f"{repository.link} holds what pairkit did not push ({named}); give another name, or --force to "
            "add to it"
        )
    return set()


def _commit(
    api: HfApi,
    repository: Repository,
    content: Content,
    changes: Difference,
    there: Present,
    message: str,
) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    added = [CommitOperationAdd(name, content.files[name].content) for name in changes.sent]
    deleted = [CommitOperationDelete(name) for name in changes.deleted]
    made = api.create_commit(
        repository.name,
        [*added, *deleted],
        commit_message=message,
        repo_type=repository.kind,
        revision=repository.revision,
        parent_commit=there.commit,
    )
    return str(made.oid)


def _lines(what: str, names: list[str], files: Mapping[str, File]) -> list[str]:
    return [f"  {what:<8} {f'{files[name].bytes:,}' if name in files else '':>15}  {name}" for name in names]
