"""Losses from outside pairkit: functions and rows named as `package.module:function`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from support.loss_cases import golden
from support.refusals import refusal

from pairkit.errors import InputError
from pairkit.losses import Extras, Loss, build, loss_spec
from pairkit.losses.parameters import Choice, Flag, Integer, Number

HEADER = """
from typing import Literal
import torch
from torch.nn.functional import logsigmoid
from pairkit.losses import LossSpec, Logps
from pairkit.losses.parameters import Number
from pairkit.losses.types import LossOutput, log_ratio, output, pair_of, set_mean
"""
OWN = """
def own(policy: Logps, reference: Logps, *, beta: float = 0.1, shift: float = 0.0) -> LossOutput:
    '''DPO with a shift.

    More prose.'''
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    return output(set_mean(-logsigmoid(chosen - rejected - shift)), rewards=rewards)
"""

Write = Callable[[str], str]
numbered = count()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules into the working directory; the function returns the name of a new one."""
    monkeypatch.chdir(tmp_path)
    names = []

    def module(text: str) -> str:
        names.append(f"outside_{next(numbered)}")
        (tmp_path / f"{names[-1]}.py").write_text(HEADER + dedent(text))
        return names[-1]

    yield module
    for name in names:
        sys.modules.pop(name, None)


def test_a_function_from_the_working_directory(write: Write) -> None:
    path = list(sys.path)
    name = f"{write(OWN)}:own"
    loss = build(name)
    assert sys.path == path
    assert loss.describe() == {"name": name, "beta": 0.1, "shift": 0.0}
    assert loss.needs == {"reference"}
    assert loss.completions == "pair"
    assert isinstance(loss, Loss)
    assert loss.spec.summary == "DPO with a shift."
    one = golden("dpo")
    assert replace(one, loss=loss)().losses.tolist() == one().losses.tolist()
    shifted = replace(one, loss=build(name, shift=0.5))().losses
    assert shifted[0].item() == pytest.approx(math.log1p(math.exp(0.2)))
    with pytest.raises(InputError, match="needs reference"):
        loss(one.policy)
    assert "did you mean 'shift'" in refusal(name, shft=1.0)
    assert "must be a number" in refusal(name, beta="high")


def test_a_function_from_a_package(write: Write, tmp_path: Path) -> None:
    package = tmp_path / "outside_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text(HEADER + OWN)
    try:
        assert build("outside_package.inner:own", beta=0.5).beta == 0.5
    finally:
        for name in ("outside_package", "outside_package.inner"):
            sys.modules.pop(name, None)


def test_a_function_from_outside_in_a_sum(write: Write) -> None:
    name = f"{write(OWN)}:own"
    loss = build(f"{name}:0.5+sft", beta=0.3)
    assert [(part.name, weight) for weight, part in loss.parts] == [(name, 0.5), ("sft", 1.0)]
    assert loss.beta == 0.3
    assert loss.parts[0][1].parameters == {"beta": 0.3, "shift": 0.0}
    assert build(f"sft+{name}", **{name: {"shift": 1.0}}).parts[1][1].parameters["shift"] == 1.0
    one = golden("dpo:0.5+sft", beta=0.3)
    assert replace(one, loss=loss)().losses.tolist() == pytest.approx(one().losses.tolist())


def test_every_kind_of_keyword(write: Write) -> None:
    name = write(
        """
        def own(policy, *, flag: bool = False, count: int = 3, weight: float = -0.5, untyped=2.0,
                kind: Literal["a", "b"] = "b"):
            assert (flag, count, weight, untyped, kind) == (True, -4, 1.0, 0.0, "a")
            return output(set_mean(-policy.sum[:, 0]), rewards=policy.mean)
        """
    )
    spec = loss_spec(f"{name}:own")
    assert spec.parameters == {
        "flag": Flag(False),
        "count": Integer(3, low=None),
        "weight": Number(-0.5),
        "untyped": Number(2.0),
        "kind": Choice("b", ("a", "b")),
    }
    assert spec.summary == "from outside pairkit"
    loss = build(f"{name}:own", flag=True, count=-4, weight=1, untyped=0, kind="a")
    one = golden("dpo")
    assert loss(one.policy).losses.tolist() == [40.0, 50.0]
    assert "did you mean" in refusal(f"{name}:own", kind="aa")
    assert "must be an integer" in refusal(f"{name}:own", count=0.5)
    assert "true or false" in refusal(f"{name}:own", flag=1)


def test_everything_that_a_function_may_name(write: Write) -> None:
    name = write(
        """
        def own(policy, reference, scores, ranks):
            return output(set_mean((policy.sum - reference.sum + scores + ranks).sum(1)), rewards=policy.sum)

        def optional(policy, reference=None, scores=None, *, beta: float = 1.0):
            assert reference is None and scores is None
            return output(set_mean(policy.sum[:, 0]), rewards=policy.sum)
        """
    )
    loss, one = build(f"{name}:own"), golden("dpo")
    assert loss.needs == {"reference", "scores", "ranks"}
    ones = torch.ones(2, 2)
    extras = Extras(ranks=2 * ones.int())
    losses = loss(one.policy, one.reference, 3 * ones, extras=extras).losses
    assert losses.tolist() == [2 - 1 + 2 * (3 + 2), -2 + 3 + 2 * (3 + 2)]
    with pytest.raises(InputError, match=r"needs ranks: .* in Extras"):
        loss(one.policy, one.reference, 3 * ones)
    assert build(f"{name}:optional").needs == frozenset()
    build(f"{name}:optional")(one.policy)


