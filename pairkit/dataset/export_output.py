"""Where an export is written, and the manifest next to it.

A directory holds one file per split, and `pairkit.json` lists each split's settings, counts and hashes. A
file of the caller's own name has a manifest of its own, `FILE.pairkit.json`, which lists one split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairkit.dataset.formats import FORMATS
from pairkit.dataset.layout import EXPORT
from pairkit.errors import ExistingOutputError, OutputError, RecipeError
from pairkit.files import LOCK, OnExisting, admit, names_in, read_json, sha256, write_json
from pairkit.ownership import none_empty, outside_others, owned, owned_name
from pairkit.recipes.differences import changed_values
from pairkit.schema import MANIFEST
from pairkit.version import __version__

# Extensions of data files: a name that ends so is meant as a file, any other (run.v2) may be a directory's.
_FILES = (
    *(".parquet", ".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".txt", ".arrow", ".feather"),
    *(".avro", ".orc", ".xlsx", ".pkl", ".gz", ".bz2", ".xz", ".zst", ".zip"),
)


@dataclass(frozen=True)
class Output:
    """The file of an export.

    manifest  lists what was exported.
    shared    whether both are in a directory that other splits may share.
    """

    file: Path
    manifest: Path
    shared: bool

    @property
    def out(self) -> Path:
        """The path that the caller gave as --out."""
        return self.file.parent if self.shared else self.file

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Be the only export that writes here for the block, which leaves no directory if it fails.

        Raises `OutputError` if another one does, or if nothing can be written.
        """
        # The whole directory, because its splits share a manifest.
        with none_empty(self.file.parent), owned(self.out) if self.shared else owned_name(self.out):
            yield

    def admit(self, settings: Mapping[str, Any], on_existing: OnExisting) -> Mapping[str, Any] | None:
        """Decide whether an export may be written here; change nothing.

        Returns the manifest's entry of this export if it is complete already, else None.

        Raises:
            ExistingOutputError: something else is here, or another export without on_existing="delete".
            OutputError: the output cannot be read.
        """
        outside_others(self.out)
        exports = self._exports()
        self._refuse_foreign(exports)
        own = exports.get(settings["split"]) if self.shared else next(iter(exports.values()), None)
        if own is None:
            self._refuse_other_settings(exports, settings)
            return None
        holds = f"an export of the split {settings['split']!r}" if self.shared else "an export"
        todo = admit(
            self.out, on_existing, holds=holds, differences=lambda: _differences(own["settings"], settings)
        )
        return own if todo == "resume" and self._complete(own) else None

    def record(
        self, settings: Mapping[str, Any], recipe_hash: str | None, counts: Mapping[str, Any], content: Path
    ) -> None:
        """Write the manifest for the file whose content is in `content`, and remove the one it replaces."""
        split = settings["split"]
        # Read again, because another split may have been exported in the meantime.
        exports = self._exports() if self.shared else {}
        # Another format's file has another name.
        for name in exports.get(split, {}).get("files", {}).keys() - {self.file.name}:
            (self.file.parent / Path(name).name).unlink(missing_ok=True)
        entry = {
            "settings": dict(settings),
            "recipe_hash": recipe_hash,
            "counts": dict(counts),
            "files": {self.file.name: {"bytes": content.stat().st_size, "sha256": sha256(content)}},
        }
        write_json(self.manifest, {"pairkit": __version__, EXPORT: {**exports, split: entry}})

    def _exports(self) -> dict[str, dict[str, Any]]:
        """Read the manifest's entries by split; none if it does not exist or is not an export's."""
        try:
            content = read_json(self.manifest)
        # A pairkit.json that is not JSON was not written by pairkit: the output is then refused as foreign.
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        except OSError as error:
            raise OutputError(f"{self.manifest}: cannot be read: {error.strerror}") from error
        exports = content.get(EXPORT) if isinstance(content, dict) else None
        if not isinstance(exports, dict):
            return {}
        entries = exports.values()
        keys = {"settings", "counts", "files"}
        return exports if all(isinstance(each, dict) and keys <= each.keys() for each in entries) else {}

    def _refuse_foreign(self, exports: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ExistingOutputError` if the output is or would replace what no export has written."""
        if self.shared and self.out.is_file():
            raise _foreign(self.out)
        # Files of a killed export do not count, whichever split it was of.
        if self.shared and not exports and not all(map(_is_partial, names_in(self.out))):
            raise ExistingOutputError(
                f"{self.out} is not empty and was not created by this command; choose another --out"
            )
        names = {name for entry in exports.values() for name in entry["files"]}
        if self.file.exists() and self.file.name not in names:
            raise _foreign(self.file)
        if self.manifest.exists() and not exports:
            raise _foreign(self.manifest)

    def _refuse_other_settings(
        self, exports: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
    ) -> None:
        """Raise `ExistingOutputError` if another split of the directory was exported with other settings."""
        for split, entry in exports.items():
            if changes := _differences({**entry["settings"], "split": settings["split"]}, settings):
                raise ExistingOutputError(
                    f"{self.out} contains an export of the split {split!r} with other settings: "
                    f"{'; '.join(changes)}. Choose another --out"
                )

    def _complete(self, entry: Mapping[str, Any]) -> bool:
        # By its hash, because the file may have been changed since.
        description = entry["files"].get(self.file.name)
        return bool(description and self.file.is_file() and sha256(self.file) == description["sha256"])


def output(out: Path, name: str, split: str) -> Output:
    """Place the export of a split in the format `name`.

    Raises `RecipeError` for a file with the extension of another format.
    """
    suffix = FORMATS[name].suffix
    extension = out.suffix.lower()
    # An existing directory may have any name.
    if extension not in _FILES or out.is_dir():
        return Output(out / f"{split}{suffix}", out / MANIFEST, shared=True)
    if extension != suffix:
        raise RecipeError(
            f"--out {out}: the format {name} is written as *{suffix}; give such a file, or a directory"
        )
    return Output(out, out.with_name(f"{out.name}.{MANIFEST}"), shared=False)


def _differences(old: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    # Without the digest of the dataset: a hash tells nothing, so it is put in words below.
    changes = changed_values(old, settings, lambda key: key == "dataset" or key.split(".")[0] not in settings)
    return changes + (["the dataset was built again"] if old.get("dataset") != settings["dataset"] else [])


def _is_partial(name: str) -> bool:
    """Tell whether a name is one that `files.partial` gives to a file of an export, or that of its lock."""
    endings = (".parquet.part", ".jsonl.part", f".{MANIFEST}.part")
    return name.startswith(".") and (name.endswith(endings) or LOCK in name)


def _foreign(path: Path) -> ExistingOutputError:
    return ExistingOutputError(
        f"{path} exists and was not written by `pairkit export`, so no --on-existing replaces it; "
        "choose another --out"
    )
