"""The command: its page, its numbers as JSON and CSV, and what it does not overwrite."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.parsed_page import Page
from support.recorded import write_run
from support.replications import made_up
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.errors import ExistingOutputError, InputError, OutputError, UsageError
from pairkit.files import write_json
from pairkit.ownership import OUTPUTS, outside_others
from pairkit.replication.claims.table import REPLICATIONS
from pairkit.replication.results import result
from pairkit.replication.tasks.base import FULL
from pairkit.reports.canvas import INK
from pairkit.reports.html import Html
from pairkit.run_report.find import Setting
from pairkit.run_report.page import colors_of, is_drawn
from pairkit.run_report.report import MADE, OF_POLICIES, Content, _write_csv, read, report
from pairkit.run_report.series import Figure
from pairkit.run_report.summary import overview

pytestmark = pytest.mark.usefixtures("plain_plots")
NUMBERS = sorted({20, 21, 22, 23, *OF_POLICIES})  # 24 is of evaluations, 28 of online trainings
NAMES = ("dpo/seed-0", "dpo/seed-1", "simpo", "alpha", "spo", "plain")


@pytest.fixture(scope="module")
def drawn(recorded: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with page.html, numbers.json and csv/, written by the command."""
    folder = tmp_path_factory.mktemp("report")
    words = ["--out", folder / "page.html", "--json", folder / "numbers.json", "--csv", folder / "csv"]
    done = CliRunner().invoke(app, ["report", *map(str, [*(recorded[name] for name in NAMES), *words])])
    assert done.exit_code == 0, done.output
    assert done.stdout == (
        f"figures drawn: {', '.join(map(str, NUMBERS))}; 2 without data\npage: {folder / 'page.html'}\n"
    )
    return folder


def test_the_page_has_every_figure_and_names_what_is_missing(drawn: Path) -> None:
    source = (drawn / "page.html").read_text()
    page = Page(source)
    shown = "".join(page.text)
    for number in (*NUMBERS, 17, 24):
        assert f"Figure {number}. " in shown
    for paper in ("StaPO, Fig. 2", "StaPO, Fig. 3", "StaPO, Fig. 4", "MinorDPO, Fig. 1", "alpha-DPO, Fig. 2"):
        assert f"({paper})" in shown
    for reason in (
        "plain: no pairs are recorded: train with record.pairs=true",
        "plain: not recorded: train with record.figures=true",
        "dpo, spo: not recorded: train with record.kl=true",
        "give the directory of `pairkit replicate` as a further RUN",
    ):
        assert reason in shown
    assert len(page.ids) == len(set(page.ids))
    assert set(re.findall(r'(?:url\(|href=")#([\w.-]+)', source)) <= set(page.ids)
    assert not re.search(r"https?:|@import|url\((?!#)|<script|<link|<iframe|data:", source)


def test_settings_keep_their_colors(settings: Sequence[Setting]) -> None:
    colors = colors_of(settings)
    assert len(set(colors.values())) == len(settings)
    assert colors["simpo"] == INK  # as in the paper of alpha-DPO
    assert INK not in colors_of([each for each in settings if each.name != "alpha"]).values()


def test_json_has_every_number(drawn: Path) -> None:
    content = json.loads((drawn / "numbers.json").read_text())
    assert list(content["report"]["settings"]) == sorted({name.partition("/")[0] for name in NAMES})
    figures = {figure["figure"]: figure for figure in content["figures"]}
    assert list(figures) == sorted((*NUMBERS, 17, 24))
    assert all(any(figures[number]["tables"].values()) for number in NUMBERS)
    rows = [row for figure in figures.values() for table in figure["tables"].values() for row in table]
    assert len(rows) > 1000
    assert not [
        value for row in rows for value in row.values() if isinstance(value, float) and math.isnan(value)
    ]


