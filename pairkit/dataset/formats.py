"""The formats that `pairkit export` writes: one row per consumer. Imports nothing heavy, for the help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Format:
    """A file format of another library.

    consumer   what reads it, in one line.
    suffix     of the file.
    made_of    "pairs": one row per pair, so a set that makes no pair is left out; "completions": one row per
               completion of such a set, or per labeled one; "sets": one row per set, none left out.
    carries    what the consumer has a place for beyond roles and contents, of `extras.EXTRAS`; sets that hold
               other things are left out.
    """

    consumer: str
    suffix: Literal[".parquet", ".jsonl"]
    made_of: Literal["pairs", "completions", "sets"] = "pairs"
    carries: tuple[str, ...] = ()


# Of `extras.EXTRAS`, whose module is heavy.
_CALLS = ("tools", "tool_calls")
_ALL = (*_CALLS, "thoughts", "template_arguments")

FORMATS = {
    "nectar": Format("the columns of berkeley-nest/Nectar; rank is null if unranked", ".parquet", "sets"),
    "binarized": Format("the columns of HuggingFaceH4/ultrafeedback_binarized", ".parquet"),
    "unpaired": Format("TRL's KTOTrainer: prompt, completion, label", ".parquet", "completions", _ALL),
    "trl": Format("TRL's DPOTrainer and RewardTrainer: conversational pairs", ".parquet", carries=_ALL),
    "nemo_rl": Format("NVIDIA NeMo-RL's PreferenceDataset (DPO, reward models)", ".jsonl"),
    "openai": Format("OpenAI's preference fine-tuning", ".jsonl", carries=_CALLS),
    "sharegpt": Format("LLaMA-Factory: formatting sharegpt, ranking true", ".jsonl", carries=_CALLS),
}
