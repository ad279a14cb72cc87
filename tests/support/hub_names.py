"""The part of the strict hub that names commits and repositories: history, tags, collections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from support.hub_state import TOKEN, Repo

if TYPE_CHECKING:
    from support.hub_server import Handler

DATE = "2026-01-01T00:00:00.000Z"


def history(handler: Handler, repo: Repo, revision: str) -> None:
    """List the commits up to a revision, newest first."""
    oid: str | None = repo.branches.get(revision, revision)
    commits = []
    while oid is not None:
        title, message = repo.words[oid]
        commits.append({"id": oid, "title": title, "message": message, "date": DATE, "authors": []})
        oid = repo.parents[oid]
    handler.json(commits)


def references(handler: Handler, repo: Repo) -> None:
    def listed(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in names.items()
        ]

    tags = {name: oid for name, (oid, _) in repo.tags.items()}
    handler.json({"branches": listed("heads", repo.branches), "converts": [], "tags": listed("tags", tags)})


def tag(handler: Handler, repo: Repo, revision: str) -> None:
    wanted = json.loads(handler.body)
    oid = repo.branches.get(revision, revision)
    if oid not in repo.commits:
        return handler.refuse(404, "Invalid rev id", "RevisionNotFound")
    if wanted["tag"] in repo.tags:
        return handler.refuse(409, "Tag reference exists already")
    repo.tags[wanted["tag"]] = oid, wanted.get("message", "")
    return handler.json({}, 201)


def collections(handler: Handler, parts: list[str]) -> None:
    """Answer a request for `/api/collections` and what is below it."""
    known = handler.hub.collections
    if handler.command == "GET" and not parts:
        owner = handler.query["owner"][0]
        own = [each for each in known if each["owner"] == owner]
        # As the hub does: with four items at most, and without a position, which the client counts.
        left_out = {"items", "position"}
        return handler.json(
            [
                {"items": each["items"][:4], **{k: v for k, v in each.items() if k not in left_out}}
                for each in own
            ]
        )
    if handler.command == "POST" and handler.token != TOKEN:
        return handler.refuse(403, "you don't have the rights")
    if handler.command == "POST" and not parts:
        return handler.json(add_collection(handler.hub.collections, **json.loads(handler.body)))
    slug = "/".join(parts[:2])
    found = next((each for each in known if each["slug"] == slug), None)
    if found is None:
        return handler.refuse(404, "Collection not found")
    if handler.command == "GET" and len(parts) == 2:
        return handler.json(found)
    if handler.command == "POST" and parts[2:] == ["items"]:
        return _add_item(handler, found)
    return handler.unexpected()


def add_collection(
    known: list[dict[str, Any]], *, title: str, namespace: str, private: bool, **more: Any
) -> dict[str, Any]:
    words = title.lower().replace(" ", "-")
    made = {
        "slug": f"{namespace}/{words}-{len(known):024x}", "title": title, "owner": namespace, "items": [],
        "lastUpdated": DATE, "position": 0, "private": private, "theme": "blue", "upvotes": 0, **more,
    }  # fmt: skip
    known.append(made)
    return made


def _add_item(handler: Handler, collection: dict[str, Any]) -> None:
    wanted = json.loads(handler.body)
    item = wanted["item"]
    if (item["type"], item["id"]) not in handler.hub.repos:
        return handler.refuse(404, "no such repository")
    if any((each["type"], each["id"]) == (item["type"], item["id"]) for each in collection["items"]):
        return handler.refuse(409, "already in the collection")
    note = {"note": {"text": wanted["note"]}} if "note" in wanted else {}
    number = len(collection["items"])
    collection["items"].append({"_id": f"{number:024x}", "position": number, **item, **note})
    return handler.json(collection)