def test_csv_has_a_file_per_table_with_the_same_numbers(drawn: Path) -> None:
    expected = {
        f"figure-{figure['figure']:02d}-{name.replace(' ', '-')}.csv": rows
        for figure in json.loads((drawn / "numbers.json").read_text())["figures"]
        for name, rows in figure["tables"].items()
        if rows
    }
    assert {path.name for path in (drawn / "csv").glob("*.csv")} == set(expected)
    for name, rows in expected.items():
        with (drawn / "csv" / name).open(newline="") as file:
            found = list(csv.DictReader(file))
        assert len(found) == len(rows), name
        for line, row in zip(found, rows, strict=True):
            written = {key: "" if value is None else str(value) for key, value in row.items()}
            assert {key: line[key] for key in row} == written


def test_a_report_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    # Of a reward model, which has the fewest figures.
    run, out = write_run(tmp_path / "run", {"name": "reward_bt"}), tmp_path / "report.html"
    own = {"json": tmp_path / "numbers.json", "csv_folder": tmp_path / "csv"}
    report([run], out, **own)
    first = out.read_bytes()
    made = json.loads((tmp_path / "csv" / MADE).read_text())
    write_json(tmp_path / "csv" / MADE, {"report": [*made["report"], "figure-99-old.csv", "../figure-1.csv"]})
    (tmp_path / "figure-1.csv").write_text("")
    (tmp_path / "csv" / "figure-99-old.csv").write_text("")
    (tmp_path / "csv" / "figure-mine.csv").write_text("")
    (tmp_path / "csv" / "own.csv").write_text("")
    report([run], out, **own)
    assert out.read_bytes() == first
    names = {path.name for path in (tmp_path / "csv").iterdir()}
    assert {"own.csv", "figure-mine.csv"} < names
    assert (tmp_path / "figure-1.csv").exists()
    assert "figure-99-old.csv" not in names
    other = tmp_path / "notes.html"
    other.write_text("<!doctype html><title>notes</title>")
    numbers = tmp_path / "notes.json"
    numbers.write_text('{"report": 1}')
    with pytest.raises(ExistingOutputError, match=r"notes\.html: exists and was not written by `pairkit rep"):
        report([run], other)
    with pytest.raises(ExistingOutputError, match=r"notes\.json: exists and was not written by `pairkit rep"):
        report([run], out, json=numbers)
    with pytest.raises(OutputError, match=r"csv: is a directory; give the name of a file"):
        report([run], tmp_path / "csv")
    with pytest.raises(OutputError, match=r"notes\.json: is a file; give the name of a directory"):
        report([run], out, csv_folder=numbers)
    with pytest.raises(
        ExistingOutputError, match=r"page\.html: is inside .*/run, which holds a training run"
    ):
        report([run], run / "page.html")
    assert other.read_text() == "<!doctype html><title>notes</title>"
    assert numbers.read_text() == '{"report": 1}'


def test_reward_models_have_the_figures_of_every_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    reward = write_run(tmp_path / "reward", {"name": "reward_bt"})
    ranker = write_run(tmp_path / "ranker", {"name": "pairrm"})
    assert {figure.number for figure in read([reward]).every() if is_drawn(figure)} == {20, 21, 22, 23}
    content = read([run, reward, ranker])
    settings = {
        figure.number: {row["setting"] for table in figure.tables.values() for row in table}
        for figure in content.every()
    }
    assert settings[20] == settings[22] == {"run", "reward", "ranker"}
    assert settings[2] == settings[25] == {"run"}
    shown = summary(content)
    assert "ranker trains a PairRM, which has no log-probs of completions: figures about them" in shown
    assert "figures 1, 2, 3, 7, 8, 10, 11, 14, 16, 19, 25, 26, 27 do not exist" in capsys.readouterr().err


def test_log_probs_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    """Of a run that has diverged; warnings of numpy would be errors."""
    figures = read([write_run(tmp_path / "run", logp=math.nan)]).every()
    (logits,) = [figure for figure in figures if figure.number == 1]
    assert [(row["pairs"], row["not finite"], row["mean"]) for row in logits.tables["pairs"]] == [
        (10, 10, None)
    ]
    assert "10 not finite" in logits.draw()
    for figure in figures:
        figure.draw()


def test_code_that_a_run_names_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_loss.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    run = write_run(tmp_path / "run", {"name": "evil_loss:loss"})
    # Also from Python, where a recipe's own code may be imported.
    figures = read([run]).every()
    assert "evil_loss" not in sys.modules
    said = "its loss is a function of another package, which a report does not run"
    assert said in [figure.missing.get("run") for figure in figures]


