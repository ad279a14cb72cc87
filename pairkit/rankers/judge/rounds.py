"""Questions to the judge: asked, asked again where the answer cannot be read, recorded, counted.

All questions of a round go to the engine together. A question that stays without a verdict takes its whole
set out: what is asked of the other sets does not wait for it, and nothing of the set is scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.engines.asking import Ask
from pairkit.engines.base import Completion, Problem, Request, Sampling, sample_seed
from pairkit.intervals import Floats
from pairkit.rankers.judge import verdicts
from pairkit.rankers.judge.prompt import Prompt
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.judge.statistics import COUNTS
from pairkit.rankers.judge.texts import Case, values
from pairkit.rankers.judge.verdicts import Verdict
from pairkit.schema import VERDICTS

UNPARSABLE = "unparsable_verdict"
_TAIL = 80  # characters of an answer that a quarantine detail shows


class Question(NamedTuple):
    """Texts of a case in the order in which they are shown, and the prompt that they are shown in."""

    case: int
    shown: tuple[int, ...]
    prompt: str


class Rounds:
    """The questions about one table's cases. `told` hears how many were asked after each round.

    `failed` says of each case that is out why; `counts` has the keys of `statistics.COUNTS`.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        prompts: Mapping[str, Prompt],
        recipe: JudgeRecipe,
        ask: Ask,
        seed: int,
        told: Callable[[int], None],
    ) -> None:
        self.cases, self.prompts, self.recipe, self.seed = cases, prompts, recipe, seed
        self.failed: dict[int, Problem] = {}
        self.counts = Counter(dict.fromkeys(COUNTS, 0))
        self._ask, self._told = ask, told
        self._rows: list[dict[str, Any]] = []

    def verdicts(self) -> pa.Table:
        """All answers so far as a `VERDICTS` table."""
        return pa.Table.from_pylist(self._rows, schema=VERDICTS)

    def compare(self, prompt: str, asked: Sequence[tuple[int, Sequence[int]]]) -> list[Floats | None]:
        """One number for each text of each (case, texts), the mean over the orders they were shown in.

        Shown as they are given and in the reverse order; in one of the two, drawn, unless `both_orders`.
        None for a case that is out. Numbers as in verdicts.py.
        """
        orders: list[list[tuple[int, ...]]] = []
        for case, texts in asked:
            one, other = tuple(texts), tuple(texts)[::-1]
            if not self.recipe.both_orders:
                drawn = sample_seed(self.seed, f"{self.cases[case].set_id}/order/{one}", 0) % 2
                orders.append([(one, other)[drawn]])
            else:
                orders.append([one, other])
        questions = [
            Question(case, shown, prompt)
            for (case, _), several in zip(asked, orders, strict=True)
            for shown in several
        ]
        said = iter(self.ask(questions))
        results: list[Floats | None] = []
        for (_, texts), several in zip(asked, orders, strict=True):
            answers = [next(said) for _ in several]
            results.append(self._together(tuple(texts), several, answers))
        return results

    def ask(self, questions: Sequence[Question]) -> list[Verdict | None]:
        """The verdict on each question, None where its case is out."""
        found: dict[int, Verdict] = {}
        unread: list[tuple[int, Completion]] = []
        left = list(range(len(questions)))
        self.counts["questions"] += len(questions)
        for attempt in range(self.recipe.attempts):
            if not left:
                break
            results = self._ask([self._request(questions[index], attempt) for index in left])
            unread = []
            for index, result in zip(left, results, strict=True):
                question = questions[index]
                if isinstance(result, Problem):
                    self.failed.setdefault(question.case, result)
                    continue
                verdict = self._heard(question, attempt, result[0])
                if verdict is None:
                    unread.append((index, result[0]))
                else:
                    found[index] = verdict
            left = [index for index, _ in unread if questions[index].case not in self.failed]
        for index, last in unread:
            problem = _unparsable(self.cases, questions[index], self.recipe.attempts, last)
            self.failed.setdefault(questions[index].case, problem)
        self.counts["unanswered"] += len(questions) - len(found)
        self._told(self.counts["questions"])
        return [
            None if question.case in self.failed else found[index] for index, question in enumerate(questions)
        ]

    def _request(self, question: Question, attempt: int) -> Request:
        case, prompt = self.cases[question.case], self.prompts[question.prompt]
        name = f"{case.set_id}/judge/{question.prompt}/{case.positions(question.shown)}"
        sampling = Sampling(
            self.recipe.retry_temperature if attempt else self.recipe.temperature,
            1.0,
            sample_seed(self.seed, name, attempt),
            self.recipe.max_tokens,
        )
        return Request(prompt.messages(values(prompt, case, question.shown)), (sampling,))

    def _heard(self, question: Question, attempt: int, answer: Completion) -> Verdict | None:
        """The verdict of one answer; the answer is recorded."""
        case, prompt = self.cases[question.case], self.prompts[question.prompt]
        verdict = None
        if answer.finish_reason == "stop":  # what was cut off may have said otherwise in the end
            verdict = verdicts.read(answer.text, prompt.header, len(question.shown))
        self.counts["answers"] += 1
        self.counts["unparsable"] += verdict is None
        if verdict is not None and len(verdict) > 1:
            self.counts["first_wins"] += verdict[0] > verdict[-1]
            self.counts["second_wins"] += verdict[0] < verdict[-1]
            self.counts["ties"] += verdict[0] == verdict[-1]
        positions = case.positions(question.shown)
        spelled = None if verdict is None else verdicts.spell(verdict, prompt.header, positions)
        self._rows.append(
            {
                "set_id": case.set_id,
                "protocol": self.recipe.protocol,
                "aspect": question.prompt if prompt.header.kind == "pointwise" else None,
                "shown": positions,
                "texts": [case.hashes[text] for text in question.shown],
                "verdict": spelled,
                "attempt": attempt,
                "answer": answer.text,
                "finish_reason": answer.finish_reason,
                "prompt_hash": prompt.sha256[:16],
            }
        )
        return verdict

    def _together(
        self, texts: tuple[int, ...], orders: Sequence[tuple[int, ...]], answers: Sequence[Verdict | None]
    ) -> Floats | None:
        """The mean over the orders of each text's number; two orders are counted as alike or not."""
        by_text: list[dict[int, float]] = []
        for shown, answer in zip(orders, answers, strict=True):
            if answer is None:
                return None
            by_text.append(dict(zip(shown, answer, strict=True)))
        if len(by_text) == 2:
            first, last = texts[0], texts[-1]
            one, other = (np.sign(numbers[first] - numbers[last]) for numbers in by_text)
            self.counts["swapped"] += 1
            self.counts["same"] += bool(one == other)
            self.counts["flips"] += bool(one * other < 0)
        mean: Floats = np.array([[numbers[text] for text in texts] for numbers in by_text]).mean(axis=0)
        return mean


def _unparsable(cases: Sequence[Case], question: Question, attempts: int, last: Completion) -> Problem:
    shown = " and ".join(map(str, cases[question.case].positions(question.shown)))
    tail = "".join(mark if mark.isprintable() else " " for mark in last.text[-_TAIL:])
    ending = " ".join(tail.split()) or "nothing at all"
    cut = " (cut off)" if last.finish_reason == "length" else ""
    return Problem(
        UNPARSABLE,
        f"{question.prompt}, completions {shown}: no verdict in {attempts} answers; the last one ends: "
        f"{ending}{cut}",
    )
