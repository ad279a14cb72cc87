"""One commit on the hub: compared with what is there first, and named by a tag and a collection after it.

One commit holds additions and deletions, and names the commit that was compared as its parent, so that a
reader sees either all of a push or none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pairkit.dataset.layout import CARD
from pairkit.errors import ExistingOutputError, HubError
from pairkit.hub.card_on_hub import HubCard, with_edits
from pairkit.hub.collection import Collection, add_to_collection, find_collection
from pairkit.hub.content import Content
from pairkit.hub.history import pushed_before
from pairkit.hub.message import state, summarize
from pairkit.hub.repository import (
    LOGIN,
    Difference,
    Present,
    Repository,
    difference,
    look,
    of_commit,
    refusal,
)
from pairkit.hub.tag import add_tag, check_unmoved, tagged
from pairkit.progress import log

if TYPE_CHECKING:
    from huggingface_hub import HfApi

NOT_OURS = frozenset({".gitattributes"})  # because the hub itself puts it into a new repository


@dataclass(frozen=True)
class Options:
    """What a push may do, and what it adds: see `push.push`."""

    private: bool = True
    message: str | None = None
    hub_card: HubCard = "merge"
    tag: str | None = None
    collection: str | None = None
    force: bool = False


class Compared(NamedTuple):
    """A push before it is sent.

    Attributes:
        content: with the edits that the card has on the hub.
        there: what the hub has.
        changes: the difference of the two.
        message: the changes in numbers.
        tagged: the commit that has the tag already.
        collection: what the repository is to be added to, if anything.
    """

    content: Content
    there: Present
    changes: Difference
    message: str
    tagged: str | None
    collection: Collection | None


class Sent(NamedTuple):
    """A push after it was sent; `commit` is None if nothing was to be changed."""

    compared: Compared
    commit: str | None
    collection: str | None


def compare(
    api: HfApi, repository: Repository, content: Content, options: Options, *, ready: bool = False
) -> Compared:
    """Compare the content with the hub; with `ready`, create the repository and the branch before that.

    Raises:
        ExistingOutputError: a repository of the other visibility, or with something else in it; a card that
            was edited there and cannot be merged; a tag that names another commit.
        RecipeError: a collection that does not exist.
        HubError: no token, or a hub that cannot be reached or refuses.
    """
    _check_token(repository)
    # Before anything is created or sent, because a name that is taken would be found too late.
    collection = find_collection(api, repository, options.collection) if options.collection else None
    there = look(api, repository)
    _check_visibility(repository, there, options.private)
    commit = tagged(api, repository, there, options.tag) if options.tag else None
    if ready:
        there = _ready(api, repository, there, options.private)
    manifest = pushed_before(api, repository, there)
    stale = _stale(repository, there, content, manifest, options.force)
    noted_content = content._replace(notes=[*content.notes, *_lost_fields(content.manifest(), manifest)])
    merged_content = with_edits(api, repository, there, manifest, noted_content, options.hub_card)
    for note in merged_content.notes[len(content.notes) :]:
        log(note)
    changes = difference(merged_content.files, there, stale)
    if options.tag and commit is not None:
        check_unmoved(repository, options.tag, commit, None if changes else there.commit)
    message = summarize(merged_content.manifest(), manifest, changes)
    return Compared(merged_content, there, changes, message, commit, collection)


def send(
    api: HfApi, repository: Repository, content: Content, options: Options, *, again: bool = True
) -> Sent:
    """Commit on the current head; if it has moved meanwhile, compare and commit `again`, once.

    Raises what `compare` does.
    """
    comparison = compare(api, repository, content, options, ready=True)
    files, changes = comparison.content.files, comparison.changes
    commit = None
    if changes:
        size = sum(files[name].bytes for name in changes.sent)
        log(f"{repository.name}: sending {len(changes.sent)} files, {size:,} bytes")
        try:
            commit = _commit(api, repository, comparison, options)
        except Exception as error:  # a dozen types: see repository.look
            # Once, because a second conflict means that somebody writes all the time.
            if again and of_commit(error):
                return send(api, repository, content, options, again=False)
            raise refusal(repository, error) from error
    if options.tag and comparison.tagged is None:
        add_tag(api, repository, options.tag, commit or str(comparison.there.commit), comparison.message)
    if comparison.collection is None:
        return Sent(comparison, commit, None)
    note = state(comparison.content.manifest())
    link = add_to_collection(api, repository, comparison.collection, note, private=options.private)
    return Sent(comparison, commit, link)


def _check_token(repository: Repository) -> None:
    from huggingface_hub import get_token

    if not get_token():
        raise HubError(f"{repository.name} on {repository.endpoint}: no token; {LOGIN}")


def _ready(api: HfApi, repository: Repository, there: Present, private: bool) -> Present:
    """Create the repository and the branch if they do not exist; return what is there then."""
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


def _stale(
    repository: Repository,
    there: Present,
    content: Content,
    manifest: Mapping[str, Any] | None,
    force: bool,
) -> set[str]:
    """List the files of an earlier push that this one does not have, never those of somebody else."""
    others = there.files.keys() - content.files.keys() - NOT_OURS
    if manifest is not None:
        # Names with a dot are settings of the hub or of a person.
        return {name for name in manifest["files"].keys() & others if not name.startswith(".")}
    # A README alone is what people write when they create a repository.
    foreign = sorted(there.files.keys() - NOT_OURS - {CARD})
    if foreign and not force:
        names = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise ExistingOutputError(
            f"{repository.link} holds files that pairkit did not push ({names}); choose another name, or use "
            "--force to add to them"
        )
    return set()


def _lost_fields(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
    """Note which fields of the card the last push set and this one does not."""
    # As lists of keys, because what is on the hub may be edited to anything.
    fields = ", ".join(sorted(set((before or {}).get("card") or ()) - set(now.get("card", ()))))
    problem = "the last push set fields of the card that this one does not"
    return [f"{problem}: {fields}; give them again to keep them"] if fields else []


def _commit(api: HfApi, repository: Repository, comparison: Compared, options: Options) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    files, changes = comparison.content.files, comparison.changes
    additions = [CommitOperationAdd(name, files[name].content) for name in changes.sent]
    deletions = [CommitOperationDelete(name) for name in changes.deleted]
    # The numbers also with a message of the user's own, and which edits of the hub are in the card.
    details = [comparison.message] if options.message else []
    commit = api.create_commit(
        repository.name,
        [*additions, *deletions],
        commit_message=options.message or comparison.message,
        commit_description="\n\n".join([*details, *comparison.content.notes]),
        repo_type=repository.kind,
        revision=repository.revision,
        # The hub refuses the commit if the branch has moved since it was compared.
        parent_commit=comparison.there.commit,
    )
    return str(commit.oid)
