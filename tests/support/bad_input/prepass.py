"""`pairkit build` with duplicates, decontamination and filters: what can be wrong with them."""

from __future__ import annotations

from support.bad_input.case import FILES, OWN, Case

BUILD = f"{FILES} own.jsonl"

CASES = [
    Case(
        "unknown filter",
        f"{BUILD} filter.margins.min=1",
        "unknown recipe key 'filter.margins'; did you mean 'filter.margin'? Known: …",
        OWN,
    ),
    Case(
        "filter without a bound",
        f"{BUILD} filter.margin={{}}",
        "a filter with bounds needs min or max, or both",
        OWN,
    ),
    Case(
        "filter whose bounds are crossed",
        f"{BUILD} filter.margin.min=2 filter.margin.max=1",
        "a filter's min must not be above its max, got 2 and 1",
        OWN,
    ),
    Case(
        "regular expression that does not compile",
        f"{BUILD} filter.prompt_regex.forbid=[(a]",
        "cannot compile the regular expression '(a': unclosed group (the syntax is that of Rust's regex, "
        "without look-around and backreferences)",
        OWN,
    ),
    Case(
        "similarity of near-duplicates above 1",
        f"{BUILD} dedup.threshold=1.5",
        "recipe key 'dedup.threshold': Input should be less than or equal to 1 (got 1.5)",
        OWN,
    ),
    Case(
        "runs of more words than any text has",
        f"{BUILD} filter.repetition.max=0.5 filter.repetition.ngram=1000000000",
        "recipe key 'filter.repetition.ngram': Input should be less than or equal to 100 (got 1000000000)",
        OWN,
    ),
    Case(
        "unknown benchmark",
        f"{BUILD} decontaminate.against=[gsm8]",
        "unknown benchmark 'gsm8'; did you mean 'gsm8k'? Known: …",
        OWN,
    ),
    Case(
        "benchmark file that does not exist",
        f"{BUILD} decontaminate.against=[bench.jsonl]",
        "bench.jsonl: no such file of a benchmark",
        OWN,
    ),
    Case(
        "benchmark file without prompts",
        f"{BUILD} decontaminate.against=[bench.jsonl]",
        "bench.jsonl: a benchmark without prompts: expected a column turns, instruction, question, prompt, "
        "problem; found text",
        {**OWN, "bench.jsonl": b'{"text": "What is 2 + 2?"}\n'},
    ),
    Case(
        "two benchmarks of one name",
        f"{BUILD} decontaminate.against=[question.jsonl,v2/question.jsonl]",
        "decontaminate.against names 'question' twice: give each benchmark once, and files of one name as "
        "NAME=FILE",
        {**OWN, "question.jsonl": b'{"prompt": "One?"}\n', "v2/question.jsonl": b'{"prompt": "Two?"}\n'},
    ),
    Case(
        "filters that no set passes",
        f"{BUILD} filter.prompt_chars.min=500",
        "own.jsonl: no usable candidate set in 20 rows (20 filter_prompt_chars); the first: set …: "
        "prompt_chars is 11; the filter has min=500",
        OWN,
    ),
]
