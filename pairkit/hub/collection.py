"""Collections of the hub: the one that a push goes into, by its address or by its title."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pairkit.errors import ExistingOutputError, HubError, RecipeError
from pairkit.hub.repository import Repository, refusal, status

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# The last part of an address: owner, words of the title, and an id.
_SLUG = re.compile(r"(?:https?://[^/]+/collections/)?([\w.-]+/[\w.-]+-[0-9a-f]{24})/?")


class Collection(NamedTuple):
    """A collection; `slug` is None if it does not exist yet."""

    title: str
    slug: str | None


def check_collection(name: str) -> None:
    """Raise `RecipeError` for a name that is neither a title nor an address."""
    if not name.strip() or (name.startswith(("http://", "https://")) and not _SLUG.fullmatch(name)):
        raise RecipeError(
            f"--collection {name!r}: write a title, such as 'My sets', or the address of a collection, such "
            "as user/my-sets-64f9a55bb3115b4f513ec026"
        )


def find_collection(api: HfApi, repository: Repository, name: str) -> Collection:
    """Find the collection of this address, or that of this title which the repository's owner has.

    Raises `RecipeError` for an address where none is, `ExistingOutputError` for a title that several have,
    and `HubError`.
    """
    address = _SLUG.fullmatch(name)
    try:
        if address:
            collection = api.get_collection(address[1])
            return Collection(collection.title, collection.slug)
        owner = repository.name.split("/")[0]
        slugs = [each.slug for each in api.list_collections(owner=owner) if each.title == name]
    except Exception as error:  # a dozen types: see `repository.look`
        if address and status(error) == 404:
            problem = f"--collection {name!r}: no such collection on {repository.endpoint}"
            raise RecipeError(f"{problem}; give the title of one, which is created if need be") from error
        raise refusal(repository, error) from error
    if len(slugs) > 1:
        raise ExistingOutputError(
            f"--collection {name!r}: {len(slugs)} collections have this title; give the address of one: "
            f"{', '.join(slugs)}"
        )
    return Collection(name, slugs[0] if slugs else None)


def add_to_collection(
    api: HfApi, repository: Repository, collection: Collection, note: str, *, private: bool
) -> str:
    """Add the repository, and create the collection if it does not exist; return its address.

    An entry that is there already stays as it is, with its note. Raises `HubError`, which says that the
    commit itself was made.
    """
    owner = repository.name.split("/")[0]
    title, slug = collection
    try:
        slug = slug or api.create_collection(title, namespace=owner, private=private).slug
        api.add_collection_item(slug, repository.name, repository.kind, note=note or None, exists_ok=True)
    except Exception as error:  # a dozen types: see `repository.look`
        problem = refusal(repository, error)
        raise HubError(
            f"the files are on the hub, but not in the collection {title!r}: {problem}; run the same "
            "command again to add them"
        ) from error
    return f"{repository.endpoint}/collections/{slug}"
