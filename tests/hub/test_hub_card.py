"""Cards that somebody edits on the hub: their edits survive every push, or the push is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from support.grids import some
from support.hub_server import Hub, sha256
from support.published import build_shards, published

from pairkit.dataset.card_text import join, split
from pairkit.errors import ExistingOutputError, RecipeError
from pairkit.hub.push import push

NAME, KEY = "user/sets", ("dataset", "user/sets")
# huggingface_hub's own, of the library that it sends with
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def there(hub: Hub, name: str = "README.md") -> str:
    return hub.files(*KEY)[name].decode()


def edit(hub: Hub, old: str, new: str) -> str:
    """Edit the card as a person does in a browser."""
    text = there(hub)
    assert old in text
    return put(hub, text.replace(old, new, 1))


def put(hub: Hub, card: str) -> str:
    files = {**hub.repos[KEY].commits[hub.repos[KEY].branches["main"]], "README.md": card.encode()}
    hub.commit(hub.repos[KEY], "main", files, "Update README.md")
    return card


def matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(split(card).block or "")


@pytest.fixture
def folder(made: Path, hub: Hub) -> Path:
    """A dataset that is on the hub."""
    push(made, NAME)
    return made


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The dataset with more rows, and with yet more, so that its card has other numbers."""
    return [build_shards(tmp_path_factory.mktemp("larger"), rows) for rows in (80, 100)]


ABOUT = "## License and attribution\n"


