"""`pairkit push`: a built dataset or a trained model, checked, in one commit on the hub.

Files that the hub already has are not sent: equal files are recognized by their hashes, and large files that
arrived before a push failed are in the hub's storage. One commit holds additions and deletions, and names the
commit that was compared as its parent, so that a reader sees either all of a push or none of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pairkit import __version__
from pairkit.dataset.layout import CARD
from pairkit.errors import ExistingOutputError, HubError, InputError, Interrupted, RecipeError
from pairkit.hub import model
from pairkit.hub.content import Content, File
from pairkit.hub.dataset import built_dataset
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
from pairkit.progress import console, log
from pairkit.schema import MANIFEST
from pairkit.training.output.layout import RECORD

if TYPE_CHECKING:
    from huggingface_hub import HfApi

NOT_OURS = frozenset({".gitattributes"})  # because the hub itself puts it into a new repository


@dataclass(frozen=True)
class Pushed:
    """The result of a push, or of its dry run.

    `changes` is None if the hub could not be reached, `commit` if no commit was made.
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
    merge: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Publish what `pairkit build` or `pairkit train` wrote into `folder` as `name` (user/name).

    Args:
        private: visibility of a new repository; an existing one must already have it.
        revision: the branch; created from `main` if it does not exist.
        message: commit message; None = the version of pairkit.
        quarantine: also publish quarantine.parquet.
        merge: publish a run's adapters as a whole model, merged into their base model.
        force: publish files that were changed by hand, or into a repository that holds something else.
        dry_run: check everything and compare with the hub, but send nothing.

    Raises:
        RecipeError: a name or branch that the hub would refuse, the quarantine of a model, or a merge of what
            has no adapters.
        InputError: a directory that is neither, is unfinished, or was changed.
        ExistingOutputError: a repository of the other visibility, or one that holds something else.
        HubError: no token, or a hub that cannot be reached or refuses.
        Interrupted: SIGINT; files that arrived are not sent again.
    """
    # Names first, because hashing a large dataset for a misspelled name would be in vain.
    check_name(name)
    check_branch(revision)
    subject = message or f"Push with pairkit {__version__}"
    try:
        # Around the push, because a merged model is in a temporary directory until it is sent.
        with _prepared(folder, name, quarantine, merge, force) as content, _bars():
            for note in content.notes:
                log(note)
            repository, api = _repository(content, name, revision)
            if dry_run:
                return _dry_run(api, repository, content, private, force)
            return _push(api, repository, content, private, subject, force)
    except KeyboardInterrupt as error:
        raise Interrupted(
            "stopped; run the same command to continue: files that arrived are not sent again"
        ) from error


def describe(pushed: Pushed, *, dry_run: bool) -> str:
    """Describe a push: one line per file that was (or would be) sent or deleted, and the link."""
    files, changes = pushed.content.files, pushed.changes
    if changes is None:
        lines = _lines("unknown", sorted(files), files)
    else:
        lines = [
            *_lines("new", changes.new, files),
            *_lines("changed", changes.changed, files),
            *_lines("deleted", changes.deleted, {}),
        ]
        lines.append(f"{len(changes.same)} of {len(files)} files are already on the hub")
    if dry_run:
        lines.append("nothing was sent (--dry-run)")
    elif pushed.commit is None:
        lines.append("nothing changed: no commit was made")
    return "\n".join([*lines, f"{pushed.repository.link} ({'private' if pushed.private else 'public'})"])


@contextmanager
def _prepared(folder: Path, name: str, quarantine: bool, merge: bool, force: bool) -> Iterator[Content]:
    if not merge:
        yield _content(folder, name, quarantine, force)
        return
    if not (folder / RECORD).is_file():
        raise RecipeError(f"--merge: {folder} is not a training run (no {RECORD}); leave it out")
    from pairkit.training.export.model import export_model

    with TemporaryDirectory(prefix="pairkit-") as temporary:
        # Before the merge, because a changed file would no longer be noticed after it.
        model.trained_model(folder, name, force=force)
        merged = export_model(folder, Path(temporary) / "model", merge=True).folder
        yield model.trained_model(folder, name, saved=merged)


def _content(folder: Path, name: str, quarantine: bool, force: bool) -> Content:
    if not folder.exists():
        raise InputError(f"{folder}: no such directory")
    if not folder.is_dir():
        raise InputError(
            f"{folder}: is a file; give the directory that `pairkit build` or `pairkit train` wrote"
        )
    if (folder / RECORD).is_file():
        if quarantine:
            raise RecipeError(
                f"--quarantine: {folder} holds a model, which has no quarantine; leave the flag out"
            )
        return model.trained_model(folder, name, force=force)
    if (folder / MANIFEST).is_file() or (folder / ".build").is_dir():
        return built_dataset(folder, quarantine=quarantine, force=force)
    if (folder.parent / RECORD).is_file():
        raise InputError(f"{folder}: part of a training run; give the run's directory, {folder.parent}")
    raise InputError(f"{folder}: neither a built dataset (no {MANIFEST}) nor a training run (no {RECORD})")


def _repository(content: Content, name: str, revision: str) -> tuple[Repository, HfApi]:
    from huggingface_hub import HfApi

    api = HfApi(token=True)  # read for every request, because it may be renewed while a large file is sent
    return Repository(content.kind, name, api.endpoint, revision), api


@contextmanager
def _bars() -> Iterator[None]:
    """Show huggingface_hub's upload bars on a terminal only, because they would fill a log."""
    from huggingface_hub import constants, utils

    # Whoever has set the variable has decided already.
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
    # A dry run is of use without a network too: it has checked everything on this side.
    except HubError as error:
        log(f"cannot compare with the hub: {error}")
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
    """Commit on the current head; if it has moved meanwhile, compare and commit `again`, once."""
    _check_token(repository)
    there = _ready(api, repository, private)
    changes = difference(content.files, there, _stale(api, repository, there, content, force))
    if not changes:
        return Pushed(repository, content, changes, private)
    size = sum(content.files[name].bytes for name in changes.sent)
    log(f"{repository.name}: sending {len(changes.sent)} files, {size:,} bytes")
    try:
        commit = _commit(api, repository, content, changes, there, message)
    except Exception as error:  # a dozen types: see repository.look
        # Once, because a second conflict means that somebody writes all the time.
        if again and of_commit(error):
            return _push(api, repository, content, private, message, force, again=False)
        raise refusal(repository, error) from error
    return Pushed(repository, content, changes, private, commit)


