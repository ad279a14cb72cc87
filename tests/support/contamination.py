"""Pairs of a prompt of the real data files and a benchmark's prompt, labeled by hand.

They were drawn from all pairs that share a run of eight words which counts: up to five of each source and
range of overlaps (three where the overlap is below a tenth or at least nine tenths). Two prompts are the same
if who has seen one knows the other: the same question in other words, within a longer text, or with a number
replaced by an unknown. They are not if they share a template, a phrase or a topic. The texts are not here,
but their hashes are.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl


class Label(NamedTuple):
    """A labeled pair: the source, short hashes of both texts, and whether they are the same."""

    source: str
    text: str
    benchmark_text: str
    same: bool


BENCHMARKS = {
    "alpaca_eval": "alpaca_eval_outputs_only.parquet",
    "arena_hard_0.1": "arena_hard_v0.1_question.jsonl.gz",
    "arena_hard_2.0": "arena_hard_v2.0_question.jsonl.gz",
    "mt_bench": "mt_bench_question.jsonl.gz",
    "gsm8k": "gsm8k_test.parquet",
    "ifeval": "ifeval_input_data.jsonl.gz",
    "humaneval": "humaneval.jsonl.gz",
}


def prompts(folder: Path) -> dict[str, list[str]]:
    """Return the distinct prompts of each source; of dialogues, every turn of the user."""

    def rows(name: str) -> list[dict[str, Any]]:
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines.read().split("\n") if line]

    def asked(row: dict[str, Any]) -> str:
        return f"{row['instruction']}\n{row['input'] or ''}"

    def turns(dialogue: str) -> Iterator[str]:
        yield from (turn.split("\n\nAssistant:")[0] for turn in dialogue.split("\n\nHuman: ")[1:])

    hh = {name: rows(f"hh_rlhf_{name}_base_test") for name in ("helpful", "harmless")}
    found = {
        "hh_helpful": [turn for row in hh["helpful"] for turn in turns(row["chosen"])],
        "hh_harmless": [turn for row in hh["harmless"] for turn in turns(row["chosen"])],
        "pandalm": [asked(row) for row in rows("pandalm_testset_v1")],
        "self_instruct": [
            asked({**row, **row["instances"][0]}) for row in rows("self_instruct_user_oriented_instructions")
        ],
        "ultrafeedback": [row["prompt"] for row in rows("ultrafeedback_binarized_trl_flat")],
        "stanford_alpaca": [asked(row) for row in rows("stanford_alpaca_sample")],
        "gsm8k_train": pl.read_parquet(folder / "gsm8k_train.parquet")["question"].to_list(),
        "metamath_backward": [row["question"] for row in rows("metamath_gsm8k_backward_test")],
        "llamafactory_dpo": [
            turn["value"]
            for row in rows("llamafactory_dpo_en_demo")
            for turn in row["conversations"]
            if turn["from"] == "human"
        ],
        "llamafactory_kto": [
            turn["content"]
            for row in rows("llamafactory_kto_en_demo")
            for turn in row["messages"]
            if turn["role"] == "user"
        ],
        "openassistant": [row["prompt"]["text"] for row in rows("openassistant_en_100_tree")],
        "llmbar": [row["input"] for row in rows("llmbar")],
    }
    return {name: list(dict.fromkeys(texts)) for name, texts in found.items()}


LABELS = tuple(
    Label(*fields)
    for fields in (
        ("stanford_alpaca", "32e21de32829a79a", "10244c68a2afd239", False),
        ("gsm8k_train", "1a308452d299ff1c", "ae93f499bfa3a825", False),
        ("gsm8k_train", "14b47ba071e86d26", "aa2b53fce3f59eaa", False),
        ("gsm8k_train", "3dcbf43b469d48c5", "29e6da038547155c", False),
        ("hh_harmless", "7935e889ca46547d", "11e858adb86efafe", False),
        ("hh_helpful", "773092e74c846db7", "198dda2a125cdad9", False),
        ("hh_helpful", "773092e74c846db7", "13a0d7705a4e685a", False),
        ("hh_helpful", "6e7229d452117630", "86028c6396273088", False),
        ("llamafactory_dpo", "09552afeea45f60e", "7320b81a258fbfa3", False),
        ("llamafactory_kto", "0e420e970b5f7630", "7320b81a258fbfa3", False),
        ("llamafactory_kto", "aa37eb41b8f61cfd", "7320b81a258fbfa3", False),
        ("llamafactory_kto", "9dfdefa5569427e5", "e817575cfbf29abd", False),
        ("metamath_backward", "b4e6489b4212257f", "f8cdaf0ee0347af6", False),
        ("metamath_backward", "4b29ca03ee719519", "a8d701e3725d7608", False),
        ("metamath_backward", "6a816b3e2d94a7ab", "ae93f499bfa3a825", False),
        ("openassistant", "c5e0b50f015bf98d", "96e71b0e8bb893b9", False),
        ("ultrafeedback", "870c337075cf3a76", "7320b81a258fbfa3", False),
        ("ultrafeedback", "7cf64a2b19d7b194", "7320b81a258fbfa3", False),
        ("ultrafeedback", "f2f426955df46830", "7320b81a258fbfa3", False),
        ("gsm8k_train", "37744de22477081e", "5c6fbcfae9ba5bb4", False),
        ("gsm8k_train", "b83ad8b123808246", "bb22c0fe309109e3", False),
        ("gsm8k_train", "41fe8336bed976c9", "af732d6af36d1881", False),
        ("gsm8k_train", "b54c16a65d90333d", "56016d28eb1b9b92", False),
        ("gsm8k_train", "a6ccc6c42dade264", "56016d28eb1b9b92", False),
        ("hh_harmless", "6080d91f96283da6", "dc35ff5de24731a6", False),
        ("hh_helpful", "222f55629b65694e", "a00d5fcb51dea313", False),
        ("hh_helpful", "19dc45a3d3d7f843", "dc35ff5de24731a6", False),
        ("hh_helpful", "b430dbc728c3d949", "b7badc84278b6570", False),
        ("metamath_backward", "42ec0bef435d457a", "263db7b5ff90b254", True),
        ("metamath_backward", "f358d4a491a62aa3", "90504b505188391e", True),
        ("metamath_backward", "3c228ea21b95d7d0", "91b01490bd0fc1e4", True),
        ("metamath_backward", "e0505e0829221006", "f0c8c93727f0d00d", True),
        ("metamath_backward", "cf9a15318abc06a5", "2986c9fe2c6d826c", False),
        ("ultrafeedback", "6cdb37ef16b87274", "a78047d740d6f3db", True),
        ("gsm8k_train", "60605fbafaac4528", "34f259687836c046", False),
        ("metamath_backward", "3b1561c836df369c", "97aa0cca4b3ac275", True),
        ("metamath_backward", "50393188ad654282", "79b2fb2247532a45", True),
        ("metamath_backward", "c2c281b69d9ce6b5", "5ac4ec8886e79444", True),
        ("metamath_backward", "cc9917cbc97f836a", "9bf5ecc4056ca47e", True),
        ("metamath_backward", "dc5c2170b84f8760", "64017e53b57ce211", True),
        ("gsm8k_train", "85408ecc0ee9417d", "ce265a6cf541168d", False),
        ("gsm8k_train", "cadf55454a693375", "ce265a6cf541168d", False),
        ("llmbar", "4b8fe347a753d6ab", "45ab9a1f46a990cb", False),
        ("metamath_backward", "e7cae6039f0679c8", "89ca85088fa68529", True),
        ("metamath_backward", "e2d1a9114ab0a7ed", "83f4c92ec583af1d", True),
        ("metamath_backward", "1c17406293b1c8de", "1c18fd8578a4bff7", True),
        ("metamath_backward", "bddc480d927daf93", "d1cc5d2e5cf68874", True),
        ("metamath_backward", "0125ca9a50c7ad01", "488e43f1d65c0791", True),
        ("hh_helpful", "c3ded49eb03090a3", "91c07f76403ff409", False),
        ("hh_helpful", "2302ae7075632033", "c3ded49eb03090a3", False),
        ("hh_helpful", "8ed28e4d4c3d5b8e", "e26c0b69dc8b8d7f", False),
        ("hh_helpful", "fa8bdc5d20153d34", "6fb082eb20bd41e4", False),
        ("hh_helpful", "3117bba29a7f4b60", "601f86ce904dbbf1", False),
        ("llmbar", "c77733ea94b19fa7", "b163e83e4139968c", True),
        ("metamath_backward", "9cd5e996f9092c68", "9f3a832db84ae5ee", True),
        ("metamath_backward", "490db4dd866a63ae", "bca9f1d89cf12a06", True),
        ("metamath_backward", "93f78a547426d35a", "40327ae839619df8", True),
        ("metamath_backward", "5bf56bb52fffa4d1", "c6bc996ea7b4ee4e", True),
        ("metamath_backward", "02964fe8024fad38", "af43dc2174046142", True),
        ("hh_helpful", "2e0f5aeeb57fb1e6", "2e0f5aeeb57fb1e6", True),
        ("hh_helpful", "9e1dd24545bbf712", "9e1dd24545bbf712", True),
        ("hh_helpful", "5c144fbb98f6c38d", "5c144fbb98f6c38d", True),
        ("llmbar", "1078845410571829", "80759e123ec0a624", True),
        ("llmbar", "b7d85b89d411da63", "e17de679db43b77b", True),
        ("llmbar", "c77733ea94b19fa7", "8fbc49158e731850", True),
        ("metamath_backward", "f162b3399fe8bad6", "8c868356674941fb", True),
        ("metamath_backward", "b436d06165530874", "18849d689824a19a", True),
        ("metamath_backward", "a9b47d8f8496b29f", "08362e4b0cf607d2", True),
        ("openassistant", "8560bb3dae9d8a61", "8560bb3dae9d8a61", True),
        ("openassistant", "ca74bb7cfdb593a0", "ca74bb7cfdb593a0", True),
        ("openassistant", "e4bfa09235c512a9", "e4bfa09235c512a9", True),
        ("pandalm", "58ee48bdb901de23", "9ba136aae30cafc5", True),
        ("pandalm", "b43acdb062013bd5", "22e6a925be4b4810", True),
        ("pandalm", "a98c12a207094cac", "3284653a50221909", True),
        ("self_instruct", "b7e420130323448d", "a090c4885e2dc64b", True),
        ("self_instruct", "4e6b93d7eec6abf0", "451dfff0be5600b4", True),
        ("self_instruct", "ae1ccb535b7a0b05", "670b0209bbb64c9f", True),
    )
)