def test_a_spec_from_outside(write: Write) -> None:
    name = write(
        OWN
        + """
SPEC = LossSpec(own, "summary", "paper", {"beta": Number(0.1, low=0.0, open_low=True), "shift": Number(0.0)},
                needs=frozenset({"reference"}), ordered=(("beta", "shift"),))
"""
    )
    loss = build(f"{name}:SPEC", shift=0.5)
    assert isinstance(loss, Loss)
    assert (loss.spec.summary, loss.spec.paper) == ("summary", "paper")
    assert golden("dpo")().losses.shape == replace(golden("dpo"), loss=loss)().losses.shape
    assert "beta must be in (0, inf)" in refusal(f"{name}:SPEC", beta=0.0)
    assert "beta must be at most" in refusal(f"{name}:SPEC")


def test_a_spec_of_labeled_completions_from_outside(write: Write) -> None:
    """Labels, and a reference point from completions of other prompts: not available to a bare function."""
    name = write(
        """
        from pairkit.losses import Statistics
        from pairkit.losses.anchored import observe_kl

        def own(policy, reference, labels, kl_baseline):
            values = torch.where(labels, policy.sum[:, 0], kl_baseline)
            return output(set_mean(values), rewards=policy.sum)

        SPEC = LossSpec(own, "s", "p", completions="labeled", needs=frozenset({"reference", "kl_baseline"}),
                        statistics=Statistics(observe_kl, {"kl_baseline": 0.25}, of="mismatched"))
        """
    )
    one, labels = golden("dpo"), torch.tensor([True, False])
    loss = build(f"{name}:SPEC")
    assert loss(one.policy, one.reference, extras=Extras(labels=labels)).losses.tolist() == [-40.0, 0.25]
    with pytest.raises(InputError, match=r"labels has shape \(1,\)"):
        loss(one.policy, one.reference, extras=Extras(labels=labels[:1]))


def test_a_spec_with_statistics_from_outside(write: Write) -> None:
    name = write(
        """
        from pairkit.losses import Statistics

        def observe(state, policy, reference, seeds, *, beta):
            assert len(seeds) == len(policy.sum)
            return {"seen": state["seen"] + len(policy.sum)}, {"twice": 2 * beta * policy.sum[:, 0]}

        def own(policy, statistics, *, beta):
            values = policy.sum[:, 0] * statistics["seen"] + statistics["twice"]
            return output(set_mean(values), rewards=policy.sum)

        SPEC = LossSpec(own, "s", "p", {"beta": Number(0.5)}, statistics=Statistics(observe, {"seen": 0.0}))
        """
    )
    loss, one = build(f"{name}:SPEC"), golden("dpo")
    assert loss(one.policy).losses.tolist() == [-120.0, -150.0]
    assert loss.state_dict() == {"seen": torch.tensor(2.0, dtype=torch.float64)}
    assert loss(one.policy).losses.tolist() == [-200.0, -250.0]


BAD_FUNCTIONS = [
    ("def own(policy, *, beta: float): ...", "keyword beta: set a default"),
    ("def own(policy, *, beta): ...", "keyword beta: set a default"),
    ("def own(policy, *, beta: str = 'x'): ...", "keyword beta: set a default"),
    ("def own(policy, *, beta: float | None = None): ...", "keyword beta: set a default"),
    ("def own(policy, *, kind: Literal[1, 2] = 1): ...", "keyword kind: a Literal must list strings"),
    ("def own(policy, *, kind: Literal['a', 'b'] = 'c'): ...", "keyword kind: a Literal must list strings"),
    (
        "def own(policy, beta: float = 0.1): ...",
        "unknown input beta, expected reference, scores, ranks; put keywords after a *",
    ),
    ("def own(policy, refrence, *, beta: float = 0.1): ...", "unknown input refrence, expected reference"),
    (
        "def own(policy, statistics): ...",
        "statistics is not available to a bare function, only reference, scores",
    ),
    (
        "def own(policy, labels): ...",
        "labels is not available to a bare function, only reference, scores, ranks",
    ),
    ("def own(policy, *, kl_baseline=None): ...", "kl_baseline is not available to a bare function, only"),
    ("def own(policy, **more): ...", "unknown input more"),
    (
        "def own(reference, *, beta: float = 0.1): ...",
        "the first argument of a loss must be the policy's Logps",
    ),
    ("def own(*, beta: float = 0.1): ...", "the first argument of a loss must be the policy's Logps"),
    ("def own(): ...", "the first argument of a loss must be the policy's Logps"),
    ("def own(policy: 'Nowhere'): ...", "cannot read its annotations: name 'Nowhere' is not defined"),
    ("own = 3", "must be a function or a LossSpec, got int"),
    ("class own: ...", "must be a function or a LossSpec, got type"),
    ("other = 3", ": AttributeError: "),
    ("raise RuntimeError('no luck')", ": RuntimeError: no luck"),
    ("import no_such_module", ": ModuleNotFoundError: No module named 'no_such_module'"),
    ("def own(:", ": SyntaxError: "),
]


@pytest.mark.parametrize(("text", "message"), BAD_FUNCTIONS, ids=[text for text, _ in BAD_FUNCTIONS])
def test_functions_that_are_not_losses_are_refused(write: Write, text: str, message: str) -> None:
    path = list(sys.path)
    name = f"{write(text)}:own"
    assert message in refusal(name)
    assert name in refusal(name)
    assert message in refusal(f"sft+{name}:0.5")
    assert sys.path == path


def test_a_missing_module_or_function_is_an_error() -> None:
    for name in ("no_such_module:own", "no.such.module:own", "pairkit.losses:no_such_loss"):
        assert f"cannot import loss '{name}': " in refusal(name)


def test_a_function_of_pairkit_cannot_be_named_by_its_path() -> None:
    """Its keywords have no defaults, because the table has them."""
    assert "keyword beta: set a default" in refusal("pairkit.losses.logistic:dpo")
