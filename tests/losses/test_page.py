"""Descriptions of all losses, docs/losses.md, its plots and its examples."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import losses as losses_page
import pytest
import torch
from loss_curves import curve
from loss_figures import data_of
from support.loss_cases import in_case
from support.tiny import model_folder, random_sets, write_data
from typer.testing import CliRunner

from pairkit import recipes
from pairkit.cli import app
from pairkit.losses import LOSSES, Logps, LossSpec, build
from pairkit.losses.describe import BY_NAME, FAMILIES, NUMBERED, describe, family, gaps
from pairkit.losses.parameters import positive
from pairkit.training.recipe import TrainRecipe

UPDATE = "update it with: python docs/losses.py"


def test_every_row_is_described() -> None:
    for name, spec in LOSSES.items():
        with in_case(name):
            row_is_described(name, spec)


def row_is_described(name: str, spec: LossSpec) -> None:
    assert gaps(spec) == []
    one = describe(name)
    assert one.formula.startswith("loss = ")
    assert one.title.endswith(".")
    assert one.family in FAMILIES
    assert [keyword.name for keyword in one.keywords] == [*spec.parameters, *spec.sampler]
    assert all(keyword.text for keyword in one.keywords)
    assert all((one.paper, one.references, one.returns, one.completions, one.summary))
    assert bool(one.statistics) == (spec.statistics is not None)
    assert all(set(text) <= set(map(chr, range(32, 127))) | {"\n"} for text in (one.formula, *one.notes))


def test_a_paper_is_cited_by_equation_or_marked_as_cited_by_name() -> None:
    """In the same words for all; maximum likelihood has no equation."""
    for name, spec in LOSSES.items():
        sources = describe(name).sources
        assert bool(NUMBERED.search(sources)) + sources.endswith(BY_NAME) == (name != "sft"), sources
        assert ("eq. " in spec.paper) <= bool(NUMBERED.search(sources)), name
        known = any(word in sources for word in ("arXiv", "Stable Preference", "Minor DPO"))
        assert name == "sft" or known, name


def test_the_cost_of_a_scoring_pass_is_described() -> None:
    for name in (name for name, spec in LOSSES.items() if spec.statistics):
        cost = describe(name).scoring_pass
        assert "one third more than a step without it (forward 1, backward 2)" in cost, name


def described(policy: Logps, *, beta: float, gamma: float) -> None:
    """A loss.

    loss = gamma beta

    Args:
        policy: sums.
        beta: its scale,
            in nats.
        delta: nothing.

    Returns:
        One term.
    """


def test_gaps_of_a_docstring_are_listed() -> None:
    spec = LossSpec(described, "a loss", "nowhere", {"beta": positive(1.0), "gamma": positive(1.0)})
    assert gaps(spec) == ["no References", "gamma is not described", "delta is described but does not exist"]
    assert gaps(replace(spec, function=lambda policy: None, parameters={})) == [
        'no paragraph begins with "loss = "', "no Args", "no Returns", "no References"
    ]  # fmt: skip


def test_a_row_with_an_incomplete_docstring_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "dpo", LossSpec(described, "a loss", "nowhere", {"beta": positive(1.0)}))
    with pytest.raises(ValueError, match="incomplete docstring of dpo: no References; delta is described"):
        describe("dpo")


def test_needs_are_described() -> None:
    """One of each kind: the description is what the loop has to do for a loss."""
    assert describe("sft").marks == describe("simper").marks == ()
    assert describe("dpo").marks == ("ref",)
    assert describe("tdpo1").marks == ("live ref",)  # which needs no other reference
    assert describe("stapo").marks == ("(ref)",)
    assert describe("alpha_dpo").marks == ("ref", "(live ref)", "pass")
    assert describe("mcpo").marks == ("ref", "pass")
    assert describe("rnce").scoring_pass == ""
    assert describe("nca").marks == ("ref", "(scores)")
    assert describe("pro").marks == ("scores or ranks",)
    assert "without gradient" in describe("mcpo").scoring_pass
    assert "completions of another prompt" in describe("kto").scoring_pass
    assert describe("kto").completions.startswith("pairs, or single completions labeled")
    assert describe("simpo").exclusions == ("`gamma` or `gamma_beta_ratio`, not both",)
    for name, spec in LOSSES.items():
        assert bool(describe(name).scoring_pass) == (
            spec.statistics is not None or "sampling" in spec.sampler
        )
        assert (family(spec) == "Pairs, without a reference model") <= ("reference" not in spec.needs)


def test_examples_are_commands_that_work() -> None:
    for name in LOSSES:
        for example in describe(name).examples:
            with in_case(example):
                command, verb, flag, loss, *rest = shlex.split(example)
                assert (command, verb, flag, loss) == ("pairkit", "train", "--loss", name)
                settings = recipes.merge({"loss": {"name": loss}}, recipes.parse_overrides(rest))
                recipes.validate(TrainRecipe, {"data": "data", "model": "model", **settings})


def test_the_page_is_that_of_the_table() -> None:
    assert losses_page.PAGE.read_text(encoding="utf-8") == losses_page.page(), UPDATE


@pytest.mark.full
def test_the_plots_show_the_numbers_of_the_losses() -> None:
    """All numbers, and the drawing of one figure of each kind, because drawing is what takes time."""
    assert losses_page.stale(redraw=("overview", "f_dpo", "spo")) == [], UPDATE


@pytest.mark.full
def test_the_drawings_of_all_plots_are_current() -> None:
    assert losses_page.stale() == [], UPDATE


def test_every_plot_of_the_page_is_there() -> None:
    shown = re.findall(r"\(losses/(\w+\.svg)\)", losses_page.PAGE.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(file.name for file in losses_page.FOLDER.iterdir())
    assert {f"{name}.svg" for name in LOSSES} - set(shown) == {"sft.svg"}


def _changed(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    source = file.read_text()
    data = data_of(source)
    before = json.dumps(data)
    change(data)
    file.write_text(source.replace(before, json.dumps(data)))


@pytest.mark.full
def test_stale_plots_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few losses: one plot missing, one too many, one with another curve, one drawn differently."""
    names = ("dpo", "spo", "stapo", "ipo", "exo")
    every = losses_page.plots()
    few = {name: every[name] for name in names}
    monkeypatch.setattr(losses_page, "plots", lambda: few)
    folder = tmp_path / "losses"
    folder.mkdir()
    for name in names:
        shutil.copy(losses_page.FOLDER / f"{name}.svg", folder)
    assert losses_page.stale(folder) == []
    (folder / "dpo.svg").rename(folder / "dop.svg")
    _changed(folder / "spo.svg", lambda data: data["chosen"].__setitem__(60, 1.01 * data["chosen"][60]))
    _changed(folder / "stapo.svg", lambda data: data["loss"].__setitem__("stapo", data["chosen"]))
    _changed(folder / "exo.svg", lambda data: data.update(matplotlib="0.1"))
    file = folder / "ipo.svg"
    file.write_text(file.read_text().replace("stroke-width: 2", "stroke-width: 3"))
    assert losses_page.stale(folder) == [
        "dpo.svg is missing", "dop.svg is not a plot of the page", "ipo.svg is drawn differently",
        "spo.svg shows other numbers", "stapo.svg shows other numbers",
    ]  # fmt: skip


