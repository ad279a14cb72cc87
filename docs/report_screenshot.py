"""Writes the screenshots of docs/reports.md, with the Chromium of this machine.

    python docs/report_screenshot.py RUN... [--eval DIR]... [--dark]

The page is that of `pairkit report` with the same arguments. docs/report.png is its top,
docs/report-samples.png the section of samples; with --dark their names end in -dark.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from pairkit.run_report.report import report

DOCS = Path(__file__).parent
WIDTH = 1060
UNPAINTED = 300  # pixels at the bottom of a window that Chromium may leave white
# By file: the title of the section with which it begins, and its height.
SHOTS = {"report": ("", 1420), "report-samples": ("What do the models write?", 900)}
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
DARK = ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--eval", type=Path, action="append", default=[])
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        parser.error("no chromium on this machine: install Debian's package of this name")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = folder / "report.html"
        report(options.runs, page, evaluated=options.eval)
        source = page.read_text(encoding="utf-8")
        for shot, (title, height) in SHOTS.items():
            shown = folder / f"{shot}.html"
            shown.write_text(_alone(source, title) if title else source, encoding="utf-8")
            target = DOCS / f"{shot}{'-dark' * options.dark}.png"
            command = [
                chromium, *FLAGS, *(DARK if options.dark else ()), f"--user-data-dir={folder / shot}",
                f"--window-size={WIDTH},{height + UNPAINTED}", f"--screenshot={target}", shown.as_uri(),
            ]  # fmt: skip
            subprocess.run(command, check=True, capture_output=True)
            with Image.open(target) as image:
                image.convert("RGB").crop((0, 0, WIDTH, height)).save(target, optimize=True)
            print(f"wrote {target}")


def _alone(source: str, title: str) -> str:
    """Hide all sections but one, because a screenshot is of the top of a page."""
    anchors = {name: anchor for anchor, name in re.findall(r'<a href="#([\w-]+)">([^<]*)</a>', source)}
    hidden = f"header, section:not(#{anchors[title]}) {{ display: none; }} main {{ padding-top: 20px; }}"
    return source.replace("</style>", f"{hidden}</style>", 1)


if __name__ == "__main__":
    main()
