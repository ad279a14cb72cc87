"""Code that a recipe names: refused unless a person named it, and the standard library always."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pairkit.errors import RecipeError
from pairkit.imports import CodeRefused, import_named, modules_in, only_named
from pairkit.losses import build
from pairkit.rankers.verifier import load_function
from pairkit.trust import check_requests, only_trusted

STANDARD = [
    "builtins:exec", "builtins:eval", "os:system", "os.path:exists", "posix:system", "subprocess:run",
    "shutil:rmtree", "importlib:import_module", "importlib.util:find_spec", "pickle:loads",
    "runpy:run_path", "code:interact", "ctypes:CDLL", "_ctypes:dlopen", "sys:exit", "pty:spawn",
    "socket:socket", "json:loads", "timeit:timeit", "__main__:exec",
    "test.support:run_in_subinterp", ":exec",
]  # fmt: skip
HOSTILE = """
    from pathlib import Path
    Path("ran").write_text("the import ran code")

    import functools, os, pickle, subprocess
    from os import system
    from builtins import exec as check
    from subprocess import run as launch, Popen
    from importlib import import_module
    partial = functools.partial(functools.partial(system))
    loads = pickle.loads
    method = Path("x").write_text
    module = os

    def right(text, metadata):
        return 1.0
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the module `hostile`, which leaves the file `ran` when it is imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile.py").write_text(dedent(HOSTILE))
    yield tmp_path
    sys.modules.pop("hostile", None)


@pytest.mark.parametrize("path", STANDARD)
def test_the_standard_library_is_never_named(path: str) -> None:
    with pytest.raises(CodeRefused, match="standard library"):
        import_named(path)
    module = path.partition(":")[0]
    with only_named([module]), pytest.raises(CodeRefused, match="standard library"):
        import_named(path)
    with pytest.raises(RecipeError, match="standard library"):
        load_function(path)


@pytest.mark.parametrize("path", ["os:system", "builtins:exec", "dpo:0.5+subprocess:run"])
def test_no_loss_is_of_the_standard_library(path: str) -> None:
    with pytest.raises(RecipeError, match="standard library"):
        build(path)


@pytest.mark.parametrize(
    "name", ["system", "check", "launch", "Popen", "import_module", "partial", "loads", "method", "module"]
)
def test_what_a_module_imported_from_the_standard_library_is_refused(hostile: Path, name: str) -> None:
    with only_named(["hostile"]), pytest.raises(CodeRefused, match="standard library"):
        import_named(f"hostile:{name}")


def test_a_module_that_nobody_named_is_not_imported(hostile: Path) -> None:
    for named in ((), ["other"], ["hostil"], ["hostile.below"], ["hostile_"]):
        with only_named(named), pytest.raises(CodeRefused, match=r"--allow-code hostile$"):
            import_named("hostile:right")
    assert not (hostile / "ran").exists()
    with only_named(["hostile"]):
        assert import_named("hostile:right")("a", {}) == 1.0
    assert (hostile / "ran").exists()


def test_a_program_of_the_user_names_its_own_modules(hostile: Path) -> None:
    assert load_function("hostile:right")("a", {}) == 1.0


def test_a_package_names_what_is_below_it() -> None:
    with only_named(["support"]):
        assert import_named("support.verifiers:is_four")("4", {}) == 1.0


@pytest.mark.parametrize("module", ["os", "builtins", "os.path", "subprocess", "pickle"])
def test_the_standard_library_cannot_be_allowed(module: str) -> None:
    with pytest.raises(RecipeError, match=f"--allow-code {module}: .*standard library"):
        only_trusted({}, [module])


@pytest.mark.parametrize(
    ("typed", "modules"),
    [
        ({"loss": {"name": "my.losses:focal"}}, {"my.losses"}),
        ({"loss": "dpo:0.5+my:focal:0.5"}, {"my"}),
        ({"rank": [{"check": "one:f"}, {"check": "two.three:f"}]}, {"one", "two.three"}),
        ({"loss": "dpo:0.8+sft:1.0"}, set()),
        ({"loss": "my:focal"}, {"my"}),
        ({"data": "C:/data", "model": "org/name", "seed": 3}, set()),
        ({"generate": {"model": "llama3:latest"}, "rank": {"model": "qwen3:latest"}}, set()),
        ({"rank": [{"model": "a:b", "template": {"kwargs": {"check": "evil:f", "loss": "evil:f"}}}]}, set()),
        ({"source": {"path": "evil:f", "map": {"check": "evil:f"}}, "check": "evil:f"}, set()),
        ({"loss": {"name": "dpo", "kind": "evil:f"}, "tokenizer": "bpe:x", "rank": "evil:f"}, set()),
    ],
)
def test_what_a_command_names(typed: dict[str, object], modules: set[str]) -> None:
    assert modules_in(typed) == modules


