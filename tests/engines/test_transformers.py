"""The transformers engine, against transformers' own `generate` and against probability theory."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.rendering import prompt_tokens
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from pairkit.engines.asking import complete as ask
from pairkit.engines.base import Problem, Request, Sampling, sample_seed
from pairkit.engines.sampling import draw, uniforms
from pairkit.engines.transformers import TransformersEngine, load_transformers, stop_tokens
from pairkit.errors import ModelError
from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.render import DEFAULT_TEMPLATE
from pairkit.quickstart.model import save_start, tiny_tokenizer

VOCABULARY, EOS = 16, 2


def llama(**changes: object) -> PreTrainedModel:
    settings = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**_common(), **settings | changes))


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(**_common(), n_embd=32, n_layer=2, n_head=4, n_positions=64))


def sliding() -> PreTrainedModel:
    settings = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = MistralConfig(**_common(), **settings, num_key_value_heads=2, sliding_window=5)
    return MistralForCausalLM(config)


def _common() -> dict[str, object]:
    return {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": EOS, "pad_token_id": 0}


def engine(build=llama, *, batch_tokens: int = 32_768, seed: int = 0) -> TransformersEngine:
    torch.manual_seed(seed)
    model = build()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)  # far from uniform, so that a wrong position or mask changes the outcome
    return TransformersEngine(model.eval(), ChatFormat(tiny_tokenizer()), "tiny", batch_tokens)


def greedy(max_tokens: int) -> Sampling:
    return Sampling(0.0, 1.0, 0, max_tokens)


def random_prompts(count: int, seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [[1, *random.integers(3, VOCABULARY, random.integers(1, 12)).tolist()] for _ in range(count)]


@pytest.mark.default("llama")
@pytest.mark.parametrize("build", [llama, gpt2, sliding])
def test_greedy_completions_equal_those_of_transformers(build) -> None:
    tiny = engine(build)
    prompts = random_prompts(24)
    answers = ask(tiny, [Request(prompt, (greedy(9),)) for prompt in prompts])
    finished = Counter()
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt])
        theirs = tiny.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=9, pad_token_id=0
        )[0, len(prompt) :].tolist()
        ours = answer[0]
        stopped = EOS in theirs
        assert ours.text == tiny.tokenizer.decode(theirs, skip_special_tokens=True)
        assert ours.tokens == (theirs.index(EOS) + 1 if stopped else len(theirs))
        assert ours.finish_reason == ("stop" if stopped else "length")
        finished[ours.finish_reason] += 1
    assert len(finished) == 2  # the prompts were such that both ends were seen


def test_token_frequencies_follow_the_softmax() -> None:
    tiny = engine()
    prompt, temperature, count = [1, 7, 9, 4], 0.7, 20_000
    with torch.no_grad():
        logits = tiny.model(torch.tensor([prompt])).logits[0, -1]
    expected = torch.softmax(logits.double() / temperature, -1).numpy() * count
    samplings = tuple(Sampling(temperature, 1.0, sample_seed(0, "a", i), 1) for i in range(count))
    (answer,) = ask(tiny, [Request(prompt, samplings)])
    seen = Counter((c.text, c.finish_reason) for c in answer)
    tokens = [(tiny.tokenizer.decode([i], skip_special_tokens=True), i) for i in range(VOCABULARY)]
    # Special tokens have no text: what they have in common is counted together, EOS for itself.
    observed = {i: seen[(text, "length")] for text, i in tokens if text}
    observed[EOS] = seen[("", "stop")]
    chi_square = sum((observed[i] - expected[i]) ** 2 / expected[i] for i in observed if expected[i] > 5)
    assert sum(expected[i] > 5 for i in observed) >= 5
    assert chi_square < 37.7  # the 0.999 quantile at 15 degrees of freedom; the seed is fixed


def test_a_completion_does_not_depend_on_its_batch() -> None:
    prompts = random_prompts(16)
    requests = [
        Request(
            prompt,
            tuple(
                Sampling(temperature, top_p, sample_seed(3, str(row), i), 10)
                for i, (temperature, top_p) in enumerate([(0.0, 1.0), (0.6, 1.0), (1.0, 0.8), (1.3, 1.0)])
            ),
        )
        for row, prompt in enumerate(prompts)
    ]
    tiny = engine()
    together = ask(tiny, requests)
    alone = ask(engine(batch_tokens=1), requests)
    apart = [
        completion
        for request in requests
        for sampling in request.samplings
        for completion in ask(tiny, [Request(request.prompt, (sampling,))])[0]
    ]
    assert together == alone
    assert [c for answer in together for c in answer] == apart
    lengths = {c.tokens for c in apart}
    assert len(lengths) > 3  # rows ended at different steps, so batches were compacted


def test_completions_depend_on_the_seed() -> None:
    def texts(run: int) -> list[str]:
        samplings = tuple(Sampling(1.0, 1.0, sample_seed(run, "set", i), 8) for i in range(20))
        return [c.text for c in ask(engine(), [Request([1, 5, 6], samplings)])[0]]

    assert texts(0) == texts(0)
    assert texts(0) != texts(1)
    assert len(set(texts(0))) > 10


def test_a_prompt_runs_once_for_all_of_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = engine()
    shapes = []
    forward = tiny.model.forward
    monkeypatch.setattr(
        tiny.model, "forward", lambda **k: shapes.append(tuple(k["input_ids"].shape)) or forward(**k)
    )
    samplings = tuple(Sampling(1.0, 1.0, seed, 4) for seed in range(6))
    ask(tiny, [Request([1, 5, 6, 7], samplings), Request([1, 8], samplings)])
    assert shapes[0] == (2, 4)
    assert shapes[1][0] <= 12
    assert all(width == 1 for _, width in shapes[1:])
    rows = [rows for rows, _ in shapes[1:]]
    assert rows == sorted(rows, reverse=True)


def test_max_tokens_applies_to_each_completion() -> None:
    tiny = engine()
    tiny.model.generation_config.eos_token_id = tiny.tokenizer.eos_token = None
    wanted = (1, 5, 3)
    (answer,) = ask(tiny, [Request([1, 4], tuple(Sampling(1.0, 1.0, i, n) for i, n in enumerate(wanted)))])
    assert [c.tokens for c in answer] == list(wanted)
    assert {c.finish_reason for c in answer} == {"length"}


def test_every_end_token_of_the_generation_config_stops() -> None:
    tiny = engine()
    assert stop_tokens(tiny.model, tiny.chat) == [EOS]
    (before,) = ask(tiny, [Request([1, 9, 9, 5], (greedy(6),))])
    first = tiny.tokenizer(before[0].text, add_special_tokens=False)["input_ids"][0]
    tiny.model.generation_config.eos_token_id = [EOS, first]
    (after,) = ask(tiny, [Request([1, 9, 9, 5], (greedy(6),))])
    assert after[0][:3] == ("", 1, "stop")
    for configured, stops in ((None, [EOS]), (9, [EOS, 9]), ([9, EOS], [EOS, 9])):
        tiny.model.generation_config.eos_token_id = configured
        assert stop_tokens(tiny.model, tiny.chat) == stops


def test_requests_that_cannot_be_served_are_problems() -> None:
    tiny = engine(lambda: llama(max_position_embeddings=12))
    system = [{"role": "system", "content": "add"}, {"role": "user", "content": "1+1="}]
    requests = [
        Request([1] * 9, (greedy(4),)),
        Request([], (greedy(4),)),
        Request(system, (greedy(4),)),
        Request([1, 5], (greedy(4),)),
        Request([1, 5], ()),
    ]
    answers = ask(tiny, requests)
    reasons = [answer.reason if isinstance(answer, Problem) else None for answer in answers]
    assert reasons == ["too_long", "empty_prompt", "template_refused", None, None]
    assert "9 prompt tokens and 4 to generate; the model has room for 12" in answers[0].detail
    assert [len(a) for a in answers if not isinstance(a, Problem)] == [1, 0]


def test_training_mode_is_restored_and_dropout_is_off() -> None:
    tiny = engine(gpt2)
    tiny.model.train()
    first, second = (ask(tiny, [Request([1, 5], (greedy(5),))]) for _ in range(2))
    assert first == second  # no dropout
    assert tiny.model.training


def test_broken_weights_are_an_error() -> None:
    tiny = engine()
    with torch.no_grad():
        tiny.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="logits are NaN"):
        ask(tiny, [Request([1, 5], (greedy(5),))])


def test_a_model_without_chat_template_gets_the_plain_one(tmp_path, capsys) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    llama().save_pretrained(tmp_path)
    assert load_transformers(str(tmp_path)).tokenizer.chat_template == DEFAULT_TEMPLATE
    assert "no chat template" in capsys.readouterr().err


def test_a_loaded_model_completes_messages_and_token_ids_alike(tmp_path) -> None:
    save_start(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_transformers(str(tmp_path))  # a configuration without weights
    llama().save_pretrained(tmp_path)
    loaded = load_transformers(str(tmp_path), batch_tokens=64)
    assert loaded.name == str(tmp_path)
    prompt = [{"role": "user", "content": "1+2="}]
    (answer,) = ask(loaded, [Request(prompt, (greedy(5),))])
    assert ask(loaded, [Request(prompt_tokens(loaded.tokenizer, prompt), (greedy(5),))]) == [answer]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft, where it wraps
def test_adapters_and_runs_are_models(tmp_path) -> None:
    """Adapters give what they give in peft; a run, what its model gives; files of both identify them."""
    import peft

    base = tmp_path / "base"
    save_start(base)
    engine().model.save_pretrained(base)
    adapted = peft.get_peft_model(
        LlamaForCausalLM.from_pretrained(base), peft.LoraConfig(r=4, target_modules="all-linear")
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    run = tmp_path / "run"
    adapted.save_pretrained(run / "model")
    (run / "run.json").write_text("{}")
    prompts = random_prompts(6)
    expected = [
        adapted.generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=EOS)[0]
        for prompt in prompts
    ]
    answers = {}
    for name in (run / "model", run, base):
        loaded = load_transformers(str(name))
        asked = ask(loaded, [Request(prompt, (greedy(6),)) for prompt in prompts])
        answers[name] = [answer[0].text for answer in asked]  # type: ignore[union-attr]
        assert loaded.identity["model"] != str(name)
    decoded = [
        load_transformers(str(base)).tokenizer.decode(row[len(prompt) :], skip_special_tokens=True)
        for prompt, row in zip(prompts, expected, strict=True)
    ]
    assert answers[run] == answers[run / "model"] == decoded
    assert answers[base] != decoded


@pytest.mark.parametrize("template_writes", [0, 1, 2])
@pytest.mark.parametrize("tokenizer_adds", [False, True])
def test_a_prompt_has_at_most_one_bos(template_writes: int, tokenizer_adds: bool) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "<s>" * template_writes + "{{ messages[0].content }}"
    if tokenizer_adds:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    tokens = prompt_tokens(tokenizer, [{"role": "user", "content": "1+2="}])
    assert tokens.count(1) == (1 if template_writes or tokenizer_adds else 0)
    assert tokenizer.decode(tokens[-4:]) == "1+2="


def test_a_tokenizer_without_template_is_an_error() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        prompt_tokens(tokenizer, [{"role": "user", "content": "1+2="}])


def test_uniforms_are_uniform_and_independent() -> None:
    seeds = np.arange(20_000, dtype=np.uint64)
    first, second = uniforms(seeds, 0), uniforms(seeds, 1)
    for numbers in (first, second):
        assert numbers.min() >= 0
        assert numbers.max() < 1
        counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
        assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # 0.999 quantile, 19 degrees of freedom
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.03
    assert uniforms(seeds[5:6], 1)[0] == second[5]


def test_draw_inverts_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.0, 0.3, 0.2]])).expand(5, 4)
    uniform = torch.tensor([0.0, 0.49, 0.51, 0.79, 0.81], dtype=torch.float64)
    ones = torch.ones(5, dtype=torch.float64)
    assert draw(logits, ones, ones, uniform).tolist() == [0, 0, 2, 2, 3]
    # The nucleus of 0.6 is the first and the third token: 0.5 / 0.8 of the numbers go to the first.
    uniform = torch.tensor([0.0, 0.62, 0.63, 0.9, 0.999], dtype=torch.float64)
    assert draw(logits, ones, 0.6 * ones, uniform).tolist() == [0, 0, 2, 2, 2]
    # One row's settings are its own.
    temperature = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    top_p = torch.tensor([1.0, 1.0, 0.4, 0.1, 0.6], dtype=torch.float64)
    assert draw(logits, temperature, top_p, 0.9 * ones).tolist() == [0, 3, 0, 0, 2]


def test_low_temperature_prefers_the_most_probable_token() -> None:
    logits = torch.tensor([[1.0, 0.0]]).expand(2, 2)
    temperature = torch.tensor([1.0, 0.1], dtype=torch.float64)
    uniform = torch.tensor([0.74, 0.9999], dtype=torch.float64)  # softmax(1, 0) = 0.731
    ones = torch.ones(2, dtype=torch.float64)
    assert draw(logits, temperature, ones, uniform).tolist() == [1, 0]


def test_the_most_probable_first_tokens_are_those_of_the_model() -> None:
    """Of each prompt in a batch, whatever is sampled, and only where they are requested."""
    tiny = engine()
    prompts = random_prompts(12)
    warm = Sampling(2.0, 0.9, 5, 3)
    requests = [
        Request(prompt, (greedy(2), warm), top_logprobs=(None, 1, 5)[place % 3])
        for place, prompt in enumerate(prompts)
    ]
    plain = ask(tiny, [replace(request, top_logprobs=None) for request in requests])
    for place, (prompt, answer) in enumerate(zip(prompts, ask(tiny, requests), strict=True)):
        assert not isinstance(answer, Problem)
        with torch.no_grad():
            logits = tiny.model(torch.tensor([prompt])).logits[0, -1].double()
        values, ids = torch.log_softmax(logits, dim=-1).sort(descending=True)
        count = (0, 1, 5)[place % 3]
        wanted = [(tiny.tokenizer.decode([number]), value) for number, value in zip(ids, values, strict=True)]
        for completion, without in zip(answer, plain[place], strict=True):
            top = completion.logprobs or ()
            assert [token for token, _ in top] == [token for token, _ in wanted[:count]]
            assert [value for _, value in top] == pytest.approx(
                [float(value) for _, value in wanted[:count]], abs=1e-5
            )
            assert completion._replace(logprobs=None) == without
