"""Several sources, several models and several datasets."""

from __future__ import annotations

import json

from support.bad_input.case import OWN, SERVER, TRAIN, Case, on

MIXED = "build --recipe mixed.yaml --out out"
POOL = "build --source arithmetic --limit 3 generate.models="
ORDER = f"{POOL}[a,b] generate.engine=openai generate.base_url=http://127.0.0.1:9/v1 rank.ranker=model_order"


def mixed(*sources: object) -> dict[str, bytes]:
    """A recipe with these sources; JSON is YAML."""
    return {"mixed.yaml": json.dumps({"sources": sources}).encode()}


CASES = [
    Case(
        "fraction of a source over 1",
        MIXED,
        "recipe key 'sources.0.fraction': Input should be less than or equal to 1 (got 1.5)",
        mixed({"source": "arithmetic", "fraction": 1.5}),
    ),
    Case(
        "weight of a source that is 0",
        MIXED,
        "recipe key 'sources.0.weight': Input should be greater than 0 (got 0)",
        mixed({"source": "arithmetic", "weight": 0}),
    ),
    Case(
        "weight of one source only",
        MIXED,
        "recipe key 'sources': 'arithmetic' has no weight, but others have: give all a weight, or none",
        mixed("arithmetic", {"source": "chain", "weight": 1}),
    ),
    Case(
        "a source name twice",
        MIXED,
        "recipe key 'sources': 'arithmetic' occurs twice; give each a name of its own",
        mixed("arithmetic", "arithmetic"),
    ),
    Case(
        "limit and fraction of one source",
        MIXED,
        "source 'chain' has fraction and limit: give one of them",
        mixed({"source": "chain", "limit": 1, "fraction": 0.5}),
    ),
    Case(
        "one source and several",
        f"{MIXED} --source arithmetic",
        "a build needs `source`, or a list of `sources`; the recipe has both",
        mixed("chain"),
    ),
    Case(
        "limit of one source in a build of several",
        f"{MIXED} --limit 5",
        "source.limit: belongs to a build of one source, and the recipe has several: set it in the entries "
        "of `sources`, as in sources='[{source: NAME, limit: 100}, ...]'",
        mixed("chain", "arithmetic"),
    ),
    Case(
        "a source name of two lines",
        MIXED,
        "recipe key 'sources.0.name': A name is one line of printable characters (got 'a\\nb')",
        mixed({"name": "a\nb", "source": "chain"}),
    ),
    Case(
        "sources whose names make no directory, and no --out",
        'build sources=[{"name":"..","source":"chain"}]',
        "the names of the sources make no name of a directory: give --out DIR",
        code=2,
    ),
    Case(
        "one of several sources without a usable row",
        MIXED,
        "source 'files' (none.jsonl): no usable candidate set in 1 rows; `pairkit inspect` shows how the "
        "rows are read",
        {
            **mixed("chain", {"source": {"name": "files", "path": "none.jsonl"}}),
            "none.jsonl": json.dumps({"prompt": 7, "chosen": "c", "rejected": "r"}).encode(),
        },
    ),
    Case(
        "a model of a pool twice",
        f"{POOL}[m,m]",
        "recipe key 'generate.models': 'm' occurs twice; give one of them another `name`",
    ),
    Case(
        "more models picked than there are",
        f"{POOL}[a,b] generate.pick=3",
        "recipe key 'generate.pick': 3 of 2 models; set fewer",
    ),
    Case(
        "a key for all models of a pool",
        f"{POOL}[a,b] generate.api_key_env=OPENAI_API_KEY",
        "recipe key 'generate.api_key_env': give each of generate.models its own",
    ),
    Case(
        "no model of a pool that can be reached",
        f"{POOL}[a,b] {SERVER}",
        "none of the 2 models can be reached; the last: http://127.0.0.1:9/v1 cannot be reached: …",
    ),
    Case(
        "unknown model in model_order",
        f"{ORDER} rank.models=[a,c]",
        "unknown model in rank.models 'c'; known: a, b",
    ),
    Case(
        "a model without a place in model_order",
        f"{ORDER} rank.models=[b,c] generate.models=[a,b,c]",
        "recipe key 'rank.models': 'a' generates completions and has no place",
    ),
    Case(
        "model_order on completions of nobody that it names",
        "build --source files --path own.jsonl rank.ranker=model_order rank.models=[a,b]",
        "own.jsonl: no usable candidate set in 20 rows (20 unknown_model); the first: set …: a completion "
        "has no author, and rank.models orders by author (a, b)",
        OWN,
    ),
    Case(
        "weight of a dataset that is 0",
        on(TRAIN, "data:0 --data other:1"),
        "recipe key 'data.0.weight': Input should be greater than 0 (got '0')",
    ),
    Case(
        "a dataset twice",
        on(TRAIN, "data:1 --data data:2"),
        "recipe key 'data': 'data' occurs twice; give each a name, as in data='[{data: DIR, name: NAME, "
        "weight: 1}, ...]'",
    ),
    Case(
        "a slash in the name of a dataset",
        on(TRAIN, 'data data=[{"data":"data","name":"a/b"}]'),
        "recipe key 'data': the name 'a/b' has a slash: leave it out",
    ),
    Case(
        "a dataset of a mixture that is none",
        on(TRAIN, "data:1 --data nowhere:2"),
        "nowhere: not a built dataset (no pairkit.json); build one with: pairkit build --source NAME",
    ),
]
