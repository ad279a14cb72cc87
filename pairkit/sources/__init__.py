"""Sources of prompts and candidate sets: one literal table, one file per source."""

from __future__ import annotations

import os

from pairkit.errors import RecipeError, unknown
from pairkit.progress import shell_quoted
from pairkit.sources import (
    alpaca_eval,
    arithmetic,
    chain,
    gsm8k,
    hh_rlhf,
    metamath_dpo,
    nectar,
    split,
    tabular,
    ultrachat,
    ultrafeedback,
    ultrafeedback_binarized,
)
from pairkit.sources.base import OPTIONS, Draft, Opened, Reading, RowProblem, Source, SourceRecipe
from pairkit.sources.layouts.grouping import join_rows
from pairkit.sources.layouts.recognize import recognize
from pairkit.sources.reading.locate import is_path
from pairkit.sources.reading.stream import open_files

__all__ = [
    "SOURCES",
    "Draft",
    "Opened",
    "Reading",
    "RowProblem",
    "Source",
    "SourceRecipe",
    "find_source",
    "open_source",
]

_TABLE = (
    Source(
        name="ultrafeedback",
        summary="64,000 prompts with 4 completions each, rated by GPT-4 on 4 aspects (openbmb/UltraFeedback)",
        open=open_files,
        convert=ultrafeedback.convert,
        columns=(("instruction", "completions"),),
        options=frozenset({"score"}),
        hub_id="openbmb/UltraFeedback",
        license="MIT",
        homepage="https://huggingface.co/datasets/openbmb/UltraFeedback",
        citation="Cui et al., UltraFeedback: Boosting LMs with Scaled AI Feedback, arXiv:2310.01377",
    ),
    Source(
        name="nectar",
        summary="183,000 prompts with 7 completions each, ranked by GPT-4 (berkeley-nest/Nectar)",
        open=open_files,
        convert=nectar.convert,
        columns=(("prompt", "answers"),),
        hub_id="berkeley-nest/Nectar",
        license="Apache-2.0; not for commercial use nor to compete with OpenAI",
        homepage="https://huggingface.co/datasets/berkeley-nest/Nectar",
        citation="Zhu et al., Starling-7B: Improving LLM Helpfulness & Harmlessness with RLAIF, 2023",
    ),
    Source(
        name="ultrafeedback_binarized",
        summary="61,000 scored pairs of UltraFeedback (HuggingFaceH4/ultrafeedback_binarized)",
        open=open_files,
        convert=ultrafeedback_binarized.convert,
        columns=(("chosen", "rejected"),),
        hub_id="HuggingFaceH4/ultrafeedback_binarized",
        splits=("train_prefs", "test_prefs", "train_gen", "test_gen"),
        license="MIT",
        homepage="https://huggingface.co/datasets/HuggingFaceH4/ultrafeedback_binarized",
        citation="Tunstall et al., Zephyr: Direct Distillation of LM Alignment, arXiv:2310.16944",
    ),
    Source(
        name="hh_rlhf",
        summary="161,000 pairs of dialogues preferred by people (Anthropic/hh-rlhf)",
        open=open_files,
        convert=hh_rlhf.convert,
        columns=(("chosen", "rejected"),),
        hub_id="Anthropic/hh-rlhf",
        splits=("train", "test"),
        license="MIT",
        homepage="https://huggingface.co/datasets/Anthropic/hh-rlhf",
        citation="Bai et al., Training a Helpful and Harmless Assistant with RLHF, arXiv:2204.05862",
    ),
    Source(
        name="alpaca_eval",
        summary="805 instructions, each model's output judged against one reference (annotation files)",
        open=open_files,
        convert=alpaca_eval.convert,
        merge=alpaca_eval.merge,
        # Rows with a judgment, or rows of outputs alone.
        columns=(("instruction", *alpaca_eval.PAIR), ("instruction", *alpaca_eval.OUTPUT)),
        splits=("eval",),
        license="CC BY-NC 4.0",
        homepage="https://github.com/tatsu-lab/alpaca_eval (results/MODEL/JUDGE/annotations.json)",
        citation="Dubois et al., Length-Controlled AlpacaEval, arXiv:2404.04475",
    ),
    Source(
        name="gsm8k",
        summary="8,800 grade-school problems with checkable answers, or model solutions (openai/gsm8k)",
        open=open_files,
        convert=gsm8k.convert,
        # The dataset, or the file of example solutions.
        columns=(("question", "answer"), ("question", "ground_truth")),
        prompts=True,
        hub_id="openai/gsm8k",
        config="main",
        splits=("train", "test"),
        license="MIT",
        homepage="https://huggingface.co/datasets/openai/gsm8k",
        citation="Cobbe et al., Training Verifiers to Solve Math Word Problems, arXiv:2110.14168",
    ),
    Source(
        name="metamath_dpo",
        summary="394,000 worked problems, and each with one corrupted step (abacusai/MetaMath_DPO_FewShot)",
        open=open_files,
        convert=metamath_dpo.convert,
        columns=(("prompt", "chosen", "rejected"),),
        hub_id="abacusai/MetaMath_DPO_FewShot",
        splits=("train", "eval"),
        license="Apache-2.0",
        homepage="https://huggingface.co/datasets/abacusai/MetaMath_DPO_FewShot",
        citation="Pal et al., Smaug: Fixing Failure Modes of Preference Optimisation, arXiv:2402.13228",
    ),
    Source(
        name="ultrachat",
        summary="208,000 dialogues of several turns, for fine-tuning (HuggingFaceH4/ultrachat_200k)",
        open=open_files,
        convert=ultrachat.convert,
        columns=(("messages",),),
        hub_id="HuggingFaceH4/ultrachat_200k",
        splits=("train_sft", "test_sft", "train_gen", "test_gen"),
        license="MIT",
        homepage="https://huggingface.co/datasets/HuggingFaceH4/ultrachat_200k",
        citation="Ding et al., Enhancing Chat Language Models by Scaling High-quality Instructional "
        "Conversations, arXiv:2305.14233",
    ),
    Source(
        name="arithmetic",
        summary="3,600 sums answered in reversed digits, for a quickstart; generated, not downloaded",
        open=arithmetic.open_generated,
        splits=arithmetic.SPLITS,
        license="Apache-2.0",
    ),
    Source(
        name="split",
        summary="numbers to be written as a sum, with many right answers, for miniatures; generated",
        open=split.open_generated,
        splits=arithmetic.SPLITS,
        license="Apache-2.0",
    ),
    Source(
        name="chain",
        summary="partial sums of three numbers, and each with one wrong digit, for miniatures; generated",
        open=chain.open_generated,
        splits=arithmetic.SPLITS,
        license="Apache-2.0",
    ),
    Source(
        name="files",
        summary="your own JSON, CSV, Parquet or Arrow files (--path, --map prompt=instruction,...)",
        open=tabular.open_mapped,
        convert=tabular.convert,
        expand=tabular.expand,
        merge=join_rows,
        recognize=recognize,
        options=frozenset({"layout", "map"}),
        license="yours",
    ),
    Source(
        name="hub",
        summary="any dataset on the Hugging Face Hub, by its id: --source org/name",
        open=tabular.open_mapped,
        convert=tabular.convert,
        expand=tabular.expand,
        merge=join_rows,
        recognize=recognize,
        # No license here, because each dataset has its own.
        options=frozenset({"layout", "map"}),
    ),
)
SOURCES: dict[str, Source] = {source.name: source for source in _TABLE}


