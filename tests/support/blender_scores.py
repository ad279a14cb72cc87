"""Scores by llm-blender 0.0.2: run by the Python of its own environment (see .ci/blender).

    python blender_scores.py tokenizer FOLDER < TEXTS    FOLDER/base and FOLDER/hf, trained on TEXTS
    python blender_scores.py scores OUT < JOBS           scores and ranks of each job, as JSON into OUT
    python blender_scores.py losses OUT < PAIRS          llm-blender's losses of these pairs, as JSON into OUT

TEXTS is a JSON object of `texts` and the `size` of the vocabulary. `base` gets SentencePiece's file alone,
as microsoft/deberta-v3-large has it, `hf` the fast tokenizer with the prefixes that transformers makes of it,
as llm-blender/PairRM-hf has it.
PAIRS is a JSON list of [left, right, sign]: what the head gives two completions in the order that they are
shown, and 1 where the first is the better one, else -1.
JOBS is a JSON list of objects: checkpoint, layout ("PairRM" or "PairRM-hf"), batch_size, sources, candidates.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

PREFIXES = ["<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>"]


def make_tokenizers(folder: Path, texts: list[str], size: int) -> None:
    import sentencepiece
    from transformers import DebertaV2TokenizerFast

    base = folder / "base"
    base.mkdir(parents=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=size, hard_vocab_limit=False,
        model_type="unigram", normalization_rule_name="nmt_nfkc", pad_id=0, bos_id=1, eos_id=2, unk_id=3,
        pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]", minloglevel=2,
    )  # fmt: skip
    (base / "spm.model").write_bytes(model.getvalue())
    (base / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    tokenizer = DebertaV2TokenizerFast.from_pretrained(base)
    tokenizer.add_tokens(PREFIXES)
    tokenizer.save_pretrained(folder / "hf")


def score(job: dict[str, Any]) -> dict[str, Any]:
    """Compute scores and ranks, with one call per size of sets, because `rank` needs sets of one size."""
    ask = by_ranker(job) if job["layout"] == "PairRM" else by_model(job)
    count = len(job["sources"])
    scores: list[Any] = [None] * count
    ranks: list[Any] = [None] * count
    for size in sorted(set(map(len, job["candidates"]))):
        rows = [row for row in range(count) if len(job["candidates"][row]) == size]
        found = ask([job["sources"][row] for row in rows], [job["candidates"][row] for row in rows])
        for row, *one in zip(rows, *found, strict=True):
            scores[row], ranks[row] = (part.tolist() for part in one)
    return {"scores": scores, "ranks": ranks}


def by_ranker(job: dict[str, Any]) -> Any:
    """`Blender.rank`."""
    blender = open_blender(job["checkpoint"])

    def ask(sources: list[str], candidates: list[list[str]]) -> tuple[Any, Any]:
        how = {"batch_size": job["batch_size"], "disable_tqdm": True}
        return blender.rank(sources, candidates, return_scores=True, **how), blender.rank(
            sources, candidates, **how
        )

    return ask


def open_blender(checkpoint: str) -> Any:
    import llm_blender

    blender = llm_blender.Blender()
    blender.loadranker(checkpoint, device="cpu")
    return blender


def by_model(job: dict[str, Any]) -> Any:
    """Run `DebertaV2PairRM` on one pair after the other, as the card of PairRM-hf does."""
    import numpy as np
    import torch
    from llm_blender.blender.blender_utils import tokenize_pair
    from llm_blender.gpt_eval.utils import get_ranks_from_scores, get_scores_from_cmps
    from llm_blender.pair_ranker.pairrm import DebertaV2PairRM
    from transformers import AutoTokenizer

    model = DebertaV2PairRM.from_pretrained(job["checkpoint"]).eval()
    tokenizer = AutoTokenizer.from_pretrained(job["checkpoint"])

    def ask(sources: list[str], candidates: list[list[str]]) -> tuple[Any, Any]:
        size = len(candidates[0])
        logits = np.zeros((len(sources), size, size))
        for row, source in enumerate(sources):
            for i in range(size):
                for j in range(size):
                    if i != j:
                        pair = [candidates[row][i]], [candidates[row][j]]
                        encodings = tokenize_pair(tokenizer, [source], *pair)
                        with torch.no_grad():
                            logits[row, i, j] = model(**encodings).logits[0]
        scores = get_scores_from_cmps(logits)
        return scores, get_ranks_from_scores(scores)

    return ask


def losses(pairs: list[list[float]]) -> dict[str, list[float]]:
    """Compute the loss of each pair by both classes that have one."""
    from types import SimpleNamespace

    import torch
    from llm_blender.pair_ranker.pairrm import DebertaV2PairRM
    from llm_blender.pair_ranker.ranker import CrossCompareReranker

    found: dict[str, list[float]] = {"ranker": [], "hf": []}
    for left, right, sign in pairs:
        heads = torch.tensor([[left]]), torch.tensor([[right]])
        # Any scores in the right order: the loss reads their sign.
        scores = torch.tensor([[3.0 * sign]]), torch.tensor([[0.0]])
        owner = SimpleNamespace(loss_type="instructgpt")
        found["ranker"].append(float(CrossCompareReranker.compute_loss(owner, *heads, *scores)))
        found["hf"].append(float(DebertaV2PairRM.compute_loss(owner, *heads, scores[0])))
    return found


if __name__ == "__main__":
    command, place = sys.argv[1], Path(sys.argv[2])
    if command == "losses":
        place.write_text(json.dumps(losses(json.load(sys.stdin))))
    elif command == "tokenizer":
        make_tokenizers(place, **json.load(sys.stdin))
    else:
        place.write_text(json.dumps([score(job) for job in json.load(sys.stdin)]))
