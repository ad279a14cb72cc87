"""`pairkit push` of trained models: the files, the card, and no path of the machine in them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from markdown_it import MarkdownIt
from support.hub_server import Hub, sha256
from support.tiny import short_run
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairkit import __version__
from pairkit.errors import InputError, RecipeError
from pairkit.hub.push import push
from pairkit.models.resolve import Place, resolve
from pairkit.recipes import validate
from pairkit.training.export.model import export_model
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

NAME, KEY = "user/tiny", ("model", "user/tiny")
# huggingface_hub's own, of the library that it sends with
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def trained(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(validate(TrainRecipe, short_run(data, model, {"name": "dpo:0.8+sft:0.2"})), out)
    return out


@pytest.fixture(scope="module")
def adapters(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("peft")
    out = tmp_path_factory.mktemp("adapters") / "run"
    train(validate(TrainRecipe, short_run(data, model, {"name": "simpo"}, lora={"r": 4})), out)
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def card(hub: Hub) -> tuple[dict[str, Any], str]:
    _, front, text = hub.files(*KEY)["README.md"].decode().split("---\n", 2)
    return yaml.safe_load(front), text


def test_push_then_load_then_push_again(trained: Path, hub: Hub, tmp_path: Path) -> None:
    pushed = push(trained, NAME)
    assert pushed.repository.link == f"{hub.endpoint}/{NAME}"
    there = hub.files(*KEY)
    saved = {path.name: path.read_bytes() for path in (trained / "model").iterdir()}
    assert json.loads(saved.pop("hashes.json")) == {name: sha256(content) for name, content in saved.items()}
    assert there == {**saved, "README.md": there["README.md"], "pairkit.json": there["pairkit.json"]}
    assert hub.received == [sha256(saved["model.safetensors"])]

    cache = str(tmp_path / "cache")
    loaded = AutoModelForCausalLM.from_pretrained(NAME, cache_dir=cache).state_dict()
    AutoTokenizer.from_pretrained(NAME, cache_dir=cache)
    for name, value in AutoModelForCausalLM.from_pretrained(trained / "model").state_dict().items():
        assert torch.equal(loaded[name], value)

    assert push(trained, NAME).commit is None
    assert len(hub.repos[KEY].messages) == 2


def test_the_card_agrees_with_the_run(trained: Path, hub: Hub) -> None:
    push(trained, NAME)
    front, text = card(hub)
    assert front["library_name"] == "transformers"
    assert front["tags"][:2] == ["dpo", "sft"]
    assert "base_model" not in front  # a directory of this machine, not a model of the hub
    record = json.loads((trained / "run.json").read_text())
    about = json.loads(hub.files(*KEY)["pairkit.json"])
    assert about["pairkit"] == record["starts"][-1]["versions"]["pairkit"] == __version__
    assert about["data"]["manifest_sha256"] == record["data"]
    assert record["data"] in text
    assert "| loss.dpo.beta | 0.1 |" in text
    assert f"| candidate sets | {record['plan']['train_sets']['used']} |" in text
    evaluations = read_metrics(trained, "eval")
    start, end = (f"{evaluations[i]['reward_accuracy']:.4g}" for i in (0, -1))
    assert f"| reward_accuracy | {start} | {end} |" in text
    block = re.search(r"```yaml\n(.*?)```", text, re.S)
    assert block is not None
    recipe = yaml.safe_load(block.group(1))
    assert recipe["model"] == "/".join(Path(record["recipe"]["model"]).parts[-2:])
    assert {k: v for k, v in recipe.items() if k not in ("data", "model")} == json.loads(
        json.dumps({k: v for k, v in record["recipe"].items() if k not in ("data", "model", "card")})
    )
    assert {name: file["sha256"] for name, file in about["files"].items()} == {
        name: sha256(content) for name, content in hub.files(*KEY).items() if name != "pairkit.json"
    }
    assert MarkdownIt().enable("table").render(text).count("<table>") == 2


def test_no_path_of_the_machine_is_published(
    trained: Path, adapters: Path, hub: Hub, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = str(tmp_path_factory.getbasetemp()).encode()
    assert root in (adapters / "model" / "adapter_config.json").read_bytes()
    for run, name in ((trained, NAME), (adapters, "user/adapters")):
        push(run, name)
        for path, content in hub.files("model", name).items():
            assert root not in content, path


def test_adapters_name_their_base_model(adapters: Path, model: Path, hub: Hub) -> None:
    push(adapters, NAME)
    there = hub.files(*KEY)
    assert not {"model.safetensors", "config.json"} & there.keys()
    config = json.loads(there["adapter_config.json"])
    assert config["base_model_name_or_path"] == "/".join(model.parts[-2:])
    assert config["r"] == 4
    front, text = card(hub)
    assert front["library_name"] == "peft"
    assert "lora" in front["tags"]
    assert "AutoPeftModelForCausalLM" in text
    assert "PeftModel.from_pretrained(BASE" in text


def test_adapters_are_merged_on_demand(adapters: Path, hub: Hub, tmp_path: Path) -> None:
    push(adapters, NAME, merge=True)
    front, text = card(hub)
    assert front["library_name"] == "transformers"
    assert "PeftModel" not in text
    there = hub.files(*KEY)
    assert not {"adapter_config.json", "export.json", "hashes.json"} & there.keys()
    loaded = AutoModelForCausalLM.from_pretrained(NAME, cache_dir=str(tmp_path / "cache")).state_dict()
    merged = export_model(adapters, tmp_path / "merged", merge=True).folder
    for name, value in AutoModelForCausalLM.from_pretrained(merged).state_dict().items():
        assert torch.equal(loaded[name], value)
    assert str(adapters).encode() not in b"".join(there.values())


def test_a_run_over_adapters_names_the_model_below_them(
    adapters: Path, data: Path, model: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = Path(shutil.copytree(adapters, tmp_path / "adapters"))
    lora = {"continue_adapters": True}
    settings = short_run(data, adapters, {"name": "simpo"}, lora=lora, max_steps=1)
    train(validate(TrainRecipe, settings), tmp_path / "run")
    push(tmp_path / "run", NAME)
    config = json.loads(hub.files(*KEY)["adapter_config.json"])
    assert config["base_model_name_or_path"] == "/".join(model.parts[-2:])
    record = json.loads((tmp_path / "run" / "model" / "adapter_config.json").read_text())
    record["base_model_name_or_path"] = "someone/base"
    for folder in (tmp_path / "run" / "model", adapters / "model"):
        (folder / "adapter_config.json").write_text(json.dumps(record))
    push(tmp_path / "run", NAME, force=True)
    front, _ = card(hub)
    assert front["base_model"] == "someone/base"
    # And the repository is a model: the base model that it names, with these adapters.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert resolve(NAME, "main") == Place("someone/base", None, (NAME,), "main")


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft's
@pytest.mark.parametrize("lora", [None, {"r": 4}])
def test_a_reward_model_loads_as_its_card_describes(
    lora: dict[str, Any] | None, data: Path, model: Path, hub: Hub, tmp_path: Path
) -> None:
    if lora:
        pytest.importorskip("peft")
    loss = {"name": "reward_bt"}
    train(validate(TrainRecipe, short_run(data, model, loss, lora=lora, max_steps=1)), tmp_path / "run")
    push(tmp_path / "run", NAME)
    front, text = card(hub)
    assert front["pipeline_tag"] == "text-classification"
    assert front["library_name"] == ("peft" if lora else "transformers")
    assert {"reward-bt", "reward-model"} <= set(front["tags"])
    assert "CausalLM" not in text
    assert "implicit" not in text
    example = re.search(r"```python\n(.*?)```", text, re.S)
    assert example is not None
    found: dict[str, Any] = {}
    # What it names is in the run's directory as well, where the base model of adapters is known.
    exec(example.group(1).replace(NAME, str(tmp_path / "run" / "model")), found)
    assert found["model"](torch.tensor([[5, 6, 7]])).logits.shape == (1, 1)


def test_a_pairrm_is_no_model_that_generates(run: Path, hub: Hub) -> None:
    edit_record(run, loss={"name": "pairrm"})
    push(run, NAME)
    front, text = card(hub)
    assert (front["library_name"], front["pipeline_tag"]) == ("pairkit", "text-ranking")
    assert "A PairRM ranker, trained from" in text
    assert f"rank.ranker=pairrm rank.model={NAME}" in text
    assert "CausalLM" not in text


def test_a_merge_of_what_has_no_adapters_is_refused(trained: Path, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is a whole model and has no adapters"):
        push(trained, NAME, merge=True)
    with pytest.raises(RecipeError, match=r"--merge: .* is not a training run"):
        push(trained / "model", NAME, merge=True)


def edit_record(run: Path, **fields: Any) -> None:
    path = run / "run.json"
    record = json.loads(path.read_text())
    record["recipe"] |= fields
    path.write_text(json.dumps(record))


def test_a_base_model_of_the_hub(run: Path, hub: Hub) -> None:
    edit_record(run, model="Qwen/Qwen3-0.6B", revision="v1|<b>")
    push(run, NAME)
    front, text = card(hub)
    assert front["base_model"] == "Qwen/Qwen3-0.6B"
    assert "[Qwen/Qwen3-0.6B](https://huggingface.co/Qwen/Qwen3-0.6B) at v1&#124;&#60;b&#62;" in text
    assert "Its license is not known here" in text


def test_known_licenses_are_in_the_card(run: Path, data: Path, model: Path, hub: Hub, tmp_path: Path) -> None:
    base = Path(shutil.copytree(model, tmp_path / "base"))
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    mine = Path(shutil.copytree(data, tmp_path / "mine"))
    (mine / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    edit_record(run, model=str(base), data=str(mine))
    push(run, NAME)
    front, text = card(hub)
    assert front["license"] == "apache-2.0"
    assert "Its license: apache-2.0" in text
    assert "the license of the data (cc-by-4.0)" in text
    (mine / "pairkit.json").write_text("{}")  # another dataset by now: the card must not mention it
    push(run, NAME)
    assert "cc-by-4.0" not in card(hub)[1]


def rehashed(run: Path) -> None:
    """As if the run had saved what is there now."""
    hashes = {path.name: sha256(path.read_bytes()) for path in (run / "model").iterdir()}
    (run / "model" / "hashes.json").write_text(json.dumps(hashes))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda saved: (saved / "chat_template.jinja").write_text("{{ messages }}"), "chat_template.jinja"),
        (lambda saved: (saved / "more.json").write_text("{}"), "more.json"),
        (lambda saved: (saved / "hashes.json").unlink(), "chat_template.jinja, config.json, "),
    ],
)
def test_changes_by_hand_are_refused(run: Path, hub: Hub, change: Callable[[Path], Any], names: str) -> None:
    change(run / "model")
    with pytest.raises(InputError, match=f"changed by hand since it was trained: {names}"):
        push(run, NAME)
    assert hub.calls == []
    push(run, NAME, force=True)
    about = json.loads(hub.files(*KEY)["pairkit.json"])
    assert ", ".join(about["changed_by_hand"]).startswith(names)
    files = {**hub.files(*KEY)}
    assert {name: file["sha256"] for name, file in about["files"].items()} == {
        name: sha256(content) for name, content in files.items() if name != "pairkit.json"
    }


def test_shards_of_an_earlier_push_are_deleted(run: Path, hub: Hub) -> None:
    saved = run / "model"
    model = AutoModelForCausalLM.from_pretrained(saved)
    (saved / "model.safetensors").unlink()
    model.save_pretrained(saved, max_shard_size="20KB")
    shards = {path.name for path in saved.glob("*.safetensors")}
    assert len(shards) > 1
    rehashed(run)
    push(run, NAME)
    assert shards < hub.files(*KEY).keys()
    for path in saved.glob("*.safetensors*"):
        path.unlink()
    model.save_pretrained(saved)
    rehashed(run)
    push(run, NAME)
    assert [name for name in hub.files(*KEY) if "safetensors" in name] == ["model.safetensors"]


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lost_shard(run: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (run / "model" / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda run: shutil.rmtree(run / "model"), "has no model/ yet; run the same `pairkit train` command"),
        (lambda run: half(run / "model" / "model.safetensors"), "the weights are damaged"),
        (lambda run: (run / "model" / "model.safetensors").unlink(), "holds no weights (*.safetensors)"),
        (lambda run: (run / "model" / "config.json").unlink(), "holds no config.json"),
        (lambda run: (run / "model" / "tokenizer.json").unlink(), "tokenizer.json: is missing"),
        (lambda run: half(run / "model" / "config.json"), "config.json: not JSON"),
        (lambda run: (run / "model" / "x.bin").touch(), "x.bin: pickled weights cannot be published"),
        (lost_shard, "is missing but listed in model.safetensors.index.json"),
        (lambda run: half(run / "run.json"), "run.json: not the record of a training run"),
        (lambda run: (run / "run.json").write_text("{}"), "it lacks data, plan, recipe, starts"),
    ],
)
def test_runs_that_cannot_be_pushed(run: Path, hub: Hub, change: Callable[[Path], Any], part: str) -> None:
    change(run)
    with pytest.raises(InputError) as refused:
        push(run, NAME)
    assert part in str(refused.value)
    assert hub.calls == []


@pytest.mark.parametrize(
    "fields",
    [
        *[{"starts": [value]} for value in (True, "x", 1.5, [], {"versions": "x"}, {"versions": [1]})],
        *[{"recipe": {"model": value}} for value in ([[]], {"a": 1})],
        *[{"recipe": {"reference": value}} for value in ([[]], {"a": 1})],
    ],
)
def test_a_record_of_another_form_is_one_line(run: Path, hub: Hub, fields: dict[str, Any]) -> None:
    path = run / "run.json"
    record = json.loads(path.read_text())
    record["recipe"] |= fields.pop("recipe", {})
    path.write_text(json.dumps(record | fields))
    with pytest.raises(InputError, match=r"run\.json: is damaged \(.*\); train the model again"):
        push(run, NAME)
    assert hub.calls == []


def test_a_part_of_a_run(trained: Path, hub: Hub) -> None:
    with pytest.raises(InputError, match=re.escape(f"give the run's directory, {trained}")):
        push(trained / "model", NAME)


def test_a_model_has_no_quarantine(trained: Path, hub: Hub) -> None:
    with pytest.raises(RecipeError, match="holds a model, which has no quarantine"):
        push(trained, NAME, quarantine=True)


def test_hostile_names_are_escaped(run: Path, hub: Hub) -> None:
    edit_record(run, data="/x/y|<script>alert(1)</script>", reference="a`b](http://x)")
    push(run, NAME)
    _, text = card(hub)
    outside = re.sub(r"^(`{3,})\w+\n.*?^\1$", "", text, flags=re.S | re.M)
    assert "<script>" not in outside


def test_the_card_of_a_recipe_and_of_a_push(run: Path, hub: Hub, data: Path, model: Path) -> None:
    fields = {"license": "apache-2.0", "language": "en", "tags": "sums", "text": "## Limits\n\nTiny."}
    before = {path: path.read_bytes() for path in (run / "model").iterdir()}
    recipe = validate(TrainRecipe, short_run(data, model, {"name": "dpo:0.8+sft:0.2"}, card=fields))
    # A complete run takes another card without training again.
    train(recipe, run)
    assert {path: path.read_bytes() for path in (run / "model").iterdir()} == before
    push(run, NAME, card={"license": "mit", "pretty_name": "Tiny sums"})
    front, text = card(hub)
    assert (front["license"], front["language"], front["tags"][-1]) == ("mit", ["en"], "sums")
    assert "pretty_name" not in front
    assert text.startswith("\n# Tiny sums\n")
    assert text.index("\n## Limits\n\nTiny.\n") < text.index("\n## Load\n")
    about = json.loads(hub.files(*KEY)["pairkit.json"])
    assert about["card"]["license"] == "mit"
    assert "card" not in about["recipe"]
    assert "card:" not in text


def test_edits_of_a_model_card_on_the_hub_are_kept(run: Path, hub: Hub) -> None:
    push(run, NAME)
    files = hub.repos[KEY].commits[hub.repos[KEY].branches["main"]]
    edited = files["README.md"].replace(b"## Training\n", b"## Limits\n\nTiny.\n\n## Training\n")
    hub.commit(hub.repos[KEY], "main", {**files, "README.md": edited}, "by hand")
    push(run, NAME, card={"license": "mit"})
    front, text = card(hub)
    assert front["license"] == "mit"
    assert "## Limits\n\nTiny.\n" in text
    assert push(run, NAME, card={"license": "mit"}).commit is None