@pytest.mark.full
@pytest.mark.usefixtures("folder")
def test_edits_survive_pushes_of_other_data(larger: list[Path], hub: Hub, tmp_path: Path) -> None:
    edit(hub, "license: mit\n", "license: mit\nlanguage:\n- 'no'\n")
    edit(hub, "- pairkit\n", "- pairkit\n- reviewed\n")
    edit(hub, ABOUT, f"## Known problems\n\nNone yet.\n\n{ABOUT}")
    for grown in larger:
        made = (grown / "README.md").read_text()
        pushed = push(grown, NAME)
        assert pushed.content.notes == [
            "edits of README.md on the hub are kept: tags, language, the text in 1 place"
        ]
        now = there(hub)
        assert matter(now)["language"] == ["no"]
        assert matter(now)["tags"] == [*matter(made)["tags"], "reviewed"]
        # All else is as this build made it, with its own numbers.
        changed = ("language", "tags")
        assert {k: v for k, v in matter(now).items() if k not in changed} == {
            k: v for k, v in matter(made).items() if k not in changed
        }
        assert split(now).body.replace("## Known problems\n\nNone yet.\n\n", "") == split(made).body
        manifest = json.loads(there(hub, "pairkit.json"))
        assert manifest["files"]["README.md"]["sha256"] == sha256(now.encode())
        assert manifest["generated_card"] == made
        assert "edits of README.md on the hub" in hub.repos[KEY].words[pushed.commit or ""][1]
        assert push(grown, NAME).commit is None
    for file, content in hub.files(*KEY).items():
        (tmp_path / "copy" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / file).write_bytes(content)
    loaded = datasets.load_dataset(str(tmp_path / "copy"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == json.loads((larger[1] / "pairkit.json").read_text())["counts"]["train"]["sets"]


@pytest.mark.full
def test_further_edits_and_taken_back_ones(folder: Path, hub: Hub) -> None:
    before = there(hub)
    edit(hub, ABOUT, f"One.\n\n{ABOUT}")
    push(folder, NAME)
    edit(hub, "One.\n", "One.\nTwo.\n")
    push(folder, NAME)
    assert "One.\nTwo.\n" in there(hub)
    put(hub, before)
    push(folder, NAME)
    assert hub.files(*KEY) == published(folder)


def test_an_edit_alone_changes_only_the_manifest(folder: Path, hub: Hub) -> None:
    card = edit(hub, ABOUT, f"One.\n\n{ABOUT}")
    pushed = push(folder, NAME)
    assert pushed.changes is not None
    assert pushed.changes.sent == ["pairkit.json"]
    assert there(hub) == card


@pytest.mark.full
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("way", ["merge", "keep"])
def test_a_section_at_the_end_is_kept(larger: list[Path], hub: Hub, way: Any) -> None:
    """The line before it, the fingerprint, is another one in every dataset."""
    ours = (larger[0] / "README.md").read_text()
    ends = [split(card).body.rstrip().splitlines()[-1] for card in (there(hub), ours)]
    assert ends[0] != ends[1]
    put(hub, there(hub) + "\n## Citation\n\n@misc{mine}\n")
    push(larger[0], NAME, hub_card=way)
    assert there(hub) == ours + "\n## Citation\n\n@misc{mine}\n"
    assert push(larger[0], NAME).commit is None


@pytest.mark.full
@pytest.mark.usefixtures("folder")
def test_what_is_kept_over_this_push_is_named(larger: list[Path], hub: Hub) -> None:
    last = split(there(hub)).body.rstrip().splitlines()[-1]
    edit(hub, last, f"{last} (mine)")
    with pytest.raises(ExistingOutputError, match="conflicts"):
        push(larger[0], NAME)
    (note,) = push(larger[0], NAME, hub_card="keep").content.notes
    new = split((larger[0] / "README.md").read_text()).body.rstrip().splitlines()[-1]
    assert "; what this push changes there is left out: the text" in note
    assert new[:50] in note


@pytest.mark.usefixtures("folder")
def test_comments_of_front_matter_are_kept(larger: list[Path], hub: Hub) -> None:
    edit(hub, "license: mit\n", "# Asked the authors.\nlicense: mit  # all of them\n")
    edit(hub, "tags:\n", "tags:  # sorted\n")
    for grown in larger:
        pushed = push(grown, NAME)
        assert pushed.content.notes == [
            "edits of README.md on the hub are kept: comments in the front matter"
        ]
        assert "# Asked the authors.\nlicense: mit  # all of them\n" in there(hub)
        assert matter(there(hub)) == matter((grown / "README.md").read_text())
        assert push(grown, NAME).commit is None
    pushed = push(larger[1], NAME, card={"tags": "math"})
    assert (
        "comments in the front matter of README.md on the hub are not kept: '# sorted'"
        in pushed.content.notes
    )
    assert "math" in matter(there(hub))["tags"]


LINE_ENDS = [lambda card: card.replace("\n", "\r\n"), lambda card: "\ufeff" + card, str.rstrip]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("change", some(lambda change: change == LINE_ENDS[0], LINE_ENDS))
def test_line_ends_alone_are_no_edit(larger: list[Path], hub: Hub, change: Any) -> None:
    put(hub, change(there(hub)))
    push(larger[0], NAME)
    assert hub.files(*KEY) == published(larger[0])


CONFLICTS = [
    (
        "license: mit",
        "license: odc-by",
        {"license": "cc-by-4.0"},
        "license ('odc-by' on the hub, 'cc-by-4.0'",
    ),
    (
        "license: mit",
        "license: [mit, apache-2.0]",
        {"license": "cc-by-4.0"},
        "license (['mit', 'apache-2.0'] on the hub, 'cc-by-4.0'",
    ),
    ("# ultrafeedback", "# Mine: ultrafeedback", {"pretty_name": "N"}, "the text '# Mine: ultrafeedback"),
]


@pytest.mark.default("True-# ultrafeedback-# Mine: ultrafeedback-card2-the text '# Mine: ultrafeedback")
@pytest.mark.parametrize(("old", "new", "card", "problem"), CONFLICTS)
@pytest.mark.parametrize("dry_run", [True, pytest.param(False, marks=pytest.mark.full)])
def test_what_both_sides_changed_is_refused(
    folder: Path, hub: Hub, old: str, new: str, card: dict[str, Any], problem: str, dry_run: bool
) -> None:
    edit(hub, old, new)
    before = dict(hub.repos[KEY].commits)
    with pytest.raises(ExistingOutputError) as refused:
        push(folder, NAME, card=card, dry_run=dry_run)
    message = str(refused.value)
    assert "README.md was edited since the last push, and conflicts with this push in" in message
    assert problem in message
    assert "--hub-card keep" in message
    assert "\n" not in message
    assert hub.repos[KEY].commits == before


def test_conflicts_are_decided_by_a_flag(folder: Path, hub: Hub) -> None:
    edit(hub, "license: mit", "license: odc-by")
    edit(hub, ABOUT, f"One.\n\n{ABOUT}")
    push(folder, NAME, card={"license": "cc-by-4.0", "language": "en"}, hub_card="keep")
    assert (matter(there(hub))["license"], matter(there(hub))["language"]) == ("odc-by", ["en"])
    assert "One.\n" in there(hub)
    pushed = push(folder, NAME, card={"license": "cc-by-4.0"}, hub_card="replace")
    note = "the README.md of the hub, with its edits, is replaced (--hub-card replace)"
    assert note in pushed.content.notes
    assert matter(there(hub))["license"] == "cc-by-4.0"
    assert "One.\n" not in there(hub)


def test_an_unknown_way_is_refused(made: Path, hub: Hub) -> None:
    with pytest.raises(RecipeError, match="unknown value of hub_card 'kepe'; did you mean 'keep'"):
        push(made, NAME, hub_card="kepe")  # type: ignore[arg-type]
    assert hub.calls == []


@pytest.mark.default(
    "license: mit-license: [-is not YAML",
    "path: data/train-*-path: data/dev-*-no file matches it; correct it there",
)
@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("path: data/train-*", "path: data/dev-*", "no file matches it; correct it there"),
        pytest.param("---\n", "", "does not begin with front matter", marks=pytest.mark.full),
        ("license: mit", "license: [", "is not YAML"),
    ],
)
def test_edits_that_make_a_card_unreadable_are_refused(
    folder: Path, hub: Hub, old: str, new: str, problem: str
) -> None:
    card = edit(hub, old, new)
    for way in ("merge", "keep"):
        with pytest.raises(ExistingOutputError, match=problem):
            push(folder, NAME, hub_card=way)  # type: ignore[arg-type]
    assert there(hub) == card
    push(folder, NAME, hub_card="replace")
    assert hub.files(*KEY) == published(folder)