def find_source(name: str) -> Source:
    """Return the source of a name, or for a hub id (`org/name`) the source that reads it.

    Raises `RecipeError`, which suggests the nearest name, or the flags for a file.
    """
    if name in SOURCES:
        return SOURCES[name]
    if is_path(name) and not any(source.hub_id == name for source in _TABLE):
        what = "is a file or folder" if os.path.exists(name) else "looks like a file, and does not exist"
        raise RecipeError(f"source {name!r} {what}; write --source files --path {shell_quoted(name)}")
    if "/" in name:
        # A dataset with a source of its own is read by that source, whichever name is used.
        return next((source for source in SOURCES.values() if source.hub_id == name), SOURCES["hub"])
    raise unknown("source", name, SOURCES)


def open_source(recipe: SourceRecipe) -> Opened:
    """Find the input that the recipe names, on disk or on the hub, without reading it yet.

    Raises `RecipeError` (unknown source, an option that it does not read), `InputError` (no such file,
    another kind of file) or `HubError` (no network, no such dataset).
    """
    source = find_source(recipe.name)
    # An option without effect is a mistake, so it is refused rather than ignored.
    for option in OPTIONS:
        if getattr(recipe, option) and option not in source.options:
            raise RecipeError(f"source {recipe.name!r} does not read `{option}`; leave it out")
    return source.open(source, recipe)
