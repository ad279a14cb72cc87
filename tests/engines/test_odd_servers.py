"""Builds from servers as they are: what each ends with, how many requests it took, and what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.odd_server import OddServer, odd_server, text

from pairkit.engines.openai import client
from pairkit.errors import EngineError, PairkitError, RecipeError
from pairkit.pipeline.build import build
from pairkit.pipeline.describe import summary
from pairkit.pipeline.recipe import load

PROMPTS = 6  # every other one is odd
WARM = ({"n": 3, "temperature": 0.7},)
COLD = ({"n": 2, "temperature": 0.0},)


@pytest.fixture(scope="module")
def running() -> Iterator[OddServer]:
    with odd_server() as server:
        yield server


@pytest.fixture
def server(running: OddServer, monkeypatch: pytest.MonkeyPatch) -> OddServer:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    running.forget()
    return running


class Odd(NamedTuple):
    """An oddity, and what a build of six prompts with three completions each ends with.

    Attributes:
        completions: in the dataset; a completion that repeats another one is dropped.
        counts: of generation, besides `completions` and those that are 0.
        requests: that were sent.
        said: words that are printed exactly once, if any are expected.
        reasons: of the sets in quarantine.
        fields: of the `generate:` block.
    """

    oddity: str
    completions: int
    counts: dict[str, int]
    requests: int
    said: str | None = None
    reasons: tuple[str, ...] = ()
    fields: dict[str, Any] = {}  # noqa: RUF012  # read only


REFUSED = ("endpoint_refused",) * 3
NO_N = "completions are requested one by one, as with many_per_call=false"
NO_SEED = "seed is not sent, and recorded as null"
NO_END = "with a finish reason that is null or unknown"
BUSY = "HTTP 429: Provider returned error (Too Many Requests)"
DROP, AGAIN = {"truncated": "drop"}, {"truncated": "regenerate"}
ROWS = [
    Odd("plain", 18, {"stop": 18}, 6),
    # The thought is all there is: a completion without text, kept or dropped as the recipe says.
    Odd("thought_cut", 6, {"length": 18, "empty": 18, "repeated": 12}, 6, "18 of 18 completions: empty"),
    Odd("thought_cut", 0, {"truncated_dropped": 18}, 6, "18 of 18 completions: dropped", (), DROP),
    Odd("thought_cut", 0, {"truncated_dropped": 18, "regenerated": 36}, 18, None, (), AGAIN),
    Odd("some_thoughts_cut", 12, {"stop": 9, "length": 9, "empty": 9, "repeated": 6}, 6),
    Odd("some_thoughts_cut", 9, {"stop": 9, "truncated_dropped": 9}, 6, None, (), DROP),
    Odd("last_cut", 18, {"stop": 12, "length": 6, "empty": 6}, 6),
    Odd("last_cut", 12, {"stop": 12, "truncated_dropped": 6}, 6, None, (), DROP),
    # A completion of nothing at all is dropped when pairs are formed.
    Odd("last_unsaid", 12, {"stop": 12, "length": 6, "empty": 6}, 6, "6 of 18 completions: cut off"),
    Odd("last_unsaid", 12, {"stop": 12, "truncated_dropped": 6}, 6, "6 of 18 completions: dropped", (), DROP),
    Odd("last_filtered", 12, {"stop": 12, "refused": 6, "empty": 6}, 6),
    Odd("thought_apart", 18, {"stop": 18}, 6),
    Odd("thought_closed", 18, {"stop": 18}, 6),
    Odd("thought_open", 18, {"length": 18}, 6, "18 of 18 completions: cut off by max_tokens"),
    Odd("parts", 18, {"stop": 18}, 6),
    Odd("no_end", 18, {"stop": 18, "other_finish_reason": 18}, 6, NO_END),
    Odd("eos_token", 18, {"stop": 18, "other_finish_reason": 18}, 6, NO_END),
    Odd("greedy", 6, {"stop": 18, "repeated": 12}, 6, "12 of 18 completions: the same as another one"),
    # Errors with status 200: the busy one is asked again, and answers the odd prompts then.
    Odd("busy", 9, {"stop": 9}, 3 * 2 + 3 * 6, BUSY, ("endpoint_failed",) * 3),
    Odd("choice_error", 9, {"stop": 9}, 3 + 3 * 6, "HTTP 502: Bad gateway", ("endpoint_failed",) * 3),
    Odd("last_choice_error", 9, {"stop": 9}, 6, "HTTP 400: Flagged output; the server filters", REFUSED),
    Odd("streams_error", 9, {"stop": 9}, 6, "HTTP 400: Prompt is too long; set a smaller", REFUSED),
    Odd("object_error", 9, {"stop": 9}, 6, "Prompt flagged; the server filters this prompt", REFUSED),
    Odd("filter", 9, {"stop": 9}, 6, "content management policy.; the server filters this prompt", REFUSED),
    Odd("moderation", 9, {"stop": 9}, 6, "by moderation; the server filters this prompt", REFUSED),
    Odd("unfinished", 9, {"stop": 9}, 6, "more than max_tokens: set a larger generate.max_tokens", REFUSED),
    Odd("context", 9, {"stop": 9}, 6, "90 tokens.; set a smaller generate.max_tokens, or leave out", REFUSED),
    # One answer more than there are completions, to learn that there is one per request.
    Odd("n_refused_500", 18, {"stop": 18}, 19, f"{NO_N} (Only one completion choice is allowed)"),
    Odd("n_refused_400", 18, {"stop": 18}, 19, f"{NO_N} (Invalid 'n'"),
    Odd("candidates", 18, {"stop": 18}, 19, f"{NO_N} (Unable"),
    # What it did answer is used.
    Odd("one_choice", 18, {"stop": 18}, 18, f"{NO_N} (1 of 3 were answered)"),
    Odd("greedy_once", 18, {"stop": 18}, 6),
    Odd(
        "greedy_once",
        12,
        {"stop": 12},
        13,
        "completions at temperature 0 are requested",
        (),
        {"samples": COLD},
    ),
    Odd("no_seed", 18, {"stop": 18, "sent_without_seed": 18}, 7, f"{NO_SEED} (Extra"),
    Odd("small_seed", 18, {"stop": 18, "sent_without_seed": 18}, 7, f"{NO_SEED} (Invalid"),
    Odd(
        "forbidding",
        18,
        {"stop": 18, "sent_without_seed": 18, "sent_without_top_p": 18},
        7,
        "top_p is not sent, and recorded as null (body.seed: Extra inputs are not permitted; body.top_p",
    ),
    Odd("only_one", 18, {"stop": 18, "sent_without_temperature": 18}, 7, "temperature is not sent"),
    Odd("one_of_both", 18, {"stop": 18, "sent_without_top_p": 18}, 7, "top_p is not sent"),
    Odd("streams", 18, {"stop": 18}, 6),
    Odd("only_streams", 18, {"stop": 18}, 7, "answers are requested as streams (This"),
]


def start(server: OddServer, oddity: str, folder: Path, **fields: Any) -> tuple[dict[str, Any], Path]:
    """Build from six prompts; return the manifest and the directory."""
    rows = [{"prompt": f"Question {number}"} for number in range(PROMPTS)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    content = {
        "source": {"name": "files", "path": str(folder / "prompts.jsonl")},
        "generate": {
            "engine": "openai",
            "model": "tiny",
            "base_url": server.url(oddity),
            "samples": WARM,
            "max_tokens": 64,
            **fields,
        },
        "mine": {"require_choice": False},
        "test_fraction": 0,
    }
    out = folder / "out"
    return build(load(None, content, {}), out, cache=folder / "calls.sqlite"), out


def sets(out: Path) -> list[dict[str, Any]]:
    return ds.dataset(sorted((out / "data").glob("*.parquet"))).to_table().to_pylist()


@pytest.mark.default(
    "last_cut-", "thought_closed-", "parts-", "no_end-", "greedy-", "context-", "only_one-",
    "n_refused_400-", "moderation-", "only_streams-", "busy-", "thought_cut-regenerate", "thought_cut-drop",
    "one_of_both-", "unfinished-"
)  # fmt: skip
@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row.oddity}-{'-'.join(map(str, row.fields.values()))}"
)
def test_a_build_ends_with_what_the_server_answers(
    row: Odd, server: OddServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, out = start(server, row.oddity, tmp_path, **row.fields)
    found = sets(out)
    assert sum(len(one["completions"]) for one in found) == row.completions
    assert len(found) == PROMPTS - len(row.reasons)
    quarantine = pq.read_table(out / "quarantine.parquet")
    reasons = quarantine["reason"].to_pylist()
    assert tuple(reasons) == row.reasons
    counts = {name: number for name, number in manifest["counts"]["generate"].items() if number}
    counts.pop("completions", 0)
    quarantined = {f"quarantined_{reason}": reasons.count(reason) for reason in reasons}
    assert counts == row.counts | quarantined
    assert len(server.bodies[row.oddity]) == row.requests
    said = capsys.readouterr().err + summary(manifest, out)
    if "endpoint_failed" in reasons:  # what fails in the end is said there
        said += quarantine["detail"][0].as_py()
    if row.said is not None:
        assert said.count(row.said) == 1, said
    assert "None" not in said


def test_a_repeated_build_sends_nothing_and_is_the_same(server: OddServer, tmp_path: Path) -> None:
    """The server has not been asked, so that what it takes is known from the answers alone."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    made, _ = start(server, "no_seed", first)
    (second / "calls.sqlite").write_bytes((first / "calls.sqlite").read_bytes())
    server.forget()
    again, _ = start(server, "no_seed", second)
    assert again["files"] == made["files"]
    assert (again["sent"], again["counts"]) == (made["sent"], made["counts"])
    assert server.bodies == {}


