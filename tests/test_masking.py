"""What looks like a secret is hidden wherever pairkit writes or prints, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from pairkit import masking
from pairkit.errors import EngineError, InputError, OutputError, PairkitError, RecipeError
from pairkit.masking import masked, places_of_secrets, remember
from pairkit.progress import log

SECRETS = {
    "a password in a URL": ("https://me:{}@host:8000/v1 cannot be reached", "hunter2"),
    "with @ in it": ("https://me:{}@host/v1", "hun@ter2"),
    "a token as the user": ("git+https://{}@github.com/a/b", "ghp0123abc"),
    "of a proxy": ("proxy http://user:{}@10.0.0.1:3128 refused", "p4ss"),
    "OpenAI": ("Incorrect API key provided: {}.", "sk-proj-abcDEF0123456789_-abc"),
    "Anthropic": ("{} is not valid", "sk-ant-api03-abcdefgh"),
    "Hugging Face": ("token {} expired", "hf_abcdefghijklmnopqrstuvwx"),
    "GitHub": ("{}", "ghp_abcdefghijklmnopqrst0123"),
    "Groq": ("key={}", "gsk_abcdefghijklmnopq"),
    "Google": ("?key={}&a=1", "AIzaSyA-abcdefghijklmnopqrstuvwxyz01"),
    "AWS": ("id {}", "AKIAIOSFODNN7EXAMPLE"),
    "Slack": ("{}", "xoxb-123456789012-abcdef"),
    "a JWT": ("cookie {}", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123"),
    "a header": ("Authorization: Bearer {}", "abc.def.ghi"),
    "a basic header": ("Authorization: Basic {}", "bWU6aHVudGVyMg=="),
    "a query": ("GET https://host/v1?api_key={}&n=1", "0123abcd"),
    "a signature": ("https://bucket/a?X-Amz-Signature={}", "deadbeef00"),
    "an echoed body": ('bad request: {{"api_key": "{}", "n": 1}}', "topsecret"),
    "an echoed mapping": ("bad request: {{'password': '{}'}}", "topsecret"),
    "a private key": (
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
        "MIIEpAIBAAKCAQEA",
    ),
}
HARMLESS = [
    "tokens_per_micro_batch must be at least 1, got 0",
    "the tokenizer 'org/name' has no chat template",
    "https://huggingface.co/datasets/org/name cannot be reached",
    "http://127.0.0.1:8000/v1 requires an API key: set the environment variable OPENAI_API_KEY",
    "write to me@example.com about task-oriented-dialogues",
    "a.jsonl, row 3, field 'prompt': is null",
    "the key in MY_SERVER_KEY was not accepted: no reason given",
    "pairkit.json: recipe hash 0123456789abcdef0123456789abcdef",
]


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_is_hidden(text: str, secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    written = text.format(secret)
    assert secret in written
    assert secret not in masked(written)
    assert masked(masked(written)) == masked(written)
    for kind in (PairkitError, InputError, RecipeError, EngineError, OutputError):
        assert secret not in str(kind(written))
    log(written)
    assert secret not in capsys.readouterr().err
    assert list(places_of_secrets({"a": [{"b": written}]})) == ["a.0.b"]


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_are_as_they_were(text: str) -> None:
    assert masked(text) == text
    assert str(EngineError(text)) == text


@pytest.mark.parametrize(
    "key",
    [
        "api_key", "API-Key", "x-api-key", "Authorization", "password", "hf_token", "token", "client_secret",
        "aws_secret_access_key", "openai_api_key", "access_token", "credentials", "api_keys",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["plain", "1", ["one", "two"]])
def test_the_name_of_a_key_tells(key: str, value: Any) -> None:
    content = {"generate": {"extra_body": {key: value, "n": None}}}
    assert masked(content) == {"generate": {"extra_body": {key: "***", "n": None}}}
    assert list(places_of_secrets(content)) == [f"generate.extra_body.{key}"]
    assert list(places_of_secrets(masked(content))) == [f"generate.extra_body.{key}"]


@pytest.mark.parametrize(
    "content",
    [
        {"max_tokens": 5, "eos_token": "</s>", "bos_token": "<s>", "tokens": {"add": ["<a>"]}, "token": 3},
        {"api_key_env": "OPENAI_API_KEY", "tokenizer": "org/name", "stop_token_ids": [1, 2]},
        {"password": None, "api_key": "", "hf_token": True, "boi_token": "<image>", "image_token": "<i>"},
        {"source": {"name": "files", "revision": "0123456789abcdef0123456789abcdef01234567"}},
    ],
)
def test_other_keys_are_no_secrets(content: dict[str, Any]) -> None:
    assert masked(content) == content
    assert list(places_of_secrets(content)) == []


def test_the_key_that_is_used_is_hidden_whatever_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_remembered", set())
    assert masked("refused: correcthorse") == "refused: correcthorse"
    remember("correcthorse")
    remember("a")  # which would hide words
    assert masked("refused: correcthorse a") == "refused: *** a"
    assert str(RecipeError("correcthorse")) == "***"


def test_errors_are_still_those_of_python() -> None:
    assert isinstance(OutputError("no space"), OSError)
    assert OutputError("no space").args == ("no space",)
    assert str(OutputError("out: no space")) == "out: no space"