@pytest.mark.usefixtures("folder")
def test_a_card_that_is_no_longer_in_the_history_is_not_overwritten(larger: list[Path], hub: Hub) -> None:
    card = edit(hub, ABOUT, f"One.\n\n{ABOUT}")
    # As super_squash_history leaves it.
    hub.add(*KEY, {**hub.files(*KEY)}, private=True)
    with pytest.raises(ExistingOutputError, match="is not one that pairkit pushed, and conflicts"):
        push(larger[0], NAME)
    assert there(hub) == card


@pytest.mark.full
def test_a_card_from_before_the_first_push_is_not_overwritten(made: Path, hub: Hub) -> None:
    licensed = "---\nlicense: odc-by\ntags:\n- mine\n---\n"
    hub.add(*KEY, {"README.md": licensed.encode()}, private=True)
    with pytest.raises(ExistingOutputError, match=r"license \('odc-by' on the hub, 'mit' in this push\)"):
        push(made, NAME)
    assert there(hub) == licensed
    push(made, NAME, card={"license": "odc-by"})
    ours = (made / "README.md").read_text()
    assert matter(there(hub)) == {
        **matter(ours),
        "license": "odc-by",
        "tags": [*matter(ours)["tags"], "mine"],
    }
    assert split(there(hub)).body == split(ours).body

    hub.add(*KEY, {"README.md": b"# My own words\n"}, private=True)
    with pytest.raises(ExistingOutputError, match="the text '# My own words' on the hub"):
        push(made, NAME, force=True)
    push(made, NAME, hub_card="keep")
    assert split(there(hub)).body.strip() == "# My own words"
    assert matter(there(hub)) == matter(ours)


def test_a_deleted_card_is_pushed_again(folder: Path, hub: Hub) -> None:
    files = {name: content for name, content in hub.files(*KEY).items() if name != "README.md"}
    hub.commit(hub.repos[KEY], "main", files, "Delete README.md")
    pushed = push(folder, NAME)
    assert pushed.content.notes == ["README.md was deleted on the hub: it is pushed again"]
    assert hub.files(*KEY) == published(folder)


@pytest.mark.full
@pytest.mark.usefixtures("folder")
def test_an_edit_between_comparison_and_commit_is_kept(larger: list[Path], hub: Hub) -> None:
    hub.fault("^POST .*/commit/main", then=lambda: edit(hub, ABOUT, f"Meanwhile.\n\n{ABOUT}"))
    push(larger[0], NAME)
    assert "Meanwhile.\n" in there(hub)


def test_fields_of_the_card_given_to_a_push(folder: Path, hub: Hub) -> None:
    settings = {"license": "other:ours", "language": "en", "description": "Sums.", "tags": "math"}
    push(folder, NAME, card=settings)
    front = matter(there(hub))
    assert (front["license"], front["license_name"], front["language"]) == ("other", "ours", ["en"])
    manifest = json.loads(there(hub, "pairkit.json"))
    assert manifest["card"] == {**settings, "language": ["en"], "tags": ["math"]}
    assert manifest["files"]["README.md"]["sha256"] == sha256(there(hub).encode())
    assert (folder / "README.md").read_bytes() == published(folder)["README.md"]
    assert "Sums.\n" in there(hub)
    # Fields that are not given again are gone, and the push says so.
    pushed = push(folder, NAME, card={"license": "mit"})
    assert pushed.content.notes == [
        "the last push set fields of the card that this one does not: description, language, tags; give them "
        "again to keep them"
    ]
    assert "Sums.\n" not in there(hub)


def test_a_card_is_joined_as_it_was_split(made: Path) -> None:
    card = (made / "README.md").read_text()
    parts = split(card)
    assert join(parts.matter(), parts.body) == card
