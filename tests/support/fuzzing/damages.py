"""Damages of a folder of state: a file's bytes, its JSON, its type or its place, changed in any way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st
from support.fuzzing.values import mutated, spoiled, values

LARGE = 64 * 2**20  # bytes of nothing


class Damage(NamedTuple):
    """What happens to a file, by its path within the folder; `content` is None where there is none."""

    name: str
    how: str
    content: bytes | None = None
    other: str = ""

    def do(self, folder: Path) -> None:
        path = folder / self.name
        if self.how == "write":
            path.write_bytes(self.content or b"")
        elif self.how == "large":
            with path.open("r+b") as file:
                file.truncate(LARGE)
        elif self.how == "add":
            path.with_name(self.other).write_bytes(self.content or b"")
        elif self.how == "swap":
            first, second = path.read_bytes(), (folder / self.other).read_bytes()
            path.write_bytes(second)
            (folder / self.other).write_bytes(first)
        else:
            path.unlink()
            if self.how == "folder":
                path.mkdir()
            elif self.how == "loop":
                path.symlink_to(path.name)
            elif self.how == "gone folder":
                shutil.rmtree(path.parent)


def damages(folder: Path, leave: Sequence[str] = ()) -> st.SearchStrategy[Damage]:
    """Return a strategy of damages to the files of a folder, but those with the names to leave."""
    contents = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in leave
    }
    names = st.sampled_from(sorted(contents))
    strays = st.sampled_from(
        ["00009", "x.parquet", "00007.part", "00000007.parquet", "a.b.parquet", "config.json", "nul"]
    )

    def changed(name: str) -> st.SearchStrategy[Damage]:
        content = contents[name]
        bytes_ = spoiled(content).map(lambda data: Damage(name, "write", data))
        others = st.sampled_from(["large", "remove", "folder", "loop", "gone folder"]).map(
            lambda how: Damage(name, how)
        )
        swapped = names.map(lambda other: Damage(name, "swap", other=other))
        added = st.tuples(strays, st.binary(max_size=9) | st.just(content)).map(
            lambda stray: Damage(name, "add", stray[1], stray[0])
        )
        if not name.endswith(".json"):
            return bytes_ | bytes_ | bytes_ | others | swapped | added
        spoiled_json = (mutated(json.loads(content)) | values).map(
            lambda value: Damage(name, "write", json.dumps(value).encode())
        )
        return spoiled_json | spoiled_json | bytes_ | others | swapped | added

    return names.flatmap(changed)


def damaged(folder: Path, copy: Path, damage: Damage) -> Any:
    """Copy a folder and damage the copy."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    damage.do(copy)
