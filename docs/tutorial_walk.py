"""Does what docs/tutorial.md says, as a stranger would, and compares what is printed with what the page says.

    python docs/tutorial_walk.py --model DIR [--folder DIR]

It clones this repository's last commit, makes a new environment there, and runs every command of the page in
order. DIR has the weights of SmolLM2-135M-Instruct, which a stranger would download; pip needs a package
index. All that is printed is shown, progress first. Times, sizes and measured numbers differ from machine to
machine, so that numbers are compared in their places only: those that differ from the page are listed. The
exit code is 1 if a command fails, or prints other words than the page has.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")
SCRIPT = "make_rows.py"  # which the page has its Python saved as


class Step(NamedTuple):
    """Commands of the page, a shell block or its Python, and what they print by the page; None: not shown."""

    line: int
    commands: str
    expected: str | None


def steps(page: str) -> Iterator[Step]:
    """Yield the commands of a page in order, each with the block of output that follows it."""
    fences = [token for token in MarkdownIt("commonmark").parse(page) if token.type == "fence"]
    for place, fence in enumerate(fences):
        assert fence.map
        if fence.info.strip() == "python":
            yield Step(
                fence.map[0] + 1, f"cat > {SCRIPT} <<'END'\n{fence.content}END\npython {SCRIPT}\n", None
            )
        elif fence.info.strip() == "sh":
            after = fences[place + 1] if place + 1 < len(fences) else None
            shown = after is not None and not after.info.strip()
            yield Step(fence.map[0] + 1, fence.content, after.content if after and shown else None)


def plain(line: str) -> str:
    """Return a line with its numbers as `#`, and with one space, or one stroke, where there are several."""
    line = re.sub(r"([━─┳┻╇┴┼])[━─┳┻╇┴┼]*", "─", NUMBER.sub("#", line))
    return " ".join(line.split())


def differing(expected: Sequence[str], printed: Sequence[str]) -> str | None:
    """Return the first line of `expected` that was not printed in its place, or what was printed besides.

    A line `...` stands for any lines, also none. None: all is as expected.
    """
    place, free = 0, False
    for line in expected:
        if line.strip() == "...":
            free = True
            continue
        while free and place < len(printed) and plain(printed[place]) != plain(line):
            place += 1
        if place >= len(printed) or plain(printed[place]) != plain(line):
            return line
        place, free = place + 1, False
    rest = [line for line in printed[place:] if line.strip()]
    return None if free or not rest else rest[0]


def without_progress(expected: Sequence[str], progress: Sequence[str]) -> Sequence[str]:
    """Return what is left of `expected` after the lines of `progress` that it begins with.

    A page may show any of them, in their order.
    """
    shown = iter(map(plain, progress))
    for number, line in enumerate(expected):
        if plain(line) not in shown:  # which looks on from the last one that was found
            return expected[number:]
    return []


def other_numbers(expected: Sequence[str], printed: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the lines, of the page and as printed, that differ in numbers alone."""
    by_form: dict[str, list[str]] = {}
    for line in printed:
        by_form.setdefault(plain(line), []).append(line)
    for line in expected:
        others = by_form.get(plain(line), [])
        if others and all(NUMBER.findall(other) != NUMBER.findall(line) for other in others):
            yield line, others[0]


def lines(text: str) -> list[str]:
    """Return the lines of an output without empty ones at its ends."""
    return text.strip("\n").split("\n") if text.strip() else []


def run(step: Step, folder: Path, environment: dict[str, str]) -> bool:
    """Run the commands of a step; print what they print, and whether that is what the page says."""
    print(f"\n{'=' * 20} {PAGE.name}:{step.line}\n$ {step.commands.strip()}", flush=True)
    begin = time.monotonic()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step.commands], cwd=folder, env=environment, text=True,
        capture_output=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    print(done.stderr.rstrip(), done.stdout.rstrip(), sep="\n")
    print(f"[{time.monotonic() - begin:.0f} s, exit code {done.returncode}]")
    if done.returncode or step.expected is None:
        return not done.returncode
    expected, progress, printed = map(lines, (step.expected, done.stderr, done.stdout))
    for ours, theirs in other_numbers(expected, [*progress, *printed]):
        print(f"[page]    {ours}\n[printed] {theirs}")
    wrong = differing(without_progress(expected, progress), printed)
    print("[as on the page]" if wrong is None else f"[NOT AS ON THE PAGE] {wrong}", flush=True)
    return wrong is None


def walk(folder: Path, model: Path) -> bool:
    """Walk through the page in a folder; return whether all is as it says."""
    checkout = folder / "pairkit"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    inherited |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    first, *others = steps((checkout / "docs" / PAGE.name).read_text(encoding="utf-8"))
    good = run(first, checkout, inherited)
    work = checkout / "replies"
    # Not a link, whose target would be the model's name in what is printed.
    shutil.copytree(model, work / MODEL)
    environment = checkout / ".venv"
    activated = {
        **inherited, "VIRTUAL_ENV": str(environment), "PATH": f"{environment / 'bin'}:{inherited['PATH']}",
        "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    for step in others if good else ():
        # The others may still show something.
        good &= run(step, work, activated)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the folder of SmolLM2-135M-Instruct")
    parser.add_argument("--folder", type=Path, help="an empty folder to work in, which stays")
    options = parser.parse_args()
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        good = walk(options.folder, options.model)
    else:
        with tempfile.TemporaryDirectory() as name:
            good = walk(Path(name), options.model)
    print("\neverything is as the page says" if good else "\nNOT everything is as the page says")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
