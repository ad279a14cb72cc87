"""Prompts with verifiable instructions: IFEval's kinds, put on real instructions of other data sets.

    python benchmarks/flagship/prompts.py --instructions alpaca.jsonl.gz ultrafeedback.jsonl.gz \
        --ifeval ifeval_input_data.jsonl.gz --out prompts.jsonl --count 800

The rows have IFEval's fields, so that `rank.check=ifeval` verifies completions of them. An instruction that
shares `WORDS` words in a row with a prompt of IFEval is left out, so that no model is measured on what it was
trained on. What is added to an instruction is in the words of IFEval, whose kinds are the same.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# As in studies of contamination (GPT-3 used 13, Llama 2 10); short instructions leave no room for more.
WORDS = 8
LONGEST = 30  # words of an instruction, so that it is the constraint that is hard
# These need a text of their own: the prompt to repeat, another language, or two answers to one question.
LEFT_OUT = {"combination:repeat_prompt", "combination:two_responses", "language:response_language"}
# Fields with an instruction, in the order in which they are looked for.
FIELDS = ("instruction", "prompt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--instructions", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--ifeval", type=Path, required=True, metavar="FILE", help="its 540 prompts")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--count", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    known = runs_of_words(row["prompt"] for row in rows(arguments.ifeval))
    found = usable(row for path in arguments.instructions for row in rows(path))
    clean = [text for text in found if not runs_of_words([text]) & known]
    draw = random.Random(arguments.seed)
    draw.shuffle(clean)
    if len(clean) < arguments.count:
        raise SystemExit(f"{len(clean)} usable instructions, fewer than --count {arguments.count}")
    made = [constrained(key, text, draw) for key, text in enumerate(clean[: arguments.count])]
    arguments.out.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    shared = len(found) - len(clean)
    print(
        f"{len(made)} prompts of {len(found)} instructions; {shared} left out because they share {WORDS} "
        "words in a row with a prompt of IFEval"
    )


def rows(path: Path) -> Iterator[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def usable(found: Iterable[dict[str, Any]]) -> list[str]:
    """Return the distinct short instructions that stand alone, in their order."""
    texts: dict[str, None] = {}
    for row in found:
        text = next((row[name] for name in FIELDS if isinstance(row.get(name), str)), "").strip()
        # One paragraph in English letters, with an end, and without an input beside it.
        plain = text.isascii() and "\n" not in text and text.endswith((".", "?", "!"))
        if plain and not row.get("input") and 4 <= len(text.split()) <= LONGEST:
            texts[text] = None
    return list(texts)


def runs_of_words(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """Return every `WORDS` words in a row, in lower case and without punctuation."""
    found = set()
    for text in texts:
        words = re.findall(r"[a-z0-9']+", text.lower())
        found |= {tuple(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)}
    return found


def constrained(key: int, instruction: str, draw: random.Random) -> dict[str, Any]:
    """Put one or two instructions that do not exclude each other behind an instruction."""
    from lm_eval.tasks.ifeval.instructions_registry import (
        INSTRUCTION_CONFLICTS,
        INSTRUCTION_DICT,
        conflict_make,
    )

    conflicts = conflict_make({kind: set(others) for kind, others in INSTRUCTION_CONFLICTS.items()})
    kinds = sorted(set(INSTRUCTION_DICT) - LEFT_OUT)
    chosen = [draw.choice(kinds)]
    beside = [kind for kind in kinds if kind not in conflicts[chosen[0]]]
    if beside and draw.random() < 0.5:
        chosen.append(draw.choice(beside))
    # lm-eval draws the arguments with the random numbers of Python.
    random.seed(draw.getrandbits(32))
    described, arguments = [], []
    for kind in chosen:
        rule = INSTRUCTION_DICT[kind](kind)
        described.append(rule.build_description())
        arguments.append(rule.get_instruction_args() or {})
    return {
        "key": key,
        "prompt": " ".join([instruction, *(text.strip() for text in described)]),
        "instruction_id_list": chosen,
        "kwargs": arguments,
    }


if __name__ == "__main__":
    main()
