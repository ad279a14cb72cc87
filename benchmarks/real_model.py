"""DPO steps of a real model on real texts, by turns with TRL: pairs per second, memory, and equal losses.

    PAIRKIT_SMOLLM2=DIR PAIRKIT_TEST_DATA=DIR python benchmarks/real_model.py            # or a hub id
    PAIRKIT_SMOLLM2=DIR PAIRKIT_TEST_DATA=DIR python benchmarks/real_model.py --completions 2 4 8 16

SmolLM2-135M-Instruct in float32, as a whole and with LoRA, on pairs of UltraFeedback and HH-RLHF in equal
parts; or, with --completions, on sets of AlpacaEval's completions, which TRL gets as the pairs of the best
one with each other. 20 steps: --rounds of --steps each, and a first round of as many that warms up.

Both do the same work: the same tokens (pairkit's; TRL's own preparation scores what the template writes
after the end of the turn too, see the count that is printed), in the same order, from the same weights and
adapters, AdamW at a constant rate, the gradient clipped to the same norm, log-probs of the reference computed
before. The losses of all steps are printed and have to be equal to 1e-3. Memory is the peak of the process
above what it had before the model, less weights, gradients and the optimizer's state.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import busy, machine
from turns import Contender, Turns, race, ratios

SOURCES = {
    "hh_rlhf": "hh_rlhf_helpful_base_test.jsonl.gz",
    "ultrafeedback_binarized": "ultrafeedback_binarized_trl_flat.jsonl.gz",
}
ALPACA_EVAL = {"alpaca_eval": "alpaca_eval2_annotations.parquet"}
RATES = {"full": 1e-5, "lora": 1e-4}  # at which 20 steps move the loss
RANK, BETA, NORM = 16, 0.1, 1.0
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
CONTENDERS = ("trl", "pairkit")
TOLERANCE = 1e-3  # of the loss of a step, nats
GOALS = f"Goals: losses equal to {TOLERANCE:g} in every step; pairkit at least 3.5 times TRL."
Set = tuple[list[int], list[list[int]]]  # ids of the prompt, of its completions, best first


def write_sets(folder: Path, completions: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Build the data, tokenize it, and write as many sets as the steps need; return their texts."""
    from transformers import AutoTokenizer

    from pairkit.models.chat.format import ChatFormat

    wanted = (arguments.rounds + 1) * arguments.steps * arguments.sets
    sources = SOURCES if completions == 2 and not arguments.alpaca_eval else ALPACA_EVAL
    format = ChatFormat(AutoTokenizer.from_pretrained(arguments.model))
    found = [sets_of(format, name, file, completions, arguments) for name, file in sources.items()]
    rows = [row for several in zip(*found, strict=False) for row in several]  # of the sources by turns
    np.random.default_rng(0).shuffle(rows)
    # AlpacaEval has 805 prompts: what is missing are the same sets again, as in a second epoch.
    rows = [rows[i % len(rows)] for i in range(wanted)]
    (folder / "sets.json").write_text(json.dumps([(row["prompt_ids"], row["ids"]) for row in rows]))
    return rows


