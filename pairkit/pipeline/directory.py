"""The output directory of a build: its content, whose it is, and who may write to it.

While a build runs, all that it makes is in OUT/.build: the lock, `state.json` (recipe, input and library
versions, which must be the same for a build to continue, and the hashes of the stages that ask a model), the
results of those stages, the closed shards and the run log. A directory is a dataset when it holds
`pairkit.json`, which is written last.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pairkit.dataset.layout import CARD, DECONTAMINATION_FILE, LOG, QUARANTINE_FILE, was_edited
from pairkit.errors import ExistingOutputError
from pairkit.files import ANNOTATIONS, LOCK, OnExisting, admit, names_in, read_json, write_json
from pairkit.masking import masked
from pairkit.ownership import owned
from pairkit.pipeline.changes import Identity, StageKeys, differences, hashed, shared_stages, summarize
from pairkit.progress import log
from pairkit.schema import MANIFEST

State = Literal["empty", "unfinished", "complete", "foreign"]
# The cache of calls unless another file is named: next to the datasets, one for all in a folder.
CACHE = "calls.sqlite"
# Hidden, because loaders of a folder skip names with a dot and must not find closed shards twice.
_BUILD = ".build"
_STATE = "state.json"
_AGAIN = "start over with --on-existing delete"
_STAGES = "stages"
# The names that `publish` gives and no others, because a file that somebody else added is not ours to remove.
_PUBLISHED = re.compile(r"(train|test|all)-\d{5}-of-\d{5}\.parquet")


class BuildDirectory:
    """An output directory that only this process may write to; `built` is the hash of what is built there."""

    def __init__(self, out: Path, built: str = "") -> None:
        self.out, self.built = out, built
        self.build = out / _BUILD
        self.shards_folder = self.build / "shards"
        self.results_folder = self.build / "asked"
        self.prepass_folder = self.build / "prepass"
        self.discarded = self.build / "discarded"

    def shards(self) -> list[Path]:
        """Return the closed shards, in order."""
        # Sorted, because a disk lists names in any order; `00003.part` is no shard yet.
        return sorted(path for path in self.shards_folder.glob("*") if path.name.isdigit())

    def shard(self, number: int) -> Path:
        # Padded, because the order of the names has to be that of the numbers.
        return self.shards_folder / f"{number:05d}"

    def remove_unfinished_shards(self) -> None:
        """Remove what was stopped before its rename: a shard is one only under its final name."""
        for part in self.shards_folder.glob("*.part"):
            shutil.rmtree(part, ignore_errors=True)

    def log(self, **event: Any) -> None:
        """Append a line to the run log."""
        # Appended, because a build that continues has the same log as the one that stopped.
        with (self.build / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(masked(event)) + "\n")

    def discard(self) -> None:
        """Remove all that the build has made, and `out` itself if nothing else is in it."""
        _clear(self)
        self.finish()
        # It may have been there before, with files of others.
        if not any(self.out.iterdir()):
            self.out.rmdir()

    def finish(self) -> None:
        """Remove what was needed to continue. The lock goes last: until then the directory is ours."""
        for folder in (self.shards_folder, self.results_folder, self.prepass_folder, self.discarded):
            shutil.rmtree(folder, ignore_errors=True)
        for name in (_STATE, LOG):
            (self.build / name).unlink(missing_ok=True)
        for path in self.build.glob(f"{LOCK}*"):
            path.unlink(missing_ok=True)
        self.build.rmdir()


def cannot_continue(out: Path, what: str) -> ExistingOutputError:
    """Make the error for an unfinished build of which nothing can be made, however often it is started."""
    return ExistingOutputError(
        f"{out}: the unfinished build cannot be continued: {what}; use --on-existing delete to build "
        "everything again (answers of models are taken from the cache of calls)"
    )


def survey(out: Path) -> State:
    """Return what a directory holds. `foreign` is whatever pairkit has not made: it is never touched."""
    names = names_in(out)
    # No look at other files: the manifest is written last, so all of them are there.
    if MANIFEST in names:
        return "complete"
    if (out / _BUILD / LOCK).exists():
        return "unfinished"
    # An empty .build is what a kill between `mkdir` and the lock leaves, and annotations what `discard` does.
    ours = {_BUILD} if not any((out / _BUILD).glob("*")) else set()
    if all(path.suffix == ".jsonl" for path in (out / ANNOTATIONS).glob("*")):
        ours.add(ANNOTATIONS)
    return "foreign" if names - ours else "empty"


def manifest(out: Path) -> dict[str, Any]:
    """Read the manifest of a complete dataset."""
    try:
        made = read_json(out / MANIFEST)
        checked: dict[str, Any] = {key: dict(made[key]) for key in ("recipe", "input", "files")}
        if not all(isinstance(about["sha256"], str) for about in checked["files"].values()):
            raise ValueError("a file has no hash")
        if was_edited(made):
            raise ValueError("it was changed since it was written")
        return {**made, **checked}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExistingOutputError(
            f"{out / MANIFEST}: is damaged ({error}); use --on-existing delete to build everything again"
        ) from error


@contextmanager
def claimed(
    out: Path, identity: Identity, on_existing: OnExisting, keys: StageKeys | None = None
) -> Iterator[BuildDirectory | None]:
    """Make `out` ours for the block; yield None if it holds the complete dataset of `identity`.

    An unfinished build that shares its first stages that ask a model (`keys`) with this one keeps their
    results and loses the rest.

    Raises `ExistingOutputError` for a directory of something else, or of another build unless
    `on_existing` is "delete", and `OutputError` if another build is writing to it or nothing can be.
    """
    directory = BuildDirectory(out, hashed(identity))
    keys = keys or {}
    # Asked before the lock as well, because locking writes, and a directory of others is never written to.
    state = _admit(out, identity, keys, on_existing)
    # A complete dataset with a .build was stopped between the manifest and the removal: remove that below.
    if state == "complete" and on_existing != "delete" and not directory.build.exists():
        yield None
        return
    with owned(out, directory.build):
        # Asked again, because another build may have finished or deleted this while we came to the lock.
        state = _admit(out, identity, keys, on_existing)
        if state == "complete" and on_existing != "delete":
            directory.finish()
            yield None
            return
        # A list of pairs, because the order of the stages counts and JSON is written with sorted keys.
        saved = {**identity, _STAGES: list(keys.items())}
        if on_existing == "delete" or not (directory.build / _STATE).exists():
            # Cleared first: old shards under a new state would be taken for those of the new build.
            _clear(directory)
            write_json(directory.build / _STATE, saved)
        elif differences(_unfinished(out)[0], identity):
            _keep_shared(directory, identity, keys)
            # The state goes last: a stop before it leaves the old build, which may lose all but its results.
            write_json(directory.build / _STATE, saved)
        shutil.rmtree(directory.discarded, ignore_errors=True)
        directory.remove_unfinished_shards()  # of a kill
        yield directory


def _keep_shared(directory: BuildDirectory, identity: Identity, keys: StageKeys) -> None:
    """Remove all of an unfinished build except the results of stages that ask a model, and log what stays."""
    theirs, their_keys = _unfinished(directory.out)
    shared = shared_stages(their_keys, keys)
    log(
        f"{directory.out}: {summarize(theirs, identity)}; "
        f"keeping the results of {', '.join(shared)} and repeating what follows"
    )
    # The results stay, because they are found by hash: those that do not fit are never read.
    _clear(directory, keep_results=True)
    # In the run log, because what it counts up to here was spent on the other recipe.
    directory.log(event="recipe", time=time.time(), keeps=shared)


def _admit(out: Path, identity: Identity, keys: StageKeys, on_existing: OnExisting) -> State:
    """Return what `out` holds, if this build may continue it."""
    state = survey(out)
    # Only these two are pairkit's: None makes `admit` refuse the rest.
    holds = {"complete": "a complete dataset", "unfinished": "an unfinished build"}.get(state)
    if state == "empty":
        return state
    # It stopped before it had written what it is.
    if state == "unfinished" and not (out / _BUILD / _STATE).exists() and not BuildDirectory(out).shards():
        return state
    # Not read to be deleted, because it may be damaged.
    theirs = identity_of(out, state) if holds and on_existing == "resume" else None

    def different() -> list[str]:
        # A shared stage is reason enough to take over, because answers cost more than the shards that go.
        if theirs is None or (state == "unfinished" and shared_stages(_unfinished(out)[1], keys)):
            return []
        # Only the keys that theirs has, because a manifest leaves the versions out on purpose.
        return differences(theirs, {key: identity.get(key, {}) for key in theirs})

    admit(out, on_existing, holds=holds, differences=different)
    return state


def identity_of(out: Path, state: State) -> Identity:
    """Return what was built there."""
    if state == "complete":
        made = manifest(out)  # without versions: a newer library does not change rows that are finished
        # Without the list of files, which is there for a reader: the fingerprint covers their content.
        content = {key: value for key, value in made["input"].items() if key != "files"}
        # A recipe without a judge has no such key, and None would count as a difference.
        prompts = {"judge_prompts": made["judge_prompts"]} if "judge_prompts" in made else {}
        return {"recipe": made["recipe"], "input": content, **prompts}
    return _unfinished(out)[0]


def _unfinished(out: Path) -> tuple[Identity, StageKeys]:
    """Read the identity of an unfinished build and the hashes of its stages."""
    path = out / _BUILD / _STATE
    try:
        state = read_json(path)
        # Not part of the identity: another hash of a stage must not refuse what shares the stages before it.
        keys = dict(state.pop(_STAGES, ()))
        if not isinstance(state["recipe"], dict) or not isinstance(state["input"], dict):
            raise ValueError("it has no recipe or no input")
    except FileNotFoundError as error:
        raise cannot_continue(out, f"{path} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise cannot_continue(out, f"{path} is damaged ({error})") from error
    return state, keys


def _clear(directory: BuildDirectory, *, keep_results: bool = False) -> None:
    """Remove what a build has made, the manifest first: without it this is not a dataset any more.

    With `keep_results`, the results of stages that ask a model stay, with the state and the log.
    """
    # One rename first: a stop halfway through the removal must not leave shards with gaps.
    if directory.shards_folder.exists():
        # A folder that an earlier kill left would make the rename fail.
        shutil.rmtree(directory.discarded, ignore_errors=True)
        os.replace(directory.shards_folder, directory.discarded)
    # Before the data: while the manifest is there, a reader may open what is being removed.
    for name in (MANIFEST, CARD, QUARANTINE_FILE, DECONTAMINATION_FILE, LOG):
        (directory.out / name).unlink(missing_ok=True)
    for kind in ("data", "pairs", "verdicts", "dropped"):
        folder = directory.out / kind
        for path in [path for path in folder.glob("*") if _PUBLISHED.fullmatch(path.name)]:
            path.unlink()
        # Files of others stay, and so does their folder.
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    shutil.rmtree(directory.discarded, ignore_errors=True)
    if not keep_results:
        shutil.rmtree(directory.results_folder, ignore_errors=True)
        shutil.rmtree(directory.prepass_folder, ignore_errors=True)
        # The state after the results: as long as it is there, the build is still known by its identity.
        for name in (_STATE, LOG):
            (directory.build / name).unlink(missing_ok=True)
