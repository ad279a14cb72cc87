"""`pairkit push`."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.bad_input.case import FILES, RUN, UNSENT, Case, built, half, trained


def add_key() -> None:
    with Path("runs/data/files/README.md").open("a") as card:
        card.write("\nThe key is sk-0123456789abcdefABCDEF.\n")


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
        "tag name that git refuses",
        "push data me/sets --tag v..1",
        "--tag 'v..1': not a valid tag name; use letters, digits, - and _",
        rows=UNSENT,
    ),
    Case(
        "tag name that is too long for git",
        f"push data me/sets --tag {'v' * 300}",
        "--tag 'vvvvvvvvvvvvvvvvvvvv...': 300 bytes are too many for the name of a git reference; use at "
        "most 250",
        rows=UNSENT,
    ),
    Case(
        "address that is no collection's",
        "push data me/sets --collection https://huggingface.co/datasets/me/sets",
        "--collection 'https://huggingface.co/datasets/me/sets': write a title, such as 'My sets', or the "
        "address of a collection, such as user/my-sets-64f9a55bb3115b4f513ec026",
        rows=UNSENT,
    ),
    Case(
        "card with a key in it",
        "push runs/data/files me/sets --force",
        "runs/data/files/README.md, line …: holds what looks like a secret, which is not published, with any "
        "flag; take it out",
        prepare=lambda: built(add_key),
        rows=UNSENT,
    ),
    Case(
        "license that the Hub does not know",
        "push data me/sets --card.license apache2",
        "card.license: 'apache2' is not a license that the hub knows; did you mean 'apache-2.0'? Else write "
        "an identifier of huggingface.co/docs/hub/repositories-licenses, or other:NAME",
        rows=UNSENT,
    ),
    Case(
        "language without its code",
        "push data me/sets --card.language English",
        "card.language: 'English' is not the code of a language; write one of ISO 639, such as en or zh, or "
        "code, or multilingual",
        rows=UNSENT,
    ),
    Case(
        "code that is of no language",
        "push data me/sets --card.language xx",
        "card.language: 'xx' is not the code of a language; write one of ISO 639, such as en or zh, or code, "
        "or multilingual",
        rows=UNSENT,
    ),
    Case(
        "unknown field of a card",
        "push data me/sets --card.licence mit",
        "unknown recipe key 'card.licence'; did you mean 'card.license'? Known: …",
        rows=UNSENT,
    ),
    Case(
        "build of a complete dataset with another card",
        f"{FILES} own.jsonl --card.license mit",
        "runs/data/files contains a complete dataset with another card (card.license): give the fields to "
        "`pairkit push`, as in --card.license mit, or use --on-existing delete to build everything again",
        prepare=lambda: built(lambda: None),
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
