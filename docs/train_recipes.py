"""Write train/README.md from the comments of the shipped recipes: `python docs/train_recipes.py`.

A test fails when the page is stale. A comment begins with the commands of a setting, one per line, and
continues with fields; a line that is indented continues a field, and of `Grid` and `Variants` begins another
entry:

    # pairkit train --recipe NAME ...
    #
    # Setting: what is trained on what, in one line
    # Published: numbers
    # Variants:
    #   loss.alpha=0.1: what it is, and its numbers
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pairkit.recipes import shipped
from pairkit.replication.page import read_results

PAGE = Path(__file__).parents[1] / "train" / "README.md"

TEXTS = ("Setting", "Paper", "Published", "Unpublished", "Miniatures")
LISTS = ("Grid", "Variants")
_FIELD = re.compile(r"([A-Z]\w*):(?: (.+))?")
# What a recipe of a paper has to say.
REQUIRED = ("Setting", "Paper", "Published", "Unpublished")

INTRODUCTION = """\
# Training recipes

<!-- written by `python docs/train_recipes.py` -->

One file per setting of a paper, and each can be read alone. `pairkit train --recipe NAME --data DIR` works
from any directory, because the recipes are part of the package. Flags and `key.sub=value` override a
recipe; `--dry-run` prints the result.

The comment at the top of a file begins with the commands of its setting, in order: build, train, evaluate.
They can be copied. Then it has the paper's numbers, what the paper does not publish and whose choice the
values of the recipe are, the values to search (`Grid`), and what else the paper tries, with its numbers
(`Variants`): fields to put after the command.

None of these settings was run with pairkit at full size, because the models are too large for the machines
that pairkit is tested on. The tests run two steps of each recipe with a tiny model. The claims are tested
in miniature instead; the column "measured here" has their verdicts ([The papers' claims, in
miniature](../docs/replication.md), by id: S1, P1, ...) and says which were not run.
"""

FILES = """\
## Files of benchmarks

The commands name these files, which pairkit does not contain ([Evaluating](../docs/evaluating.md) says what
is read of the Hub by itself). Judges of OpenAI need `OPENAI_API_KEY`; another judge gives another number.

| file | what it is |
|---|---|
| `alpaca_eval.jsonl` | AlpacaEval's 805 instructions |
| `gpt4_turbo.json` | the answers of AlpacaEval 2's reference, gpt4_1106_preview: its `model_outputs.json` |
| `arena_question.jsonl` | Arena-Hard v0.1: `question.jsonl` |
| `arena_gpt4.jsonl` | the answers of its reference: `model_answer/gpt-4-0314.jsonl` |
| `mt_bench_question.jsonl` | MT-Bench: `question.jsonl` |
| `mt_bench_reference.jsonl` | its reference answers: `reference_answer/gpt-4.jsonl` |
| `gsm8k_test.parquet` | the test problems of openai/gsm8k |
"""

END = """\
## Several processes

`accelerate/` has launch files: `accelerate launch --config_file train/accelerate/FILE -m pairkit train ...`

| file | setup |
|---|---|
| `one-gpu.yaml` | one GPU; `pairkit train` alone does the same |
| `ddp.yaml` | eight GPUs, each with the full model |
| `fsdp2.yaml` | eight GPUs, each with an eighth of the weights, gradients and optimizer state |
| `nodes.yaml` | two machines with eight GPUs each, sharded over all sixteen |

`--num_processes` sets another number of GPUs. `torchrun` works as well: `torchrun --nproc_per_node 8 -m
pairkit train --shard ...`. The tests run each file with processes on a CPU (gloo), and `nodes.yaml` as two
launchers on one machine. None of them has been tested on GPUs yet.
"""

HEADINGS = "| recipe | setting | command | published | measured here | not published |\n"


class Comment(NamedTuple):
    """The comment of a recipe as data.

    Attributes:
        commands: those of the setting, in order.
        texts: field -> its text, of `TEXTS`.
        grid: KEY=VALUE,VALUE,... entries: the values to search.
        variants: (KEY=VALUE words, what they are) of other settings of the same recipe.
    """

    commands: tuple[str, ...]
    texts: Mapping[str, str]
    grid: tuple[str, ...]
    variants: tuple[tuple[str, str], ...]

    @property
    def paper(self) -> str:
        """The short name of the paper, "" for pairkit's own recipes."""
        return self.texts.get("Paper", "").partition(" (")[0]


