"""Questions to the judge: asked, retried if the answer has no verdict, recorded and counted.

All questions of a round go to the engine together. A question that never gets a verdict removes its whole
set: the questions about other sets do not wait for it, and no completion of the set is scored.
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
from pairkit.rankers.judge.prompt import Prompt
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.judge.statistics import COUNTS
from pairkit.rankers.judge.structured import is_structured, read_structured, structure_of
from pairkit.rankers.judge.texts import Case, placeholder_values
from pairkit.rankers.judge.verdicts import Verdict, read_verdict, spell_verdict, why_unread
from pairkit.schema import VERDICTS

UNPARSABLE = "unparsable_verdict"
_TAIL = 80  # characters of an answer that a quarantine detail shows


class Question(NamedTuple):
    """A question: texts of a case, in the order shown, and the prompt that shows them."""

    case: int
    shown: tuple[int, ...]
    prompt: str


class Rounds:
    """The questions about the cases of one table. `on_round` gets the number of questions after each round.

    `failed` holds the problem of each case that was removed; `counts` has the keys of `statistics.COUNTS`.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        prompts: Mapping[str, Prompt],
        recipe: JudgeRecipe,
        ask: Ask,
        seed: int,
        on_round: Callable[[int], None],
    ) -> None:
        self.cases, self.prompts, self.recipe, self.seed = cases, prompts, recipe, seed
        self.failed: dict[int, Problem] = {}
        self.counts = Counter(dict.fromkeys(COUNTS, 0))
        self._ask, self._on_round = ask, on_round
        self._rows: list[dict[str, Any]] = []

    def verdicts(self) -> pa.Table:
        """Return all answers so far as a `VERDICTS` table."""
        return pa.Table.from_pylist(self._rows, schema=VERDICTS)

    def compare(self, prompt: str, comparisons: Sequence[tuple[int, Sequence[int]]]) -> list[Floats | None]:
        """Compare the texts of each (case, texts); return one number per text, its mean over the orders.

        The texts are shown in their own and in the reverse order; without `both_orders`, in one of the two at
        random. None for a case that was removed. The numbers are those of verdicts.py.
        """
        orders: list[list[tuple[int, ...]]] = []
        for case, texts in comparisons:
            forward, backward = tuple(texts), tuple(texts)[::-1]
            if not self.recipe.both_orders:
                side = sample_seed(self.seed, f"{self.cases[case].set_id}/order/{forward}", 0) % 2
                orders.append([(forward, backward)[side]])
            else:  # both, because many judges favor what they are shown first
                orders.append([forward, backward])
        questions = [
            Question(case, shown, prompt)
            for (case, _), several in zip(comparisons, orders, strict=True)
            for shown in several
        ]
        verdicts = iter(self.ask(questions))
        results: list[Floats | None] = []
        for (_, texts), several in zip(comparisons, orders, strict=True):
            answers = [next(verdicts) for _ in several]
            results.append(self._mean_over_orders(tuple(texts), several, answers))
        return results

    def ask(self, questions: Sequence[Question]) -> list[Verdict | None]:
        """Ask for a verdict on each question; None if its case was removed."""
        verdicts: dict[int, Verdict] = {}
        unread: list[tuple[int, Completion]] = []
        remaining = list(range(len(questions)))
        self.counts["questions"] += len(questions)
        for attempt in range(self.recipe.attempts):
            if not remaining:
                break
            results = self._ask([self._request(questions[index], attempt) for index in remaining])
            unread = []
            for index, result in zip(remaining, results, strict=True):
                question = questions[index]
                if isinstance(result, Problem):  # of several problems of a case, the first is its reason
                    self.failed.setdefault(question.case, result)
                    continue
                verdict = self._record(question, attempt, result[0])
                if verdict is None:
                    unread.append((index, result[0]))
                else:
                    verdicts[index] = verdict
            # A case that failed is not asked about again, because nothing of its set will be scored.
            remaining = [index for index, _ in unread if questions[index].case not in self.failed]
        for index, last in unread:
            problem = self._unparsable(questions[index], last)
            self.failed.setdefault(questions[index].case, problem)
        self.counts["unanswered"] += len(questions) - len(verdicts)
        self._on_round(self.counts["questions"])
        return [
            None if question.case in self.failed else verdicts[index]
            for index, question in enumerate(questions)
        ]

    def _request(self, question: Question, attempt: int) -> Request:
        case, prompt = self.cases[question.case], self.prompts[question.prompt]
        name = f"{case.set_id}/judge/{question.prompt}/{case.positions(question.shown)}"
        sampling = Sampling(
            self.recipe.retry_temperature if attempt else self.recipe.temperature,
            1.0,
            sample_seed(
                self.seed, name, attempt
            ),  # the same seed would repeat the answer, from the cache too
            self.recipe.max_tokens,
        )
        structure = structure_of(prompt.header, len(question.shown)) if self.recipe.structured else None
        messages = prompt.messages(placeholder_values(prompt, case, question.shown))
        return Request(messages, (sampling,), structure=structure)

    def _record(self, question: Question, attempt: int, answer: Completion) -> Verdict | None:
        """Record and count one answer; return its verdict."""
        case, prompt = self.cases[question.case], self.prompts[question.prompt]
        verdict = None
        if answer.finish_reason == "stop":  # a truncated answer could have ended with another verdict
            if self.recipe.structured and is_structured(answer.text):
                verdict = read_structured(answer.text, prompt.header, len(question.shown))
                self.counts["structured"] += 1
            else:
                verdict = read_verdict(answer.text, prompt.header, len(question.shown))
        self.counts["answers"] += 1
        self.counts.update(answer.remarks or ())
        self.counts["unparsable"] += verdict is None
        if verdict is not None and len(verdict) > 1:  # a list counts as its first against its last text
            self.counts["first_wins"] += verdict[0] > verdict[-1]
            self.counts["second_wins"] += verdict[0] < verdict[-1]
            self.counts["ties"] += verdict[0] == verdict[-1]
        positions = case.positions(question.shown)
        spelling = None if verdict is None else spell_verdict(verdict, prompt.header, positions)
        self._rows.append(
            {
                "set_id": case.set_id,
                "protocol": self.recipe.protocol,
                "aspect": question.prompt if prompt.header.kind == "pointwise" else None,
                "shown": positions,
                # Hashes, because the texts are in the set already.
                "texts": [case.hashes[text] for text in question.shown],
                "verdict": spelling,
                "attempt": attempt,
                "answer": answer.text,
                "finish_reason": answer.finish_reason,
                "prompt_hash": prompt.sha256[:16],
            }
        )
        return verdict

    def _mean_over_orders(
        self, texts: tuple[int, ...], orders: Sequence[tuple[int, ...]], answers: Sequence[Verdict | None]
    ) -> Floats | None:
        """Average each text's number over the orders shown; count whether two orders agree."""
        by_text: list[dict[int, float]] = []
        for shown, answer in zip(orders, answers, strict=True):
            if answer is None:
                return None
            by_text.append(dict(zip(shown, answer, strict=True)))
        # One order shows nothing about the judge's consistency.
        if len(by_text) == 2:
            first, last = texts[0], texts[-1]
            forward, backward = (np.sign(numbers[first] - numbers[last]) for numbers in by_text)
            self.counts["swapped"] += 1
            self.counts["same"] += bool(forward == backward)
            self.counts["flips"] += bool(forward * backward < 0)
        mean: Floats = np.array([[numbers[text] for text in texts] for numbers in by_text]).mean(axis=0)
        return mean

    def _unparsable(self, question: Question, last: Completion) -> Problem:
        """Return the problem of a question whose last answer has no verdict either."""
        shown = " and ".join(map(str, self.cases[question.case].positions(question.shown)))
        # The end, because a verdict belongs there; printable, because a detail is shown on terminals.
        tail = "".join(mark if mark.isprintable() else " " for mark in last.text[-_TAIL:])
        ending = " ".join(tail.split())
        if last.finish_reason == "length":
            why = f"cut off by max_tokens={self.recipe.max_tokens}"
        else:
            why = why_unread(last.text, self.prompts[question.prompt].header)
            if self.recipe.structured and is_structured(last.text):
                why = "it is not the JSON object that was asked for"
        description = (
            f"ends: {ending}{f' ({why})' if why else ''}"
            if ending
            else f"is empty{f', {why}' if why else ''}"
        )
        return Problem(
            UNPARSABLE,
            f"{question.prompt}, completions {shown}: no verdict in {self.recipe.attempts} answers; the last "
            f"one {description}",
        )
