"""The judge as a `Ranker`: candidate sets in; scored sets, quarantine, counts and verdicts out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit import schema
from pairkit.engines.asking import Ask
from pairkit.intervals import Floats
from pairkit.progress import Advance
from pairkit.rankers.judge.iterative import score_iterative
from pairkit.rankers.judge.listwise import score_listwise
from pairkit.rankers.judge.pointwise import rate_pointwise
from pairkit.rankers.judge.prompt import Prompt, read_prompts
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.judge.round_robin import score_round_robin
from pairkit.rankers.judge.rounds import Rounds
from pairkit.rankers.judge.statistics import COUNTS
from pairkit.rankers.judge.texts import Case, case_of
from pairkit.rankers.named import with_score
from pairkit.rankers.shown import shown_texts, thought_counts
from pairkit.schema import StageResult, quarantine_rows
from pairkit.sets import assemble, batches, completions

NAME = "judge"
_COMPARING = {
    "iterative": score_iterative,
    "round_robin": score_round_robin,
    "listwise": score_listwise,
}
# Named score -> the numbers of each case's texts, None for a case that was removed.
_Named = Mapping[str, Sequence[Floats | None]]


def load_judge(recipe: JudgeRecipe, ask: Ask, *, seed: int) -> Judge:
    """Open the judge of a recipe, which asks its questions through `ask`.

    Raises the errors of `prompt.read_prompts`.
    """
    return Judge(recipe, read_prompts(recipe), ask, seed)


@dataclass(frozen=True)
class Judge:
    """The ranker `judge`. The protocol pointwise adds one named score per aspect to that of their mean."""

    recipe: JudgeRecipe
    prompts: Mapping[str, Prompt]
    ask: Ask
    seed: int
    name: str = NAME

    def score(self, sets: pa.Table, advance: Advance, /) -> StageResult:
        """Score all completions except noise; equal texts are asked about once.

        A set with a question that never gets a verdict goes to quarantine as `unparsable_verdict`, and a set
        that the engine cannot be asked about with the engine's reason. A set with nothing to compare comes
        back without a score.
        """
        question_count = 0

        def on_round(questions: int) -> None:
            advance(0, note=f"{question_count + questions:,} questions")

        parts = []
        for batch in batches(sets):
            parts.append(self._score(batch, advance, on_round))
            question_count += parts[-1].counts["questions"]
        counts = Counter(dict.fromkeys(COUNTS, 0))
        for part in parts:
            counts.update(part.counts)
        # An empty table first, because there may be no batch to take the schema from.
        empty = StageResult(schema.SETS.empty_table())
        tables = zip(*((part.sets, part.quarantine, part.verdicts) for part in [empty, *parts]), strict=True)
        scored_sets, quarantine, verdicts = map(pa.concat_tables, tables)
        return StageResult(scored_sets, quarantine, verdicts, dict(counts))

    def _score(self, batch: pa.RecordBatch, advance: Advance, on_round: Callable[[int], None]) -> StageResult:
        rows = batch.select(["set_id", "prompt", "completions"]).to_pylist()
        # One text is nothing to compare, but it can be rated.
        fewest = 1 if self.recipe.protocol == "pointwise" else 2
        flat = completions(batch)
        texts = iter(shown_texts(flat, self.recipe.thoughts))
        boxed = any(prompt.header.verdict == "boxed" for prompt in self.prompts.values())
        every = [
            case_of(row, set_, list(islice(texts, len(set_["completions"]))), self.seed, boxed=boxed)
            for row, set_ in enumerate(rows)
        ]
        cases = [case for case in every if len(case.texts) >= fewest]
        rounds = Rounds(cases, self.prompts, self.recipe, self.ask, self.seed, on_round)
        scores = self._ask(cases, rounds)
        rounds.counts["sets"] += len(cases)
        rounds.counts.update(thought_counts(flat, self.recipe.thoughts))
        advance(sum(completion["origin"] != "noise" for row in rows for completion in row["completions"]))
        lost = {cases[index].row: problem for index, problem in sorted(rounds.failed.items())}
        sets = pa.Table.from_batches([_with_scores(batch, cases, scores)], schema=schema.SETS)
        # One entry per set, while `cases` leaves out sets with too few texts.
        stays = pa.array([row not in lost for row in range(len(rows))], pa.bool_())
        reasons, details = zip(*lost.values(), strict=True) if lost else ((), ())
        return StageResult(
            sets.filter(stays),
            quarantine_rows("rank", batch.filter(pc.invert(stays)), reasons, details),
            rounds.verdicts(),
            dict(rounds.counts),
        )

    def _ask(self, cases: Sequence[Case], rounds: Rounds) -> _Named:
        if self.recipe.protocol != "pointwise":
            (prompt,) = self.prompts
            return {self.name: _COMPARING[self.recipe.protocol](cases, rounds, prompt, self.seed)}
        ratings = rate_pointwise(cases, rounds, tuple(self.prompts))
        aspects = {
            f"{self.name}.{aspect}": [None if rating is None else rating[index] for rating in ratings]
            for index, aspect in enumerate(self.prompts)
        }
        # The mean comes last, because the last named score becomes the score.
        return {**aspects, self.name: [None if each is None else each.mean(axis=0) for each in ratings]}


def _with_scores(batch: pa.RecordBatch, cases: Sequence[Case], scores: _Named) -> pa.RecordBatch:
    """Add each named score to the completions of the batch; the last one becomes the score."""
    flat, owner = completions(batch), pc.list_parent_indices(batch["completions"]).to_numpy()
    # `[sets]`: where each set's completions begin in `flat`; `places` count from there.
    first = np.searchsorted(owner, np.arange(batch.num_rows))
    for name, numbers in scores.items():
        values = np.full(len(flat), np.nan)
        for case, texts in zip(cases, numbers, strict=True):
            if texts is not None:
                for number, places in zip(
                    texts, case.places, strict=True
                ):  # copies share their text's number
                    values[first[case.row] + np.array(places)] = number
        flat = with_score(flat, name, pa.array(values, pa.float64(), from_pandas=True))
    return assemble(batch, flat, owner, np.arange(len(flat)))