def test_rounding_of_another_machine_is_not_stale() -> None:
    assert losses_page.same({"x": [1.0, 0.0]}, {"x": [1.0005, 1e-7]})
    assert not losses_page.same({"x": [1.0, 0.0]}, {"x": [1.002, 0.0]})
    assert not losses_page.same({"x": [1.0]}, {"x": [1.0, 1.0]})
    assert not losses_page.same({"x": [1.0], "y": None}, {"x": [1.0]})
    assert losses_page.same({"x": None}, {"x": None})


def test_curves_are_on_the_axis_that_their_loss_takes() -> None:
    """Minima worked by hand, on each axis: beta times log-ratio, mean log-ratio, mean log-prob."""
    assert curve("exo").label == "0.1 × log-ratio, chosen − rejected (nats)"
    assert curve("exo").least == pytest.approx(6.907, abs=0.01)  # log((1 - e) / e) of e = 0.001
    assert curve("ipo").label == "0.1 × mean log-ratio, chosen − rejected (nats per token)"
    assert curve("ipo").least == pytest.approx(0.5, abs=0.01)  # beta h = 1/2
    assert curve("stapo").label == "2 × mean log-prob, chosen − rejected (nats per token)"
    assert curve("stapo").least == pytest.approx(1.4, abs=0.01)  # beta (0.6 + 0.8) / 2
    assert curve("slic_hf").label == "log-prob, chosen − rejected (nats)"
    assert curve("sppo").least == pytest.approx(1.0, abs=0.01)  # a = 500, b = -500 at beta 0.001
    dpo = curve("dpo")
    at = dpo.margin.index(0.0)
    assert (dpo.loss[at], dpo.chosen[at], dpo.rejected[at]) == (0.6931, -0.5, 0.5)
    minor = curve("minor_dpo")
    assert all(value == 0.0 for value in minor.rejected[at:])  # at the reference and below it
    assert all(value > 0.0 for value in minor.rejected[:at])
    assert all(value < 0.0 for value in minor.chosen)


