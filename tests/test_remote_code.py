"""Every call that may load code of a model says whether it may: by default transformers asks for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pairkit

PACKAGE = Path(pairkit.__file__).parent
# Calls of classes that are no `Auto...`: of pairkit, or of a configuration that is loaded already.
OWN = {
    "peft.PeftConfig.from_pretrained", "type(config).from_pretrained", "ArmoRM.from_pretrained",
    "StaticModel.from_pretrained",  # of model2vec: a table of vectors, in safetensors
}  # fmt: skip
FORBIDDEN = {
    "input", "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads",
    "pickle.Unpickler", "joblib.load", "numpy.load", "yaml.load", "yaml.unsafe_load",
    "marshal.loads",
    "yaml.full_load", "shelve.open", "pl.read_pickle", "pd.read_pickle", "runpy.run_path", "pty.spawn",
    "torch.hub.load", "torch.jit.load", "evaluate.load", "getpass.getpass",
}  # fmt: skip


def nodes() -> Iterator[tuple[str, ast.Call | ast.keyword]]:
    """Calls and the keywords of them, by place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call | ast.keyword):
                yield f"{name}:{node.lineno}", node


NODES = list(nodes())


def calls(*methods: str) -> dict[str, ast.Call]:
    """Calls of methods of these names, also by `partial`, by place."""
    found = {}
    for place, node in NODES:
        if isinstance(node, ast.Call):
            callee = node.func
            if isinstance(callee, ast.Name) and callee.id == "partial":
                callee = node.args[0]
            if isinstance(callee, ast.Attribute) and callee.attr in methods:
                found[f"{place} {ast.unparse(callee)}"] = node
    return found


def test_every_load_states_whether_code_is_trusted() -> None:
    loads = calls("from_pretrained", "from_config")
    assert len(loads) >= 8
    for place, call in loads.items():
        if place.split()[1] in OWN:
            continue
        named = {keyword.arg for keyword in call.keywords}
        # `**where` and `**common` are dicts with the key, which the second check reads.
        spread = [ast.unparse(each.value) for each in call.keywords if each.arg is None]
        partial = isinstance(call.func, ast.Name)
        assert partial or "trust_remote_code" in named or spread, place
        if partial or "trust_remote_code" not in named:
            source = (PACKAGE / place.partition(":")[0]).read_text(encoding="utf-8")
            assert '"trust_remote_code": trust_remote_code' in source, place


def test_nothing_asks_or_runs_what_a_file_holds() -> None:
    called = {(ast.unparse(node.func), place) for place, node in NODES if isinstance(node, ast.Call)}
    assert "torch.load" in {name for name, _ in called}
    found = {(name, place.partition(":")[0]) for name, place in called if name in FORBIDDEN}
    # Between the processes of one's own cluster, which Ray gives pickles in any case (SECURITY.md).
    assert found == {("pickle.loads", "pipeline/executors/ray/parcel.py")}


def test_arrays_are_read_without_pickles() -> None:
    loads = [node for _, node in NODES if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load"]
    assert loads
    for call in loads:
        assert {each.arg: ast.unparse(each.value) for each in call.keywords}["allow_pickle"] == "False"


def test_pickles_are_read_with_weights_only() -> None:
    loads = {place: call for place, call in calls("load").items() if place.endswith(" torch.load")}
    assert loads
    for place, call in loads.items():
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("weights_only") == "True", place


def test_no_library_is_told_to_trust() -> None:
    """`True` stands nowhere: it is what a person said, passed on."""
    told = [
        place
        for place, node in NODES
        if isinstance(node, ast.keyword)
        and node.arg in ("trust_remote_code", "allow_pickle", "shell", "local_files_trusted")
        and ast.unparse(node.value) == "True"
    ]
    assert told == []
