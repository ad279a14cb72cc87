"""`pairkit push`: a built dataset or a trained model, checked, in one commit on the hub.

Files that the hub already has are not sent: equal files are recognized by their hashes, and large files that
arrived before a push failed are in the hub's storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_args

from pairkit.dataset.card_settings import CardSettings, settings_of
from pairkit.errors import HubError, InputError, Interrupted, RecipeError, unknown
from pairkit.files import was_address
from pairkit.hub import commit
from pairkit.hub.card_on_hub import HubCard
from pairkit.hub.collection import check_collection
from pairkit.hub.commit import Options
from pairkit.hub.content import Content, File
from pairkit.hub.dataset import built_dataset
from pairkit.hub.repository import Difference, Repository, check_name, check_reference
from pairkit.progress import console, log
from pairkit.schema import MANIFEST
from pairkit.training.output.layout import RECORD

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class Pushed:
    """The result of a push, or of its dry run.

    `changes` is None if the hub could not be reached, `commit` if no commit was made; `collection` is a link,
    in a dry run the title.
    """

    repository: Repository
    content: Content
    changes: Difference | None
    private: bool
    commit: str | None = None
    message: str | None = None
    tag: str | None = None
    collection: str | None = None


def push(
    folder: Path,
    name: str,
    *,
    private: bool = True,
    revision: str = "main",
    message: str | None = None,
    card: Mapping[str, Any] | None = None,
    hub_card: HubCard = "merge",
    tag: str | None = None,
    collection: str | None = None,
    quarantine: bool = False,
    merge: bool = False,
    trust_remote_code: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Publish what `pairkit build` or `pairkit train` wrote into `folder` as `name` (user/name).

    Args:
        private: visibility of a new repository; an existing one must already have it.
        revision: the branch; created from `main` if it does not exist.
        message: commit message; None = what changes, in numbers.
        card: fields of the card (`CardSettings`) that replace those of the recipe.
        hub_card: what happens to edits of the card on the hub: "merge", "keep" (they also win where both
            changed) or "replace".
        tag: a git tag for the commit.
        collection: the title or the address of a collection to add the repository to.
        quarantine: also publish quarantine.parquet.
        merge: publish a run's adapters as a whole model, merged into their base model.
        trust_remote_code: for that, run code that comes with the model, if the run did.
        force: publish files that were changed by hand, or into a repository that holds something else.
        dry_run: check everything and compare with the hub, but send nothing.

    Raises:
        RecipeError: a name, branch, tag or field of a card that the hub would refuse, a collection that does
            not exist, the quarantine of a model, or a merge of what has no adapters.
        InputError: a directory that is neither, is unfinished, or was changed.
        ExistingOutputError: a repository of the other visibility, or one that holds something else; edits of
            its card that cannot be merged; a tag that names another commit.
        HubError: no token, or a hub that cannot be reached or refuses.
        Interrupted: SIGINT; files that arrived are not sent again.
    """
    # Names first, because hashing a large dataset for a misspelled name would be in vain.
    check_name(name)
    check_reference("--revision", revision)
    if tag is not None:
        check_reference("--tag", tag)
    if collection is not None:
        check_collection(collection)
    if hub_card not in get_args(HubCard):
        raise unknown("value of hub_card", hub_card, get_args(HubCard))
    settings = settings_of(card or {})
    options = Options(private, message, hub_card, tag, collection, force)
    try:
        # Around the push, because a merged model is in a temporary directory until it is sent.
        preparation = _prepared(folder, name, quarantine, merge, trust_remote_code, force, settings)
        with preparation as content, _bars():
            for note in content.notes:
                log(note)
            repository, api = _repository(content, name, revision)
            act = _dry_run if dry_run else _send
            return act(api, repository, content, options)
    except KeyboardInterrupt as error:
        raise Interrupted(
            "stopped; run the same command to continue: files that arrived are not sent again"
        ) from error


def describe(result: Pushed, *, dry_run: bool) -> str:
    """Describe a push: one line per file that was (or would be) sent or deleted, and the link."""
    files, changes = result.content.files, result.changes
    if changes is None:
        lines = _lines("unknown", sorted(files), files)
    else:
        lines = [
            *_lines("new", changes.new, files),
            *_lines("changed", changes.changed, files),
            *_lines("deleted", changes.deleted, {}),
        ]
        lines.append(f"{len(changes.same)} of {len(files)} files are already on the hub")
    lines += [f"message: {result.message}"] if result.message and result.changes else []
    lines += [f"tag: {result.tag}"] if result.tag else []
    lines += [f"collection: {result.collection}"] if result.collection else []
    if dry_run:
        lines.append("nothing was sent (--dry-run)")
    elif result.commit is None:
        lines.append("nothing changed: no commit was made")
    return "\n".join([*lines, f"{result.repository.link} ({'private' if result.private else 'public'})"])


@contextmanager
def _prepared(
    folder: Path,
    name: str,
    quarantine: bool,
    merge: bool,
    trust_remote_code: bool,
    force: bool,
    settings: CardSettings,
) -> Iterator[Content]:
    if not merge:
        yield _content(folder, name, quarantine, force, settings)
        return
    if not (folder / RECORD).is_file():
        raise RecipeError(f"--merge: {folder} is not a training run (no {RECORD}); leave it out")
    from pairkit.hub.model import trained_model
    from pairkit.training.export.model import export_model

    with TemporaryDirectory(prefix="pairkit-") as temporary:
        # Before the merge, because a changed file would no longer be noticed after it.
        trained_model(folder, name, force=force)
        model_folder = Path(temporary) / "model"
        merged_folder = export_model(
            folder, model_folder, merge=True, trust_remote_code=trust_remote_code
        ).folder
        yield trained_model(folder, name, saved=merged_folder, settings=settings)


def _content(folder: Path, name: str, quarantine: bool, force: bool, settings: CardSettings) -> Content:
    if was_address(folder):
        raise InputError(
            f"{folder}: `pairkit push` reads no address of a store: download it, and give its directory"
        )
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
        from pairkit.hub.model import trained_model  # which imports torch: a dataset needs none

        return trained_model(folder, name, force=force, settings=settings)
    if (folder / MANIFEST).is_file() or (folder / ".build").is_dir():
        return built_dataset(folder, quarantine=quarantine, force=force, settings=settings)
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


def _send(api: HfApi, repository: Repository, content: Content, options: Options) -> Pushed:
    result = commit.send(api, repository, content, options)
    message = options.message or result.compared.message
    return Pushed(
        repository,
        result.compared.content,
        result.compared.changes,
        options.private,
        result.commit,
        message,
        options.tag,
        result.collection,
    )


def _dry_run(api: HfApi, repository: Repository, content: Content, options: Options) -> Pushed:
    try:
        comparison = commit.compare(api, repository, content, options)
    # A dry run is of use without a network too: it has checked everything on this side.
    except HubError as error:
        log(f"cannot compare with the hub: {error}")
        return Pushed(repository, content, None, options.private)
    message = options.message or comparison.message
    collection = comparison.collection
    title = None if collection is None else collection.title + ("" if collection.slug else " (new)")
    return Pushed(
        repository,
        comparison.content,
        comparison.changes,
        options.private,
        message=message,
        tag=options.tag,
        collection=title,
    )


def _lines(what: str, names: list[str], files: Mapping[str, File]) -> list[str]:
    return [f"  {what:<8} {f'{files[name].bytes:,}' if name in files else '':>15}  {name}" for name in names]
