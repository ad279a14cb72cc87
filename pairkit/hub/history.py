"""What earlier pushes left on the hub: their manifest, and the card as they pushed it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairkit.dataset.layout import CARD
from pairkit.files import parsed
from pairkit.hub.repository import Present, Repository, refusal, status
from pairkit.schema import MANIFEST

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# The key of a manifest for the card that a push made, where it published another: one with edits of the hub.
GENERATED = "generated_card"
# Commits that are searched for a card. More edits than that since the last push are not made by hand.
COMMITS = 100


def pushed_before(api: HfApi, repository: Repository, there: Present) -> dict[str, Any] | None:
    """Read the manifest of an earlier push; None if there was none. Raises `HubError`."""
    if MANIFEST not in there.files or there.commit is None:
        return None
    content = download(api, repository, MANIFEST, there.commit)
    try:
        manifest = parsed(content or b"")
    # No JSON, so somebody else's file of this name.
    except ValueError:
        return None
    has_files = isinstance(manifest, dict) and isinstance(manifest.get("files"), dict)
    return manifest if has_files else None


def pushed_card(
    api: HfApi, repository: Repository, there: Present, manifest: Mapping[str, Any], card: bytes
) -> str | None:
    """Return the card that the push of `manifest` made, before edits; None if it is no longer on the hub.

    Args:
        card: as it is on the hub now.
    """
    if isinstance(manifest.get(GENERATED), str):
        return str(manifest[GENERATED])
    about = manifest["files"].get(CARD)
    digest = about.get("sha256") if isinstance(about, dict) else None
    if hashlib.sha256(card).hexdigest() == digest:
        return card.decode()
    for commit in _commits(api, repository, there)[:COMMITS]:
        content = download(api, repository, CARD, commit)
        if content is not None and hashlib.sha256(content).hexdigest() == digest:
            return content.decode()
    return None


def download(api: HfApi, repository: Repository, name: str, commit: str) -> bytes | None:
    """Return a file as it is in a commit; None if that has no such file. Raises `HubError`."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = api.hf_hub_download(
                repository.name, name, repo_type=repository.kind, revision=commit, local_dir=folder
            )
            return Path(path).read_bytes()
    except EntryNotFoundError as error:
        # Without an answer of the hub it is the network that failed, not the file that is missing.
        if status(error) == 404:
            return None
        raise refusal(repository, error) from error
    except Exception as error:  # a dozen types: see `repository.look`
        raise refusal(repository, error) from error


def _commits(api: HfApi, repository: Repository, there: Present) -> list[str]:
    """List the ids of the commits up to the current one, newest first."""
    try:
        commits = api.list_repo_commits(repository.name, repo_type=repository.kind, revision=there.commit)
    except Exception as error:  # a dozen types: see `repository.look`
        raise refusal(repository, error) from error
    return [commit.commit_id for commit in commits]
