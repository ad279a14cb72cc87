"""Evaluations that are allowed, and whose results say in a note why they are no published number."""

from __future__ import annotations

from typing import Any

from support import arena, mt_bench
from support.bad_input import alpaca_eval, gsm8k
from support.bad_input import mt_bench as mt_bench_files
from support.bad_input.case import Case, lines

ALPACA = "eval alpaca_eval --reference reference.json --gamed none --out out --annotations annotations.json"
ARENA = "eval arena_hard --questions q.jsonl --annotations j.jsonl --out out"
MT_BENCH = f"{mt_bench_files.JUDGED} --out out"
GSM8K = f"{gsm8k.ANSWERED} instruction= --out out"
USED = "all are used"


def eighty() -> list[dict[str, Any]]:
    """As many questions as MT-Bench has, which are others."""
    first = mt_bench.question_rows()
    return [row | {"question_id": 81 + n} for n, row in enumerate(first * 20)]


FLAGGED = [
    Case(
        "fewer questions than AlpacaEval has",
        ALPACA,
        "note: 5 of AlpacaEval's 805 questions: no number for a published table",
        alpaca_eval.files(),
        code=0,
        rows=USED,
    ),
    Case(
        "an empty answer to AlpacaEval",
        f"{ALPACA} --answers outputs.json",
        "note: … characters per answer, the reference …; … answers equal to the reference's, 1 empty",
        alpaca_eval.files(),
        code=0,
        rows=USED,
    ),
    Case(
        "fewer questions than Arena-Hard has, and so another file",
        ARENA,
        "note: another version of the questions than Arena-Hard 0.1's 500",
        {"q.jsonl": lines(*arena.questions()), "j.jsonl": lines(*arena.judgments())},
        code=0,
        rows=USED,
    ),
    Case(
        "fewer questions than MT-Bench has",
        MT_BENCH,
        "note: 4 of MT-Bench's 80 questions: no number for a published table",
        mt_bench_files.files(),
        code=0,
        rows=USED,
    ),
    Case(
        "questions of another version of MT-Bench, asked for",
        f"{MT_BENCH} --other-version",
        "note: another version of the questions than MT-Bench's 80",
        mt_bench_files.files(question=eighty()),
        code=0,
        rows=USED,
    ),
    Case(
        "an empty answer to MT-Bench",
        f"{MT_BENCH} --answers mine.jsonl",
        "note: 1 empty answers were rated 1 without asking",
        mt_bench_files.files(),
        code=0,
        rows=USED,
    ),
    Case(
        "other problems, or fewer, than GSM8K's test set",
        GSM8K,
        "note: 4 problems; not GSM8K's whole test set: no number for a published table",
        gsm8k.files(*map(gsm8k.answer, range(4))),
        code=0,
        rows=USED,
    ),
    Case(
        "an answer to another problem than GSM8K's among others",
        GSM8K,
        "note: 1 of 3 rows of answers.jsonl (answers) are about none of the 4 questions used here, such "
        "as '9'",
        gsm8k.files(gsm8k.answer(0), gsm8k.answer(1), gsm8k.answer(9)),
        code=0,
        rows="that row is not used, and counted",
    ),
    Case(
        "a problem of GSM8K without an answer",
        GSM8K,
        "without a score: 3 no_answer",
        gsm8k.files(gsm8k.answer(0)),
        code=0,
        rows="it is counted under its reason, and no zero",
    ),
]
