"""How long and how large the way to a first screen is: `python benchmarks/first_contact.py [--install]`.

Prints what each entry point imports and how long that takes (a fresh process each, the best of N), and how
much each installed package that pairkit's core requires takes on disk. `--install` also times `pip install .`
into a new environment and its first commands; it needs a package index.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = {
    "import pairkit": "import pairkit",
    "pairkit --help": "import pairkit.cli",
    "pairkit.load": "import pairkit.dataset.reader",
    "pairkit inspect": "import pairkit.inspection.collect",
    "pairkit build": "import pairkit.pipeline.build",
    "pairkit push": "import pairkit.hub.push",
    "pairkit train": "import pairkit.training.run",
}


def requirements(name: str) -> Iterator[str]:
    """Yield the names of the packages that a package requires without extras."""
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def closure(name: str) -> set[str]:
    """Return a package and everything that it requires, directly or not, as far as it is installed."""
    found: set[str] = set()
    open_names = [name]
    while open_names:
        key = open_names.pop().lower().replace("_", "-")
        try:
            metadata.distribution(key)
        except metadata.PackageNotFoundError:
            continue
        if key not in found:
            found.add(key)
            open_names += requirements(key)
    return found


def size(name: str) -> int:
    """Return the bytes of a package's files."""
    files = metadata.distribution(name).files or []
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())


def print_sizes() -> None:
    """Print, for each requirement of the core, its own size and what only it brings along."""
    core = sorted(name.lower() for name in requirements("pairkit"))
    closures = {name: closure(name) for name in core}
    everything = closure("pairkit") - {"pairkit"}
    print(f"{'requirement':18} {'MB':>7} {'MB that go with it':>20}")
    for name in core:
        others = set().union(
            *(closures[other] for other in core if other != name and name not in closures[other])
        )
        alone = closures[name] - others
        print(f"{name:18} {size(name) / 1e6:7.1f} {sum(map(size, alone)) / 1e6:20.1f}")
    print(f"{'all':18} {sum(map(size, everything)) / 1e6:7.1f}   ({len(everything)} packages)")


def print_imports(repeats: int) -> None:
    """Print what each entry point imports of the core's requirements, and the seconds of a fresh process."""
    names = [name.lower().replace("-", "_") for name in requirements("pairkit")]
    names = [{"pyyaml": "yaml"}.get(name, name) for name in names]
    show = f"import sys; print(*sorted(n for n in {names!r} if n in sys.modules))"
    for entry, code in ENTRIES.items():
        seconds = min(timed([sys.executable, "-c", code]) for _ in range(repeats))
        command = [sys.executable, "-c", f"{code}; {show}"]
        loaded = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()
        print(f"{entry:18} {seconds:6.2f} s  {loaded or '-'}")


def timed(command: Sequence[str | Path]) -> float:
    """Run a command; return its seconds."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env={**os.environ})
    return time.perf_counter() - start


def print_install() -> None:
    """Time an installation into a new environment, and the first commands in it."""
    with tempfile.TemporaryDirectory() as folder:
        python, pairkit = Path(folder, "bin/python"), Path(folder, "bin/pairkit")
        print(f"new environment    {timed([sys.executable, '-m', 'venv', folder]):6.1f} s")
        install = [python, "-m", "pip", "install", "-q", "-c", "constraints.txt", "."]
        print(f"pip install .      {timed(install):6.1f} s")
        size_ = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        print(f"on disk            {size_ / 1e6:6.0f} MB")
        for words in (["--help"], ["--help"], ["losses"], ["sources"]):
            print(f"pairkit {words[0]:10} {timed([pairkit, *words]):6.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", action="store_true", help="time an installation too")
    parser.add_argument("--repeats", type=int, default=3, help="processes per entry point")
    arguments = parser.parse_args()
    print_imports(arguments.repeats)
    print_sizes()
    if arguments.install:
        print_install()


if __name__ == "__main__":
    main()
