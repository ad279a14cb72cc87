"""`pairkit eval judge`: ask a judge about pairs that people have labeled, and measure its agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairkit import schema
from pairkit.engines import open_engine
from pairkit.engines.asking import Ask, complete
from pairkit.engines.base import Engine, Request, Result
from pairkit.engines.cache import Cache
from pairkit.engines.recipe import CallSettings, DirectCalls
from pairkit.engines.sent import sent_fields
from pairkit.errors import InputError
from pairkit.evaluation.judge.agreement import (
    Measure,
    agreement_by_length,
    agreement_by_subset,
    overall_agreement,
)
from pairkit.evaluation.judge.labels import Pairs
from pairkit.files import replacing, sha256, stoppable, write_json, write_text
from pairkit.intervals import Floats
from pairkit.masking import masked
from pairkit.ownership import none_empty, owned
from pairkit.progress import Advance, progress
from pairkit.rankers.judge.prompt import Prompt, read_prompts
from pairkit.rankers.judge.ranker import load_judge
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.judge.statistics import Rate, judge_rates, summarize_judge
from pairkit.rankers.shown import shown_texts
from pairkit.schema import StageResult
from pairkit.version import __version__

SOURCE = "labels"


class EvalJudgeRecipe(JudgeRecipe):
    """The recipe of `pairkit eval judge`: a judge, and the settings of calls to its server."""

    calls: DirectCalls = CallSettings()


class JudgeEvaluation(NamedTuple):
    """The measurements; `verdicts` `[N]` are the first answer's points, NaN for a pair without a verdict."""

    verdicts: Floats
    scored: StageResult
    overall: list[Measure]
    by_length: list[Measure]
    by_subset: list[Measure]
    judge: list[Rate]


def count_questions(recipe: JudgeRecipe, pairs: Pairs) -> int:
    """Count the questions about the pairs, without retries."""
    # Of equal answers one is asked about.
    texts = [len(set(both)) for both in _shown(sets_of(pairs), recipe)]
    if recipe.protocol == "pointwise":
        return len(recipe.prompts) * sum(texts)
    return texts.count(2) * (2 if recipe.both_orders else 1)


def evaluate_judge(
    recipe: JudgeRecipe, pairs: Pairs, ask: Ask, *, seed: int, advance: Advance
) -> JudgeEvaluation:
    """Ask the judge about all pairs and compare its verdicts with the labels.

    The verdict is the answer with the higher score. Equal scores are a tie, and so are equal texts, which are
    not asked about. A pair in quarantine has no verdict.
    """
    # Two completions per set, always: `_verdicts` relies on it.
    sets = sets_of(pairs)
    result = load_judge(recipe, ask, seed=seed).score(sets, advance)
    verdicts = _verdicts(sets["set_id"].to_pylist(), result.sets, _shown(result.sets, recipe))
    # Of what the judge was shown, because it cannot prefer the length of a thought.
    lengths = np.array([[len(first), len(second)] for first, second in _shown(sets, recipe)], np.float64)
    # One group per prompt, because pairs of the same prompt are not independent.
    groups = schema.prompt_ids(sets["prompt"], sets["tools"])
    return JudgeEvaluation(
        verdicts,
        result,
        overall_agreement(verdicts, pairs.labels, groups, seed=seed),
        agreement_by_length(verdicts, pairs.labels, lengths, groups, seed=seed),
        agreement_by_subset(verdicts, pairs.labels, pairs.subsets, groups, seed=seed),
        judge_rates(result.counts),
    )