def test_figure_17_is_what_replications_measured(tmp_path: Path) -> None:
    row = REPLICATIONS["M4"]
    written = result(row, [made_up(row, seed) for seed in (0, 1, 2)], {}, FULL)
    write_json(tmp_path / "out" / "replication" / "M4.json", written)
    figures = report([tmp_path / "out"], tmp_path / "page.html")
    (tables,) = [figure for figure in figures if figure.number == 17]
    rows = {(line["arm"], line["quantity"]): line for line in tables.tables["arms"]}
    assert {arm for arm, _ in rows} == {"start", *row.arms}
    (arm,) = [each for each in written["arms"] if each["name"] == "mc, M = 3"]
    values = [100 * value for value in arm["values"]["accuracy"][-1]]
    found = rows["mc, M = 3", "right answers"]
    assert found["mean"] == pytest.approx(sum(values) / 3)
    deviation = math.sqrt(sum((value - sum(values) / 3) ** 2 for value in values) / 2)
    assert (found["deviation"], found["unit"]) == (pytest.approx(deviation), "%")
    shown = "".join(Page((tmp_path / "page.html").read_text()).text)
    assert [figure.number for figure in figures] == [17]
    assert "Figure 1. " not in shown  # of runs, of which there are none
    assert f"The paper's numbers: {row.published}." in shown
    assert f"{found['mean']:.3g} ({found['deviation']:.2g})" in shown
    write_json(tmp_path / "out" / "replication" / "M4.json", {**written, "design": "another"})
    with pytest.raises(InputError, match="has no result of a replication as it is designed today"):
        report([tmp_path / "out"], tmp_path / "page.html")


def test_a_table_of_others_is_not_replaced(recorded: dict[str, Path], tmp_path: Path) -> None:
    run, tables = recorded["plain"], tmp_path / "csv"
    report([run], tmp_path / "first.html", csv_folder=tables)
    name = min(tables.glob("figure-*.csv")).name
    (tables / MADE).unlink()
    (tables / name).write_text("mine")
    with pytest.raises(ExistingOutputError, match=r"csv: exists and was not written by"):
        report([run], tmp_path / "page.html", csv_folder=tables)
    assert (tables / name).read_text() == "mine"
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"report": 5}', '{"report": [1]}', "[" * 5000, "{}"])
def test_a_damaged_list_of_tables_is_one_line(
    content: str, recorded: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / MADE).write_text(content)
    with pytest.raises(InputError, match=r"is damaged .*; remove it and the tables that it lists"):
        report([recorded["plain"]], tmp_path / "page.html", csv_folder=tmp_path)


def test_outputs_that_a_report_cannot_have(recorded: dict[str, Path], tmp_path: Path) -> None:
    run = recorded["plain"]
    with pytest.raises(UsageError, match="--out and --json are both"):
        report([run], tmp_path / "page", json=tmp_path / "x" / ".." / "page")
    with pytest.raises(ExistingOutputError, match=r"is inside .*, which holds a training run"):
        report([run], tmp_path / "page", csv_folder=run)
    os.mkfifo(tmp_path / "pipe")  # which nobody writes to: reading it would have no end
    for name in ("pipe", "/dev/zero"):
        with pytest.raises(ExistingOutputError, match="exists and was not written by"):
            report([run], tmp_path / name)


@pytest.mark.parametrize("name", sorted({name for names in OUTPUTS for name in names if "/" not in name}))
def test_a_report_makes_its_directory_no_output_of_another_command(
    name: str, recorded: dict[str, Path], tmp_path: Path
) -> None:
    for outputs in ({"out": tmp_path / name}, {"out": tmp_path / "page.html", "json": tmp_path / name}):
        with pytest.raises(OutputError, match=rf"{name}: is the name by which a directory is known to hold"):
            report([recorded["plain"]], **outputs)
    assert not list(tmp_path.iterdir())
    outside_others(tmp_path / "another")