def read_comment(path: Path) -> Comment:
    """Read the comment of a recipe. Raises `ValueError` for a field that is unknown or there twice."""
    lines = [line[1:] for line in _first_comment(path)]
    fields: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        found = _FIELD.fullmatch(line.removeprefix(" "))
        if found and not line.startswith("  "):
            name = found[1]
            if name not in TEXTS + LISTS or name in fields:
                raise ValueError(f"{path}: the field {name!r} is unknown or there twice")
            fields[name] = [found[2]] if found[2] else []
        elif not line.startswith("   "):
            name = ""  # a line of prose
        elif name in LISTS and not line.startswith("     "):
            fields[name].append(line.strip())
        elif name and fields[name]:
            fields[name][-1] += f" {line.strip()}"
    return Comment(
        tuple(line[1:] for line in lines if line.startswith(" pairkit ")),
        {name: " ".join(fields[name]) for name in TEXTS if name in fields},
        tuple(fields.get("Grid", ())),
        tuple((one.partition(": ")[0], one.partition(": ")[2]) for one in fields.get("Variants", ())),
    )


def _first_comment(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return
        yield line


def comments() -> dict[str, Comment]:
    """Return the comments of all training recipes, and of the online recipes of papers, by name."""
    train = {name: read_comment(path) for name, path in shipped("train").items()}
    online = {name: read_comment(path) for name, path in shipped("online").items()}
    return train | {name: comment for name, comment in online.items() if comment.paper}


def verdicts() -> dict[str, str]:
    """Return what the replications in docs/replication/ decided, by id (CLAIM or CLAIM-TASK)."""
    return {name: result["verdict"] for name, result in read_results(PAGE.parents[1] / "docs").items()}


def page() -> str:
    """Write train/README.md as text."""
    found = comments()
    papers = dict.fromkeys(comment.paper for comment in found.values() if comment.paper)
    sections = [_section(paper, found) for paper in sorted(papers, key=str.lower)]
    return "\n".join([INTRODUCTION, *sections, _own(found), FILES, END])


def _section(paper: str, found: Mapping[str, Comment]) -> str:
    rows = {name: comment for name, comment in sorted(found.items()) if comment.paper == paper}
    # The paper's own method first.
    rows = dict(sorted(rows.items(), key=lambda row: ", baseline," in row[1].texts["Paper"]))
    title = next(iter(rows.values())).texts["Paper"].partition(" (")[2].partition(")")[0]
    decided = verdicts()
    lines = "".join(_row(name, comment, decided) for name, comment in rows.items())
    return f"## {paper}\n\n{title}\n\n{HEADINGS}|---|---|---|---|---|---|\n{lines}"


def _row(name: str, comment: Comment, decided: Mapping[str, str]) -> str:
    command = own_command(name, comment).partition(" --out ")[0]
    cells = (
        f"`{name}`",
        comment.texts["Setting"],
        f"`{command}`",
        comment.texts["Published"],
        _measured(comment.texts.get("Miniatures", ""), decided),
        # The rest says whose the values of the recipe are, which are not in this table either.
        re.split(r"\.(?= [A-Z]|$)", comment.texts["Unpublished"])[0],
    )
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"


def _measured(miniatures: str, decided: Mapping[str, str]) -> str:
    """Return the verdicts on the claims that a recipe belongs to, and which of them were not run.

    >>> _measured("A1, A2, A3", {"A1": "held", "A1-D": "undecided"})
    'A1 held, A1-D undecided; not run: A2, A3'
    """
    claims = [name for name in miniatures.split(", ") if name]
    found = {name: [one for one in decided if one.partition("-")[0] == name] for name in claims}
    run = ", ".join(f"{one} {decided[one]}" for name in claims for one in found[name])
    missing = ", ".join(name for name in claims if not found[name])
    return "; ".join([run] * bool(run) + [f"not run: {missing}"] * bool(missing)) or "not run"


def own_command(name: str, comment: Comment) -> str:
    """Return the command that trains by the recipe itself, among those of recipes that it needs."""
    own = [line for line in comment.commands if f" --recipe {name} " in f"{line} "]
    return next(line for line in own if not line.startswith("pairkit build "))


def _own(found: Mapping[str, Comment]) -> str:
    rows = "".join(
        f"| `{name}` | {comment.texts['Setting']} | `{own_command(name, comment)}` |\n"
        for name, comment in found.items()
        if not comment.paper
    )
    text = "`pairkit quickstart` runs its own itself, after `pairkit build --recipe quickstart`."
    return f"## Rankers and the quickstart\n\n{text}\n\n| recipe | setting | command |\n|---|---|---|\n{rows}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
