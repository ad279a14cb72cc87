"""`pairkit losses`: the list, one loss, a sum, one from outside, JSON, and what cannot be read."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pairkit.cli import app, main
from pairkit.losses import LOSSES
from pairkit.losses.describe import FAMILIES, describe


def said(*words: str) -> str:
    result = CliRunner().invoke(app, ["losses", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_has_every_loss_under_its_family() -> None:
    lines = said().splitlines()
    family = ""
    found = []
    for line in lines:
        family = line if line in FAMILIES else family
        name = line.strip().split(" ")[0]
        if name in LOSSES and line.startswith("  "):
            assert describe(name).family == family
            assert line.endswith(LOSSES[name].summary)
            found.append(name)
    assert sorted(found) == sorted(LOSSES)
    assert any(line.split()[:3] == ["alpha_dpo", "ref,", "(live"] for line in lines)
    assert "`pairkit losses NAME` says all of one." in lines


@pytest.mark.parametrize("name", LOSSES)
def test_one_loss_in_full(name: str) -> None:
    output, one = said(name), describe(name)
    flat = " ".join(output.split())
    for text in (one.title, *one.notes, one.completions, *one.needs, one.statistics, one.scoring_pass):
        assert text in flat
    for line in one.formula.splitlines():
        assert f"    {line}\n" in output
    for keyword in one.keywords:
        assert f"  --loss.{keyword.name} {keyword.shown}   in {keyword.range}\n" in output
        assert keyword.text in flat
    assert one.references in flat
    assert one.differs_from in flat
    assert all(f"  {example}\n" in output for example in one.examples)
    notes = [line for line in output.splitlines() if not line.startswith("    ")]
    assert max(map(len, notes)) <= 100 or "--loss" in max(notes, key=len)


def test_one_loss_word_for_word() -> None:
    output = said("rnce")
    assert (
        output
        == """\
rnce
The preferred completion against randomly drawn negatives.

    loss = -s_0 + logsumexp(s_0, ..., s_M),  s = beta x log-ratio

MC-PO has the same objective; its negatives are drawn in proportion to exp(s) by `sample_negatives`.
With one negative it is DPO.

keywords
  --loss.beta 0.01   in (0, inf)
      weight of the KL term, > 0.
  --loss.negatives 1   in 1, 2, ...
      how many to draw a set.

needs
  - sets of two completions or more: the preferred one, and negatives as its keywords say
  - a reference model, whose log-probs are computed once and kept

paper
  Chen et al. 2025, arXiv 2502.04567, equation 7 and proposition 2.1; the draw is algorithm 1.

examples
  pairkit train --loss rnce
  pairkit train --loss rnce --loss.beta 0.01
"""
    )


def test_of_the_samplers_words_only_those_that_the_loss_allows() -> None:
    text = next(keyword.text for keyword in describe("mcpo").keywords if keyword.name == "sampling")
    for word in ("mc", "max", "min", "random"):
        assert f'"{word}"' in text
    assert '"worst"' not in text
    assert '"all"' not in text
    assert "None" not in said("mcpo")  # the word on the command line is `all`


def test_a_sum_prints_its_parts() -> None:
    output = said("dpo:0.8+bco:0.2+sft")
    assert "  0.8 x dpo\n  0.2 x bco\n  1 x sft\n" in output
    assert "  pairkit train --loss dpo:0.8+bco:0.2+sft\n" in output
    for name in ("dpo", "bco", "sft"):
        assert f"\n{name}\n{describe(name).title}\n" in output
    assert "  2 x dpo\n" in said("dpo:2")


def test_one_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its docstring has is shown; what it lacks is left out."""
    (tmp_path / "outside_losses.py").write_text(
        "from pairkit.losses.types import output, set_mean\n\n\n"
        "def bare(policy, reference, *, beta: float = 0.5):\n"
        "    return output(set_mean(policy.sum[:, 0]), rewards=policy.sum)\n\n\n"
        "def told(policy, scores, *, beta: float = 0.5):\n"
        '    """A loss of mine.\n\n    loss = beta\n\n    Args:\n        beta: its size.\n    """\n'
        "    return output(set_mean(policy.sum[:, 0]), rewards=policy.sum)\n"
    )
    monkeypatch.chdir(tmp_path)
    try:
        bare, told = said("outside_losses:bare"), said("outside_losses:told")
    finally:
        sys.modules.pop("outside_losses", None)
    assert "  --loss.beta 0.5   in (-inf, inf)\n" in bare
    assert "a reference model" in bare
    assert "loss = " not in bare
    assert "\npaper\n" not in bare + told
    assert "A loss of mine.\n\n    loss = beta\n" in told
    assert "      its size.\n" in told
    assert "  - a score of every completion\n" in told
    assert "  pairkit train --loss outside_losses:told --loss.beta 0.5 --negatives.sampling mc\n" in told


def test_json() -> None:
    every = json.loads(said("--json"))
    assert [one["name"] for one in every] == list(LOSSES)
    one = json.loads(said("simpo", "--json"))
    assert one == every[list(LOSSES).index("simpo")]
    assert {k["name"]: k["default"] for k in one["keywords"]} == {
        "beta": 2.0, "gamma_beta_ratio": 0.25, "gamma": None, "label_smoothing": 0.0
    }  # fmt: skip
    both = json.loads(said("--json", "dpo:0.9+sft:0.1"))
    assert [(part["weight"], part["loss"]["name"]) for part in both["parts"]] == [(0.9, "dpo"), (0.1, "sft")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dpoo", "error: unknown loss 'dpoo'; did you mean 'dpo'? Known: "),
        ("simpo+spoo:2", "error: unknown loss 'spoo'; did you mean 'spo'? Known: "),
        ("dpo:zero+sft", "error: the weight of dpo is a number above 0, got 'zero'"),
        ("nowhere:loss", "error: loss 'nowhere:loss' cannot be imported: ModuleNotFoundError: "),
        ("dpo sft", "error: 'dpo sft' is no loss: write NAME, NAME:WEIGHT+NAME:WEIGHT, or module:function"),
    ],
)
def test_what_is_no_loss(
    name: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pairkit", "losses", name])
    with pytest.raises(SystemExit) as stop:
        main()
    output = capsys.readouterr()
    assert stop.value.code == 1
    assert not output.out
    assert output.err.startswith(message)
    assert output.err.count("\n") == 1


def test_help_has_examples_and_needs_no_torch() -> None:
    """The examples of the help are commands that work; the module itself imports nothing heavy."""
    text = said("--help")
    assert "pairkit losses dpo:0.8+bco:0.2+sft:1.0" in text
    import subprocess

    code = "import sys, pairkit.cli; sys.exit('torch' in sys.modules)"
    started = time.perf_counter()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert time.perf_counter() - started < 30
