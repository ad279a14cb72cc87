"""The order of the packages: docs/architecture.md states it, and the imports of every file keep it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pairkit.engines.table import ENGINES
from pairkit.rankers.table import RANKERS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pairkit"
PAGE = ROOT / "docs" / "architecture.md"
ENTRY = {"__init__", "__main__"}  # the public face and `python -m pairkit` stand above everything
MOST_FILES = 22


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imported(file: Path) -> Iterator[str]:
    """Every module of pairkit that a file imports, wherever in it and under whatever condition."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "pairkit")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import, which this test does not follow"
            if (node.module or "").split(".")[0] == "pairkit":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (name if name in MODULES else str(node.module) for name in names)


def named(file: Path) -> set[str]:
    """Every module of pairkit that a file names as a text, as `module:function` too, to import it later."""
    constants = (
        node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    )
    texts = (node.value.partition(":")[0] for node in constants if isinstance(node.value, str))
    return {text for text in texts if text.startswith("pairkit.") and text in MODULES}


IMPORTS = {module: {*imported(file)} - {module} for module, file in MODULES.items()}
# A table may name modules that import it, as that of the engines does, so names are held to the floors alone.
REACHED = {module: IMPORTS[module] | named(file) - {module} for module, file in MODULES.items()}


def floors() -> dict[str, int]:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.M)
    found = {room: int(floor) for floor, room in rows}
    assert len(found) == len(rows), "a room is in the table twice"
    return found


def room_of(module: str) -> str:
    return module.split(".")[1]


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The first circle that is found, as the names on it; empty if there is none."""
    finished: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in finished:
            return []
        for other in sorted(graph.get(name, ())):
            if closed := visit(other, [*path, name]):
                return closed
        finished.add(name)
        return []

    for name in sorted(graph):
        if closed := visit(name, []):
            return closed
    return []


def test_the_table_names_every_room_once() -> None:
    rooms = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert set(floors()) == rooms - ENTRY


def test_no_import_runs_upward() -> None:
    floor = floors()
    upward = [
        f"{module} (floor {floor[room_of(module)]}) imports {other} (floor {floor[room_of(other)]})"
        for module, others in REACHED.items()
        if module != "pairkit" and room_of(module) not in ENTRY
        for other in sorted(others - {"pairkit"})
        if room_of(other) != room_of(module) and floor[room_of(other)] >= floor[room_of(module)]
    ]
    assert not upward, "\n".join(upward)
    assert not [module for module, others in IMPORTS.items() if "pairkit" in others]  # it imports them all


def test_no_files_import_each_other_in_a_circle() -> None:
    assert not circle(IMPORTS)


def test_no_folders_of_a_package_import_each_other_in_a_circle() -> None:
    for package in sorted({room_of(module) for module in MODULES if module.count(".") > 1}):
        inside = f"pairkit.{package}."
        graph: dict[str, set[str]] = {}
        for module, others in IMPORTS.items():
            if module.startswith(inside):
                own = module.split(".")[2]
                below = {other.split(".")[2] for other in others if other.startswith(inside)}
                graph.setdefault(own, set()).update(below - {own})
        assert not circle(graph), package


def test_folders_show_ideas() -> None:
    for folder in [PACKAGE, *(path for path in PACKAGE.rglob("*") if (path / "__init__.py").exists())]:
        files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MOST_FILES, f"{folder.name} shows {len(files)} files"
    training = PACKAGE / "training"
    assert len([path for path in training.glob("*.py") if path.name != "__init__.py"]) <= 8
    assert {path.name for path in training.iterdir() if (path / "__init__.py").exists()} == {
        "tokens", "logprobs", "step", "cost", "output", "export", "distributed", "generated", "reward",
        "pairrm", "record",
    }  # fmt: skip


def undescribed(folders: Iterable[str], page: str) -> list[str]:
    """Those of some folders, such as `view/files`, that the page names neither whole nor in their room."""
    named = {name.strip("/") for name in re.findall(r"`([\w/]+/)`", page)}
    # Rows of a room, and sections of one, name its folders alone.
    own: dict[str, set[str]] = {}
    for room, text in re.findall(r"^\| \d+ \| `(\w+)` \|(.*)", page, re.M):
        own.setdefault(room, set()).update(re.findall(r"`(\w+)/`", text))
    for room, text in re.findall(r"^## The rooms of `(\w+)`$(.*?)(?=^## )", page, re.M | re.S):
        own.setdefault(room, set()).update(name.strip("/") for name in re.findall(r"`([\w/]+/)`", text))
    return [
        folder
        for folder in folders
        if folder not in named and folder.partition("/")[2] not in own.get(folder.partition("/")[0], set())
    ]


def test_every_folder_is_described() -> None:
    folders = {
        str(path.parent.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*/__init__.py")
        if path.parent != PACKAGE
    }
    below = sorted(folder for folder in folders if "/" in folder)
    commands = {path.stem for path in (PACKAGE / "cli" / "evaluations").glob("*.py")}
    # "One folder per evaluation with a command"; of an engine or a ranker, its row has a line of help.
    rows = {
        *(f"evaluation/{name}" for name in commands),
        *(f"engines/{name}" for name in ENGINES),
        *(f"rankers/{name}" for name in RANKERS),
    }
    page = PAGE.read_text(encoding="utf-8")
    assert rows & folders
    assert not undescribed([folder for folder in below if folder not in rows], page)


def test_every_folder_that_is_described_exists() -> None:
    names = re.findall(r"`([\w/]+)/`", PAGE.read_text(encoding="utf-8"))
    assert not [
        name for name in names if not [*PACKAGE.glob(name), *PACKAGE.glob(f"*/{name}"), *ROOT.glob(name)]
    ]


def test_a_folder_that_is_not_described_is_found() -> None:
    rows = (
        "| 3 | `models` | a row with `chat/` |",
        "## The rooms of `view`",
        "| `view/files/` |",
        "| `page/` |",
    )
    page = "\n".join([*rows, "## X"])
    assert undescribed(["models/chat", "view/files", "view/page", "readers/chat"], page) == ["readers/chat"]


def test_circles_and_hidden_imports_are_found(tmp_path: Path) -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    tree = "if TYPE_CHECKING:\n    from pairkit.pipeline.build import build\n"
    file = tmp_path / "file.py"
    file.write_text(tree + 'LATER = "pairkit.engines.vllm:open_vllm", "pairkit.json", "see pairkit.files"\n')
    assert {*imported(file)} == {"pairkit.pipeline.build"}
    assert named(file) == {"pairkit.engines.vllm"}
