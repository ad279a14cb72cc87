"""`pairkit losses`: the list, one loss, a sum, one from outside, JSON, and errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.loss_cases import in_case
from typer.testing import CliRunner

from pairkit.cli import app, main
from pairkit.losses import LOSSES
from pairkit.losses.describe import FAMILIES, describe


def printed(*words: str) -> str:
    result = CliRunner().invoke(app, ["losses", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_has_every_loss_under_its_family() -> None:
    lines = printed().splitlines()
    family = ""
    names = []
    for line in lines:
        family = line if line in FAMILIES else family
        name = line.strip().split(" ")[0]
        if name in LOSSES and line.startswith("  "):
            assert describe(name).family == family
            assert line.endswith(LOSSES[name].summary)
            names.append(name)
    assert sorted(names) == sorted(LOSSES)
    assert any(line.split()[:3] == ["alpha_dpo", "ref,", "(live"] for line in lines)
    assert "Run `pairkit losses NAME` for details." in lines


def test_one_loss_in_full() -> None:
    for name in LOSSES:
        with in_case(name):
            loss_is_printed_in_full(name)


def loss_is_printed_in_full(name: str) -> None:
    output, one = printed(name), describe(name)
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
    output = printed("rnce")
    assert (
        output
        == """\
rnce
The preferred completion against random negatives.

    loss = -s_0 + logsumexp(s_0, ..., s_M),  s = beta x log-ratio

MC-PO has the same objective; `sample_negatives` samples its negatives in proportion to exp(s). With
one negative it is DPO. The mean of its gradient over the samples is that of the likelihood only if
y_0 is a sample of the model p, proportional to (proposal) exp(s) (proposition 3.3): neither the
policy, which online training samples, nor the best of several samples is p.

keywords
  --loss.beta 0.01   in (0, inf)
      weight of the KL term, > 0.
  --loss.negatives 1   in 1, 2, ...
      number of negatives per set.

needs
  - sets of two or more completions: the preferred one, and negatives sampled by its keywords
  - a reference model, whose log-probs are computed once and cached

paper
  Chen et al. 2025, arXiv 2502.04567, equation 7 and proposition 2.1; sampling is algorithm 1.

differs from
  Contrastive divergence as in equation 8, the loss `contrastive_divergence`, has no softmax weight
  on a negative that was sampled by exp(s): this objective weighs it once more, as the paper's
  algorithm and table 5 do.

examples
  pairkit train --loss rnce
  pairkit train --loss rnce --loss.beta 0.01
"""
    )


def test_only_the_sampler_options_that_a_loss_allows_are_described() -> None:
    text = next(keyword.text for keyword in describe("mcpo").keywords if keyword.name == "sampling")
    for word in ("mc", "max", "min", "random"):
        assert f'"{word}"' in text
    assert '"worst"' not in text
    assert '"all"' not in text
    assert "None" not in printed("mcpo")  # the word on the command line is `all`


def test_a_sum_prints_its_parts() -> None:
    output = printed("dpo:0.8+bco:0.2+sft")
    assert "  0.8 x dpo\n  0.2 x bco\n  1 x sft\n" in output
    assert "  pairkit train --loss dpo:0.8+bco:0.2+sft\n" in output
    for name in ("dpo", "bco", "sft"):
        assert f"\n{name}\n{describe(name).title}\n" in output
    assert "  2 x dpo\n" in printed("dpo:2")


def test_one_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts missing from its docstring are omitted."""
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
        bare, told = printed("outside_losses:bare"), printed("outside_losses:told")
    finally:
        sys.modules.pop("outside_losses", None)
    assert "  --loss.beta 0.5   in (-inf, inf)\n" in bare
    assert "a reference model" in bare
    assert "loss = " not in bare
    assert "\npaper\n" not in bare + told
    assert "A loss of mine.\n\n    loss = beta\n" in told
    assert "      its size.\n" in told
    assert "  - a score for every completion\n" in told
    assert "  pairkit train --loss outside_losses:told --loss.beta 0.5 --negatives.sampling mc\n" in told


def test_json() -> None:
    every = json.loads(printed("--json"))
    assert [one["name"] for one in every] == list(LOSSES)
    one = json.loads(printed("simpo", "--json"))
    assert one == every[list(LOSSES).index("simpo")]
    assert {k["name"]: k["default"] for k in one["keywords"]} == {
        "beta": 2.0, "gamma_beta_ratio": 0.25, "gamma": None, "label_smoothing": 0.0,
        "length_normalized": True,
    }  # fmt: skip
    both = json.loads(printed("--json", "dpo:0.9+sft:0.1"))
    assert [(part["weight"], part["loss"]["name"]) for part in both["parts"]] == [(0.9, "dpo"), (0.1, "sft")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dpoo", "error: unknown loss 'dpoo'; did you mean 'dpo'? Known: "),
        ("simpo+spoo:2", "error: unknown loss 'spoo'; did you mean 'spo'? Known: "),
        ("dpo:zero+sft", "error: the weight of dpo must be a number above 0, got 'zero'"),
        ("nowhere:loss", "error: cannot import loss 'nowhere:loss': ModuleNotFoundError: "),
        (
            "dpo sft",
            "error: cannot parse loss 'dpo sft': expected NAME, NAME:WEIGHT+NAME:WEIGHT, or module:function",
        ),
    ],
)
def test_names_that_cannot_be_read_are_errors(
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
    text = printed("--help")
    assert "pairkit losses dpo:0.8+bco:0.2+sft:1.0" in text
    code = "import sys, pairkit.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