REQUESTS = [
    {"trust_remote_code": True},
    {"trust_remote_code": "yes"},
    {"trust_remote_code": 1},
    {"rank": {"ranker": "reward_model", "trust_remote_code": True}},
    {"rank": [{"ranker": "annotations"}, {"ranker": "reward_model", "trust_remote_code": True}]},
    {"generate": {"vllm": {"trust_remote_code": True}}},
    {"attention": "kernels-community/flash-attn"},
]


@pytest.mark.parametrize("content", REQUESTS)
def test_remote_code_needs_the_flag(content: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="add --trust-remote-code"):
        check_requests(content, {})
    with pytest.raises(RecipeError, match="add --trust-remote-code"):
        check_requests(content, {"rank": {}, "generate": {"vllm": {}}, "seed": 1})
    check_requests(content, {}, remote_code=True)
    check_requests(content, content)  # typed in the command itself


@pytest.mark.parametrize(
    "arguments",
    [
        {"worker_cls": "evil.Worker"},
        {"logits_processors": ["evil:P"]},
        {"tool_parser_plugin": "evil.py"},
        {"structured_outputs_config": {"reasoning_parser_plugin": "evil.py"}},
        {"ec_transfer_config": {"ec_connector_module_path": "evil"}},
        {"parallel_config": {"worker_extension_cls": "evil.Worker"}},
        {"speculative_config": {"model": "m", "scheduler_cls": "evil.S"}},
    ],
)
def test_code_that_vllm_imports_is_named_in_the_command(arguments: dict[str, object]) -> None:
    content = {"generate": {"engine": "vllm", "vllm": {"max_model_len": 512, **arguments}}}
    for remote_code in (False, True):
        with pytest.raises(RecipeError, match=r"give generate\.vllm\.[\w.]+ in the command"):
            check_requests(content, {}, remote_code=remote_code)
    check_requests(content, {"generate": {"vllm": arguments}})


def test_no_remote_code_is_no_request() -> None:
    check_requests({"trust_remote_code": False, "attention": "sdpa", "rank": {"trust_remote_code": None}}, {})


URL = "http://127.0.0.1:9/x/v1"
SERVER = {"engine": "openai", "base_url": URL, "api_key_env": "GITHUB_TOKEN"}
KEYS = [
    ({"generate": SERVER}, {}),
    ({"rank": SERVER}, {"rank": {"model": "m"}}),
    ({"rank": [{"ranker": "annotations"}, SERVER]}, {"rank": [{}, {"model": "m"}]}),
    ({"rank": [{"ranker": "annotations"}, SERVER]}, {"generate": SERVER}),
    ({"generate": SERVER | {"api_key_env": "OPENAI_API_KEY"}}, {}),
    ({"generate": {"api_key_env": "GITHUB_TOKEN"}}, {}),  # to OpenAI
    ({"generate": SERVER}, {"generate": {"base_url": URL}}),
    ({"generate": SERVER}, {"generate": {"api_key_env": "GITHUB_TOKEN"}}),
    ({"generate": SERVER}, {"generate": SERVER | {"base_url": "http://localhost/v1"}}),
]


@pytest.mark.parametrize(("content", "typed"), KEYS)
def test_a_key_is_sent_only_where_a_person_allows_it(content: dict[str, Any], typed: dict[str, Any]) -> None:
    url = "https://api.openai.com/v1" if "base_url" not in str(content) else URL
    name = "OPENAI_API_KEY" if "OPENAI" in str(content) else "GITHUB_TOKEN"
    for allowed in ([], [name], [f"{name}@"], [f"{name}@http://127.0.0.1:9"], [f"OTHER@{url}"]):
        with pytest.raises(RecipeError, match=f"add --allow-key {name}@{url}$"):
            check_requests(content, typed, remote_code=True, allow_keys=allowed)
    check_requests(content, typed, allow_keys=[f"{name}@{url}"])
    check_requests(content, content)  # in the command itself


def test_a_server_without_a_key_and_the_key_of_openai_need_no_word() -> None:
    for block in (
        {"base_url": URL},
        {"api_key_env": "OPENAI_API_KEY"},
        {"base_url": "https://api.openai.com/v1/", "api_key_env": "OPENAI_API_KEY"},
    ):
        check_requests({"generate": block, "rank": [block]}, {})


def test_a_password_of_the_server_is_not_shown() -> None:
    server = SERVER | {"base_url": "http://me:hunter2pass@127.0.0.1:9/v1"}
    with pytest.raises(RecipeError, match="with the URL as the recipe has it") as refused:
        check_requests({"generate": server}, {})
    assert "hunter2pass" not in str(refused.value)
    check_requests({"generate": server}, {}, allow_keys=[f"GITHUB_TOKEN@{server['base_url']}"])
