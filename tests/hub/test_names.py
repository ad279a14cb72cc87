"""What a push gets besides its files: a message in numbers, a git tag, a place in a collection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.hub_names import add_collection
from support.hub_server import READ_TOKEN, Hub
from support.published import build_shards
from typer.testing import CliRunner

from pairkit import __version__
from pairkit.cli import app
from pairkit.errors import ExistingOutputError, HubError, RecipeError
from pairkit.hub.message import summarize
from pairkit.hub.push import describe, push
from pairkit.hub.repository import Difference

NAME, KEY = "user/sets", ("dataset", "user/sets")
COUNTS = ("sets", "completions", "pairs")
# huggingface_hub's own, of the library that it sends with
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def sums(folder: Path) -> list[int]:
    counts = json.loads((folder / "pairkit.json").read_text())["counts"]
    return [sum(counts[split][what] for split in ("train", "test")) for what in COUNTS]


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shards(tmp_path_factory.mktemp("larger"), 80)


def test_messages_name_what_changes_in_numbers(made: Path, larger: Path, hub: Hub) -> None:
    repo = hub.repos
    push(made, NAME)
    sets, completions, pairs = sums(made)
    count = len(hub.files(*KEY))
    first = f"Push with pairkit {__version__}: {sets} sets, {completions} completions, {pairs} pairs; "
    # The hub's own commit comes first.
    assert repo[KEY].messages[1:] == [f"{first}{count} files new"]

    pushed = push(larger, NAME, message="More rows")
    words = [
        f"{name} {before} -> {after}"
        for name, before, after in zip(COUNTS, sums(made), sums(larger), strict=True)
    ]
    changes = pushed.changes
    assert changes is not None
    assert changes.new
    assert changes.deleted
    files = f"{len(changes.new)} files new, {len(changes.changed)} changed, {len(changes.deleted)} deleted"
    assert repo[KEY].words[pushed.commit or ""] == (
        "More rows", f"Push with pairkit {__version__}: {', '.join(words)}; {files}",
    )  # fmt: skip

    push(larger, NAME, card={"language": "en"})
    assert repo[KEY].messages[-1] == f"Push with pairkit {__version__}: 2 files changed"


def test_messages_of_models() -> None:
    def run(steps: int, **held_out: float) -> dict[str, Any]:
        return {"plan": {"steps": steps}, "metrics": {"held_out": held_out} if held_out else {}, "files": {}}

    files = Difference(["model.safetensors"], [], [], [])
    start = f"Push with pairkit {__version__}: "
    one, two = run(300, loss=0.6931, reward_accuracy=0.5, step=300), run(1600, loss=0.41234)
    assert summarize(one, None, files) == (
        f"{start}300 steps, held-out loss 0.6931, held-out reward_accuracy 0.5; 1 file new"
    )
    assert summarize(two, one, files) == (
        f"{start}steps 300 -> 1,600, held-out loss 0.6931 -> 0.4123, "
        "held-out reward_accuracy 0.5 -> unknown; 1 file new"
    )
    assert summarize(run(7), {"files": {}}, files) == f"{start}7 steps; 1 file new"
    assert summarize(one, one, files) == f"{start}1 file new"


def test_a_tag_names_the_commit_of_the_push(made: Path, larger: Path, hub: Hub) -> None:
    pushed = push(made, NAME, tag="v1.0")
    repo = hub.repos[KEY]
    assert repo.tags == {"v1.0": (pushed.commit, repo.messages[-1])}
    # The same again is nothing to do, and a tag can be given later.
    assert push(made, NAME, tag="v1.0").commit is None
    assert push(made, NAME, tag="first").commit is None
    assert repo.tags["first"][0] == pushed.commit
    sent = list(hub.received)
    for dry_run in (True, False):
        with pytest.raises(ExistingOutputError, match=r"the tag 'v1.0' names the commit .{7} already, and"):
            push(larger, NAME, tag="v1.0", dry_run=dry_run)
    assert hub.received == sent
    assert push(larger, NAME, tag="v1.1").commit == repo.tags["v1.1"][0] != pushed.commit
    assert repo.tags["v1.0"][0] == pushed.commit


def test_a_tag_is_not_the_name_of_a_branch(made: Path, hub: Hub) -> None:
    push(made, NAME)
    with pytest.raises(ExistingOutputError, match="'main' is the name of a branch; choose another --tag"):
        push(made, NAME, tag="main")
    with pytest.raises(RecipeError, match=r"--tag 'v 1': not a valid tag name"):
        push(made, NAME, tag="v 1")
    assert hub.repos[KEY].tags == {}


def test_a_tag_of_another_branch(made: Path, hub: Hub) -> None:
    pushed = push(made, NAME, revision="v2", tag="v2.0")
    assert hub.repos[KEY].tags["v2.0"][0] == pushed.commit == hub.repos[KEY].branches["v2"]


def test_a_collection_by_title_is_created_once(made: Path, hub: Hub) -> None:
    pushed = push(made, NAME, collection="My sets")
    [collection] = hub.collections
    assert (collection["title"], collection["owner"], collection["private"]) == ("My sets", "user", True)
    sets, completions, pairs = sums(made)
    [item] = collection["items"]
    assert (item["type"], item["id"]) == KEY
    assert item["note"]["text"] == f"{sets} sets, {completions} completions, {pairs} pairs"
    assert pushed.collection == f"{hub.endpoint}/collections/{collection['slug']}"
    # A note that a person has written since then stays.
    item["note"]["text"] = "mine"
    for name in ("My sets", collection["slug"], str(pushed.collection)):
        push(made, NAME, collection=name)
    assert hub.collections == [{**collection, "items": [item]}]
    assert item["note"]["text"] == "mine"


def test_a_collection_of_another_owner_or_title(made: Path, hub: Hub) -> None:
    theirs = add_collection(hub.collections, title="My sets", namespace="someone", private=False)
    push(made, NAME, private=False, collection="My sets")
    assert theirs["items"] == []
    assert [each["owner"] for each in hub.collections] == ["someone", "user"]
    assert not hub.collections[1]["private"]
    push(made, NAME, private=False, collection=theirs["slug"])
    assert len(theirs["items"]) == 1


def test_collections_that_cannot_be_meant(made: Path, hub: Hub) -> None:
    nowhere = "user/nothing-64f9a55bb3115b4f513ec026"
    with pytest.raises(RecipeError, match=f"'{nowhere}': no such collection on {hub.endpoint}; give"):
        push(made, NAME, collection=nowhere)
    for _ in range(2):
        add_collection(hub.collections, title="Twice", namespace="user", private=True)
    with pytest.raises(ExistingOutputError, match="2 collections have this title; give the address of one:"):
        push(made, NAME, collection="Twice")
    for name in ("", " ", "https://huggingface.co/datasets/me/x"):
        with pytest.raises(RecipeError, match="write a title, such as 'My sets', or the address"):
            push(made, NAME, collection=name)
    # Nothing was created or sent for any of them.
    assert not hub.repos


@pytest.mark.default(
    "POST .*/items-on the hub, but not in the collection 'S': ",
    "POST .*/tag/-on the hub, but not the tag 'v1': .*; run the same command again to add it",
)
@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("POST .*/tag/", "on the hub, but not the tag 'v1': .*; run the same command again to add it"),
        (
            "POST /api/collections$",
            "on the hub, but not in the collection 'S': .*; run the same command",
        ),
        ("POST .*/items", "on the hub, but not in the collection 'S': "),
    ],
)
def test_names_that_fail_after_the_commit_are_added_by_the_next_push(
    made: Path, hub: Hub, pattern: str, problem: str
) -> None:
    hub.fault(pattern, 403)
    with pytest.raises(HubError, match=problem):
        push(made, NAME, tag="v1", collection="S")
    repo = hub.repos[KEY]
    assert push(made, NAME, tag="v1", collection="S").commit is None
    assert len(repo.messages) == 2
    assert repo.tags["v1"][0] == repo.branches["main"]
    assert [len(each["items"]) for each in hub.collections] == [1]


def test_a_dry_run_shows_the_names_and_creates_none(made: Path, hub: Hub) -> None:
    shown = describe(push(made, NAME, tag="v1", collection="S", dry_run=True), dry_run=True)
    lines = shown.splitlines()
    assert "tag: v1" in lines
    assert "collection: S (new)" in lines
    assert lines[-5].startswith(f"message: Push with pairkit {__version__}: {sums(made)[0]} sets")
    assert not hub.repos
    assert hub.collections == []


def test_the_command_line_gives_all_of_it(made: Path, hub: Hub) -> None:
    words = ["--tag", "v1", "--collection", "S", "--card.license", "cc-by-4.0", "--card.text", "# Use"]
    result = CliRunner().invoke(app, ["push", str(made), NAME, *words], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"collection: {hub.endpoint}/collections/user/s-{0:024x}\n" in result.stdout
    card = hub.files(*KEY)["README.md"].decode()
    assert "license: cc-by-4.0\n" in card
    assert "\n# Use\n" in card
    assert list(hub.repos[KEY].tags) == ["v1"]


def test_a_token_without_write_access_creates_no_collection(
    made: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    with pytest.raises(HubError, match="the token has no write access"):
        push(made, NAME, collection="S")
    assert hub.collections == []
