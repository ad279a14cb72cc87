"""`pairkit build` that asks models: engines, rankers, judges."""

from __future__ import annotations

from pathlib import Path

from support.bad_input.case import ASK, FILES, OWN, SERVER, Case

from pairkit.rankers.human.annotation import Annotation

BY_PEOPLE = f"{FILES} own.jsonl rank.ranker=human"
OTHERS = Annotation("s", "p", "order", ("a", "b"), ((0,), (1,)), None, "anna", "digest", "2026-01-01").line()

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
        "https://api.openai.com/v1 requires an API key: set the environment variable NO_KEY, or "
        "base_url for a server that needs none",
    ),
    Case(
        "field of another engine",
        f"{ASK} generate.model=model generate.base_url=http://127.0.0.1:9/v1",
        "recipe key 'base_url' is for engine openai, not transformers",
    ),
    Case(
        "batches of an engine that has none",
        f"{ASK} generate.model=model calls.batch=true",
        "recipe key 'calls.batch': batches need engine openai, and the recipe has transformers: remove "
        "calls.batch, or set engine=openai",
    ),
    Case(
        "`min_agreement` with one judge",
        f"{FILES} own.jsonl rank.ranker=judge rank.model=model mine.min_agreement=0.5",
        "recipe key 'mine.min_agreement' needs a panel: name two or more rankers in panel, as in "
        "panel=[a, b]; rank has judge",
        OWN,
    ),
    Case(
        "`min_agreement` over 1",
        f"{FILES} own.jsonl mine.min_agreement=2",
        "recipe key 'mine.min_agreement': Input should be less than or equal to 1 (got 2)",
        OWN,
    ),
    Case(
        "panel of one judge",
        f"{FILES} own.jsonl rank.ranker=judge rank.model=model panel=[judge]",
        "recipe key 'panel' must name at least two rankers, each once, got judge",
        OWN,
    ),
    Case(
        "engine that enforces no form",
        f"{FILES} own.jsonl rank.ranker=judge rank.model=model rank.structured=true",
        "recipe key 'rank.structured': engine transformers cannot enforce the form of an answer: set "
        "engine=vllm or openai, or remove it",
        OWN,
    ),
    Case(
        "judge's prompt with a scale that is none",
        f"{FILES} own.jsonl rank.ranker=judge rank.model=model rank.protocol=pointwise "
        "rank.aspects=[own.txt]",
        "own.txt: scale must be two whole numbers, as in [1, 10], got '1-10'",
        {
            **OWN,
            "own.txt": b"version: 1\nkind: pointwise\nscale: 1-10\n--- user ---\n{question} {answer} "
            b"<rating>N</rating>",
        },
    ),
    Case(
        "budget in money without prices",
        f"{ASK} {SERVER} generate.model=m calls.budget.money=5",
        "calls.budget.money needs the price of 'm': set calls.prices.m.input and .output, per million tokens",
    ),
    Case(
        "`--cache` is a file of something else",
        f"{ASK} generate.model=model --cache notes.md",
        "notes.md: cannot be used as the response cache: …",
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
        "'model' is not a PairRM checkpoint (its type is ['LlamaForCausalLM']): pairkit reads …",
        OWN,
    ),
    Case(
        "reward model without a chat template",
        f"{FILES} own.jsonl rank.ranker=reward_model rank.model=model",
        "the tokenizer of 'model' has no chat template, so conversations cannot be formatted for this model; "
        "use a reward model that has one, or set template.file to the model's template",
        OWN,
    ),
    Case(
        "template file that does not exist",
        f"{ASK} generate.model=model generate.template.file=mine.jinja",
        "recipe key 'generate.template.file': mine.jinja: no such file",
    ),
    Case(
        "template file that is not a template",
        f"{ASK} generate.model=model generate.template.file=mine.jinja",
        "template.file 'mine.jinja', line 1: …",
        {"mine.jinja": b"{% if messages %}"},
    ),
    Case(
        "template that is neither settings nor none",
        f"{ASK} generate.model=model generate.template=chatml",
        "recipe key 'generate.template' must be a mapping of keys to values, got 'chatml'",
    ),
    Case(
        "number of samples where their list belongs",
        f"{ASK} generate.model=model generate.samples=4",
        "recipe key 'generate.samples' must be a list, as in [first, second], got 4",
    ),
    Case(
        "raw text for a server of chat completions",
        f"{ASK} {SERVER} generate.model=m generate.template=none",
        "recipe key 'template': none is for engines transformers and vllm, because a server of chat "
        "completions renders every prompt with its own template",
    ),
    Case(
        "template file for a server",
        f"{ASK} {SERVER} generate.model=m generate.template.file=mine.jinja",
        "recipe key 'template.file' cannot be sent to a server: start the server with it "
        "(vLLM: --chat-template FILE)",
    ),
    Case(
        "prefill for a server",
        f"{ASK} {SERVER} generate.model=m generate.template.prefill=<think>",
        "recipe key 'template.prefill' cannot be sent to a server: use engine vllm or transformers",
    ),
    Case(
        "arguments of the template among the extra fields of a request",
        f"{ASK} {SERVER} generate.model=m generate.extra_body.chat_template_kwargs.thinking=true",
        "recipe key 'generate.extra_body.chat_template_kwargs': set template.kwargs instead",
    ),
    Case(
        "extra fields of a request that make a mix of temperatures one",
        f"{ASK} {SERVER} generate.model=m generate.extra_body.temperature=null "
        'generate.samples=[{"temperature":0.6},{"temperature":1.0}]',
        "recipe key 'generate.extra_body.temperature' is the same for all completions, but samples name "
        "several: give every part of samples the same temperature, or remove it from extra_body",
    ),
    Case(
        "number of completions among the extra fields of a request",
        f"{ASK} {SERVER} generate.model=m generate.extra_body.n=4",
        "recipe key 'generate.extra_body.n': set n in generate.samples instead; null requests "
        "completions one by one",
    ),
    Case(
        "number of answers among the extra fields of a judge's request",
        f"{FILES} own.jsonl rank.ranker=judge rank.engine=openai rank.base_url=http://127.0.0.1:9/v1 "
        "rank.model=m rank.extra_body.n=2",
        "recipe key 'rank.extra_body.n': remove it, because a judge reads one answer per question",
    ),
    Case(
        "two names of one limit among the extra fields of a request",
        f"{ASK} {SERVER} generate.model=m generate.extra_body.max_tokens=9 "
        "generate.extra_body.max_completion_tokens=9",
        "recipe key 'generate.extra_body' has max_tokens and max_completion_tokens, two names of one limit: "
        "remove one",
    ),
    Case(
        "another model among the extra fields of a request",
        f"{ASK} {SERVER} generate.model=m generate.extra_body.model=other",
        "recipe key 'generate.extra_body.model': set model instead",
    ),
    Case(
        "word instead of a number among the extra fields of a request",
        f"{ASK} {SERVER} generate.model=m generate.extra_body.top_p=most",
        "recipe key 'generate.extra_body.top_p' must be a number from 0 to 1, got 'most'",
    ),
    Case(
        "prefill for a reward model",
        f"{FILES} own.jsonl rank.ranker=reward_model rank.model=model rank.template.prefill=x",
        "recipe key 'template.prefill' is for engines only: remove it",
        OWN,
    ),
    # People who rank
    Case(
        "annotations that do not exist",
        f"{BY_PEOPLE} rank.path=absent",
        "…/absent: no such file or directory; give a file of annotations, or a folder of them, as "
        "`pairkit view DIR --annotate NAME` writes",
        OWN,
    ),
    Case(
        "folder without annotations",
        f"{BY_PEOPLE} rank.path=empty",
        "…/empty: holds no annotations (no NAME.jsonl); give a file of annotations, or a folder of them, as "
        "`pairkit view DIR --annotate NAME` writes",
        OWN,
        prepare=lambda: Path("empty").mkdir(),
    ),
    Case(
        "file in which no line is an annotation",
        f"{BY_PEOPLE} rank.path=own.jsonl",
        "…/own.jsonl: holds no annotation (…/own.jsonl, line 1: has no 'set_id'; skipped); annotate with "
        "`pairkit view DIR --annotate NAME`",
        OWN,
    ),
    Case(
        "annotations of other data",
        f"{BY_PEOPLE} rank.path=anna.jsonl",
        "rank.path …/anna.jsonl: the annotations are of other data: none is about one of the … rows of "
        "files; give those of a dataset with these prompts and completions",
        {**OWN, "anna.jsonl": OTHERS},
    ),
    Case(
        "what becomes of sets without annotation, misspelled",
        f"{BY_PEOPLE} rank.path=anna.jsonl rank.unlabeled=quarantine",
        "recipe key 'rank.unlabeled': Input should be 'drop' or 'keep' (got 'quarantine')",
        OWN,
    ),
]
