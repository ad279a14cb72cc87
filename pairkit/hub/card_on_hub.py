"""A card that somebody edited on the hub: its edits become part of the card of the next push."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pairkit.dataset import card_text
from pairkit.dataset.layout import CARD
from pairkit.errors import ExistingOutputError, InputError
from pairkit.hub.card_check import check_card
from pairkit.hub.comments import comments, written_as
from pairkit.hub.content import Content, content_of
from pairkit.hub.history import GENERATED, download, pushed_card
from pairkit.hub.merge import Changes, merge_lines, merge_matter
from pairkit.hub.repository import Present, Repository, is_same

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# What happens to edits of the hub: they are merged, also win where both changed, or are dropped.
HubCard = Literal["merge", "keep", "replace"]
_REPLACE = "--hub-card replace to write this push's card over it"


def with_edits(
    api: HfApi,
    repository: Repository,
    there: Present,
    manifest: Mapping[str, Any] | None,
    content: Content,
    hub_card: HubCard,
) -> Content:
    """Merge the edits of the card on the hub into that of `content`; a note says which.

    Args:
        manifest: of the push that the hub has; None if pairkit has pushed nothing.

    Raises:
        ExistingOutputError: edits that cannot be merged: both sides changed the same, or the result does not
            describe the files.
        HubError: a hub that cannot be reached or refuses.
    """
    ours = content.files[CARD]
    if there.commit is None:
        return content
    if CARD not in there.files:
        was_pushed = manifest is not None and CARD in manifest["files"]
        return _noted(content, f"{CARD} was deleted on the hub: it is pushed again" if was_pushed else None)
    if is_same(ours, there.files[CARD]):
        return content
    # Never None: the file is in the list of this commit.
    theirs = download(api, repository, CARD, there.commit) or b""
    base = None if manifest is None else pushed_card(api, repository, there, manifest, theirs)
    if base is not None and theirs == base.encode():
        return content
    if hub_card == "replace":
        return _noted(content, f"the {CARD} of the hub, with its edits, is replaced (--hub-card replace)")
    where = f"{repository.link}: {CARD}"
    mine = content_of(ours).decode()
    card, changes = _merged(where, base, mine, theirs)
    if changes.conflicts and hub_card == "merge":
        what = "was edited since the last push" if base is not None else "is not one that pairkit pushed"
        raise ExistingOutputError(
            f"{where} {what}, and conflicts with this push in {'; '.join(changes.conflicts)}; use --hub-card "
            f"keep to keep what the hub has, or {_REPLACE}"
        )
    if changes.lost:
        words = ", ".join(map(repr, changes.lost))
        content = _noted(content, f"comments in the front matter of {CARD} on the hub are not kept: {words}")
    if card == mine:
        return content
    _check(where, card, content)
    note = f"edits of {CARD} on the hub are kept: {', '.join(changes.kept)}"
    if changes.conflicts:
        note += f"; what this push changes there is left out: {'; '.join(changes.conflicts)}"
    # With the card as it is without them, because it is what the next push has to compare with.
    return _noted(content.with_card(card, {GENERATED: mine}), note)


def _merged(where: str, base: str | None, ours: str, theirs: bytes) -> tuple[str, Changes]:
    """Merge two cards; without a `base`, all that either has is an addition."""
    try:
        sides = [card_text.split(text) for text in (base or "", ours, theirs.decode())]
        before, mine, other = (side.matter() for side in sides)
    except ValueError as error:  # UnicodeDecodeError is one too
        raise ExistingOutputError(
            f"{where} was edited and cannot be read: {error}; correct it there, or use {_REPLACE}"
        ) from error
    changes = Changes()
    matter = merge_matter(before, mine, other, changes)
    start, left, right = (side.body.strip("\n").split("\n") if side.body.strip() else [] for side in sides)
    body = merge_lines(start, left, right, changes)
    remarks = sides[2].block is not None and comments(sides[2].block)
    if matter == mine and body == left and not remarks:
        return ours, changes
    # As it is there, with its comments and quotes, where nothing has to be added to it.
    if matter == other and body == right:
        return theirs.decode(), changes
    text = "\n" + "\n".join(body) + "\n"
    if not remarks:
        return card_text.join(matter, text), changes
    block, lost_comments = written_as(matter, sides[2].block or "")
    changes.kept += ["comments in the front matter"] if len(lost_comments) < len(remarks) else []
    changes.lost += lost_comments
    return f"---\n{block}---\n{text}", changes


def _check(where: str, card: str, content: Content) -> None:
    """Check that `load_dataset` can still read a dataset by its card; that of a model has no such part."""
    if content.kind == "model":
        return
    try:
        check_card(f"{where}, as it was edited there", card, content.rows)
    except InputError as error:
        raise ExistingOutputError(f"{error}; correct it there, or use {_REPLACE}") from error


def _noted(content: Content, note: str | None) -> Content:
    return content._replace(notes=[*content.notes, note]) if note else content