def test_the_readme_names_every_loss_under_its_family() -> None:
    text = losses_page.README.read_text(encoding="utf-8")
    assert losses_page.readme(text) == text, UPDATE
    for name, spec in LOSSES.items():
        assert re.search(rf"^\| {family(spec)} \|.*`{name}`", text, flags=re.MULTILINE)


def test_the_page_leaves_no_markdown_in_formulas_and_tables() -> None:
    """Every row of a table has the cells of its head; outside of code no bar or asterisk is left bare."""
    width, code = 0, False
    for line in losses_page.PAGE.read_text(encoding="utf-8").splitlines():
        code ^= line.startswith("```")
        if code or not line.startswith("|"):
            width = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1
        assert cells == (width or cells), line
        width = cells


# --- a loss of one's own ---------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the page's example in it."""
    text = losses_page.PAGE.read_text(encoding="utf-8")
    (tmp_path / "my_losses.py").write_text(text.split("```python\n")[1].split("```")[0])
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("my_losses", None)
    yield tmp_path
    sys.modules.pop("my_losses", None)


def test_the_losses_of_the_example_compute_what_they_describe(own: Path) -> None:
    values = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lengths, mask = torch.full((5, 4), 7), torch.ones(5, 4, dtype=torch.bool)
    mask[0, 3] = mask[1, 2] = mask[1, 3] = False
    policy, zero = Logps(9 * values, lengths, mask), Logps(torch.zeros_like(values), lengths, mask)
    pair = torch.tensor([[0, 1]] * 5)
    two, zeros = policy.columns(pair), zero.columns(pair)
    dpo = build("dpo")(two, zeros).losses
    assert torch.allclose(build("my_losses:focal_dpo", focus=0.0)(two, zeros).losses, dpo)
    wrong = 1 - torch.exp(-dpo)
    assert torch.allclose(build("my_losses:focal_dpo", focus=2.0)(two, zeros).losses, wrong**2 * dpo)
    assert torch.allclose(build("my_losses:ranking")(two, zeros).losses, dpo)
    ranked = build("my_losses:ranking", beta=1.0)(policy, zero).losses
    a, b, c = (9 * values[0, :3]).tolist()
    z = torch.logsumexp
    by_hand = z(torch.tensor([a, b, c]), 0) - a + z(torch.tensor([b, c]), 0) - b
    assert ranked[0].item() == pytest.approx(by_hand.item(), rel=1e-5)
    leaf = policy.sum.clone().requires_grad_()
    build("my_losses:ranking")(replace(policy, sum=leaf), zero).losses.sum().backward()
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()
    assert not leaf.grad[~mask].any()


@pytest.mark.full
def test_the_commands_of_the_example_run(own: Path) -> None:
    """The commands of the page, with data, model and two steps."""
    write_data(own / "data", random_sets(12), random_sets(6, seed=1))
    model_folder(own / "model")
    text = losses_page.PAGE.read_text(encoding="utf-8").split("## A loss of your own")[1]
    commands = text.split("```sh\n")[1].split("```")[0].splitlines()
    assert len(commands) == 4
    small = ["--data", "data", "--model", "model", "--max-steps", 2, "--sets-per-step", 4, "max_length=96"]
    for number, command in enumerate(commands):
        _, *words = shlex.split(command)
        more = [*small, "--out", f"runs/{number}"] if words[0] == "train" else []
        result = CliRunner().invoke(app, [*words, *map(str, more)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        if words[0] == "train":
            assert (own / "runs" / str(number) / "model" / "config.json").is_file()
