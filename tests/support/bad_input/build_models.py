"""`pairkit build` that asks models: engines, rankers, judges."""

from __future__ import annotations

from support.bad_input.case import ASK, FILES, OWN, SERVER, Case

CASES = [
    # Models that are asked
    Case(
        "engine that is not installed",
        f"{ASK} generate.engine=vllm generate.model=model",
        "vllm is not installed: pip install 'pairkit[vllm]'",
    ),
    Case(
        "server that is not running",
        f"{ASK} {SERVER} generate.model=m",
        "http://127.0.0.1:9/v1 cannot be reached: …",
    ),
    Case(
        "server that requires a key, without one",
        f"{ASK} generate.engine=openai generate.model=m generate.api_key_env=NO_KEY",
        "https://api.openai.com/v1 wants a key: put it into the environment variable NO_KEY, or give "
        "base_url for a server that wants none",
    ),
    Case(
        "field of another engine",
        f"{ASK} generate.model=model generate.base_url=http://127.0.0.1:9/v1",
        "recipe key 'base_url' is for engine openai, this is transformers",
    ),
    Case(
        "budget in money without prices",
        f"{ASK} {SERVER} generate.model=m calls.budget.money=5",
        "a budget of money needs the price of 'm': give calls.prices.m.input and .output, of a million "
        "tokens",
    ),
    Case(
        "`--cache` is a file of something else",
        f"{ASK} generate.model=model --cache notes.md",
        "notes.md: cannot be used as the cache of calls: …",
        {"notes.md": b"notes"},
    ),
    Case(
        "ranker that does not exist",
        f"{FILES} own.jsonl rank.ranker=pairm",
        "unknown ranker 'pairm'; did you mean 'pairrm'? Known: …",
        OWN,
    ),
    Case(
        "PairRM checkpoint of another layout",
        f"{FILES} own.jsonl rank.ranker=pairrm rank.model=model",
        "'model' is not a PairRM checkpoint (it is of ['LlamaForCausalLM']): pairkit reads …",
        OWN,
    ),
    Case(
        "reward model without a chat template",
        f"{FILES} own.jsonl rank.ranker=reward_model rank.model=model",
        "the tokenizer of 'model' has no chat template, so how the model wants a conversation written is not "
        "known; use a reward model that has one, or save its tokenizer with a `chat_template`",
        OWN,
    ),
]
