"""Accuracy of engines whose accuracy is known."""

from __future__ import annotations

import pyarrow as pa
import pytest
from support.scripted import Scripted

from pairkit import schema
from pairkit.engines.base import Completion, Problem, Request, Result
from pairkit.errors import InputError
from pairkit.evaluation.accuracy import accuracy
from pairkit.rankers.verifier import VerifierRecipe
from pairkit.sources import arithmetic


def pupil(request: Request) -> Result:
    """Answer problems whose first number is even, correctly in the first sample only."""
    a, b = map(int, request.prompt[0]["content"].removesuffix("=").split("+"))
    right = str(a + b)[::-1] if a % 2 == 0 else "x"
    return tuple(Completion("x" if i else right, 1, "stop", s) for i, s in enumerate(request.samplings))


@pytest.fixture
def problems() -> pa.Table:
    return schema.identify(arithmetic.sets("tuning").slice(0, 50), {})


def test_accuracy_is_the_mean_score_per_problem(problems: pa.Table) -> None:
    found = accuracy(problems, Scripted(pupil), VerifierRecipe(), samples=4, max_tokens=5, seed=0)
    texts = [prompt[0]["content"] for prompt in problems["prompt"].to_pylist()]
    assert found.values.tolist() == [0.25 * (int(text.split("+")[0]) % 2 == 0) for text in texts]
    assert found.sets["set_id"] == problems["set_id"]


def test_unusable_problems_are_an_error(problems: pa.Table) -> None:
    first = schema.plain_messages(problems["prompt"][0].as_py())

    def absent(request: Request) -> Result:
        return Problem("too_long", "no room") if request.prompt == first else pupil(request)

    with pytest.raises(InputError, match=r"1 of 50 problems .* too_long: no room"):
        accuracy(problems, Scripted(absent), VerifierRecipe(), max_tokens=5, seed=0)
    with pytest.raises(InputError, match=r"50 of 50 problems .* no_answer"):
        accuracy(problems, Scripted(pupil), VerifierRecipe(answer="x"), max_tokens=5, seed=0)
