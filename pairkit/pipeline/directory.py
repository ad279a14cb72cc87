"""The output directory of a build: what is in it, whose it is, and who may write to it.

While a build runs, all that it makes lies in OUT/.build: the lock, `state.json` (recipe, input and library
versions, which must be the same for a build to continue), the closed shards and the run log. A directory
is a data set when it holds `pairkit.json`, which is written last.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pairkit.dataset.layout import CARD, LOG, QUARANTINE_FILE
from pairkit.errors import OutputError
from pairkit.files import OnExisting, admit, flat_keys, names_in, write_json
from pairkit.schema import MANIFEST

State = Literal["empty", "unfinished", "complete", "foreign"]
_BUILD = ".build"
_LOCK = "pairkit.lock"
_STATE = "state.json"
_PUBLISHED = re.compile(r"(train|test|all)-\d{5}-of-\d{5}\.parquet")
Identity = Mapping[str, Any]


class Store:
    """An output directory that this process alone may write to."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.build = out / _BUILD
        self.shards_folder = self.build / "shards"
        self.asked_folder = self.build / "asked"

    def shards(self) -> list[Path]:
        """The closed shards, in order."""
        return sorted(path for path in self.shards_folder.glob("*") if path.name.isdigit())

    def shard(self, number: int) -> Path:
        return self.shards_folder / f"{number:05d}"

    def log(self, **event: Any) -> None:
        """Appends a line to the run log."""
        with (self.build / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(event) + "\n")

    def discard(self) -> None:
        """Removes all that the build has made, and `out` itself where nothing else is in it."""
        _clear(self)
        self.finish()
        if not any(self.out.iterdir()):
            self.out.rmdir()

    def finish(self) -> None:
        """Removes what was needed to continue. The lock goes last: till then the directory is ours."""
        for folder in (self.shards_folder, self.asked_folder):
            shutil.rmtree(folder, ignore_errors=True)
        for name in (_STATE, LOG, _LOCK):
            (self.build / name).unlink(missing_ok=True)
        self.build.rmdir()


def survey(out: Path) -> State:
    """What a directory holds. `foreign` is whatever pairkit has not made: it is never touched."""
    names = names_in(out)
    if MANIFEST in names:
        return "complete"
    if (out / _BUILD / _LOCK).exists():
        return "unfinished"
    left = names - {_BUILD} if not any((out / _BUILD).glob("*")) else names
    return "foreign" if left else "empty"


def manifest(out: Path) -> dict[str, Any]:
    """The manifest of a complete data set."""
    return json.loads((out / MANIFEST).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@contextmanager
def claimed(out: Path, identity: Identity, on_existing: OnExisting) -> Iterator[Store | None]:
    """Makes `out` ours for the block; yields None where it holds the complete data set of `identity`.

    Raises `ExistingOutputError` for a directory of something else, or of another build unless
    `on_existing` is "delete", and `OutputError` where another build is writing to it or nothing can be.
    """
    store = Store(out)
    state = _admit(out, identity, on_existing)
    if state == "complete" and on_existing != "delete" and not store.build.exists():
        yield None
        return
    with _locked(store):
        state = _admit(out, identity, on_existing)
        if state == "complete" and on_existing != "delete":
            store.finish()
            yield None
            return
        if on_existing == "delete" or not (store.build / _STATE).exists():
            _clear(store)
            write_json(store.build / _STATE, dict(identity))
        for part in store.shards_folder.glob("*.part"):
            shutil.rmtree(part)
        yield store


def differences(theirs: Identity, ours: Identity) -> list[str]:
    """What makes two builds different ones, each difference in a few words."""
    before, now = flat_keys(theirs), flat_keys(ours)
    other = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    told = {
        "recipe_hash": None,
        "input.fingerprint": "the input has other names or content",
        "input.model": "the model has other files",
    }
    for key in other:
        if key.startswith("judge_prompts."):
            told[key] = f"the judge's prompt {key.removeprefix('judge_prompts.')} has other words"
        elif key.startswith("input.ranking_models."):
            told[key] = f"the model of {key.rpartition('.')[2]} has other files"
    lines = [told.get(key, f"{key} is {now.get(key)!r}, there {before.get(key)!r}") for key in other]
    return [line for line in lines if line is not None]


def _admit(out: Path, identity: Identity, on_existing: OnExisting) -> State:
    """What `out` holds, if this build may go on with it."""
    state = survey(out)
    holds = {"complete": "a complete dataset", "unfinished": "an unfinished build"}.get(state)
    if state == "empty":
        return state
    theirs = _identity(out, state) if holds else None
    if holds and theirs is None:  # it stopped before it had written down what it is
        return state

    def different() -> list[str]:
        return differences(theirs, {key: identity[key] for key in theirs}) if theirs else []

    admit(out, on_existing, holds=holds, differences=different)
    return state


def _identity(out: Path, state: State) -> Identity | None:
    """What was built there; None where a build stopped before it had written that down."""
    if state == "complete":
        made = manifest(out)  # finished rows are what they are: a newer library does not make them others
        content = {key: value for key, value in made["input"].items() if key != "files"}
        prompts = {"judge_prompts": made["judge_prompts"]} if "judge_prompts" in made else {}
        return {"recipe": made["recipe"], "input": content, **prompts}
    path = out / _BUILD / _STATE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


@contextmanager
def _locked(store: Store) -> Iterator[None]:
    """Holds the lock, or says at once that another process does."""
    try:
        handle = _open_lock(store.build)
    except BlockingIOError as error:
        message = f"{store.out}: another build is writing to it; wait for it, or give another --out"
        raise OutputError(message) from error
    except OSError as error:
        raise OutputError(f"{store.out}: cannot be written to: {error.strerror}") from error
    try:
        yield
    finally:
        os.close(handle)


def _open_lock(folder: Path) -> int:
    path = folder / _LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.stat(), os.fstat(handle)):
                return handle
        except FileNotFoundError:
            pass  # removed between opening and locking: it is not the lock any more
        except OSError:
            os.close(handle)
            raise
        os.close(handle)


def _clear(store: Store) -> None:
    """Removes what a build has made, the manifest first: from then on it is no data set any more."""
    for name in (MANIFEST, CARD, QUARANTINE_FILE, LOG):
        (store.out / name).unlink(missing_ok=True)
    for kind in ("data", "pairs", "verdicts"):
        folder = store.out / kind
        for path in [path for path in folder.glob("*") if _PUBLISHED.fullmatch(path.name)]:
            path.unlink()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    for path in (store.shards_folder, store.asked_folder):
        shutil.rmtree(path, ignore_errors=True)
    for name in (_STATE, LOG):
        (store.build / name).unlink(missing_ok=True)
