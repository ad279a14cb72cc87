"""`samples/step-NNNNNN.parquet`: what the policy writes to held-out prompts while it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import nn

from pairkit.dataset.mixed import MixedData
from pairkit.dataset.reader import BuiltData
from pairkit.engines.asking import complete
from pairkit.engines.base import Completion, Problem, Request
from pairkit.engines.columns import append_completions, completions_array, drop_completions
from pairkit.engines.sampled import SampledReader
from pairkit.engines.transformers import TransformersEngine
from pairkit.errors import InputError, RecipeError
from pairkit.losses import Logps
from pairkit.models.chat.format import ChatFormat
from pairkit.progress import warn
from pairkit.rankers.verifier import VerifierRecipe, check_recipe, verify
from pairkit.training.distributed.processes import Processes
from pairkit.training.generated.curve import modes_kept
from pairkit.training.logprobs.selection import Scored, SetSelection
from pairkit.training.record.schemas import SAMPLE_ROWS
from pairkit.training.record.settings import PREFIX, SampleSettings
from pairkit.training.record.texts import distinct_share, foreign_share, repeated_share, scripts_of
from pairkit.training.step.batch import StepModel
from pairkit.training.tokens.token_set import Column, TokenSet

SHARES = ("repeated", "distinct", "foreign")


@dataclass(frozen=True)
class Prompts:
    """Held-out sets that are sampled for, as rows of `schema.SETS` and as tokens, in one order."""

    sets: pa.Table
    tokens: Sequence[TokenSet]

    @cached_property
    def scripts(self) -> frozenset[str]:
        """The scripts that the prompts have."""
        messages = pc.list_flatten(self.sets["prompt"])
        return scripts_of(text for text in pc.struct_field(messages, "content").to_pylist() if text)

    def requests(self, settings: SampleSettings, seed: int) -> list[Request]:
        """Return the prompts as requests, with the ids that evaluations score completions after."""
        columns = (self.sets[name].to_pylist() for name in ("tools", "chat_template_kwargs"))
        return [
            Request(item.prompt.tolist(), settings.samplings(seed, item.set_id), tools, kwargs)
            for item, tools, kwargs in zip(self.tokens, *columns, strict=True)
        ]


class _Sample(NamedTuple):
    """A sample of a prompt, and its ids."""

    completion: Completion
    ids: list[int]


Written = Mapping[int, list[_Sample]]  # by the number of the prompt


@dataclass(frozen=True)
class Samples:
    """Samples of the model under training. Each process writes to every size-th prompt."""

    settings: SampleSettings
    prompts: Prompts
    engine: TransformersEngine
    seed: int

    def take(
        self, step_model: StepModel, step: int, reference: nn.Module | None = None
    ) -> tuple[pa.Table, dict[str, float]]:
        """Return a row of `SAMPLE_ROWS` for each sample, and their means; collective.

        The means are `own_entropy`, with a reference `own_kl`, `length`, `truncated`, those of `SHARES`,
        `score` with a check, and `n` samples; `missing` counts prompts that the model has no room for.

        Raises `RecipeError` if it has none for any prompt.
        """
        written, problems = self._write(step_model.processes)
        if problems and (step == 0 or not written):
            self._tell(problems, step_model.processes)
        work = self._work(written)
        scores = replace(step_model, live=reference).scoring(frozenset({"entropy"}))(work)
        entropies = _entropies(work, scores)
        table = pa.table(
            {name: list(values) for name, values in self._columns(written, entropies)}, SAMPLE_ROWS
        )
        means = self._means(table, len(problems))
        if scores.reference is not None:
            means["own_kl"] = _sequence_kl(scores.policy, scores.reference)
        return table, means

    def _write(self, processes: Processes) -> tuple[Written, dict[int, Problem]]:
        requests = self.prompts.requests(self.settings, self.seed)
        rows = range(processes.rank, len(requests), processes.size)
        with modes_kept(self.engine.model):
            results = complete(self.engine, [requests[row] for row in rows])
        reader = SampledReader(self.engine.chat)
        mine: dict[int, list[_Sample] | Problem] = {}
        for row, result in zip(rows, results, strict=True):
            samples = [
                _Sample(completion, reader.ids(requests[row], completion))
                for completion in (() if isinstance(result, Problem) else result)
            ]
            mine[row] = result if isinstance(result, Problem) else samples
        every = dict(sorted(pair for share in processes.collect(mine) for pair in share.items()))
        return (
            {row: outcome for row, outcome in every.items() if not isinstance(outcome, Problem)},
            {row: outcome for row, outcome in every.items() if isinstance(outcome, Problem)},
        )

    def _tell(self, problems: Mapping[int, Problem], processes: Processes) -> None:
        """Warn of prompts without samples, or raise `RecipeError` if none has any."""
        first = problems[min(problems)]
        count = f"{len(problems):,} of {len(self.prompts.tokens):,} prompts get no sample"
        message = f"{PREFIX}: {count}; the first: {first.reason} ({first.detail})"
        if len(problems) == len(self.prompts.tokens):  # at no later step it will have room
            raise RecipeError(f"{message}; lower {PREFIX}.max_tokens, or remove {PREFIX}.every")
        if processes.main:
            warn(message)

    def _work(self, written: Written) -> list[SetSelection]:
        """Return what was written as sets, for a pass over it."""
        work = []
        for row, samples in written.items():
            columns = [Column(np.array(sample.ids, np.int32), None, None, "generated") for sample in samples]
            work.append(SetSelection.all(self.prompts.tokens[row]._replace(columns=tuple(columns))))
        return work

    def _columns(
        self, written: Written, entropies: Iterator[float]
    ) -> Iterator[tuple[str, Iterator[object]]]:
        flat = [(row, number, *sample) for row, some in written.items() for number, sample in enumerate(some)]
        texts = [completion.text for _, _, completion, _ in flat]
        prompts = self.prompts.sets["prompt"].to_pylist()
        yield "set_id", (self.prompts.tokens[row].set_id for row, *_ in flat)
        yield "sample", (number for _, number, *_ in flat)
        yield "prompt", (prompts[row] for row, *_ in flat)
        yield "text", iter(texts)
        yield "entropy", entropies
        yield "length", (len(ids) for *_, ids in flat)
        yield "finish_reason", (completion.finish_reason for _, _, completion, _ in flat)
        yield "repeated", map(repeated_share, texts)
        yield "distinct", map(distinct_share, texts)
        yield "foreign", (foreign_share(text, self.prompts.scripts) for text in texts)
        yield "score", iter([None] * len(flat) if self.settings.check is None else self._scores(written))

    def _scores(self, written: Written) -> list[float]:
        new = completions_array(
            [
                [completion for completion, _ in written.get(row, [])]
                for row in range(self.prompts.sets.num_rows)
            ],
            "policy",
        )
        sets = append_completions(drop_completions(self.prompts.sets), new)
        verified = verify(sets, _verifier(self.settings)).sets
        scores: list[float] = pc.struct_field(pc.list_flatten(verified["completions"]), "score").to_pylist()
        return scores

    def _means(self, table: pa.Table, missing: int) -> dict[str, float]:
        def mean(name: str) -> float:
            return float(pc.mean(table[name]).as_py())

        cut = pc.equal(table["finish_reason"], "length")
        means = {
            "own_entropy": mean("entropy"),
            "length": mean("length"),
            "truncated": float(pc.mean(pc.cast(cut, pa.float64())).as_py()),
            **{name: mean(name) for name in SHARES},
        }
        if self.settings.check is not None:
            means["score"] = mean("score")
        return means | {"n": table.num_rows, "missing": missing}


def _entropies(work: Sequence[SetSelection], scores: Scored) -> Iterator[float]:
    """Yield the mean token entropy of each sample."""
    assert scores.entropy is not None, "it was wanted"
    for item, entropies in zip(work, scores.entropy.tolist(), strict=True):
        yield from entropies[: len(item.columns)]


def _sequence_kl(policy: Logps, reference: Logps) -> float:
    """Return KL(policy || reference) over whole samples, estimated by the mean of their log-ratios, nats."""
    # In double, where the difference of two float32 sums is exact.
    ratios = policy.sum.double() - reference.sum.double()  # [B, K]
    return float(ratios[policy.mask].mean())


def check_samples(settings: SampleSettings, processes: Processes) -> None:
    """Refuse samples of a model in parts, of which no process can generate, and an unknown check.

    Raises `RecipeError`.
    """
    if settings.every is None:
        return
    if processes.sharded:
        raise RecipeError(
            f"{PREFIX} needs the whole model in each process, but its weights are sharded; set shard=false, "
            f"or remove {PREFIX}.every and generate from checkpoints"
        )
    if settings.check is not None:
        check_recipe(_verifier(settings))


def prompts_of(
    settings: SampleSettings, data: BuiltData | MixedData, split: str, tokens: Sequence[TokenSet]
) -> Prompts:
    """Read the first prompts among the held-out sets.

    Raises `InputError` for a split without sets, and for sets without an answer that the check can use.
    """
    if not tokens:
        raise InputError(
            f"{PREFIX} writes to held-out prompts, but {data.folder} has no sets in split {split!r}; set "
            f"eval_split, or remove {PREFIX}.every"
        )
    some = [tokens[number] for number in range(min(settings.prompts, len(tokens)))]
    sets = _read(data, split, [item.set_id for item in some])
    if settings.check is not None:
        unanswered = verify(drop_completions(sets), _verifier(settings)).quarantine.num_rows
        if unanswered:
            raise InputError(
                f"{PREFIX}: {unanswered:,} of {len(some):,} prompts have no {settings.answer!r} in their "
                f"metadata that {settings.check!r} can check; name the field with {PREFIX}.answer"
            )
    return Prompts(sets, some)


def samples_of(
    settings: SampleSettings, prompts: Prompts, model: Any, chat: ChatFormat, seed: int
) -> Samples:
    """Return the samples of the model under training."""
    return Samples(settings, prompts, TransformersEngine(model, chat, "policy", settings.batch_tokens), seed)


def _read(data: BuiltData | MixedData, split: str, set_ids: Sequence[str]) -> pa.Table:
    """Read the sets with these ids, in their order."""
    ids, tables = pa.array(set_ids, pa.string()), list[pa.Table]()
    for table in data.tables(split):
        tables.append(table.filter(pc.is_in(table["set_id"], ids)))
        every = pa.concat_tables(tables)
        # Distinct ones: datasets of a mixture may share a set.
        if len(pc.unique(every["set_id"])) == len(pc.unique(ids)):
            break
    return every.take(pc.index_in(ids, every["set_id"].combine_chunks()))


def _verifier(settings: SampleSettings) -> VerifierRecipe:
    return VerifierRecipe(check=str(settings.check), answer=settings.answer)