@pytest.mark.parametrize(
    ("oddity", "error", "message", "requests"),
    [
        (
            "no_model",
            EngineError,
            "not serve the model 'tiny' (HTTP 400: Model a/b is not available)",
            1,
        ),
        ("no_model_text", EngineError, "does not serve the model 'tiny' (HTTP 404: model 'a/b' not found", 1),
        (
            "no_model_id",
            EngineError,
            "does not serve the model 'tiny' (HTTP 400: a/b is not a valid model ID",
            1,
        ),
        ("bad_key", EngineError, "(HTTP 400): it requires a key: set api_key_env to", 1),
        (
            "base_resp",
            EngineError,
            "set api_key_env to the environment variable that holds one: login fail",
            1,
        ),
        ("no_credit", EngineError, "the account has no quota left: Insufficient credits", 1),
        ("limited", RecipeError, "at most 32, got 64; set another generate.max_tokens)", 1),
        # It learns to send no n, no seed and another limit, and then gives up.
        ("never", PairkitError, "endpoint_refused", 3 + PROMPTS),
        ("no_system", PairkitError, "System role not supported; set generate.template.system=fold", PROMPTS),
        ("broken_streams", PairkitError, "6 tries; the last: the stream broke off", 6 * PROMPTS),
    ],
)
def test_what_no_request_can_change_ends_the_build(
    oddity: str, error: type[Exception], message: str, requests: int, server: OddServer, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        start(server, oddity, tmp_path)
    assert message in str(caught.value)
    assert len(server.bodies[oddity]) == requests


def test_texts_thoughts_and_seeds_are_those_of_the_requests(server: OddServer, tmp_path: Path) -> None:
    """Whether completions come together, one by one, in parts or in pieces."""
    for oddity in ("plain", "one_choice", "n_refused_400", "parts", "only_streams", "no_seed"):
        folder = tmp_path / oddity
        folder.mkdir()
        _, out = start(server, oddity, folder)
        for one in sets(out):
            messages = [{"role": "user", "content": one["prompt"][0]["content"]}]
            for index, completion in enumerate(one["completions"]):
                seed = completion["sampling"]["seed"]
                alone = oddity in ("one_choice", "n_refused_400")
                place = 0 if alone else index
                body = {"messages": messages, "seed": seed}
                assert completion["text"] == text(body, place)
                thought = {"parts": "Hm.", "only_streams": "Hm."}.get(oddity)
                assert completion["reasoning_content"] == thought
            seeds = [completion["sampling"]["seed"] for completion in one["completions"]]
            expected = {"one_choice": 3, "n_refused_400": 3}.get(oddity, 1)
            assert len(set(seeds)) == expected
            assert (seeds[0] is None) == (oddity == "no_seed")
