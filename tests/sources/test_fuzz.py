"""Whatever the rows contain, each becomes a valid set or goes to quarantine with a reason and a place."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairkit.errors import InputError
from pairkit.readers import json_shapes
from pairkit.schema import check_sets, identify
from pairkit.sources import SOURCES, SourceRecipe, open_source

DIALOGUE = "\n\nHuman: a\n\nAssistant: "
JUDGED = {
    **{"dataset": "d", "instruction": "i", "output_1": "o", "generator_1": "g", "output_2": "p"},
    **{"generator_2": "h", "preference": 1.5},
}
TURNS = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]
SPELLED = [
    *(write(turns) for write in (json.dumps, str) for turns in (TURNS, TURNS[:1], TURNS[1:], TURNS[0])),
    *(
        "[{'role': 'user', 'content': 'p'}\n {'role': 'assistant', 'content': 'a'}]",
        "['a' 'b']",
        '[["q", "a"]]',
    ),
    *(
        "<|im_start|>user\np<|im_end|>\n<|im_start|>assistant\n",
        "[{'role': 'user', 'content': ",
        "[INST] p [/INST]",
    ),
    *(
        '[{"role": "\\ud800", "content": "x"}]',
        '{"role": "user", "content": {"a": "b"}}',
        "[]",
        "null",
        "a<|im_end|>",
    ),
]
# Usable rows; some fields of some rows are then replaced by anything.
GOOD: dict[str, list[dict[str, Any]]] = {
    "files": [
        {
            "prompt": "p",
            "chosen": "c",
            "rejected": "r",
            "score_chosen": 2,
            "score_rejected": 1,
            "system": "s",
        },
        {"prompt": TURNS[:1], "chosen": TURNS[1:], "rejected": TURNS[1:], "images": None},
        {"chosen": TURNS, "rejected": TURNS, "topic": "t"},
        {"instruction": "p", "input": "x", "output": "a", "label": True, "model": "m", "score": 1.0},
        {"prompt": "p", "completions": ["a", "b"], "scores": [1, 2], "ranks": [2, 1], "models": ["m", "n"]},
        {
            "prompt": "p",
            "completions": [{"text": "a", "rank": 1, "score": 2.0, "metadata": "{}"}],
            "metadata": "{}",
        },
        {"messages": TURNS, "label": False},
        {"prompt": SPELLED[0], "chosen": SPELLED[2], "rejected": "r", "history": [["q", "a"]]},
        {"prompt": "p", "completions": SPELLED[:2], "history": SPELLED[0]},
        {"messages": SPELLED[0], "label": "good"},
        {
            "messages": [*TURNS, {"role": "assistant", "tool_calls": [{"name": "f"}], "thinking": "h"}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "chat_template_kwargs": {"a": 1},
        },
    ],
    "ultrafeedback": [
        {
            "instruction": "i",
            "completions": [{"response": "r", "model": "m", "overall_score": 3}],
            "source": "s",
        }
    ],
    "nectar": [{"prompt": DIALOGUE, "answers": [{"answer": "a", "model": "m", "rank": 1.0}], "turns": 1}],
    "ultrafeedback_binarized": [
        {"prompt": "p", "chosen": "c", "rejected": "r", "metadata": {"score_chosen": 2, "score_rejected": 1}},
        {"prompt": "p", "chosen": TURNS, "rejected": TURNS, "score_chosen": 2, "score_rejected": 1},
    ],
    "hh_rlhf": [{"chosen": DIALOGUE + "b", "rejected": DIALOGUE + "c"}],
    "alpaca_eval": [JUDGED, {"dataset": "d", "instruction": "i", "output": "o", "generator": "g"}],
    "metamath_dpo": [
        {"prompt": "Question: p\nAnswer: a\n\nQuestion: q\nAnswer:", "chosen": "c", "rejected": "r"},
        {"prompt": "q", "chosen": "c", "rejected": "r"},
    ],
    "ultrachat": [{"prompt": "p", "prompt_id": "1", "messages": TURNS}, {"messages": SPELLED[0]}],
    "gsm8k": [
        {"question": "q", "answer": "#### 1"},
        {"question": "q", "ground_truth": "A: 1", "6b": {"is_correct": True, "solution": "A: 1"}},
    ],
}
DIALOGUES = ["\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: ", "\n\nAssistant: a\n\nHuman: b"]
ODD_TEXTS = ["", " ", "p", "é\u2028", "N/A", "3", "#### 4", '[{"a": 1}]', "\ud800", "\x1e", "true"]
texts = st.sampled_from(ODD_TEXTS + DIALOGUES + SPELLED) | st.text(max_size=4)
numbers = st.sampled_from([0, 1, 2, 1.5, -3, 2**63, 10**400, float("nan"), float("inf"), 1e300])
leaves = st.none() | st.booleans() | numbers | texts
roles = st.sampled_from(["user", "Assistant", "system", "tool", "Human:", "gpt", "function_call"]) | leaves
functions = st.fixed_dictionaries({"name": leaves}, optional={"arguments": leaves | st.just({"a": [1]})})
calls = st.lists(functions | functions.map(lambda value: {"function": value}) | leaves, max_size=2) | leaves
parts = st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url"]) | leaves, "text": leaves})
contents = leaves | st.lists(parts | leaves, max_size=2)
pairs = st.lists(st.lists(leaves, min_size=1, max_size=3), max_size=2)
extras = {"tool_calls": calls, "function_call": functions | leaves, "thinking": leaves, "name": leaves}
messages = st.lists(
    st.fixed_dictionaries({"role": roles, "content": contents}, optional=extras)
    | st.fixed_dictionaries({"from": roles, "value": leaves}, optional={"tool_calls": calls}),
    max_size=3,
)
ratings = st.fixed_dictionaries({}, optional={"Rating": leaves, "Rationale": leaves, "Type": st.lists(texts)})
annotations = st.dictionaries(
    st.sampled_from(["helpfulness", "honesty", "truthfulness"]),
    ratings | st.lists(ratings, max_size=2) | leaves,
)
completions = st.lists(
    st.dictionaries(
        st.sampled_from(
            [
                "text",
                "response",
                "answer",
                "model",
                "rank",
                "score",
                "scores",
                "origin",
                "metadata",
                "overall_score",
            ]
        ),
        leaves,
        max_size=4,
    ).flatmap(lambda row: st.just(row) | annotations.map(lambda value: {**row, "annotations": value}))
    | texts,
    max_size=3,
)
solutions = st.fixed_dictionaries({"is_correct": leaves, "solution": leaves})
values = leaves | messages | completions | solutions | calls | pairs | st.lists(leaves, max_size=3)


def rows_of(name: str) -> Any:
    """Rows of one form, of which about a third of the fields contain anything or are missing."""

    def spoiled(good: dict[str, Any]) -> Any:
        keep = st.integers(0, 2).map(bool)
        fields = {
            field: st.tuples(keep, values, st.booleans()).map(
                lambda choice, value=value: [value] if choice[0] else [choice[1]] * choice[2]
            )
            for field, value in good.items()
        }
        return st.fixed_dictionaries(fields).map(
            lambda row: {field: values[0] for field, values in row.items() if values}
        )

    return st.sampled_from(GOOD[name]).flatmap(
        lambda good: st.lists(st.just(good) | spoiled(good), min_size=1, max_size=6)
    )


@pytest.mark.default("files-5", "ultrafeedback_binarized-5", "hh_rlhf-5", "gsm8k-5")
@pytest.mark.parametrize("examples", [5, pytest.param(200, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", GOOD)
def test_any_rows_are_counted(tmp_path: Path, name: str, examples: int) -> None:
    path = tmp_path / "rows.jsonl"

    @settings(max_examples=examples)
    @given(rows_of(name), st.integers(1, 7))
    def check(rows: list[dict[str, Any]], size: int) -> None:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        seen: dict[str, int] = {}
        read = quarantined = used = 0
        with suppress(InputError):  # no row of the first batch has the columns: the file of another source
            for batch in open_source(SourceRecipe(name=name, path=str(path))).batches(rows=size):
                if batch.sets.num_rows:
                    check_sets(identify(batch.sets, seen))
                read += batch.counts["rows"]
                quarantined += batch.quarantine.num_rows
                used += batch.sets.num_rows
                for row in batch.quarantine.to_pylist():
                    assert re.fullmatch(r"[a-z_0-9]+", row["reason"])
                    assert re.match(r"rows.jsonl, row \d+(, field '.*')?: .", row["detail"])
                    json.loads(row["row"])
            # One line alone may hold columns, as `Dataset.to_dict` writes them.
            columns = json_shapes.rows_of(rows[0], path) if len(rows) == 1 else None
            assert read == len(rows if columns is None else columns)
            merged = SOURCES[name].merge is not None
            assert used <= read - quarantined if merged else used == read - quarantined

    check()