def _ready(api: HfApi, repository: Repository, private: bool) -> Present:
    """Look at the repository; create it and the branch if they do not exist."""
    there = look(api, repository)
    try:
        if not there.exists:
            # exist_ok, because another push may create it at the same moment.
            api.create_repo(repository.name, repo_type=repository.kind, private=private, exist_ok=True)
            # Again, because a new repository has a commit of its own, the parent of ours.
            there = look(api, repository)
        _check_visibility(repository, there, private)
        if there.commit is None:
            api.create_branch(
                repository.name, branch=repository.revision, repo_type=repository.kind, exist_ok=True
            )
            there = look(api, repository)
    except Exception as error:  # a dozen types: see repository.look
        raise refusal(repository, error) from error
    return there


def _check_visibility(repository: Repository, there: Present, private: bool) -> None:
    # Neither way by a default: what is private must not appear, and what is public must not vanish.
    if there.exists and there.private != private:
        visibility = "private" if there.private else "public"
        raise ExistingOutputError(
            f"{repository.link} is {visibility}: use --{visibility}, or change its settings on the hub"
        )


def _stale(api: HfApi, repository: Repository, there: Present, content: Content, force: bool) -> set[str]:
    """List the files of an earlier push that this one does not have, never those of somebody else."""
    others = there.files.keys() - content.files.keys() - NOT_OURS
    before = {MANIFEST} if MANIFEST in there.files and not others else pushed_before(api, repository, there)
    if before is not None:
        # Names with a dot are settings of the hub or of a person.
        return {name for name in before & others if not name.startswith(".")}
    # A README alone is what people write when they create a repository.
    foreign = sorted(there.files.keys() - NOT_OURS - {CARD})
    if foreign and not force:
        named = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise ExistingOutputError(
            f"{repository.link} holds files that pairkit did not push ({named}); choose another name, or use "
            "--force to add to them"
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

    additions = [CommitOperationAdd(name, content.files[name].content) for name in changes.sent]
    deletions = [CommitOperationDelete(name) for name in changes.deleted]
    commit = api.create_commit(
        repository.name,
        [*additions, *deletions],
        commit_message=message,
        repo_type=repository.kind,
        revision=repository.revision,
        # The hub refuses the commit if the branch has moved since it was compared.
        parent_commit=there.commit,
    )
    return str(commit.oid)


def _lines(what: str, names: list[str], files: Mapping[str, File]) -> list[str]:
    return [f"  {what:<8} {f'{files[name].bytes:,}' if name in files else '':>15}  {name}" for name in names]
