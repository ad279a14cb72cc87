"""Write the documentation as a site, build/site: `make docs`.

The pages and pictures are copied to build/pages in the layout of the repository, so that a link which
works on a code host also works on the site. zensical.toml has the navigation; tests/docs/ checks every link.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAGED = ROOT / "build" / "pages"
FOLDERS = ("benchmarks", "docs", "online", "pipelines", "train")
KINDS = (".md", ".png", ".svg", ".ipynb")


def sources() -> list[str]:
    """List the pages and pictures, relative to the repository, sorted."""
    # By folder and not by what git knows, because a source archive has no git.
    paths = [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    return sorted(str(path.relative_to(ROOT)) for path in paths if path.suffix in KINDS and path.is_file())


def stage() -> None:
    """Copy the pages and pictures to build/pages, which is made again."""
    shutil.rmtree(STAGED, ignore_errors=True)
    for name in sources():
        target = STAGED / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)


def main() -> int:
    """Stage the pages and build the site; returns zensical's exit status."""
    zensical = Path(sys.executable).with_name("zensical")
    if not zensical.exists():
        print("zensical is not installed: pip install -c constraints.txt -e '.[dev]'", file=sys.stderr)
        return 1
    stage()
    return subprocess.run([zensical, "build", "--clean", "--strict"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