def test_files_of_a_long_run_have_every_step(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=1000)
    report([run], tmp_path / "page.html", json=tmp_path / "numbers.json", csv_folder=tmp_path / "csv")
    content = json.loads((tmp_path / "numbers.json").read_text())
    (loss,) = [figure for figure in content["figures"] if figure["figure"] == 20]
    rows = [row for row in loss["tables"]["steps"] if row["sets"] == "each step's sets"]
    assert [row["step"] for row in rows] == list(range(1, 1001))
    with (tmp_path / "csv" / "figure-20-steps.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1002  # two of evaluations
    shown = "".join(Page((tmp_path / "page.html").read_text()).text)
    assert "The first 200 of 1,002 rows; --csv and --json write all of them." in shown


def test_what_went_wrong_in_a_run_is_said_first(tmp_path: Path) -> None:
    """A run that is still trained has no number of its end, and its last evaluation is of its start."""
    whole, other = write_run(tmp_path / "whole", steps=6), write_run(tmp_path / "other", steps=6)
    path = other / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [{**line, "skipped": line["step"]} for line in lines if line["step"] < 3]
    lines.append({"step": 2, "kind": "warning", "warning": "entropy", "says": "<b> its entropy collapses"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = summary(read([whole, other]))
    assert "other has taken 2 of 6 steps: it is still trained, or has stopped." in shown
    assert "other: 2 skipped steps, of a loss or gradients that were not finite." in shown
    assert "other, step 2: <b> its entropy collapses" in shown
    assert "0.1 (step 6)" not in shown
    assert "0.7 (step 0)" in shown  # the held-out loss of the one that is not at its end
    assert "whole has taken" not in shown


def test_settings_of_a_loss_are_those_that_it_had(recorded: dict[str, Path]) -> None:
    """A run whose recipe leaves beta to the loss is not without one."""
    content = read([recorded[name] for name in ("dpo/seed-0", "simpo", "plain")])
    cells = Page(overview("Runs", content.settings, content.colors, "a")).text
    values = [cell for cell in cells[cells.index("loss.beta") + 1 :] if cell.strip()]
    assert values[:3] == ["0.5", "2.0", "0.1"]


def test_a_text_that_is_missing_is_empty(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for path in (run / "samples").iterdir():
        table = pq.read_table(path)
        rows = [{**row, "text": None, "prompt": None, "sample": None} for row in table.to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    (texts,) = [figure for figure in read([run]).every() if figure.number == 25]
    assert len(texts.tables["samples"])
    assert texts.draw()


def test_numbers_with_a_deviation_are_in_a_table_and_not_in_tiles(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "dpo" / f"seed-{seed}", seed=seed) for seed in (0, 1)]
    for given, in_tiles in ((runs[:1], True), (runs, False)):
        content = read(given)
        assert ('class="tile"' in overview("Runs", content.settings, content.colors, "a")) == in_tiles


def summary(content: Content) -> str:
    """Return the text of the page's first section."""
    return "".join(Page(overview("Runs", content.settings, content.colors, "a")).text)


@pytest.mark.parametrize(
    "text", ["=cmd|'/C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x","y")', "plain"]
)
def test_no_cell_is_a_formula(text: str, tmp_path: Path) -> None:
    """Names of models and tasks are those of others, and spreadsheets compute what looks like one."""
    rows: list[dict[str, Any]] = [{text: text, "value": -1.5}]
    figure = Figure(1, "t", "", {"names": rows}, Html(""))
    _write_csv(tmp_path, [figure])
    with (tmp_path / "figure-01-names.csv").open(newline="") as file:
        header, cells = csv.reader(file)
    shown = text if text == "plain" else f"'{text}"
    assert (header, cells) == ([shown, "value"], [shown, "-1.5"])


@pytest.mark.parametrize("text", ["\r=1", "x\r=1", "x\r\n=1", "x\n=1", "\r", 'x"\r"=1'])
def test_no_text_of_a_cell_begins_a_row(text: str, tmp_path: Path) -> None:
    _write_csv(tmp_path, [Figure(1, "t", "", {"names": [{"name": text, "value": 1}]}, Html(""))])
    with (tmp_path / "figure-01-names.csv").open(newline="") as file:
        _, (name, value) = csv.reader(file)
    assert (name.lstrip("'"), value) == ("\n".join(text.splitlines()) or "\n", "1")
