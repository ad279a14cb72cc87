"""Every kind of HTML page, in which each text that others write is a mark of the test's choice or has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.evaluations import measured, write_evaluation
from support.judges import ScriptedJudge, fair
from support.labeled import jsonl, row
from support.recorded import write_run
from support.report_page import candidate_set, everything
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.evaluation.ranker.data import Place, read_data
from pairkit.evaluation.ranker.recipe import EvalRankerRecipe
from pairkit.evaluation.ranker.run import run_ranker_evaluation
from pairkit.evaluation.results import Verdict
from pairkit.intervals import Interval
from pairkit.quickstart.page import render as render_quickstart
from pairkit.quickstart.results import DIFFERENCES, MODELS, Measured

PROMPTS = [f"p{n}" for n in range(12)]
SCORES = [n / 11 for n in range(11)] + [None]


def command(*words: str | Path) -> None:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, f"{done.output}{done.exception!r}"


def file_of(folder: Path, mark: str) -> Path:
    """A place for a file whose path has the mark, but for what no path can hold."""
    # In other letters, so that paths are not counted as places where a text is shown.
    path = folder / mark.swapcase().replace("/", "\N{DIVISION SLASH}")
    path.mkdir(parents=True)
    return path / "own.jsonl"


def kit(folder: Path, mark: str) -> Path:
    """One of everything that pages are made of."""
    folder.mkdir()
    (folder / "report.html").write_text(everything(mark))
    return folder


def quickstart(folder: Path, mark: str) -> Path:
    """The page of a quickstart whose records were edited, in a directory with an odd name."""
    out = file_of(folder, mark).parent
    recipe = {
        "max_steps": 4,
        "sets_per_step": 2,
        "loss": {"name": mark, mark: mark},
        "optimizer": {"learning_rate": 0.1, "schedule": mark, "warmup": 0.1},
    }
    for run in ("rounds/0", "dpo", "mcpo"):
        (out / run).mkdir(parents=True)
        (out / run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        numbers = {"reward_margin": 0.5, "chosen_logp": -1.0, "rejected_logp": -2.0}
        entries = [
            {"step": step, "kind": kind, **numbers, f"drawn_{mark}": 3, "drawn_noise": 1}
            for step in range(1, 5)
            for kind in ("train", "eval")
        ]
        jsonl(out / run / "metrics.jsonl", *entries)
    (out / "sets" / "data").mkdir(parents=True)
    sets = pa.Table.from_pylist([candidate_set(mark)] * 5)
    pq.write_table(sets, out / "sets" / "data" / "train-00000-of-00001.parquet")
    counts = {
        "mine": {"sets_out": 5},
        "generate": {"completions": 30},
        "source": {"rows": 5},
        "rank": {"right": 1, "checked": 2},
    }
    interval = Interval(0.5, 0.4, 0.6)
    found = Measured(dict.fromkeys(MODELS, interval), dict.fromkeys(DIFFERENCES, interval), 5)
    (out / "report.html").write_text(render_quickstart(out, 1, 2, found, {"counts": counts}))
    return out


def evaluation(folder: Path, mark: str, *, place: str = "", shift: int = 0) -> Path:
    """The page of an evaluation: of a benchmark, whose judge and models write what they like."""
    model = f"{mark}{place}"
    verdicts = [
        Verdict(prompt, model, mark, game, 1, f"{mark} words", mark, 0.5)
        for prompt in PROMPTS[:-1]
        for game in (0, 1)
    ]
    unread = Verdict(PROMPTS[-1], model, mark, 0, 1, mark, None, None, mark)
    scores = [None if score is None else (score + shift / 2) % 1 for score in SCORES]
    return write_evaluation(
        folder,
        [
            measured("win_rate", scores, categories=[f"{mark} {n % 3}" for n in range(12)]),
            measured(f"strict/{mark}", scores),
        ],
        model=model,
        version=mark,
        answers={prompt: f"{mark} answer" + "!" * n for n, prompt in enumerate(PROMPTS)},
        reference_answers=dict.fromkeys(PROMPTS, mark),
        prompts=dict.fromkeys(PROMPTS, mark),
        details={prompt: {mark: mark} for prompt in PROMPTS},
        verdicts=[*verdicts, unread],
        notes=[mark],
        decoding={mark: [mark]},
        judge_statistics={mark: {"number": 5, "of": 10, "mean": 0.5, "low": 0.4, "high": 0.6}},
        data={mark: {"file": mark, "rows": 5, "unused": 1, "unused_first": [mark]}},
    )


def matrix(folder: Path, mark: str) -> Path:
    """The page of a matrix, whose models have a section each."""
    names = [f"{mark} {n}" for n in range(2)]
    verdicts = [Verdict(prompt, names[0], names[1], 0, 1, mark, mark, 0.5) for prompt in PROMPTS]
    found = [measured(f"mean_win_rate/{name}", SCORES) for name in names]
    return write_evaluation(
        folder, found, model="2 models", verdicts=verdicts, prompts=dict.fromkeys(PROMPTS, mark)
    )


def comparison(folder: Path, mark: str) -> Path:
    """The page of a comparison of two evaluations."""
    for place, shift in (("a", 0), ("b", 1)):
        evaluation(folder / place, mark, place=f" {place}", shift=shift)
    command("eval", "compare", folder / "a", folder / "b", "--out", folder / "out")
    return folder / "out"


def judge(folder: Path, mark: str) -> Path:
    """The page of a judge, which prefers the longer text and repeats what it was shown."""
    texts = {"first": f"{mark} long enough", "second": mark}
    rows = [
        row(2 if n < 4 else 1, prompt=f"{mark} {n}?", subset=f"{mark} {n % 2}", **texts) for n in range(12)
    ]
    data = jsonl(file_of(folder, mark), *rows)
    engine = ScriptedJudge(lambda asked: f"{mark}\n{fair(len)(asked)}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pairkit.evaluation.judge.run.open_engine", lambda recipe, calls: engine)
        command("eval", "judge", "--data", data, "--model", mark, "--out", folder / "out")
    return folder / "out"


def rankers(folder: Path, mark: str) -> Path:
    """The page of several rankers."""
    texts = [(f"{mark} {n}?", f"{mark} {'x' * (n % 3)}", f"{mark} {n % 2}") for n in range(12)]
    rows = [{"prompt": p, "chosen": c, "rejected": mark, "subset": s} for p, c, s in texts]
    out, data = folder / "out", jsonl(file_of(folder, mark), *rows)
    blocks = {mark: {"ranker": "length"}, f"{mark} 2": {"ranker": "length"}}
    recipe = EvalRankerRecipe.model_validate({"rankers": blocks})
    run_ranker_evaluation(recipe, read_data(Place(str(data)), out, None), out)
    return out


def runs(folder: Path, mark: str) -> Path:
    """The page of two runs, whose records name what they like."""
    for number, loss in enumerate(({"name": mark, mark: mark}, {"name": "dpo", "beta": 0.1})):
        run = file_of(folder / str(number), mark).parent
        fields = {"train_split": mark, "data": f"{mark} {number}", mark: [mark, number]}
        write_run(run, loss, origin=mark, text=f"{mark} {number}", **fields)
    (folder / "out").mkdir()
    found = [next((folder / str(number)).iterdir()) for number in (0, 1)]
    for number in (0, 1):
        evaluation(folder / "evaluations" / str(number), f"{mark} {number}")
    evaluated = ["--eval", folder / "evaluations"]
    command("report", *found, *evaluated, "--out", folder / "out" / "report.html")
    return folder / "out"


def ranker(folder: Path, mark: str) -> Path:
    """The page of one of them."""
    return next(path.parent for path in rankers(folder, mark).glob("*_2/report.html"))


# What makes a page, and the file of the package that renders it.
PAGES: dict[str, tuple[Callable[[Path, str], Path], str]] = {
    "quickstart": (quickstart, "quickstart/page.py"),
    "an evaluation": (evaluation, "evaluation/report/page.py"),
    "a matrix": (matrix, "evaluation/report/page.py"),
    "a ranker": (ranker, "evaluation/report/page.py"),
    "rankers": (rankers, "evaluation/ranker/page.py"),
    "a comparison": (comparison, "evaluation/compare/page.py"),
    "runs": (runs, "run_report/page.py"),
    "a judge": (judge, "evaluation/judge/page.py"),
    "the kit": (kit, ""),
}


def written(kind: str, folder: Path, mark: str) -> str:
    """Write the page of a kind and return it."""
    make, _ = PAGES[kind]
    return (make(folder, mark) / "report.html").read_text(encoding="utf-8")
