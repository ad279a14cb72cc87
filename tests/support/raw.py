"""Small raw inputs for tests, in the published layouts."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
MODELS = ("gpt-4", "llama-2-7b-chat", "alpaca-7b", "falcon-40b-instruct", "bard")


def ultrafeedback(path: Path, rows: int, *, seed: int = 0) -> Path:
    """Write `rows` UltraFeedback rows as JSONL, with repeated prompts, ties, odd sizes and unusable rows."""
    random_ = random.Random(seed)
    lines = (json.dumps(_row(number, random_), ensure_ascii=False) for number in range(rows))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _row(number: int, random_: random.Random) -> dict[str, Any]:
    completions = [_completion(model, random_) for model in random_.sample(MODELS, random_.randint(1, 5))]
    instruction: str | None = f"Question {random_.randrange(2000)}: {_words(8, random_)}?"
    if number % 10 == 3:
        instruction = f"The same question {number % 7}?"
    if number % 97 == 5:
        instruction = None
    return {
        "source": "evol_instruct",
        "instruction": instruction,
        "models": [completion["model"] for completion in completions],
        "completions": completions,
        "correct_answers": ["None"],
        "incorrect_answers": ["None"],
    }


def _completion(model: str, random_: random.Random) -> dict[str, Any]:
    def annotation() -> dict[str, str]:
        rating = random_.choice(["1", "2", "3", "4", "5", "N/A"])
        return {"Rating": rating, "Rationale": _words(6, random_)}

    return {
        "annotations": {aspect: annotation() for aspect in ASPECTS},
        "critique": _words(12, random_),
        "custom_system_prompt": _words(5, random_),
        "fine-grained_score": 3.0,
        "model": model,
        "overall_score": float(random_.randint(1, 10)),
        "principle": "helpfulness",
        "response": _words(random_.randint(3, 60), random_),
    }


def _words(count: int, random_: random.Random) -> str:
    return " ".join(f"{random_.randrange(16**4):x}é" for _ in range(count))


def _lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def ultrafeedback_binarized(path: Path, rows: int) -> Path:
    """Write HuggingFaceH4's columns; the chosen completion has the higher score."""
    random_ = random.Random(0)

    def row(number: int) -> dict[str, Any]:
        prompt, texts = f"Question {number}?", (_words(9, random_), _words(9, random_))
        chosen, rejected = ([_message("user", prompt), _message("assistant", text)] for text in texts)
        scores = {"score_chosen": random_.uniform(6, 10), "score_rejected": random_.uniform(1, 5)}
        return {
            "prompt": prompt, "prompt_id": f"{number:064x}", "chosen": chosen, "rejected": rejected,
            "messages": chosen, **scores,
        }  # fmt: skip

    return _lines(path, [row(number) for number in range(rows)])


def nectar(path: Path, rows: int) -> Path:
    """Write seven answers per prompt in any order, one of each rank, which its text names."""
    random_ = random.Random(0)

    def row(number: int) -> dict[str, Any]:
        answers = [
            {
                "answer": f"rank {rank}: {_words(9, random_)}",
                "model": random_.choice(MODELS),
                "rank": float(rank),
            }
            for rank in random_.sample(range(1, 8), 7)
        ]
        prompt = f"\n\nHuman: Question {number}?\n\nAssistant: "
        return {"prompt": prompt, "answers": answers, "turns": 1, "num_responses": 7, "good_natured": True}

    return _lines(path, [row(number) for number in range(rows)])


def simpo_samples(path: Path, rows: int) -> Path:
    """Write five scored samples per prompt and the pair made of them; each ninth row has equal scores."""
    random_ = random.Random(0)

    def row(number: int) -> dict[str, Any]:
        texts = [f"{index}: {_words(9, random_)}" for index in range(5)]
        scores = [0.5] * 5 if number % 9 == 8 else [random_.random() for _ in texts]
        prompt = f"Question {number}?"
        pair = {
            side: [_message("user", prompt), _message("assistant", texts[scores.index(pick(scores))])]
            for side, pick in (("chosen", max), ("rejected", min))
        }
        return {
            "prompt_id": f"{number:064x}", "prompt": prompt, "all_generated_responses": texts,
            "all_rm_scores": scores, **pair,
        }  # fmt: skip

    return _lines(path, [row(number) for number in range(rows)])


