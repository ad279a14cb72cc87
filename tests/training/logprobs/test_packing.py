"""The layout of packed sequences: who sees whom, in which calls, and what flex_attention makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.grids import grid
from torch.nn.attention.flex_attention import flex_attention

from pairkit.training.logprobs import attention, packing
from pairkit.training.logprobs.attention import Scores
from pairkit.training.logprobs.packing import Packed, pack
from pairkit.training.logprobs.token_layout import PROMPT

CPU = torch.device("cpu")


def random_sets(*sizes: tuple[int, ...]) -> list[Any]:
    """Make sets; per set the tokens of its prompt and of its completions."""
    random = np.random.default_rng(0)

    def ids(count: int) -> Any:
        return random.integers(0, 99, count).astype(np.int32)

    return [(ids(prompt), [ids(count) for count in completions]) for prompt, *completions in sizes]


def test_each_prompt_is_there_once_and_positions_continue_it() -> None:
    sets = random_sets((3, 2, 1), (2, 2))
    inputs, layout = pack(sets, CPU)
    texts = [ids for prompt, completions in sets for ids in (prompt, *completions)]
    assert inputs.arguments["input_ids"][0].tolist() == np.concatenate(texts).tolist()
    assert inputs.arguments["position_ids"][0].tolist() == [0, 1, 2, 3, 4, 3, 0, 1, 2, 3]
    assert layout.tokens.owner.tolist() == [0] * 6 + [1] * 4
    assert layout.tokens.text.tolist() == [PROMPT] * 3 + [1, 1, 2] + [PROMPT] * 2 + [4, 4]
    assert inputs.predictors.tolist() == [2, 3, 2, 7, 8]  # the last of the prompt predicts every first token


def test_small_sets_share_a_segment_and_a_large_one_has_a_segment_per_text() -> None:
    _, layout = pack(random_sets((100, 20), (100, 20, 17), (200, 50, 60, 70), (4, 3), (255, 1)), CPU)
    assert [(segment.size, segment.prompt) for segment in layout.segments] == [
        (120, None), (137, None), (200, None), (50, 2), (60, 2), (70, 2), (7, None), (256, None),
    ]  # fmt: skip
    assert layout.segments[0].start == 0
    assert all(
        one.stop == after.start for one, after in zip(layout.segments, layout.segments[1:], strict=False)
    )
    assert layout.segments[-1].stop == len(layout.tokens.owner)


def naive_sees(layout: Packed, window: int | None) -> torch.Tensor:
    """Decide `[N, N]` token by token, from the definition."""
    tokens = layout.tokens
    count = len(tokens.owner)
    seen = torch.zeros(count, count, dtype=torch.bool)
    for i in range(count):
        for j in range(count):
            same_set = tokens.owner[i] == tokens.owner[j]
            text = tokens.text[j] == PROMPT or tokens.text[j] == tokens.text[i]
            distance = tokens.position[i] - tokens.position[j]
            seen[i, j] = bool(same_set and text and 0 <= distance < (window or count))
    return seen


FLEX = {((4, 4), None, None), ((4, 2), 3, 2.0)}  # in the default run
SIZES = ((3, 2, 4), (2, 5), (6, 1, 1, 3))


@pytest.mark.parametrize("block", [0, 8, 256])
@pytest.mark.parametrize("window", [None, 1, 3, 50])
def test_segments_see_what_each_token_sees(
    block: int, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "BLOCK", block)
    _, layout = pack(random_sets(*SIZES), CPU)
    seen = torch.zeros_like(naive_sees(layout, window))
    for segment in layout.segments:
        bias = layout.bias(segment, window, torch.float32)
        key_segments = (segment,) if segment.prompt is None else (layout.segments[segment.prompt], segment)
        keys = torch.cat([torch.arange(one.start, one.stop) for one in key_segments])
        allowed = torch.ones(segment.size, len(keys)).tril().bool() if bias is None else bias == 0
        seen[torch.arange(segment.start, segment.stop)[:, None], keys] = allowed
        assert bias is None or set(bias.unique().tolist()) <= {0.0, float("-inf")}
    assert torch.equal(seen, naive_sees(layout, window))


@pytest.mark.default("heads7-3-2.0")
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(
    ("heads", "window", "softcap"),
    grid(lambda *case: case in FLEX, [(4, 4), (4, 2)], [None, 3], [None, 2.0]),
)
def test_flex_attention_equals_attention_by_segment(
    heads: tuple[int, int], window: int | None, softcap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward, which is all that it has on a CPU, and not compiled."""
    monkeypatch.setattr(attention, "_compiled_flex", lambda: flex_attention)
    monkeypatch.setattr(packing, "BLOCK", 0)
    _, layout = pack(random_sets(*SIZES), CPU)
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, n, len(layout.tokens.owner), 8) for n in (heads[0], *heads[1:] * 2))
    arguments = (layout, query, [(key, value)], Scores(0.4, window, softcap))
    torch.testing.assert_close(
        attention._attend_with_flex(*arguments), attention._attend_by_segment(*arguments)
    )


@pytest.mark.parametrize("cap", [None, 2.0])
def test_attention_under_autocast_takes_one_dtype(cap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotary positions make float32 of queries and keys there, and flex_attention is unknown to autocast."""
    seen: list[torch.dtype] = []

    def attend(packed: Packed, query: torch.Tensor, keys: Any, scores: Scores) -> torch.Tensor:
        seen.extend(x.dtype for x in (query, *keys[0]))
        return original(packed, query, keys, scores)

    original = attention._attend_by_segment
    monkeypatch.setattr(attention, "_attend_by_segment", attend)
    _, layout = pack(random_sets(*SIZES), CPU, cache=True)
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, len(layout.tokens.owner), 8) for _ in range(3))
    arguments = (torch.nn.Identity(), query, key, value.bfloat16(), layout)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attention.packed_attention(*arguments, softcap=cap)
    assert set(seen) == {torch.bfloat16}
    assert layout.cache is not None
    assert [x.dtype for x in layout.cache[0]] == [torch.bfloat16] * 2
    exact, _ = attention.packed_attention(*arguments[:3], value, layout, softcap=cap)
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.05)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_small_heads_are_widened_for_flex_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel for GPUs has none below 16; heads of queries and values may differ in size."""
    sizes = []

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **others: Any) -> torch.Tensor:
        sizes.extend([query.shape[-1], key.shape[-1], value.shape[-1]])
        return flex_attention(query, key, value, **others)  # type: ignore[no-any-return]

    monkeypatch.setattr(attention, "_compiled_flex", lambda: attend)
    _, layout = pack(random_sets(*SIZES), CPU)
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, len(layout.tokens.owner), n) for n in (24, 24, 6))
    arguments = (layout, query, [(key, value)], Scores(0.4, None, None))
    found = attention._attend_with_flex(*arguments)
    assert sizes == [24, 24, 16]
    torch.testing.assert_close(found, attention._attend_by_segment(*arguments))


@pytest.mark.parametrize("name", ["s_aux", "position_bias"])
def test_a_bias_or_sink_in_the_scores_is_refused(name: str) -> None:
    _, layout = pack(random_sets((2, 1)), CPU)
    query = torch.zeros(1, 1, 3, 4)
    with pytest.raises(ValueError, match=f"packed attention does not support {name}"):
        attention.packed_attention(torch.nn.Identity(), query, query, query, layout, **{name: torch.zeros(1)})