def run_judge_evaluation(
    recipe: EvalJudgeRecipe, data: Path, pairs: Pairs, out: Path, *, seed: int, retry_failed: bool = False
) -> JudgeEvaluation:
    """Open the recipe's engine, evaluate the judge, and write `out`.

    Writes results.json, report.html, agreement.png, verdicts.parquet (every answer), quarantine.parquet and
    calls.sqlite.
    A repeated or resumed run takes the answers it already has from calls.sqlite. Raises `InputError` if no
    pair got a verdict, after `out` is written, and `OutputError` if another process writes to `out`.
    """
    prompts = read_prompts(recipe)
    message = f"{out}: stopped; all answers so far are saved: run the same command again to continue"
    with stoppable(out, lambda: message), none_empty(out), owned(out):
        with (
            # Opened first and closed last: an engine that is closed may still have answers to store.
            closing(Cache(out / "calls.sqlite", retry_failed=retry_failed)) as cache,
            closing(open_engine(recipe, recipe.calls)) as engine,
        ):
            evaluation = _ask_engine(recipe, pairs, engine, cache, seed)
        _write(recipe, data, pairs, prompts, evaluation, out, seed)
    # After the files are written, because they show what the judge did answer.
    if np.isnan(evaluation.verdicts).all():
        first = evaluation.scored.quarantine.slice(0, 1).to_pylist()
        why = f"; the first: {first[0]['reason']}: {first[0]['detail']}" if first else ""
        if summary := summarize_judge("judge", evaluation.scored.counts):
            why += f"; {summary}; its answers are in {out / 'verdicts.parquet'}"
        raise InputError(
            f"{data}: the judge gave no readable verdict on any of {len(pairs.first)} pairs{why}; choose "
            "another --prompt or a larger max_tokens"
        )
    return evaluation


def _ask_engine(
    recipe: JudgeRecipe, pairs: Pairs, engine: Engine, cache: Cache, seed: int
) -> JudgeEvaluation:
    with progress(f"Asking {engine.name}", count_questions(recipe, pairs), unit="questions") as advance:

        def no_sets(count: int = 1, /, note: str = "") -> None:
            """Ignore sets, because the bar counts questions."""

        ask = ask_with_progress(engine, cache, advance)
        return evaluate_judge(recipe, pairs, ask, seed=seed, advance=no_sets)


def ask_with_progress(engine: Engine, cache: Cache | None, advance: Advance) -> Ask:
    """Wrap `complete` so that `advance` counts each question once, when it is first answered."""
    answered_questions: set[int] = set()

    def ask(requests: Sequence[Request]) -> list[Result]:
        # By their text, because a retry of a question is a new request with another seed.
        questions = [hash(str(request.prompt)) for request in requests]
        retries = sum(question in answered_questions for question in questions)
        note = f"{retries:,} retried" if retries else ""

        def on_results(numbers: Sequence[int]) -> None:
            new = {questions[number] for number in numbers} - answered_questions
            answered_questions.update(new)
            advance(len(new), note=note)

        return complete(engine, requests, cache, on_results)

    return ask


def sets_of(pairs: Pairs) -> pa.Table:
    """Make candidate sets of two from the pairs, in their order."""
    rows = [
        {
            "source": SOURCE,
            "prompt": prompt,
            "completions": [{"text": text, "origin": "source", "scores": []} for text in (first, second)],
            "metadata": "{}",
        }
        for prompt, first, second in zip(pairs.prompts, pairs.first, pairs.second, strict=True)
    ]
    return schema.identify(pa.Table.from_pylist(rows, schema=schema.UNIDENTIFIED), {})


def _shown(sets: pa.Table, recipe: JudgeRecipe) -> list[tuple[str, str]]:
    """Return the two texts of each set as the judge is shown them."""
    texts = shown_texts(pc.list_flatten(sets["completions"]).combine_chunks(), recipe.thoughts)
    return list(zip(texts[::2], texts[1::2], strict=True))


def _verdicts(set_ids: Sequence[str], sets: pa.Table, texts: Sequence[tuple[str, str]]) -> Floats:
    """Return 1 if the first completion has the higher score, 1/2 if equal, 0 if not, NaN if unscored."""
    flat = pc.list_flatten(sets["completions"])
    # `[N, 2]`, because every set has two completions.
    numbers = pc.struct_field(flat, "score").to_numpy().astype(np.float64).reshape(-1, 2)
    points = (np.sign(numbers[:, 0] - numbers[:, 1]) + 1) / 2
    # Equal texts are not asked about and have no score.
    points[[first == second for first, second in texts]] = 0.5
    # By id, because sets in quarantine are missing in `sets`.
    by_set = dict(zip(sets["set_id"].to_pylist(), points, strict=True))
    return np.array([by_set.get(set_id, np.nan) for set_id in set_ids], dtype=np.float64)


