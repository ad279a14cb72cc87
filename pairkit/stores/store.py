"""Files on an object store: listed, read, written and removed, with one kind of error for all stores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
from pyarrow import fs

from pairkit.errors import InputError, OutputError, PairkitError, shortened
from pairkit.stores.address import Address
from pairkit.stores.filesystems import FileSystem, open_filesystem

_BLOCK = 8 * 10**6  # bytes moved at once
# What libraries call the content of a file, in the order in which it tells most.
_VERSIONS = ("ETag", "etag", "x-goog-hash", "generation", "md5Hash", "content_md5", "blob_id")
# What is in a library's message -> what it means, and what to do.
_NO_BUCKET = (
    "there is no such bucket; check the address, and that AWS_ENDPOINT_URL and AWS_REGION are its own"
)
_REFUSED = (
    "the store refuses access; check the credentials in the environment and their rights to this bucket"
)
_UNREACHABLE = "the store cannot be reached; check the network and AWS_ENDPOINT_URL"
_REASONS = {
    r"no.?such.?bucket|bucket does not exist": _NO_BUCKET,
    r"access.?denied|forbidden|unauthorized|\b40[13]\b": _REFUSED,
    r"invalid_access_key|signature|expired|credential|permission": _REFUSED,
    r"network_connection|curlcode|connect|timed out|timeout|unavailable": _UNREACHABLE,
    r"resolve host|name or service": _UNREACHABLE,
}
_REQUEST = re.compile(r"\(Request ID: [^)]*\)")
_UNKNOWN = "the request failed; check the address, the credentials in the environment and the network"


@dataclass(frozen=True)
class Store:
    """A place on a store; names are relative to it, "" is the place itself."""

    address: Address
    filesystem: FileSystem

    def files(self) -> dict[str, int]:
        """Return the bytes of each file below the place, sorted by name. Raises `InputError`."""
        selector = fs.FileSelector(self.address.path, recursive=True)
        try:
            with self._asking("", InputError, "cannot be listed"):
                entries = self.filesystem.arrow.get_file_info(selector)
        except _NotThere:
            return {}
        root = f"{self.address.path}/"
        files = (each for each in entries if each.type == fs.FileType.File)
        sizes = {each.path.lstrip("/").removeprefix(root): int(each.size) for each in files}
        # Of a file of that name fsspec lists the file itself.
        sizes.pop(self.address.path, None)
        return dict(sorted(sizes.items()))

    def size(self, name: str = "") -> int | None:
        """Return the bytes of a file; None if there is none. Raises `InputError`."""
        with self._asking(name, InputError, "cannot be read"):
            entry = self.filesystem.arrow.get_file_info(self._path(name))
        return int(entry.size) if entry.type == fs.FileType.File else None

    def version(self, name: str = "") -> str:
        """Return what changes with the content of a file: the store's hash of it, or else size and time.

        Raises `InputError`, also if there is no such file.
        """
        arrow, native, path = *self.filesystem, self._path(name)
        with self._asking(name, InputError, "cannot be read"):
            if native is not None:
                return str(next(filter(None, map(native.info(path).get, _VERSIONS)), native.ukey(path)))
            with arrow.open_input_stream(path) as stream:
                about = stream.metadata() or {}
            content = next(filter(None, map(about.get, _VERSIONS)), b"")
            info = arrow.get_file_info(path)
            return content.decode("latin-1") or f"{info.size} bytes, {info.mtime_ns}"

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file; None if there is none. Raises `InputError`."""
        try:
            with (
                self._asking(name, InputError, "cannot be read"),
                self.filesystem.arrow.open_input_stream(self._path(name)) as stream,
            ):
                return bytes(stream.read())
        except _NotThere:
            return None

    def download(self, name: str, target: Path) -> None:
        """Write a file's content to `target`. Raises `InputError` for the store, `OSError` for the disk."""
        with target.open("wb") as local:
            for block in self._blocks(name):
                local.write(block)

    def _blocks(self, name: str) -> Iterator[bytes]:
        with self._asking(name, InputError, "cannot be read"):
            stream = self.filesystem.arrow.open_input_stream(self._path(name))
        with stream:
            while True:
                with self._asking(name, InputError, "cannot be read"):
                    block = stream.read(_BLOCK)
                if not block:
                    return
                yield block

    def upload(self, source: Path, name: str) -> None:
        """Write a file, which appears whole or not at all. Raises `OutputError`."""
        with source.open("rb") as local, self._writing(name) as stream:
            while block := local.read(_BLOCK):
                stream.write(block)

    def write(self, content: bytes, name: str) -> None:
        """Write a small file. Raises `OutputError`."""
        with self._writing(name) as stream:
            stream.write(content)

    def delete(self, name: str) -> None:
        """Remove a file; one that is gone already is no error. Raises `OutputError`."""
        try:
            with self._asking(name, OutputError, "cannot be removed"):
                self.filesystem.arrow.delete_file(self._path(name))
        except _NotThere:
            return

    @contextmanager
    def _writing(self, name: str) -> Iterator[pa.NativeFile]:
        with self._asking(name, OutputError, "cannot be written"):
            path = self._path(name)
            # Folders are files of their own on some; where they are not, this does nothing.
            if self.filesystem.native is not None:
                self.filesystem.arrow.create_dir(path.rpartition("/")[0])
            # Closed by its block: until then the store shows no file of that name, or the one before.
            with self.filesystem.arrow.open_output_stream(path) as stream:
                yield stream

    def _path(self, name: str) -> str:
        return f"{self.address.path}/{name}" if name else self.address.path

    @contextmanager
    def _asking(self, name: str, kind: type[PairkitError], what: str) -> Iterator[None]:
        where = f"{self.address.scheme}://{self._path(name)}"
        try:
            yield
        except PairkitError:
            raise
        except FileNotFoundError as error:
            if reason_of(error) == _NO_BUCKET:
                raise kind(f"{where}: {what}: {_NO_BUCKET}") from error
            raise _NotThere(f"{where}: there is no such file") from error
        except Exception as error:  # pyarrow raises OSError, each library of fsspec types of its own
            raise kind(f"{where}: {what}: {reason_of(error)} ({_detail(error)})") from error


class _NotThere(InputError):
    """A file that the store does not have."""


def reason_of(error: Exception) -> str:
    """Return what an error of a store's library means, and what to do."""
    text = _detail(error).lower()
    return next((reason for marks, reason in _REASONS.items() if re.search(marks, text)), _UNKNOWN)


def _detail(error: Exception) -> str:
    # Without the number of the request, whose digits mean nothing.
    text = _REQUEST.sub("", str(error))
    return shortened(" ".join(text.split()) or type(error).__name__)


def open_store(address: Address) -> Store:
    """Open the store of an address; nothing of it is read yet.

    Raises `MissingExtraError`, `RecipeError`, or `InputError` if its library cannot start.
    """
    try:
        return Store(address, open_filesystem(address))
    except PairkitError:
        raise
    except Exception as error:  # as in `Store._asking`
        raise InputError(f"{address}: cannot be opened: {reason_of(error)} ({_detail(error)})") from error


def safe_name(name: str) -> bool:
    """Return whether a name, which anybody may have given to a file, stays below the folder it is put in.

    >>> [safe_name(name) for name in ("data/train.parquet", "../x", "/etc/x", "a//b")]
    [True, False, False, False]
    """
    parts = name.split("/")
    return not {"", ".", ".."} & set(parts) and "\0" not in name and not PurePosixPath(name).is_absolute()
