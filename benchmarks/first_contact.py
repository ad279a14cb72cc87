"""How long and how large the way to a first screen is.

    python benchmarks/first_contact.py                           what is imported and installed
    python benchmarks/first_contact.py --install --quickstart    from `git clone` on; needs a package index

Prints what each entry point imports and how long that takes (a fresh process each, the best of N), and how
much each installed package that pairkit's core requires takes on disk. `--install` does what the README says
first, in a new folder: clone, a new environment, `pip install -c constraints.txt .`, a first command; it
prints the seconds of each and the largest packages. `--quickstart` then runs the quickstart there.
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

from machine import machine
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


def print_install(source: str, *, quickstart: bool) -> None:
    """Time the way from `git clone` to the first commands, and name the largest packages."""
    with tempfile.TemporaryDirectory() as folder:
        clone, environment = Path(folder, "pairkit"), Path(folder, "environment")
        python, pairkit = environment / "bin/python", environment / "bin/pairkit"
        constraints = ["-c", clone / "constraints.txt"]
        steps: dict[str, list[str | Path]] = {
            "git clone": ["git", "clone", "--quiet", source, clone],
            "new environment": [sys.executable, "-m", "venv", environment],
            "pip install .": [python, "-m", "pip", "install", "-q", *constraints, clone],
            "pairkit losses": [pairkit, "losses"],
        }
        seconds = {name: timed(command) for name, command in steps.items()}
        for name, value in seconds.items():
            print(f"{name:18} {value:6.1f} s")
        print(f"{'first useful line':18} {sum(seconds.values()):6.1f} s")
        for words in (["--help"], ["sources"], ["losses"]):  # again, with what is compiled and cached
            print(f"pairkit {words[0]:10} {timed([pairkit, *words]):6.2f} s")
        print_largest(next((environment / "lib").glob("python*")) / "site-packages")
        if quickstart:
            out = Path(folder, "quickstart")
            print(f"pairkit quickstart {timed([pairkit, 'quickstart', '--out', out]):6.1f} s; goal: 75 s")


def print_largest(packages: Path, count: int = 8) -> None:
    """Print the largest packages of an environment and its size."""
    sizes = {
        entry.name: sum(path.stat().st_size for path in entry.rglob("*") if path.is_file())
        for entry in packages.iterdir()
        if entry.is_dir()
    }
    for name, bytes_ in sorted(sizes.items(), key=lambda item: -item[1])[:count]:
        print(f"{name:18} {bytes_ / 1e6:6.0f} MB")
    print(f"{'all packages':18} {sum(sizes.values()) / 1e6:6.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--install", action="store_true", help="time an installation too")
    parser.add_argument("--quickstart", action="store_true", help="and then the quickstart")
    parser.add_argument("--source", default=str(ROOT), help="what to clone; default: this repository")
    parser.add_argument("--repeats", type=int, default=3, help="processes per entry point")
    parser.add_argument("--small", action="store_true", help="show that it runs: one process per entry point")
    arguments = parser.parse_args()
    print(machine())
    print_imports(1 if arguments.small else arguments.repeats)
    print_sizes()
    if arguments.install:
        print_install(arguments.source, quickstart=arguments.quickstart)


if __name__ == "__main__":
    main()