def sets_of(
    format: Any, source: str, file: str, completions: int, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Build a source's file; return the sets with as many completions, each text within the limit."""
    from pairkit import build
    from pairkit.training.tokens.tokenize import tokenize

    path = Path(os.environ["PAIRKIT_TEST_DATA"]) / file
    rows = []
    with tempfile.TemporaryDirectory() as name:
        recipe = {"source": {"name": source, "path": str(path)}, "test_fraction": 0.0}
        for table in build(recipe, f"{name}/data").tables("train", None):
            tokens = tokenize(
                [table], format.tokenizer, max_length=1 << 20, max_prompt_length=1 << 19, wanted="ranked",
                advance=lambda count: None,
            )  # fmt: skip
            texts = {row["set_id"]: row for row in table.to_pylist()}
            for item in tokens.sets:
                ids = [column.ids.tolist() for column in item.columns]
                fitting = [i for i, one in enumerate(ids) if len(item.prompt) + len(one) <= arguments.tokens]
                if len(fitting) < completions or fitting[0] != 0:
                    continue
                rows.append(
                    {
                        "prompt_ids": item.prompt.tolist(),
                        "ids": [ids[i] for i in fitting[:completions]],
                        "row": texts[item.set_id],
                    }
                )
    return rows


def pairs_of(sets: Sequence[Set]) -> list[dict[str, list[int]]]:
    """Return the pairs of the best completion with each other one, as columns of DPOTrainer's own."""
    return [
        {"prompt_ids": prompt, "chosen_ids": best, "rejected_ids": other}
        for prompt, (best, *others) in sets
        for other in others
    ]


def run_trl(arguments: argparse.Namespace, sets: Sequence[Set]) -> None:
    from datasets import Dataset
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    steps, turns, losses = arguments.steps, Turns("cpu"), list[float]()
    pairs_per_step = arguments.sets * (len(sets[0][1]) - 1)

    class Rounds(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % steps == 0:
                turns.wait()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])
                if state.global_step % steps == 0:
                    turns.report(steps * arguments.sets, losses=losses[-steps:])

    class OnTokens(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # has ids already

    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype="float32")
    config = DPOConfig(
        output_dir=str(arguments.folder / "trl"), per_device_train_batch_size=arguments.pairs,
        gradient_accumulation_steps=pairs_per_step // arguments.pairs, max_steps=len(sets) // arguments.sets,
        max_length=None, precompute_ref_log_probs=True, precompute_ref_batch_size=arguments.pairs, beta=BETA,
        learning_rate=RATES[arguments.kind], lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0,
        max_grad_norm=NORM, train_sampling_strategy="sequential", use_cpu=True, bf16=False, report_to=[],
        gradient_checkpointing=False, save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=MODULES, lora_dropout=0.0)
    adapters = arguments.kind == "lora"
    trainer = OnTokens(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(pairs_of(sets)),
        processing_class=AutoTokenizer.from_pretrained(arguments.model),
        peft_config=lora if adapters else None,
        callbacks=[Rounds()],
    )
    if adapters:
        set_peft_model_state_dict(trainer.model, load_file(arguments.folder / "adapters.safetensors"))
    turns.count(trainer.model)
    trainer.train()


def run_pairkit(arguments: argparse.Namespace, sets: Sequence[Set]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from pairkit.losses import build
    from pairkit.losses.building import sampler_settings
    from pairkit.training.distributed.processes import ALONE
    from pairkit.training.logprobs.reference_cache import reference_sums
    from pairkit.training.step.averages import Averages
    from pairkit.training.step.batch import StepModel
    from pairkit.training.step.examples import Split
    from pairkit.training.step.narrow import make_optimizer
    from pairkit.training.step.optimizer import Optimizer
    from pairkit.training.step.order import draw_seeds
    from pairkit.training.step.prepare import prepare
    from pairkit.training.tokens.token_set import Column, TokenSet

    size, steps, turns = arguments.sets, arguments.steps, Turns("cpu")
    tokens = [
        TokenSet(
            str(i),
            np.array(prompt, np.int32),
            tuple(Column(np.array(c, np.int32), k + 1, None, "source") for k, c in enumerate(completions)),
        )
        for i, (prompt, completions) in enumerate(sets)
    ]
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype="float32")
    known = reference_sums(
        tokens, arguments.folder / "reference.parquet", lambda: model, tokens_per_micro_batch=arguments.budget
    )
    if arguments.kind == "lora":
        model = with_fresh_adapters(model)
    turns.count(model)
    model.train()
    optimizer = make_optimizer(Optimizer(learning_rate=RATES[arguments.kind]), model)
    loss = build("dpo", beta=BETA)
    settings = sampler_settings(loss, {"sampling": "all"}, "random")
    through = StepModel(loss, model, None, arguments.budget, ALONE)
    for start in range(0, len(tokens), steps * size):
        turns.wait()
        losses = []
        for at in range(start, start + steps * size, size):
            rows = range(at, at + size)
            seeds = draw_seeds([tokens[i] for i in rows], 0, at)
            batch = prepare(through, settings, Split(tokens, known), rows, seeds)
            losses.append(through.gradients(batch, Averages()).value)
            torch.nn.utils.clip_grad_norm_(model.parameters(), NORM)
            optimizer.step(RATES[arguments.kind], at)
            optimizer.zero_grad()
        turns.report(steps * size, losses=losses)


def with_fresh_adapters(model: Any) -> Any:
    """Add the adapters that both start from: the seed determines them."""
    from pairkit.training.lora import Lora, with_adapters

    return with_adapters(model, Lora(r=RANK, alpha=2 * RANK, targets=MODULES), 0)


def save_adapters(folder: Path, model: str) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    network = with_fresh_adapters(AutoModelForCausalLM.from_pretrained(model, dtype="float32"))
    save_file(get_peft_model_state_dict(network), folder / "adapters.safetensors")


