"""`pairkit push`."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.bad_input.case import RUN, UNSENT, Case, built, half, trained

CASES = [
    # Publishing
    Case(
        "repository name without its owner",
        "push data sets",
        "repository name 'sets': write user/name, where user is you or an organization",
        rows=UNSENT,
    ),
    Case(
        "repository name that the Hub refuses",
        "push data me/my--sets",
        "repository name 'me/my--sets': the hub allows at most 96 letters, digits, '-', '_' and '.'; "
        "no '-' or '.' at an end, no '--', '..' or '.git'",
        rows=UNSENT,
    ),
    Case(
        "branch name that git refuses",
        "push data me/sets --revision a..b",
        "--revision 'a..b': not a valid branch name; use letters, digits, - and _",
        rows=UNSENT,
    ),
    Case(
        "push of something else",
        "push model me/tiny",
        "model: neither a built dataset (no pairkit.json) nor a training run (no run.json)",
        rows=UNSENT,
    ),
    Case(
        "push of an unfinished build",
        "push runs/data/files me/sets",
        "runs/data/files: not a built dataset (no pairkit.json); its build was interrupted: run the "
        "same `pairkit build` command to complete it",
        prepare=lambda: Path("runs/data/files/.build").mkdir(parents=True),
        rows=UNSENT,
    ),
    Case(
        "push of a dataset that was changed by hand",
        "push runs/data/files me/sets",
        "runs/data/files: changed by hand since it was built: README.md; build it again, or use --force to "
        "publish it as it is, with a manifest that lists the changes",
        prepare=lambda: built(lambda: Path("runs/data/files/README.md").write_text("# Mine")),
        rows=UNSENT,
    ),
    Case(
        "card with broken front matter",
        "push runs/data/files me/sets --force",
        "runs/data/files/README.md: the card does not begin with front matter (YAML between two lines ---)",
        prepare=lambda: built(lambda: Path("runs/data/files/README.md").write_text("# Mine")),
        rows=UNSENT,
    ),
    Case(
        "push of a dataset that lacks a file",
        "push runs/data/files me/sets",
        "runs/data/files/pairs/train-00000-of-00001.parquet: is missing; build the dataset again",
        prepare=lambda: built(
            lambda: Path("runs/data/files/pairs/train-00000-of-00001.parquet").unlink(),
        ),
        rows=UNSENT,
    ),
    Case(
        "push of an unfinished run",
        "push runs/train/data-dpo me/tiny",
        "runs/train/data-dpo: the run has no model/ yet; run the same `pairkit train` command to finish it",
        prepare=lambda: (trained(), shutil.rmtree(RUN / "model")),
        rows=UNSENT,
    ),
    Case(
        "push of damaged weights",
        "push runs/train/data-dpo me/tiny",
        "runs/train/data-dpo/model/model.safetensors: the weights are damaged (…); train the model again",
        prepare=lambda: (trained(), half(RUN / "model" / "model.safetensors")),
        rows=UNSENT,
    ),
]