def _write(
    recipe: EvalJudgeRecipe,
    data: Path,
    pairs: Pairs,
    prompts: dict[str, Prompt],
    evaluation: JudgeEvaluation,
    out: Path,
    seed: int,
) -> None:
    # Here, because matplotlib is slow to import and only a finished evaluation is plotted.
    from pairkit.evaluation.judge.page import Measured, render
    from pairkit.evaluation.judge.plot import plot_agreement

    for name, table in (
        ("verdicts", evaluation.scored.verdicts),
        ("quarantine", evaluation.scored.quarantine),
    ):
        with replacing(out / f"{name}.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd")
    with replacing(out / "agreement.png") as temporary:
        plot_agreement(evaluation.by_length, temporary)
    results = judge_results(recipe, data, pairs, prompts, evaluation, seed)
    sets = sets_of(pairs)
    measurements = Measured(
        evaluation.overall,
        evaluation.by_length,
        evaluation.by_subset,
        evaluation.judge,
        evaluation.verdicts,
        sets["set_id"].to_pylist(),
        _shown(sets, recipe),
        evaluation.scored.verdicts,
    )
    write_text(out / "report.html", render(pairs, measurements, results))
    # Last, because a results.json means that the other files are there.
    write_json(out / "results.json", results)


def judge_results(
    recipe: EvalJudgeRecipe,
    data: Path,
    pairs: Pairs,
    prompts: dict[str, Prompt],
    evaluation: JudgeEvaluation,
    seed: int,
) -> dict[str, Any]:
    """Return all measurements, and the settings they were made with, as JSON values."""
    # Without `calls`, because how a server is asked changes no verdict.
    judge = recipe.model_dump(mode="json", exclude={"calls"})
    return {
        "pairkit": __version__,
        "data": {
            # Its name only, because the folders of this machine tell a reader nothing.
            "file": data.name,
            "sha256": sha256(data),
            "rows": pairs.rows,
            "left_out": dict(pairs.left_out),
            "left_out_rows": pairs.details,
        },
        "judge": masked(judge),
        "sent": sent_fields(masked(judge), evaluation.scored.counts),
        "prompts": {
            name: {"version": prompt.header.version, "sha256": prompt.sha256}
            for name, prompt in prompts.items()
        },
        "seed": seed,
        "pairs": len(pairs.first),
        "pairs_judged": int((~np.isnan(evaluation.verdicts)).sum()),
        "pairs_without_verdict": without_verdict(evaluation),
        "agreement": [_measure(measure) for measure in evaluation.overall],
        "by_length": [_measure(measure) for measure in evaluation.by_length],
        "by_subset": [_measure(measure) for measure in evaluation.by_subset],
        "judge_statistics": [
            {
                "name": rate.name,
                "meaning": rate.meaning,
                "count": rate.number,
                "of": rate.of,
                **_of(rate.share),
            }
            for rate in evaluation.judge
        ],
        "counts": evaluation.scored.counts,
    }


def without_verdict(evaluation: JudgeEvaluation) -> dict[str, int]:
    """Count the pairs without a verdict by the reason of their quarantine."""
    return dict(Counter(evaluation.scored.quarantine["reason"].to_pylist()))


def _measure(measure: Measure) -> dict[str, Any]:
    return {
        "name": measure.name,
        "meaning": measure.meaning,
        "pairs": measure.pairs,
        **_of(measure.value),
    }


def _of(interval: Any) -> dict[str, float]:
    return {"value": interval.mean, "low": interval.low, "high": interval.high}