def other_tokens(rows: Sequence[dict[str, Any]], arguments: argparse.Namespace) -> str:
    """Describe how many tokens DPOTrainer's own preparation adds to those of pairkit."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    ours, theirs = 0, 0
    for row in rows:
        messages = [{"role": turn["role"], "content": turn["content"]} for turn in row["row"]["prompt"]]
        answer = {"role": "assistant", "content": row["row"]["completions"][0]["text"]}
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        whole = tokenizer.apply_chat_template([*messages, answer])["input_ids"]
        ours += len(row["ids"][0])
        theirs += len(whole) - len(prompt)
    return f"best completions have {ours:,} tokens, in DPOTrainer's own preparation {theirs:,}"


def compare(completions: int, kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run both contenders on sets of so many completions."""
    with tempfile.TemporaryDirectory() as name, busy(arguments.busy):
        folder = Path(name)
        rows = write_sets(folder, completions, arguments)
        if kind == "lora":
            save_adapters(folder, arguments.model)
        note = other_tokens(rows, arguments)
        contenders = [Contender(one, command(one, kind, folder, arguments)) for one in CONTENDERS]
        race(contenders, arguments.rounds)
    trl, pairkit = contenders
    losses = [np.array([loss for done in one.rounds for loss in done["losses"]]) for one in contenders]
    tokens = [len(row["prompt_ids"]) + sum(map(len, row["ids"])) for row in rows]
    result = {
        "completions": completions, "kind": kind, "steps": len(losses[0]),
        "tokens per set": round(statistics.mean(tokens)),
        "trl, sets/s": trl.median("sets_per_second"), "pairkit, sets/s": pairkit.median("sets_per_second"),
        "ratio": statistics.median(ratios(pairkit, trl)),
        "trl, GiB": trl.median("memory") / 2**30, "pairkit, GiB": pairkit.median("memory") / 2**30,
        "largest difference of a loss": float(np.abs(losses[0] - losses[1]).max()),
    }  # fmt: skip
    print(f"\n{kind}, {completions} completions; {note}")
    print("| step | trl | pairkit | difference |\n|--:|--:|--:|--:|")
    for step, (theirs, ours) in enumerate(zip(*losses, strict=True), 1):
        print(f"| {step} | {theirs:.5f} | {ours:.5f} | {ours - theirs:+.1e} |")
    same = result["largest difference of a loss"] <= TOLERANCE
    print(
        "the same work: yes" if same else f"NOT THE SAME WORK: losses differ by more than {TOLERANCE:g}",
        flush=True,
    )
    return result


def command(name: str, kind: str, folder: Path, arguments: argparse.Namespace) -> list[str]:
    words = [sys.executable, __file__, "--contender", name, "--folder", str(folder), "--kind", kind]
    for key in ("model", "sets", "pairs", "steps", "rounds", "budget"):
        words += [f"--{key}", str(getattr(arguments, key))]
    return words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default=os.environ.get("PAIRKIT_SMOLLM2", MODEL))
    parser.add_argument("--kinds", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--completions", nargs="+", type=int, default=[2], help="per set")
    parser.add_argument("--alpaca-eval", action="store_true", help="take its sets for two completions too")
    parser.add_argument("--sets", type=int, default=8, help="per step")
    parser.add_argument("--pairs", type=int, default=2, help="per pass of TRL, which accumulates gradients")
    parser.add_argument("--tokens", type=int, default=512, help="most of a prompt with a completion")
    parser.add_argument("--steps", type=int, default=5, help="per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=1024, help="pairkit's tokens per micro-batch")
    parser.add_argument("--busy", type=int, default=0, help="other processes to keep busy")
    parser.add_argument("--small", action="store_true", help="show that it runs: few steps on short texts")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=RATES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.small:
        arguments.sets, arguments.steps, arguments.tokens = 2, 1, 160
    if arguments.contender:
        sets = json.loads((arguments.folder / "sets.json").read_text())
        {"trl": run_trl, "pairkit": run_pairkit}[arguments.contender](arguments, sets)
        return
    if not os.environ.get("PAIRKIT_TEST_DATA"):
        raise SystemExit("the texts are real ones: set PAIRKIT_TEST_DATA to the folder of their files")
    results = [compare(k, kind, arguments) for kind in arguments.kinds for k in arguments.completions]
    print(f"\n{machine()}; {arguments.busy} processes of other work; {arguments.sets} sets per step")
    print("| " + " | ".join(results[0]) + " |\n|" + "---|" * len(results[0]))
    for row in results:
        cells = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()]
        print("| " + " | ".join(cells) + " |")
    print(GOALS)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
