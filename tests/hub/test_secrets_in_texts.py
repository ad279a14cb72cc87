"""A secret in a text that would be pushed is refused, with any flag."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.raw import ultrafeedback
from support.tiny import model_folder, random_sets, write_data
from support.training import recipe

from pairkit.errors import InputError
from pairkit.hub.push import push
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
from pairkit.training.run import train

KEY = "sk-0123456789abcdefABCDEF"
TEXTS = [
    f"The key is {KEY}.",
    f"OPENAI_API_KEY={KEY}",
    "https://bob:p4ssw0rdRR@host/v1",
    '"password": "p4ssw0rdRR"',
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    source = {"name": "ultrafeedback", "path": str(ultrafeedback(folder / "raw.jsonl", 40))}
    build(load(None, {"source": source}, {}), folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    data = write_data(folder / "sets", random_sets(24))
    train(recipe(data, model_folder(folder / "model"), max_steps=1), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("text", TEXTS)
def test_a_card_with_a_secret_is_not_pushed(text: str, built: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(built, tmp_path / "out"))
    card = (out / "README.md").read_text() + f"\n{text}\n"
    (out / "README.md").write_text(card)
    with pytest.raises(
        InputError, match=rf"README\.md, line {len(card.splitlines())}: holds what looks"
    ) as error:
        push(out, "me/sets", force=True, dry_run=True)
    assert KEY not in str(error.value)
    assert "p4ss" not in str(error.value)


@pytest.mark.parametrize("name", ["chat_template.jinja", "NOTES.md", "LICENSE", "modeling.py"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_of_a_model_with_a_secret_is_not_pushed(
    text: str, name: str, trained: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "model" / name).write_text(f"{{# a comment #}}\n{text}\n")
    with pytest.raises(InputError, match=rf"{name}, line 2: holds what looks like a secret"):
        push(run, "me/model", force=True, dry_run=True)


@pytest.mark.parametrize("name", ["generation_config.json", "notes.json"])
def test_a_mapping_of_a_model_with_a_secret_is_not_pushed(name: str, trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "model" / name).write_text(f'{{"note": "{KEY}"}}')
    with pytest.raises(InputError, match=rf"{name}: the key 'note' holds what looks like a secret"):
        push(run, "me/model", force=True, dry_run=True)
