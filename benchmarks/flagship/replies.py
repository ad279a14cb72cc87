"""Replies that people wrote, to measure what a model gives up: self-instruct's user-oriented instructions.

    python benchmarks/flagship/replies.py --instructions user_oriented.jsonl.gz --out replies.jsonl

The rows are read by `pairkit build --source files mine.require_choice=false`. None of these instructions is
among the prompts of prompts.py, which are given other files.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--instructions", type=Path, required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    opened = gzip.open if arguments.instructions.suffix == ".gz" else open
    written = 0
    with (
        opened(arguments.instructions, "rt", encoding="utf-8") as lines,
        arguments.out.open("w", encoding="utf-8") as out,
    ):
        for line in lines:
            task = json.loads(line)
            for instance in task["instances"]:
                prompt = "\n\n".join(filter(None, (task["instruction"], instance["input"])))
                out.write(json.dumps({"prompt": prompt, "completion": instance["output"]}) + "\n")
                written += 1
    print(f"{written} replies")


if __name__ == "__main__":
    main()
