"""A table of sets whose completions are being generated: what is asked, asked again, and what it becomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, get_args

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import struct_fields
from pairkit.engines.base import Completion, FinishReason, Problem, Request, Result, Sampling
from pairkit.engines.columns import append_completions, completions_array, drop_completions
from pairkit.engines.instruct import RECORDED, draw, instructed
from pairkit.engines.mixes import SampleSettings
from pairkit.models.chat.render import Messages
from pairkit.schema import StageResult, plain_messages, quarantine_rows
from pairkit.texts import REFUSAL

# Tries, the first included, before `regenerate` drops a completion that is cut every time.
REGENERATE_TRIES = 3


class _Prompt(NamedTuple):
    """What an engine is given of a set."""

    messages: Messages
    tools: str | None
    template_kwargs: str | None

    def request(self, samplings: tuple[Sampling, ...]) -> Request:
        return Request(self.messages, samplings, self.tools, self.template_kwargs)


class OpenTable:
    """A table of sets whose completions are being generated."""

    def __init__(self, sets: pa.Table, settings: SampleSettings, model: str) -> None:
        self.sets, self.settings, self._model = sets, settings, model
        self.samples = sum(part.n for part in settings.mix)
        self.left = sets.num_rows
        self.regenerated = 0
        self._set_ids = sets["set_id"].to_pylist()
        columns = (sets[name].to_pylist() for name in ("prompt", "tools", "chat_template_kwargs"))
        self._prompts = [
            _Prompt(plain_messages(prompt), tools, kwargs)
            for prompt, tools, kwargs in zip(*columns, strict=True)
        ]
        # One per set, or none at all.
        self._told = [
            draw(settings.instruct, settings.seed, each, model) for each in self._set_ids if settings.instruct
        ]
        if self._told:
            pairs = zip(self._prompts, self._told, strict=True)
            self._prompts = [
                each._replace(messages=instructed(each.messages, instruction)) for each, instruction in pairs
            ]
        self._problems: dict[int, Problem] = {}
        self._rows: list[dict[int, Completion]] = [{} for _ in range(self.left)]  # by sample
        # The samples that a row's open request is for: another try asks for the cut ones only.
        self._asked = [list(range(self.samples)) for _ in range(self.left)]
        self._attempt = [0] * self.left

    def __len__(self) -> int:
        return len(self._set_ids)

    def requests(self) -> list[Request]:
        return [
            prompt.request(self.settings.samplings(set_id))
            for set_id, prompt in zip(self._set_ids, self._prompts, strict=True)
        ]

    def place(self, row: int, result: Result) -> Request | None:
        """Store the result of a row; return what to ask again, None if the row is done."""
        if isinstance(result, Problem):
            if not self._attempt[row]:  # a completion that could not be regenerated stays
                self._problems[row] = result
            self.left -= 1
            return None
        self._rows[row].update(zip(self._asked[row], result, strict=True))
        cut = [sample for sample in self._asked[row] if self._rows[row][sample].finish_reason == "length"]
        if not cut or self.settings.truncated != "regenerate" or self._attempt[row] + 1 == REGENERATE_TRIES:
            self.left -= 1
            return None
        self._asked[row], self._attempt[row] = cut, self._attempt[row] + 1
        self.regenerated += len(cut)
        samplings = self.settings.samplings(self._set_ids[row], self._attempt[row])
        return self._prompts[row].request(tuple(samplings[sample] for sample in cut))

    def done(self) -> StageResult:
        """Return the table with its completions, when no row is left."""
        # One entry per set; `every`, `rows` and `new` have one list per set that was served.
        served = pa.array([row not in self._problems for row in range(self.sets.num_rows)], pa.bool_())
        every = [
            [completions[sample] for sample in sorted(completions)]
            for row, completions in enumerate(self._rows)
            if row not in self._problems
        ]
        rows = [[completion for completion in row if self._stays(completion)] for row in every]
        about = [{RECORDED: each} for row, each in enumerate(self._told) if row not in self._problems]
        new = completions_array(rows, self._model, about or None)
        counts = _counts(new)
        counts["truncated_dropped"] = sum(map(len, every)) - counts["completions"]
        counts["regenerated"] = self.regenerated
        counts |= _noted(rows)
        # Filtered first, so that row i of the sets is row i of `new`.
        sets = self.sets.filter(served)
        problems = [self._problems[row] for row in sorted(self._problems)]
        quarantine = quarantine_rows(
            "generate",
            self.sets.filter(pc.invert(served)),
            [problem.reason for problem in problems],
            [problem.detail for problem in problems],
        )
        sets = append_completions(sets if self.settings.keep_source else drop_completions(sets), new)
        return StageResult(sets, quarantine, counts=counts)

    def _stays(self, completion: Completion) -> bool:
        return self.settings.truncated == "keep" or completion.finish_reason != "length"


def _noted(rows: Sequence[Sequence[Completion]]) -> Counter[str]:
    """Count what is unusual: the remarks on completions, and those that repeat one of their prompt."""
    counts = Counter(remark for row in rows for completion in row for remark in completion.remarks or ())
    distinct = (
        len({(completion.text, completion.reasoning_content, completion.tool_calls) for completion in row})
        for row in rows
    )
    repeated = sum(map(len, rows)) - sum(distinct)
    return counts + Counter(repeated=repeated)


def _counts(completions: pa.ListArray) -> dict[str, int]:
    # One entry per completion, whatever its set.
    fields = struct_fields(completions.flatten())
    frame = pl.DataFrame(
        {
            "text": pl.from_arrow(fields["text"]),
            "finish_reason": pl.from_arrow(fields["finish_reason"]),
            "calls": pl.from_arrow(pc.is_valid(fields["tool_calls"])),
            "recorded": pl.from_arrow(pc.is_valid(fields["token_ids"])),
        },
        schema={"text": pl.String, "finish_reason": pl.String, "calls": pl.Boolean, "recorded": pl.Boolean},
    )
    reasons = {reason: (pl.col("finish_reason") == reason).sum() for reason in get_args(FinishReason)}
    numbers = frame.select(
        completions=pl.len(),
        **reasons,
        empty=((pl.col("text").str.strip_chars() == "") & ~pl.col("calls")).sum(),
        refusals=pl.col("text").str.contains(REFUSAL).sum(),
        recorded_ids=pl.col("recorded").sum(),
    )
    return {name: int(value) for name, value in numbers.row(0, named=True).items()}