def tulu_preferences(path: Path, rows: int) -> Path:
    """Write the columns of Tulu 3's preference data: a prompt, and two dialogues that begin with it."""
    random_ = random.Random(0)

    def row(number: int) -> dict[str, Any]:
        prompt = f"Question {number}?"
        sides = {
            side: [_message("user", prompt), _message("assistant", _words(9, random_))]
            for side in ("chosen", "rejected")
        }
        return {"id": f"row-{number}", "source": "ultrafeedback", "prompt": prompt, **sides}

    return _lines(path, [row(number) for number in range(rows)])


def ultrachat(path: Path, rows: int) -> Path:
    """Write dialogues of one to three questions, each with its reply."""
    random_ = random.Random(0)

    def row(number: int) -> dict[str, Any]:
        turns = [
            _message(role, f"{word} {turn} {_words(4, random_)}")
            for turn in range(number % 3 + 1)
            for role, word in (("user", "question"), ("assistant", "reply"))
        ]
        return {"prompt": turns[0]["content"], "prompt_id": f"{number:064x}", "messages": turns}

    return _lines(path, [row(number) for number in range(rows)])


def hh_rlhf(path: Path, rows: int) -> Path:
    """Write two dialogues per row that agree up to the last reply."""
    random_ = random.Random(0)

    def row(number: int) -> dict[str, Any]:
        start = f"\n\nHuman: Hello {number}\n\nAssistant: Hi\n\nHuman: And?\n\nAssistant:"
        return {
            "chosen": f"{start} good {_words(5, random_)}",
            "rejected": f"{start} bad {_words(5, random_)}",
        }

    return _lines(path, [row(number) for number in range(rows)])


def alpaca_eval(path: Path, rows: int) -> Path:
    """Write annotations of three models' outputs for every instruction, model by model."""
    random_ = random.Random(0)

    def row(model: str, number: int) -> dict[str, Any]:
        return {
            "dataset": "koala", "instruction": f"Do {number}.", "output_1": f"reference {number}",
            "generator_1": "gpt4", "output_2": _words(9, random_), "generator_2": model,
            "annotator": "judge", "preference": random_.uniform(1, 2),
        }  # fmt: skip

    return _lines(path, [row(model, number) for model in "ABC" for number in range(rows // 3)])


def gsm8k(path: Path, rows: int) -> Path:
    """Write problems with worked answers in the layout of openai/gsm8k; all answers are 1, 2 or 3."""

    def row(number: int) -> dict[str, Any]:
        answer = number % 3 + 1
        return {"question": f"Problem {number}?", "answer": f"{answer} + 0 = {answer}\n#### {answer}"}

    return _lines(path, [row(number) for number in range(rows)])


def metamath_dpo(path: Path, rows: int) -> Path:
    """Write problems after up to three worked examples; the rejected solution contains a wrong sum."""

    def solution(number: int, result: int) -> str:
        return f"{number} + 1 = {result}.\n#### {number + 1}\nThe answer is: {number + 1}"

    def row(number: int) -> dict[str, Any]:
        shots = (f"Question: {n} + 1?\nAnswer: {solution(n, n + 1)}\n\n" for n in range(number % 4))
        prompt = f"{''.join(shots)}Question: {number} + 1?\nAnswer:"
        texts = {"chosen": solution(number, number + 1), "rejected": solution(number, number + 7)}
        return {"prompt": prompt, **{side: f" {text}" for side, text in texts.items()}}

    return _lines(path, [row(number) for number in range(rows)])
