"""Git tags: a name for the commit of a push, which never moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pairkit.errors import ExistingOutputError, HubError
from pairkit.hub.repository import Present, Repository, refusal

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def tagged(api: HfApi, repository: Repository, there: Present, tag: str) -> str | None:
    """Return the commit that the tag names; None if there is no such tag.

    Raises `ExistingOutputError` if it is the name of a branch, and `HubError`.
    """
    if not there.exists:
        return None
    try:
        references = api.list_repo_refs(repository.name, repo_type=repository.kind)
    except Exception as error:  # a dozen types: see `repository.look`
        raise refusal(repository, error) from error
    # Both are revisions, and a reader of one would get the other.
    if tag in (repository.revision, *(branch.name for branch in references.branches)):
        raise ExistingOutputError(f"{repository.link}: {tag!r} is the name of a branch; choose another --tag")
    return next((str(each.target_commit) for each in references.tags if each.name == tag), None)


def check_unmoved(repository: Repository, tag: str, commit: str, head: str | None) -> None:
    """Raise `ExistingOutputError` if the tag names another commit than the one that is to have it."""
    if commit != head:
        raise ExistingOutputError(
            f"{repository.link}: the tag {tag!r} names the commit {commit[:7]} already, and tags do not "
            "move; choose another --tag, or delete that one on the hub"
        )


def add_tag(api: HfApi, repository: Repository, tag: str, commit: str, message: str) -> None:
    """Give a commit the tag. Raises `HubError`, which says that the commit itself was made."""
    try:
        api.create_tag(
            repository.name, tag=tag, tag_message=message, revision=commit, repo_type=repository.kind
        )
    except Exception as error:  # a dozen types: see `repository.look`
        problem = refusal(repository, error)
        raise HubError(
            f"the files are on the hub, but not the tag {tag!r}: {problem}; run the same command again "
            "to add it"
        ) from error
